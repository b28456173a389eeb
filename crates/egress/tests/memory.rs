//! What open tunnels cost while nothing passes. A test program of its own: nothing else may use memory meanwhile.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use common::{Sandbox, ask, connect, policy, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// As many as fit, with both ends of each here too, into the usual limit of 1,024 descriptors.
const FLOWS: usize = 200;

/// 40 MiB for 1,000 flows. What the test's own ends take counts, too.
const MOST: usize = FLOWS * 40 * 1024 * 1024 / 1000;

/// Enough to go over to splice(2).
static ANSWER: [u8; 256 * 1024] = [b'x'; 256 * 1024];

/// The memory of this process, in bytes (proc_pid_statm(5)).
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn a_thousand_open_tunnels_take_less_than_40_mib() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while stream.read_u8().await.is_ok() {
                    stream.write_all(&ANSWER).await.unwrap();
                }
            });
        }
    });
    let sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let open = async || {
        let mut client = connect(sandbox.http).await;
        let request = format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n");
        assert_eq!(ask(&mut client, &request).await.status, 200);
        let mut answer = vec![0; ANSWER.len()];
        client.write_all(b"?").await.unwrap();
        soon("an answer", client.read_exact(&mut answer))
            .await
            .unwrap();
        client
    };
    // What is needed once, is there.
    let mut clients = vec![open().await, open().await];
    let before = resident();
    for _ in 0..FLOWS {
        clients.push(open().await);
    }
    let grown = resident().saturating_sub(before);
    assert_eq!(sandbox.egress.flows().len(), FLOWS + 2);
    println!("{} KiB for {FLOWS} open tunnels", grown / 1024);
    assert!(grown < MOST, "{grown} bytes for {FLOWS} open tunnels");
}

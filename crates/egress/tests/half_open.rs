//! Connections that never say a whole request. A test program of its own: it counts this process's descriptors, and
//! nothing else may open any meanwhile.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::time::Duration;

use common::{Options, Sandbox, ask, connect, policy};
use srt_egress::Bounds;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Thousands of connections that never say a whole request wait in line, and the other sandbox does not notice.
#[tokio::test]
async fn half_open_connections_starve_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            });
        }
    });
    let bounds = Bounds {
        connections: 16,
        ..Bounds::default()
    };
    let options = Options {
        bounds,
        ..Options::default()
    };
    let hostile = Sandbox::with(policy(&[&at.to_string()], &[]), options);
    let mut usual = Sandbox::new(policy(&[&at.to_string()], &[]));
    let before = descriptors();
    let mut held = Vec::new();
    for _ in 0..300 {
        // The listener's queue may be full already; that is the point.
        if let Ok(Ok(mut stream)) =
            tokio::time::timeout(Duration::from_millis(20), TcpStream::connect(hostile.http)).await
        {
            let _ = stream.try_write(b"GET http://");
            let _ = stream.flush().await;
            held.push(stream);
        } else {
            break;
        }
    }
    assert!(held.len() > 16, "{}", held.len());
    // Both ends are in this process: the proxy's share is what is beyond ours.
    let taken = descriptors() - before - held.len();
    assert!(
        taken <= 17,
        "{taken} descriptors for a sandbox that may hold 16 connections"
    );
    for _ in 0..10 {
        let mut client = connect(usual.http).await;
        let answer = ask(&mut client, &format!("GET http://{at}/ HTTP/1.1\r\n\r\n")).await;
        assert_eq!(answer.body, "ok");
        usual.flow("http").await;
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/dev/fd").unwrap().count()
}

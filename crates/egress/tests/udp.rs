//! Datagrams to what `network.allowedUdp` does not name. That those to what it names pass and come back is shown with a
//! real sandbox, whose network has every address: `crates/runtime/tests/datagrams.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::net::UdpSocket as StdSocket;
use std::time::Duration;

use common::{Options, Sandbox, policy_with};

#[tokio::test]
async fn another_target_at_a_named_port_is_refused_and_told_once() {
    let socket = StdSocket::bind("127.0.0.7:0").unwrap();
    let captured = socket.local_addr().unwrap();
    let allowed = format!(",\n\"allowedUdp\": [\"api.test:{}\"]", captured.port());
    let options = Options {
        udp: vec![socket],
        ..Options::default()
    };
    let mut sandbox = Sandbox::with(policy_with(&["127.0.0.7"], &[], &allowed), options);
    let client = StdSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        client.send_to(b"hello", captured).unwrap();
    }
    let denial = sandbox.denial("udp").await;
    assert_eq!(denial.subject, captured.to_string());
    tokio::time::sleep(Duration::from_millis(50)).await;
    sandbox.no_event();
    assert!(sandbox.egress.flows().is_empty());
}

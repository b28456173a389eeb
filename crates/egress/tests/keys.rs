//! Keys of the settings format, from the document to the wire: what is recorded, the observed list, and the user's own
//! proxies.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::net::SocketAddr;

use common::{Sandbox, ask, connect, policy, policy_with, reverser, soon};
use srt_egress::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

fn connect_to(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

#[tokio::test]
async fn refused_connections_are_recorded_unless_the_file_says_otherwise() {
    for (more, recorded) in [
        ("", true),
        (",\n\"logDroppedConnections\": true", true),
        (",\n\"logDroppedConnections\": false", false),
    ] {
        let mut sandbox = Sandbox::new(policy_with(&[], &[], more));
        let mut client = connect(sandbox.http).await;
        let answer = ask(&mut client, &connect_to("api.test:443")).await;
        assert_eq!(answer.status, 403, "{more}");
        if recorded {
            sandbox.denial("connect").await;
        }
        sandbox.no_event();
    }
}

#[tokio::test]
async fn an_observed_list_lets_through_and_records_what_it_would_have_refused() {
    let at = reverser().await;
    let port = at.port();
    // Without it, the name is refused.
    let sandbox = Sandbox::new(policy(&["127.0.0.1"], &[]));
    let mut client = connect(sandbox.http).await;
    let other = connect_to(&format!("other.test:{port}"));
    assert_eq!(ask(&mut client, &other).await.status, 403);

    let observe = ",\n\"enforceAllowlist\": false";
    let listed = policy_with(&["127.0.0.1", "api.test"], &["inside.test"], observe);
    let mut sandbox = Sandbox::new(listed);
    for (name, would) in [("api.test", false), ("other.test", true)] {
        let mut client = connect(sandbox.http).await;
        let answer = ask(&mut client, &connect_to(&format!("{name}:{port}"))).await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(common::say(&mut client, b"abc").await, b"cba");
        match sandbox.event().await {
            Event::Flow {
                target,
                would_be_denied,
                ..
            } => {
                assert_eq!(target.to_string(), format!("{name}:{port}"));
                assert_eq!(would_be_denied.is_some(), would, "{would_be_denied:?}");
            }
            other => panic!("not a flow: {other:?}"),
        }
    }
    // deniedDomains hold, and so do the classes of addresses.
    for name in ["inside.test", "metadata.test", "169.254.169.254"] {
        let mut client = connect(sandbox.http).await;
        let answer = ask(&mut client, &connect_to(&format!("{name}:{port}"))).await;
        assert_eq!(answer.status, 403, "{name}: {}", answer.head);
    }
}

/// A proxy that grants every CONNECT, tells what it was asked, and says "by proxy".
async fn proxy() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                tell.send(String::from_utf8(head).unwrap()).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\n\r\nby proxy";
                stream.write_all(answer).await.unwrap();
                // Until the client goes.
                let _ = stream.read(&mut [0; 64]).await;
            });
        }
    });
    (at, asked)
}

#[tokio::test]
async fn a_parent_proxy_gets_the_tunnels_with_its_password_and_not_the_exceptions() {
    let direct = reverser().await;
    let (at, mut asked) = proxy().await;
    let more = format!(
        ",\n\"parentProxy\": {{\"https\": \"http://ada:s%40crt@{at}\", \"noProxy\": \"other.test:{}\"}}",
        direct.port()
    );
    let allowed = ["127.0.0.1", "api.test", "other.test"];
    let mut sandbox = Sandbox::new(policy_with(&allowed, &[], &more));

    let mut client = connect(sandbox.http).await;
    // A name that this side need not know: the proxy resolves.
    let answer = ask(&mut client, &connect_to("api.test:443")).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let mut heard = [0; 8];
    soon("the proxy", client.read_exact(&mut heard))
        .await
        .unwrap();
    assert_eq!(&heard, b"by proxy");
    let head = soon("the request", asked.recv()).await.unwrap();
    assert!(
        head.starts_with("CONNECT api.test:443 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nProxy-Authorization: Basic YWRhOnNAY3J0\r\n"),
        "{head}"
    );
    drop(client);
    let recorded = format!("{:?}", sandbox.event().await);
    assert!(!recorded.contains("s@crt"), "{recorded}");

    let mut client = connect(sandbox.http).await;
    let target = format!("other.test:{}", direct.port());
    assert_eq!(ask(&mut client, &connect_to(&target)).await.status, 200);
    assert_eq!(common::say(&mut client, b"abc").await, b"cba");
    assert!(asked.try_recv().is_err(), "the exception went to the proxy");
}

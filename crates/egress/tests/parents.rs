//! Requests in plain text through a proxy of the user's own; a mock of one that tells what it was asked.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::net::SocketAddr;

use common::{Sandbox, ask, connect, policy_with, soon};
use srt_egress::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// Answers what has the password, and grants CONNECT; tells each head with the number of its connection.
async fn mock() -> (SocketAddr, mpsc::UnboundedReceiver<(usize, String)>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for place in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else {
                return;
            };
            let tell = tell.clone();
            tokio::spawn(async move {
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else {
                            return;
                        };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap().to_lowercase();
                    let known = head.contains(
                        "proxy-authorization: basic ywrhonnaY3j0\r\n"
                            .to_lowercase()
                            .as_str(),
                    );
                    let answer = match (known, head.starts_with("connect")) {
                        (true, true) => "HTTP/1.1 200 OK\r\n\r\n",
                        (true, false) if head.contains("upgrade: websocket") => {
                            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                        }
                        (true, false) => "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nby proxy",
                        (false, true) => "HTTP/1.1 407 No\r\n\r\n",
                        (false, false) => {
                            "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
                        }
                    };
                    // What runs in a tunnel is a request to the server: it has no word for the proxy.
                    let answer = match head.starts_with("get /ws") {
                        true => {
                            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                        }
                        false => answer,
                    };
                    tell.send((place, head)).unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (at, asked)
}

#[tokio::test]
async fn plain_requests_go_through_in_absolute_form_with_the_password() {
    let (at, mut asked) = mock().await;
    let more = format!(
        ",\n\"parentProxy\": {{\"http\": \"http://ada:s%40crt@{at}\", \"https\": \"http://ada:s%40crt@{at}\"}}"
    );
    let mut sandbox = Sandbox::new(policy_with(&["api.test"], &[], &more));
    let mut client = connect(sandbox.http).await;
    let request = "GET http://api.test/x?y HTTP/1.1\r\nProxy-Authorization: Basic own\r\n\r\n";
    for _ in 0..2 {
        let answer = ask(&mut client, request).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "by proxy"));
        let (place, head) = soon("the request", asked.recv()).await.unwrap();
        // Once dialled, its connection serves on.
        assert_eq!(place, 0);
        assert!(
            head.starts_with("get http://api.test/x?y http/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nhost: api.test\r\n"), "{head}");
        assert_eq!(head.matches("proxy-authorization").count(), 1, "{head}");
        match sandbox.event().await {
            Event::Flow {
                target, address, ..
            } => {
                assert_eq!((target.to_string().as_str(), address), ("api.test:80", at));
            }
            other => panic!("{other:?}"),
        }
    }
    // What may become a tunnel is one from the start.
    let request =
        "GET http://api.test/ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(ask(&mut client, request).await.status, 101);
    let (place, head) = soon("the tunnel", asked.recv()).await.unwrap();
    assert!(
        place == 1 && head.starts_with("connect api.test:80 http/1.1\r\n"),
        "{head}"
    );
    let (place, head) = soon("the request", asked.recv()).await.unwrap();
    assert!(
        place == 1 && head.starts_with("get /ws http/1.1\r\n"),
        "{head}"
    );
    assert!(!head.contains("proxy-authorization"), "{head}");
}

#[tokio::test]
async fn a_password_that_the_proxy_does_not_take_is_no_riddle_to_the_client() {
    let (at, _asked) = mock().await;
    let more = format!(",\n\"parentProxy\": {{\"http\": \"http://ada:wrong@{at}\"}}");
    let mut sandbox = Sandbox::new(policy_with(&["api.test"], &[], &more));
    let mut client = connect(sandbox.http).await;
    let answer = ask(&mut client, "GET http://api.test/ HTTP/1.1\r\n\r\n").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.body.contains("credentials (407)"), "{}", answer.body);
    assert!(!answer.body.contains("wrong"));
    let mut events = Vec::new();
    for _ in 0..2 {
        events.push(format!("{:?}", sandbox.event().await));
    }
    assert!(
        events.iter().any(|event| event.contains("407")),
        "{events:?}"
    );
    assert!(
        events.iter().all(|event| !event.contains("wrong")),
        "{events:?}"
    );
}

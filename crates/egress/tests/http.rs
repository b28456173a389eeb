//! The HTTP proxy, by raw bytes.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Options, Sandbox, ask, connect, policy, reply, reverser, say, soon};
use srt_egress::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A server that answers each request with what it heard, and counts its connections.
async fn origin() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut heard = Vec::new();
                loop {
                    heard.clear();
                    while !heard.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else {
                            return;
                        };
                        heard.push(byte);
                    }
                    let head = String::from_utf8_lossy(&heard).to_lowercase();
                    if head.contains("upgrade: websocket") {
                        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Kept: 1\r\n\r\nfirst ";
                        stream.write_all(switch.as_bytes()).await.unwrap();
                        let mut word = [0; 5];
                        stream.read_exact(&mut word).await.unwrap();
                        word.reverse();
                        stream.write_all(&word).await.unwrap();
                        return;
                    }
                    if head.contains("transfer-encoding: chunked") {
                        let mut end = 0;
                        while !heard[end..].ends_with(b"0\r\n\r\n") {
                            let byte = stream.read_u8().await.unwrap();
                            if end == 0 {
                                end = heard.len();
                            }
                            heard.push(byte);
                        }
                    } else if let Some(length) = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "))
                    {
                        let mut body = vec![0; length.parse().unwrap()];
                        stream.read_exact(&mut body).await.unwrap();
                        heard.extend(body);
                    }
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\n\r\n",
                        heard.len()
                    );
                    if stream
                        .write_all(&[answer.as_bytes(), &heard].concat())
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    (at, connections)
}

#[tokio::test]
async fn an_allowed_request_is_forwarded_and_recorded() {
    let (at, _) = origin().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string(), "api.test"], &[]));
    let mut client = connect(sandbox.http).await;
    let request = format!(
        "POST http://API.test.:{}/path?q=1 HTTP/1.1\r\nHost: api.test\r\nProxy-Authorization: Basic abc\r\n\
         Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nTE: gzip;q=0.5\r\nContent-Length: 5\r\n\r\nhello",
        at.port()
    );
    let reply = ask(&mut client, &request).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let heard = reply.body.to_lowercase();
    assert!(heard.starts_with("post /path?q=1 http/1.1\r\n"), "{heard}");
    assert!(
        heard.contains(&format!("\r\nhost: api.test:{}\r\n", at.port())),
        "{heard}"
    );
    assert!(
        heard.contains("\r\nx-end: 2\r\n") && heard.ends_with("\r\n\r\nhello"),
        "{heard}"
    );
    for gone in [
        "API",
        "proxy-authorization",
        "x-hop",
        "\r\nte:",
        "connection",
    ] {
        assert!(!heard.contains(gone), "{gone} in {heard}");
    }
    assert_eq!(reply.header("x-kept"), Some("1"));
    assert_eq!(reply.header("keep-alive"), None);
    let flow = sandbox.flow("http").await;
    assert_eq!(
        flow,
        (
            format!("api.test:{}", at.port()),
            5,
            reply.body.len() as u64
        )
    );
    sandbox.no_event();
}

#[tokio::test]
async fn a_refusal_says_what_why_and_how_to_allow() {
    let (at, connections) = origin().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string(), "*.api.test"], &["bad.api.test"]));
    let mut client = connect(sandbox.http).await;
    let reply = ask(
        &mut client,
        "GET http://api.stripe.com/ HTTP/1.1\r\nHost: api.stripe.com\r\n\r\n",
    )
    .await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.header("x-proxy-error"), Some("blocked-by-srt"));
    assert!(
        reply
            .header("content-type")
            .unwrap()
            .starts_with("text/plain"),
        "{reply:?}"
    );
    assert!(
        reply
            .body
            .starts_with("srt: blocked connection to api.stripe.com:80\nreason: "),
        "{}",
        reply.body
    );
    assert!(reply.body.contains("rule: (none)\n"), "{}", reply.body);
    assert!(reply.body.contains("hint: to allow it, add to the settings file: \"network\": { \"allowedDomains\": [\"api.stripe.com"), "{}", reply.body);
    assert_eq!(sandbox.denial("http").await.subject, "api.stripe.com:80");

    // On the same connection: a refusal does not end it. And by a rule this time.
    let reply = ask(&mut client, "GET http://bad.api.test/ HTTP/1.1\r\n\r\n").await;
    assert_eq!(reply.status, 403);
    assert!(
        reply.body.contains(
            "rule: network.deniedDomains \"bad.api.test\" (/home/u/.srt-settings.json:4)\n"
        ),
        "{}",
        reply.body
    );
    sandbox.denial("http").await;

    let reply = ask(&mut client, "CONNECT api.stripe.com:443 HTTP/1.1\r\n\r\n").await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.header("x-proxy-error"), Some("blocked-by-srt"));
    assert!(
        reply
            .body
            .starts_with("srt: blocked connection to api.stripe.com:443\n"),
        "{}",
        reply.body
    );
    assert_eq!(
        sandbox.denial("connect").await.subject,
        "api.stripe.com:443"
    );
    assert_eq!(connections.load(Ordering::SeqCst), 0);
    sandbox.no_event();
}

#[tokio::test]
async fn a_name_that_leads_to_a_denied_address_is_refused() {
    let mut sandbox = Sandbox::new(policy(&["inside.test", "metadata.test"], &[]));
    for (name, class) in [("inside.test", "loopback"), ("metadata.test", "link-local")] {
        let mut client = connect(sandbox.http).await;
        let reply = ask(&mut client, &format!("GET http://{name}/ HTTP/1.1\r\n\r\n")).await;
        assert_eq!(reply.status, 403, "{reply:?}");
        let denial = sandbox.denial("http").await;
        assert!(
            denial.rule.is_some() && reply.body.contains(&denial.reason),
            "{denial:?} {}",
            reply.body
        );
        let reply = ask(&mut client, &format!("CONNECT {name}:443 HTTP/1.1\r\n\r\n")).await;
        assert_eq!(reply.status, 403, "{class}: {reply:?}");
        sandbox.denial("connect").await;
    }
}

#[tokio::test]
async fn an_unreachable_server_is_a_bad_gateway() {
    // Bound and dropped: nobody listens there now.
    let at = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut sandbox = Sandbox::new(policy(&[&at.to_string(), "unknown.test"], &[]));
    for (target, words) in [
        (at.to_string(), "cannot connect"),
        ("unknown.test:80".into(), "no such name"),
    ] {
        for (request, front_end) in [
            (format!("GET http://{target}/ HTTP/1.1\r\n\r\n"), "http"),
            (format!("CONNECT {target} HTTP/1.1\r\n\r\n"), "connect"),
        ] {
            let mut client = connect(sandbox.http).await;
            let reply = ask(&mut client, &request).await;
            assert_eq!(reply.status, 502, "{reply:?}");
            assert_eq!(reply.header("x-proxy-error"), Some("upstream-unreachable"));
            assert!(reply.body.contains(words), "{}", reply.body);
            match sandbox.event().await {
                Event::Failed {
                    front_end: by,
                    target: failed,
                    error,
                    ..
                } => {
                    assert_eq!((by.name(), failed.to_string()), (front_end, target.clone()));
                    assert!(error.contains(words), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn connections_are_reused_until_the_policy_changes() {
    let (at, connections) = origin().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let request = format!("GET http://{at}/ HTTP/1.1\r\n\r\n");
    let mut client = connect(sandbox.http).await;
    for _ in 0..20 {
        assert_eq!(ask(&mut client, &request).await.status, 200);
        sandbox.flow("http").await;
    }
    // Another client of the same sandbox shares it.
    let mut second = connect(sandbox.http).await;
    assert_eq!(ask(&mut second, &request).await.status, 200);
    sandbox.flow("http").await;
    assert_eq!(connections.load(Ordering::SeqCst), 1);

    sandbox
        .policy
        .send_replace(policy(&["elsewhere.test"], &[]));
    assert_eq!(ask(&mut client, &request).await.status, 403);
    sandbox.denial("http").await;
    // Allowed again, but by a policy that has not seen this connection's address: a new one.
    sandbox.policy.send_replace(policy(&[&at.to_string()], &[]));
    assert_eq!(ask(&mut client, &request).await.status, 200);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_counts_them() {
    let at = reverser().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    // Enough to go over to splice(2) and to fill every buffer on the way.
    for size in [0_usize, 5, 3_000_000] {
        let mut client = connect(sandbox.http).await;
        let reply = ask(
            &mut client,
            &format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        )
        .await;
        assert_eq!(reply.status, 200);
        let sent: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let mut heard = say(&mut client, &sent).await;
        heard.reverse();
        assert!(heard == sent, "{} bytes came back of {size}", heard.len());
        assert_eq!(
            sandbox.flow("connect").await,
            (at.to_string(), size as u64, size as u64)
        );
    }
}

#[tokio::test]
async fn what_follows_connect_at_once_is_not_lost() {
    let at = reverser().await;
    let sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    // The same write: hyper has read the tunnel's first bytes with the request.
    let heard = say(
        &mut client,
        format!("CONNECT {at} HTTP/1.1\r\n\r\nearly").as_bytes(),
    )
    .await;
    let heard = String::from_utf8(heard).unwrap();
    assert!(
        heard.starts_with("HTTP/1.1 200") && heard.ends_with("\r\n\r\nylrae"),
        "{heard}"
    );
}

#[tokio::test]
async fn a_websocket_passes() {
    let (at, _) = origin().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    let request = format!(
        "GET http://{at}/ws HTTP/1.1\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\nUpgrade: websocket\r\n\r\n"
    );
    let reply = ask(&mut client, &request).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    assert_eq!(reply.header("upgrade"), Some("websocket"));
    assert_eq!(
        reply.header("connection").map(str::to_lowercase).as_deref(),
        Some("upgrade")
    );
    assert_eq!(reply.header("x-kept"), Some("1"));
    client.write_all(b"hello").await.unwrap();
    let mut heard = String::new();
    soon("the answer", client.read_to_string(&mut heard))
        .await
        .unwrap();
    assert_eq!(heard, "first olleh");
    drop(client);
    assert_eq!(sandbox.flow("http").await, (at.to_string(), 5, 11));
}

#[tokio::test]
async fn heads_are_bounded() {
    let sandbox = Sandbox::new(policy(&["api.test"], &[]));
    let mut client = connect(sandbox.http).await;
    let request = format!(
        "GET http://api.test/ HTTP/1.1\r\nX-Long: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    // The proxy may answer, and close, before all of it is sent.
    let _ = client.write_all(request.as_bytes()).await;
    assert_eq!(soon("a refusal", reply(&mut client)).await.status, 431);

    let bounds = srt_egress::Bounds {
        header_timeout: std::time::Duration::from_millis(50),
        ..Default::default()
    };
    let sandbox = Sandbox::with(
        policy(&["api.test"], &[]),
        Options {
            bounds,
            ..Options::default()
        },
    );
    let mut client = connect(sandbox.http).await;
    client
        .write_all(b"GET http://api.test/ HTTP/1.1\r\nX-Slow: ")
        .await
        .unwrap();
    let mut rest = Vec::new();
    soon("the end of patience", client.read_to_end(&mut rest))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one() {
    let (at, _) = origin().await;
    let options = Options {
        token: Some("s3cret".into()),
        ..Options::default()
    };
    let mut sandbox = Sandbox::with(policy(&[&at.to_string()], &[]), options);
    for (with, status) in [
        ("", 407),
        ("Proxy-Authorization: Basic d3Jvbmc=\r\n", 407),
        ("Proxy-Authorization: Basic c3J0OnMzY3JldA==\r\n", 200),
    ] {
        let mut client = connect(sandbox.http).await;
        let reply = ask(
            &mut client,
            &format!("GET http://{at}/ HTTP/1.1\r\n{with}\r\n"),
        )
        .await;
        assert_eq!(reply.status, status, "{with}");
        assert!(!reply.body.to_lowercase().contains("proxy-authorization"));
    }
    sandbox.flow("http").await;
    sandbox.no_event();
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions() {
    let (at, _) = origin().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    let body = "0123456789".repeat(300_000);
    let request = format!(
        "POST http://{at}/ HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = ask(&mut client, &request).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.ends_with(&format!("\r\n\r\n{body}")));
    let flow = sandbox.flow("http").await;
    assert_eq!(
        (flow.1, flow.2),
        (body.len() as u64, reply.body.len() as u64)
    );
}

/// A server that closes each connection after one response without having said so.
#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_not_used() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (closed, mut closes) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\n") {
                heard.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            drop(stream);
            closed.send(()).await.unwrap();
        }
    });
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    for _ in 0..20 {
        let request = format!("GET http://{at}/ HTTP/1.1\r\n\r\n");
        assert_eq!(ask(&mut client, &request).await.body, "ok");
        soon("the close", closes.recv()).await.unwrap();
        sandbox.flow("http").await;
    }
    sandbox.no_event();
}

/// A client that leaves in the middle of a response ends the flow, and what had passed is recorded.
#[tokio::test]
async fn an_abandoned_download_is_recorded() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    let request = format!("GET http://{at}/ HTTP/1.1\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut server, _) = soon("the request", listener.accept()).await.unwrap();
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\npart")
        .await
        .unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"part") {
        heard.push(soon("the part", client.read_u8()).await.unwrap());
    }
    drop(client);
    assert_eq!(sandbox.flow("http").await, (at.to_string(), 0, 4));
    let mut rest = Vec::new();
    let _ = soon(
        "the end of the server's connection",
        server.read_to_end(&mut rest),
    )
    .await;
}

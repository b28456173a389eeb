//! The requests of a tunnel in plain HTTP, where `network.requireHostMatch` asks for each to be for the host that was
//! permitted.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::{Sandbox, connect, policy, policy_with, soon};
use srt_policy::NetworkPolicy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SWITCHES: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";

/// A server that answers with `first` what it reads first and with [`OK`] what it reads later, and hands over all that
/// it heard.
async fn server(first: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (sender, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut answer = first;
        let mut all = Vec::new();
        let mut part = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut part).await {
            all.extend(&part[..read]);
            let _ = stream.write_all(answer.as_bytes()).await;
            answer = OK;
        }
        let _ = sender.send(all);
    });
    (at, heard)
}

async fn tunnel(sandbox: &Sandbox, port: u16) -> TcpStream {
    let mut client = connect(sandbox.http).await;
    client.set_nodelay(true).unwrap();
    let request = format!("CONNECT api.test:{port} HTTP/1.1\r\nHost: api.test:{port}\r\n\r\n");
    assert_eq!(common::ask(&mut client, &request).await.status, 200);
    client
}

/// What a client says, an answer awaited after each part; `@` stands for the permitted host, with its port. `refused` is
/// why the last part is.
async fn check(
    policy: &Arc<NetworkPolicy>,
    first: &'static str,
    parts: &[&str],
    refused: Option<&str>,
) {
    // As a whole, and in pieces that end anywhere. Of two requests in one part the first passes by itself in pieces.
    let alone = parts
        .last()
        .is_some_and(|last| last.matches(" HTTP/1.1").count() < 2);
    let pieces = if alone || refused.is_none() {
        &[4096, 7][..]
    } else {
        &[4096]
    };
    for &piece in pieces {
        let (at, mut heard) = server(first).await;
        let mut sandbox = Sandbox::new(Arc::clone(policy));
        let mut client = tunnel(&sandbox, at.port()).await;
        let host = format!("api.test:{}", at.port());
        let said: Vec<String> = parts.iter().map(|part| part.replace('@', &host)).collect();
        let (last, before) = said.split_last().unwrap();
        for part in before {
            send(&mut client, part, piece).await;
            let mut answer = [0; 4096];
            let read = soon("an answer", client.read(&mut answer)).await.unwrap();
            assert!(read > 0, "{parts:?} after {part:?}");
        }
        send(&mut client, last, piece).await;
        let Some(why) = refused else {
            client.shutdown().await.unwrap();
            let mut rest = Vec::new();
            soon("the end", client.read_to_end(&mut rest))
                .await
                .unwrap();
            let all = soon("what was heard", heard.recv()).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&all), said.concat(), "{parts:?}");
            let (_, out, _) = sandbox.flow("connect").await;
            assert_eq!(out, said.concat().len() as u64);
            sandbox.no_event();
            continue;
        };
        let mut answer = Vec::new();
        // Where the client still speaks, its connection may be reset.
        let _ = soon("the end", client.read_to_end(&mut answer)).await;
        if !before.is_empty() {
            sandbox.flow("connect").await;
        }
        let denial = sandbox.denial("connect").await;
        assert!(denial.reason.contains(why), "{parts:?}: {}", denial.reason);
        if piece > 7 {
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.contains("HTTP/1.1 421 "), "{parts:?}: {answer}");
        }
        let all = soon("what was heard", heard.recv()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&all), before.concat(), "{parts:?}");
    }
}

async fn send(client: &mut TcpStream, text: &str, piece: usize) {
    for part in text.as_bytes().chunks(piece) {
        // What was refused is no longer listened to.
        if client.write_all(part).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: @\r\n\r\n";
const FRONT: &str = "GET /b HTTP/1.1\r\nHost: front.test\r\n\r\n";
const WEBSOCKET: &str =
    "GET /ws HTTP/1.1\r\nHost: @\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const H2C: &str = "GET / HTTP/1.1\r\nHost: @\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n";

fn strict() -> Arc<NetworkPolicy> {
    policy_with(
        &["127.0.0.1", "api.test"],
        &[],
        ",\n\"requireHostMatch\": true",
    )
}

#[tokio::test]
async fn each_request_names_the_host_that_was_permitted() {
    let lax = policy(&["127.0.0.1", "api.test"], &[]);
    // The attack, where nothing is asked for.
    check(&lax, OK, &[GET, FRONT], None).await;

    let strict = strict();
    let front = Some("\"front.test\"");
    check(&strict, OK, &[GET, GET, GET], None).await;
    check(&strict, OK, &[&format!("{GET}{GET}"), GET], None).await;
    check(&strict, OK, &[GET, FRONT], front).await;
    check(&strict, OK, &[&format!("{GET}{FRONT}")], front).await;
    check(
        &strict,
        OK,
        &[GET, &GET.replace("/a", "http://front.test/")],
        front,
    )
    .await;
    // A body is a body, whatever it says, and what follows it is a request.
    let body = |framing: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: @\r\n{framing}\r\n\r\n{body}")
    };
    let inner = "GET /b HTTP/1.1\r\nHost: front.test\r\n\r\n";
    let sized = body(&format!("Content-Length: {}", inner.len()), inner);
    let chunks = format!(
        "{:x}\r\n{inner}\r\n3;x=y\r\nabc\r\n0\r\nX-A: b\r\n\r\n",
        inner.len()
    );
    let chunked = body("Transfer-Encoding: chunked", &chunks);
    for whole in [&sized, &chunked] {
        check(&strict, OK, &[GET, whole, GET], None).await;
        check(&strict, OK, &[whole, FRONT], front).await;
        check(&strict, OK, &[&format!("{whole}{FRONT}")], front).await;
    }
    for (bad, why) in [
        (
            body(
                "Content-Length: 1\r\nTransfer-Encoding: chunked",
                "0\r\n\r\n",
            ),
            "two ends",
        ),
        (
            body("Content-Length: 1\r\nContent-Length: 2", "ab"),
            "several Content-Length",
        ),
        (
            body("Transfer-Encoding: xchunked", "0\r\n\r\n"),
            "only \"chunked\"",
        ),
        ("GET / HTTP/1.1\nHost: @\n\n".to_owned(), "LF alone"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "no Host"),
        (
            "CONNECT front.test:443 HTTP/1.1\r\nHost: @\r\n\r\n".to_owned(),
            "\"front.test:443\"",
        ),
    ] {
        check(&strict, OK, &[&bad], Some(why)).await;
        check(&strict, OK, &[GET, &bad], Some(why)).await;
    }
    // What may begin a tunnel may not go on with one.
    for other in ["SSH-2.0-x\r\n", "*1\r\n$4\r\nPING\r\n"] {
        check(&strict, OK, &[other], None).await;
        check(&strict, OK, &[GET, other], Some("cannot be read")).await;
    }
    let tls = "\u{16}\u{3}\u{1}\0\u{5}hello";
    check(&strict, OK, &[GET, tls], Some("cannot be read")).await;
    check(
        &strict,
        OK,
        &[GET, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
        Some("HTTP/2"),
    )
    .await;
}

#[tokio::test]
async fn a_tunnel_becomes_a_websocket_when_the_server_says_so() {
    let strict = strict();
    let frames = "\u{1}\u{5}hello GET / HTTP/1.1\r\nHost: front.test\r\n\r\n";
    check(&strict, SWITCHES, &[WEBSOCKET, frames, frames], None).await;
    const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    check(&strict, EARLY, &[WEBSOCKET, frames], None).await;
    // It did not.
    check(&strict, OK, &[WEBSOCKET, GET, GET], None).await;
    check(&strict, OK, &[WEBSOCKET, frames], Some("cannot be read")).await;
    check(&strict, OK, &[WEBSOCKET, FRONT], Some("\"front.test\"")).await;
    // Nobody offered to.
    check(&strict, SWITCHES, &[GET, frames], Some("cannot be read")).await;
    // A later request cannot, and what names hosts of its own is not gone over to.
    check(
        &strict,
        OK,
        &[GET, WEBSOCKET, frames],
        Some("cannot be read"),
    )
    .await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    check(&strict, SWITCHES, &[H2C, preface], Some("HTTP/2")).await;
    check(&strict, OK, &[H2C, GET], None).await;
}

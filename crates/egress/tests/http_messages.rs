//! What HTTP/1.1 has besides a request and its response: every kind of body, of interim response, and of end.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Options, Sandbox, connect, policy, reply, soon};
use srt_egress::{Bounds, Event};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    soon("the server's connection", listener.accept())
        .await
        .unwrap()
        .0
}

/// Reads until the bytes end so.
async fn until(stream: &mut TcpStream, end: &[u8]) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end) {
        let byte = soon("more", stream.read_u8()).await;
        heard.push(
            byte.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&heard))
            }),
        );
    }
    String::from_utf8(heard).unwrap()
}

async fn send(stream: &mut TcpStream, text: &str) {
    soon("sending", stream.write_all(text.as_bytes()))
        .await
        .unwrap();
}

#[tokio::test]
async fn chunks_pass_as_they_come_and_trailers_after_them() {
    let (listener, at) = listen().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    let head = format!(
        "POST http://{at}/ HTTP/1.1\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
    );
    send(&mut client, &head).await;
    let mut server = accept(&listener).await;
    let heard = until(&mut server, b"2\r\nhi\r\n").await.to_lowercase();
    assert!(heard.contains("transfer-encoding: chunked\r\n"), "{heard}");
    assert!(heard.contains("\r\nte: trailers\r\n"), "{heard}");
    assert!(heard.contains("\r\nconnection: te\r\n"), "{heard}");
    // The rest only after the first has arrived: nothing waits for the whole.
    send(&mut client, "3\r\nyou\r\n0\r\nX-Sum: 5\r\n\r\n").await;
    let heard = until(&mut server, b"\r\n\r\n").await.to_lowercase();
    assert!(heard.ends_with("0\r\nx-sum: 5\r\n\r\n"), "{heard}");

    send(
        &mut server,
        "HTTP/1.1 200 OK\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    )
    .await;
    let heard = until(&mut client, b"abc\r\n").await.to_lowercase();
    assert!(heard.contains("transfer-encoding: chunked\r\n"), "{heard}");
    send(&mut server, "1\r\nd\r\n0\r\nX-End: 9\r\n\r\n").await;
    let heard = until(&mut client, b"\r\n\r\n").await.to_lowercase();
    assert!(heard.ends_with("0\r\nx-end: 9\r\n\r\n"), "{heard}");
    let flow = sandbox.flow("http").await;
    assert_eq!((flow.1, flow.2), (5, 4));
    // The connection serves on, at both ends.
    send(
        &mut client,
        &format!("GET http://{at}/next HTTP/1.1\r\n\r\n"),
    )
    .await;
    assert!(
        until(&mut server, b"\r\n\r\n")
            .await
            .starts_with("GET /next ")
    );
}

#[tokio::test]
async fn what_has_no_body_has_none_and_the_connection_serves_on() {
    let (listener, at) = listen().await;
    let sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    let mut server = None;
    for (method, answer, status) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n",
            200,
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            200,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\nETag: x\r\n\r\n",
            304,
        ),
        (
            "DELETE",
            "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
            205,
        ),
    ] {
        send(
            &mut client,
            &format!("{method} http://{at}/ HTTP/1.1\r\n\r\n"),
        )
        .await;
        if server.is_none() {
            server = Some(accept(&listener).await);
        }
        let server = server.as_mut().unwrap();
        assert!(until(server, b"\r\n\r\n").await.starts_with(method));
        send(server, answer).await;
        let heard = until(&mut client, b"\r\n\r\n").await;
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
    }
}

#[tokio::test]
async fn interim_responses_are_passed_on_and_not_taken_for_the_final_one() {
    let (listener, at) = listen().await;
    let sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    send(&mut client, &format!("GET http://{at}/ HTTP/1.1\r\n\r\n")).await;
    let mut server = accept(&listener).await;
    until(&mut server, b"\r\n\r\n").await;
    // While the server still thinks, …
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    send(&mut server, hints).await;
    let heard = until(&mut client, b"\r\n\r\n").await;
    assert_eq!(heard.to_lowercase(), hints.to_lowercase());
    // … and in one piece with the response.
    send(
        &mut server,
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    assert_eq!(
        until(&mut client, b"\r\n\r\n").await,
        "HTTP/1.1 102 Processing\r\n\r\n"
    );
    let answer = soon("an answer", reply(&mut client)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    // HTTP/1.0 has none.
    let mut client = connect(sandbox.http).await;
    send(&mut client, &format!("GET http://{at}/ HTTP/1.0\r\n\r\n")).await;
    until(&mut server, b"\r\n\r\n").await;
    send(
        &mut server,
        &format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    )
    .await;
    let answer = soon("an answer", reply(&mut client)).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_once_the_request_is_permitted() {
    let (listener, at) = listen().await;
    let sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let wait = "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let mut client = connect(sandbox.http).await;
    send(
        &mut client,
        &format!("POST http://no.test/ HTTP/1.1\r\n{wait}"),
    )
    .await;
    let refused = until(&mut client, b"\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");

    let mut client = connect(sandbox.http).await;
    send(
        &mut client,
        &format!("POST http://{at}/ HTTP/1.1\r\n{wait}"),
    )
    .await;
    let mut server = accept(&listener).await;
    let heard = until(&mut client, b"\r\n\r\n").await;
    assert_eq!(heard, "HTTP/1.1 100 Continue\r\n\r\n");
    send(&mut client, "body").await;
    until(&mut server, b"\r\n\r\nbody").await;
    send(
        &mut server,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(soon("an answer", reply(&mut client)).await.status, 201);
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let (listener, at) = listen().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    let head = format!("POST http://{at}/ HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n");
    send(&mut client, &head).await;
    let mut server = accept(&listener).await;
    until(&mut server, b"\r\n\r\n").await;
    send(
        &mut server,
        "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!",
    )
    .await;
    let (mut read, mut write) = client.split();
    let sending = async {
        let part = vec![b'x'; 64 * 1024];
        // It goes on until the proxy has had enough.
        while write.write_all(&part).await.is_ok() {}
    };
    let mut heard = Vec::new();
    soon("the answer and the end", async {
        let reading = async {
            let mut part = [0; 1024];
            while let Ok(read @ 1..) = read.read(&mut part).await {
                heard.extend_from_slice(&part[..read]);
            }
        };
        tokio::join!(sending, reading)
    })
    .await;
    let heard = String::from_utf8(heard).unwrap();
    assert!(
        heard.starts_with("HTTP/1.1 413 ") && heard.ends_with("\r\n\r\nno!"),
        "{heard}"
    );
    sandbox.flow("http").await;
    // The server's connection, in the middle of a request, is not used again.
    let mut client = connect(sandbox.http).await;
    send(&mut client, &format!("GET http://{at}/2 HTTP/1.1\r\n\r\n")).await;
    let mut second = accept(&listener).await;
    assert!(until(&mut second, b"\r\n\r\n").await.starts_with("GET /2 "));
}

#[tokio::test]
async fn a_response_without_a_length_ends_with_its_connection() {
    let (listener, at) = listen().await;
    let sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    for (version, framed) in [("1.1", true), ("1.0", false)] {
        let mut client = connect(sandbox.http).await;
        send(
            &mut client,
            &format!("GET http://{at}/ HTTP/{version}\r\n\r\n"),
        )
        .await;
        let mut server = accept(&listener).await;
        until(&mut server, b"\r\n\r\n").await;
        send(
            &mut server,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end",
        )
        .await;
        drop(server);
        let end: &[u8] = if framed {
            b"\r\n0\r\n\r\n"
        } else {
            b"to the end"
        };
        let heard = until(&mut client, end).await;
        assert!(heard.contains("to the end"), "{heard}");
    }
}

fn impatient() -> Options {
    let bounds = Bounds {
        idle_timeout: Duration::from_millis(200),
        ..Bounds::default()
    };
    Options {
        bounds,
        ..Options::default()
    }
}

/// Whoever stops in the middle of a body, on either side, loses the connection; whoever is slow does not.
#[tokio::test]
async fn bodies_that_stop_end_and_slow_ones_pass() {
    let (listener, at) = listen().await;
    let mut sandbox = Sandbox::with(policy(&[&at.to_string()], &[]), impatient());
    // Slow, for several times the bound.
    let mut client = connect(sandbox.http).await;
    send(
        &mut client,
        &format!("POST http://{at}/ HTTP/1.1\r\nContent-Length: 10\r\n\r\n"),
    )
    .await;
    let mut server = accept(&listener).await;
    until(&mut server, b"\r\n\r\n").await;
    for _ in 0..10 {
        send(&mut client, "x").await;
        until(&mut server, b"x").await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    send(&mut server, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await;
    until(&mut client, b"\r\n\r\n").await;
    for _ in 0..10 {
        send(&mut server, "y").await;
        until(&mut client, b"y").await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let flow = sandbox.flow("http").await;
    assert_eq!((flow.1, flow.2), (10, 10));

    // The client stops.
    send(
        &mut client,
        &format!("POST http://{at}/ HTTP/1.1\r\nContent-Length: 10\r\n\r\nx"),
    )
    .await;
    until(&mut server, b"\r\n\r\nx").await;
    let answer = soon("the end of patience", reply(&mut client)).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    let mut rest = Vec::new();
    let _ = soon("the client's end", client.read_to_end(&mut rest)).await;
    let _ = soon("the server's end", server.read_to_end(&mut rest)).await;
    while !matches!(sandbox.event().await, Event::Flow { .. }) {}

    // The server stops.
    let mut client = connect(sandbox.http).await;
    send(&mut client, &format!("GET http://{at}/ HTTP/1.1\r\n\r\n")).await;
    let mut server = accept(&listener).await;
    until(&mut server, b"\r\n\r\n").await;
    send(
        &mut server,
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ny",
    )
    .await;
    let mut heard = Vec::new();
    let _ = soon("the client's end", client.read_to_end(&mut heard)).await;
    assert!(
        heard.ends_with(b"\r\n\r\ny"),
        "{:?}",
        String::from_utf8_lossy(&heard)
    );
}

/// A client that does not read what it asked for holds nobody up, and not for ever.
#[tokio::test]
async fn a_client_that_does_not_read_is_left() {
    let (listener, at) = listen().await;
    let mut sandbox = Sandbox::with(policy(&[&at.to_string()], &[]), impatient());
    let mut client = connect(sandbox.http).await;
    send(&mut client, &format!("GET http://{at}/ HTTP/1.1\r\n\r\n")).await;
    let mut server = accept(&listener).await;
    until(&mut server, b"\r\n\r\n").await;
    send(
        &mut server,
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
    )
    .await;
    let part = vec![b'y'; 64 * 1024];
    let mut sent = 0;
    // The proxy takes what fits into its bounds and the kernel's, and no more.
    soon("the end of patience", async {
        while server.write_all(&part).await.is_ok() {
            sent += part.len();
        }
    })
    .await;
    assert!(
        sent < 100_000_000,
        "{sent} bytes went into a proxy that nobody reads from"
    );
    let (_, _, into) = sandbox.flow("http").await;
    assert!(into < 100_000_000);
    drop(client);
}

#[tokio::test]
async fn an_upgrade_that_is_declined_leaves_a_connection() {
    let (listener, at) = listen().await;
    let sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    let request =
        format!("GET http://{at}/ HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    // The next request in the same write: it must not be taken for the other protocol, nor be lost.
    send(
        &mut client,
        &format!("{request}GET http://{at}/2 HTTP/1.1\r\n\r\n"),
    )
    .await;
    let mut server = accept(&listener).await;
    let heard = until(&mut server, b"\r\n\r\n").await.to_lowercase();
    assert!(
        heard.contains("upgrade: websocket\r\n") && heard.contains("connection: upgrade\r\n"),
        "{heard}"
    );
    send(
        &mut server,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
    )
    .await;
    assert_eq!(soon("an answer", reply(&mut client)).await.body, "no");
    let next = until(&mut server, b"\r\n\r\n").await;
    assert!(next.starts_with("GET /2 "), "{next}");
    send(&mut server, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2").await;
    assert_eq!(soon("an answer", reply(&mut client)).await.body, "2");
}

//! HTTP/2 to the proxy, from clients that begin with it (RFC 9113).
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use bytes::Bytes;
use common::{Options, Sandbox, connect, policy, reverser, soon};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use srt_egress::{Bounds, Event};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn client(sandbox: &Sandbox) -> SendRequest<Full<Bytes>> {
    let stream = connect(sandbox.http).await;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: Method, uri: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

/// A server that says what it heard, and ends.
async fn origin() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                while !heard.ends_with(b"\r\n\r\n") {
                    heard.push(stream.read_u8().await.unwrap());
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    heard.len()
                );
                let _ = stream
                    .write_all(&[answer.as_bytes(), &heard].concat())
                    .await;
            });
        }
    });
    at
}

#[tokio::test]
async fn streams_are_requests_each_with_its_own_decision() {
    let at = origin().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut sender = client(&sandbox).await;
    let mut asked = request(Method::GET, &format!("http://{at}/x?y"), "");
    for crumb in ["a=1", "b=2"] {
        asked.headers_mut().append("cookie", crumb.parse().unwrap());
    }
    let answer = soon("an answer", sender.send_request(asked)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers().get("connection"), None);
    let body = soon("a body", answer.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    let heard = String::from_utf8_lossy(&body).to_lowercase();
    assert!(heard.starts_with("get /x?y http/1.1\r\n"), "{heard}");
    assert!(heard.contains(&format!("host: {at}\r\n")), "{heard}");
    assert!(heard.contains("cookie: a=1; b=2\r\n"), "{heard}");
    assert_eq!(sandbox.flow("http").await.0, at.to_string());

    for (method, uri, status, words, front_end) in [
        (Method::GET, "http://no.test/", 403, "no rule", "http"),
        (Method::CONNECT, "no.test:443", 403, "no rule", "connect"),
        (Method::GET, "https://no.test/", 400, "only http://", "http"),
        (
            Method::GET,
            "http://no.test/a/../b",
            400,
            "ambiguousRequestTarget",
            "http",
        ),
    ] {
        let answer = soon(uri, sender.send_request(request(method, uri, "")))
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{uri}");
        let body = soon(uri, answer.into_body().collect())
            .await
            .unwrap()
            .to_bytes();
        assert!(
            String::from_utf8_lossy(&body).contains(words),
            "{uri}: {body:?}"
        );
        assert!(
            sandbox.denial(front_end).await.reason.contains(words),
            "{uri}"
        );
    }
    sandbox.no_event();
}

#[tokio::test]
async fn a_stream_is_a_tunnel_of_its_own() {
    let at = reverser().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut sender = client(&sandbox).await;
    // More than every window and buffer on the way, and two at once on one connection.
    let sizes = [5_usize, 3_000_000];
    let mut tunnels = Vec::new();
    for size in sizes {
        let asked = request(Method::CONNECT, &at.to_string(), "");
        let answer = soon("an answer", sender.send_request(asked)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let stream = TokioIo::new(soon("a tunnel", hyper::upgrade::on(answer)).await.unwrap());
        tunnels.push(tokio::spawn(async move {
            let sent: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let (mut read, mut write) = tokio::io::split(stream);
            let mut heard = Vec::new();
            let saying = async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let (_, read) = tokio::join!(saying, read.read_to_end(&mut heard));
            read.unwrap();
            heard.reverse();
            assert!(heard == sent, "{} bytes came back of {size}", heard.len());
        }));
    }
    for tunnel in tunnels {
        soon("a tunnel's end", tunnel).await.unwrap();
    }
    let mut counted = [sandbox.flow("connect").await, sandbox.flow("connect").await]
        .map(|(_, out, into)| (out, into));
    counted.sort_unstable();
    assert_eq!(counted, sizes.map(|size| (size as u64, size as u64)));
}

#[tokio::test]
async fn streams_count_as_connections() {
    let at = reverser().await;
    let bounds = Bounds {
        connections: 3,
        ..Bounds::default()
    };
    let options = Options {
        bounds,
        ..Options::default()
    };
    let sandbox = Sandbox::with(policy(&[&at.to_string()], &[]), options);
    let mut sender = client(&sandbox).await;
    let mut kept = Vec::new();
    for status in [200, 200, 503] {
        let asked = request(Method::CONNECT, &at.to_string(), "");
        let answer = soon("an answer", sender.send_request(asked)).await.unwrap();
        assert_eq!(answer.status(), status);
        kept.push(answer);
    }
}

#[tokio::test]
async fn a_response_that_policy_takes_back_ends_and_its_neighbour_does_not() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let names = ["api.test", "other.test"];
    let mut sandbox = Sandbox::new(policy(&["127.0.0.1", "api.test", "other.test"], &[]));
    let mut sender = client(&sandbox).await;
    let mut bodies = Vec::new();
    let mut servers = Vec::new();
    for name in names {
        let asked = request(Method::GET, &format!("http://{name}:{port}/"), "");
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
                .await
                .unwrap();
            stream
        };
        let (server, answer) = soon(name, async {
            tokio::join!(serving, sender.send_request(asked))
        })
        .await;
        let mut body = answer.unwrap().into_body();
        assert_eq!(
            soon(name, body.frame())
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap(),
            "half"
        );
        servers.push(server);
        bodies.push(body);
    }
    sandbox
        .policy
        .send_replace(policy(&["127.0.0.1", "other.test"], &[]));
    assert!(soon("the end", bodies[0].frame()).await.unwrap().is_err());
    servers[1].write_all(b"rest").await.unwrap();
    assert_eq!(
        soon("the rest", bodies[1].frame())
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap(),
        "rest"
    );
    assert_eq!(sandbox.flow("http").await.0, format!("api.test:{port}"));
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET http://no.test/` in HPACK (RFC 7541): three entries of the static table, and a literal.
fn fields() -> Vec<u8> {
    [&[0x82, 0x86, 0x84, 0x01, 7][..], b"no.test"].concat()
}

/// Sends `attack` and waits until the proxy has had enough of the connection.
async fn has_enough(sandbox: &Sandbox, what: &str, attack: Vec<u8>) {
    let mut stream = connect(sandbox.http).await;
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&begin).await.unwrap();
    let (mut read, mut write) = stream.split();
    let sending = async {
        // It is cut off on the way.
        let _ = write.write_all(&attack).await;
        std::future::pending::<()>().await;
    };
    let mut heard = Vec::new();
    soon(what, async {
        tokio::select! {
            () = sending => {}
            _ = read.read_to_end(&mut heard) => {}
        }
    })
    .await;
}

/// What h2 bounds, bounded here: streams reset as fast as they begin (CVE-2023-44487), a head in endless frames
/// (CVE-2024-27316), and a small head that unpacks to a large one. Others are served meanwhile.
#[tokio::test]
async fn floods_end_their_connection_and_nothing_else() {
    let at = origin().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let reset: Vec<u8> = (0..50_000_u32)
        .flat_map(|place| {
            let stream = 2 * place + 1;
            let begin = frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields());
            [begin, frame(RESET, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    let endless: Vec<u8> = std::iter::once(frame(HEADERS, END_STREAM, 1, &fields()))
        // "x: " and 16,000 bytes, never indexed, again and again.
        .chain((0..2_000).map(|_| {
            let mut field = vec![0x10, 1, b'x', 0x7f, 0x81, 0x7c];
            field.resize(field.len() + 16_000, b'y');
            frame(CONTINUATION, 0, 1, &field)
        }))
        .flatten()
        .collect();
    for (what, attack) in [("rapid reset", reset), ("continuations", endless)] {
        has_enough(&sandbox, what, attack).await;
        while let Ok(event) = sandbox.events.try_recv() {
            assert!(matches!(event, Event::Denied { .. }), "{what}: {event:?}");
        }
        let mut sender = client(&sandbox).await;
        let asked = request(Method::GET, &format!("http://{at}/"), "");
        let answer = soon(what, sender.send_request(asked)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{what}");
        soon(what, answer.into_body().collect()).await.unwrap();
        sandbox.flow("http").await;
    }

    // One entry of 4,000 bytes in the dynamic table, named 16,000 times: 64 MB unpacked, 16 KiB on the wire.
    let mut bomb = fields();
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.resize(bomb.len() + 4_000, b'y');
    bomb.resize(16_000, 0x80 | 62);
    let mut stream = connect(sandbox.http).await;
    let attack = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb),
    ]
    .concat();
    stream.write_all(&attack).await.unwrap();
    // Either the stream is answered or reset, or the connection ends.
    let answered = async {
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() && ![HEADERS, RESET].contains(&head[3]) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            stream.read_exact(&mut payload).await.unwrap();
        }
    };
    soon("the bomb's answer", answered).await;
    // h2 refused it: no request came out, or its target would have been denied.
    sandbox.no_event();
}

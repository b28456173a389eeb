//! Heads and bodies of requests, as bytes, through the real front end: each has one reading, or is refused with the
//! reason and recorded.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use common::{Options, Sandbox, connect, policy, policy_with, reply, soon};
use srt_egress::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What becomes of a head.
#[derive(Clone, Copy)]
enum Is {
    /// It is read, and names this target (which policy then denies).
    For(&'static str),
    /// The host is none: status 403, with this word in the reason.
    NoHost(&'static str),
    /// Refused with a status and these words.
    Bad(u16, &'static str),
}
use Is::{Bad, For, NoHost};

/// Sends one head to a proxy that allows nothing, and holds answer and record against what is expected.
async fn check(sandbox: &mut Sandbox, head: &[u8], is: Is) {
    let shown = head.escape_ascii().to_string();
    let shown = &shown[..shown.len().min(160)];
    let mut client = connect(sandbox.http).await;
    // It may be refused, and the connection closed, before all of it is sent.
    let _ = client.write_all(head).await;
    let answer = soon(shown, reply(&mut client)).await;
    let front_end = if head.starts_with(b"CONNECT") {
        "connect"
    } else {
        "http"
    };
    let (by, denial) = match sandbox.event().await {
        Event::Denied { front_end, denial } => (front_end.name(), denial),
        other => panic!("{shown}: not a denial: {other:?}"),
    };
    sandbox.no_event();
    match is {
        For(target) => {
            assert_eq!(answer.status, 403, "{shown}: {answer:?}");
            assert_eq!(denial.subject, target, "{shown}");
            assert!(denial.reason.contains("no rule"), "{shown}: {denial:?}");
            assert_eq!(by, front_end, "{shown}");
        }
        NoHost(words) => {
            assert_eq!(answer.status, 403, "{shown}: {answer:?}");
            assert!(denial.reason.contains(words), "{shown}: {denial:?}");
        }
        Bad(status, words) => {
            assert_eq!(answer.status, status, "{shown}: {answer:?}");
            assert!(answer.body.contains(words), "{shown}: {}", answer.body);
            assert!(denial.reason.contains(words), "{shown}: {denial:?}");
            assert!(answer.header("x-proxy-error").is_some(), "{shown}");
            if answer.header("connection") == Some("close") {
                let mut rest = Vec::new();
                let _ = soon(shown, client.read_to_end(&mut rest)).await;
                assert!(rest.is_empty(), "{shown}: more after the refusal");
            }
        }
    }
}

const TARGETS: &[(&str, Is)] = &[
    // One reading, in canonical form.
    ("GET http://a.test/", For("a.test:80")),
    ("GET http://a.test", For("a.test:80")),
    ("GET http://a.test?q", For("a.test:80")),
    ("GET http://a.test/?q=http://b.test/", For("a.test:80")),
    ("GET http://a.test/x@b.test/", For("a.test:80")),
    ("GET http://a.test/%00%0d%0a", For("a.test:80")),
    ("GET http://A.Test/", For("a.test:80")),
    ("GET HTTP://a.test/", For("a.test:80")),
    ("GET http://a.test./", For("a.test:80")),
    ("GET http://a.test:80/", For("a.test:80")),
    ("GET http://a.test:443/", For("a.test:443")),
    ("GET http://a.test:65535/", For("a.test:65535")),
    ("GET http://a.test:1/", For("a.test:1")),
    ("GET http://a_b.test/", For("a_b.test:80")),
    (
        "GET http://xn--bcher-kva.test/",
        For("xn--bcher-kva.test:80"),
    ),
    ("GET http://127.0.0.1/", For("127.0.0.1:80")),
    ("GET http://127.1/", For("127.0.0.1:80")),
    ("GET http://0x7f.1/", For("127.0.0.1:80")),
    ("GET http://0177.0.0.1/", For("127.0.0.1:80")),
    ("GET http://2130706433/", For("127.0.0.1:80")),
    ("GET http://[::1]/", For("[::1]:80")),
    ("GET http://[0:0::1]:81/", For("[::1]:81")),
    ("GET http://[::ffff:127.0.0.1]/", For("127.0.0.1:80")),
    ("GET http://[::ffff:7f00:1]/", For("127.0.0.1:80")),
    ("PATCH http://a.test/", For("a.test:80")),
    ("PURGE http://a.test/", For("a.test:80")),
    ("OPTIONS http://a.test", For("a.test:80")),
    ("CONNECT a.test:443", For("a.test:443")),
    ("CONNECT A.TEST.:443", For("a.test:443")),
    ("CONNECT [::1]:443", For("[::1]:443")),
    ("CONNECT 127.1:22", For("127.0.0.1:22")),
    ("CONNECT [::ffff:10.0.0.1]:22", For("10.0.0.1:22")),
    // No host.
    ("GET http://a..test/", NoHost("empty label")),
    ("GET http://.a.test/", NoHost("empty label")),
    ("GET http://1.2.3.4.5/", NoHost("not a host")),
    ("GET http://256.0.0.1/", NoHost("not a host")),
    ("GET http://[::1::2]/", NoHost("not a host")),
    ("GET http://[127.0.0.1]/", NoHost("not a host")),
    ("CONNECT a..test:443", NoHost("empty label")),
    // Forms that are not for a proxy (RFC 9112, section 3.2).
    ("GET /", Bad(400, "this is a proxy")),
    ("GET /http://a.test/", Bad(400, "this is a proxy")),
    ("GET //a.test/", Bad(400, "this is a proxy")),
    ("OPTIONS *", Bad(400, "this is a proxy")),
    ("GET a.test:80", Bad(400, "host:port alone is for CONNECT")),
    ("GET a.test", Bad(400, "host:port alone is for CONNECT")),
    ("GET https://a.test/", Bad(400, "only http://")),
    ("GET ftp://a.test/", Bad(400, "only http://")),
    ("GET ws://a.test/", Bad(400, "only http://")),
    ("GET file:///etc/passwd", Bad(400, "")),
    ("GET http:/a.test/", Bad(400, "")),
    ("GET http:a.test", Bad(400, "")),
    ("GET http:///x", Bad(400, "")),
    ("GET http://", Bad(400, "")),
    ("GET http://:80/", Bad(400, "no host")),
    ("GET javascript:alert(1)", Bad(400, "")),
    // What one reader drops and another does not.
    ("GET http://a.test/#x", Bad(400, "fragment")),
    ("GET http://a.test#@b.test/", Bad(400, "fragment")),
    ("GET http://u@a.test/", Bad(400, "user information")),
    ("GET http://a.test@b.test/", Bad(400, "user information")),
    ("GET http://u:p@a.test/", Bad(400, "user information")),
    ("GET http://a.test:80@b.test/", Bad(400, "user information")),
    ("GET http://@a.test/", Bad(400, "user information")),
    ("GET http://a%2etest/", Bad(400, "percent escape")),
    ("GET http://a.test%00.b.test/", Bad(400, "percent escape")),
    ("GET http://a.test%2f@b.test/", Bad(400, "user information")),
    ("GET http://[fe80::1%25eth0]/", Bad(400, "percent escape")),
    ("GET http://a.test\\@b.test/", Bad(400, "user information")),
    ("GET http://a.test\\.b.test/", Bad(400, "backslash")),
    ("GET http:\\\\a.test\\", Bad(400, "")),
    ("GET http://a.test,b.test/", Bad(400, "no host has")),
    ("GET http://a.test;b/", Bad(400, "no host has")),
    ("GET http://a!b.test/", Bad(400, "no host has")),
    ("GET http://*.test/", Bad(400, "no host has")),
    ("GET http://b\u{fc}cher.test/", Bad(400, "")),
    ("GET http://a.test/b\u{fc}cher", For("a.test:80")),
    // Ports.
    ("GET http://a.test:/", Bad(400, "port")),
    ("GET http://a.test:0/", Bad(400, "port")),
    ("GET http://a.test:65536/", Bad(400, "port")),
    ("GET http://a.test:99999/", Bad(400, "port")),
    ("GET http://a.test:080/", Bad(400, "port")),
    ("GET http://a.test:+80/", Bad(400, "no host has")),
    ("GET http://a.test:80:81/", Bad(400, "port")),
    ("GET http://a.test:8o/", Bad(400, "port")),
    ("GET http://[::1]x:80/", Bad(400, "port")),
    ("GET http://[::1/", Bad(400, "")),
    ("GET http://::1/", Bad(400, "no host")),
    // CONNECT (RFC 9110, section 9.3.6).
    ("CONNECT a.test", Bad(400, "needs host:port")),
    ("CONNECT a.test:", Bad(400, "port")),
    ("CONNECT a.test:0", Bad(400, "port")),
    ("CONNECT a.test:65536", Bad(400, "port")),
    ("CONNECT a.test:443/", Bad(400, "nothing after it")),
    ("CONNECT a.test:443/x", Bad(400, "nothing after it")),
    ("CONNECT a.test:443?x", Bad(400, "nothing after it")),
    ("CONNECT a.test:443#x", Bad(400, "fragment")),
    ("CONNECT http://a.test:443", Bad(400, "not a URI")),
    ("CONNECT http://a.test:443/", Bad(400, "not a URI")),
    ("CONNECT u@a.test:443", Bad(400, "user information")),
    ("CONNECT a%2etest:443", Bad(400, "percent escape")),
    ("CONNECT a.test\\:443", Bad(400, "backslash")),
    ("CONNECT /", Bad(400, "this is a proxy")),
    ("CONNECT *", Bad(400, "this is a proxy")),
    ("CONNECT :443", Bad(400, "")),
    ("CONNECT ::1:443", Bad(400, "no host")),
    // Paths with two readings (network.ambiguousRequestTarget).
    ("GET http://a.test/../b", Bad(400, "ambiguousRequestTarget")),
    (
        "GET http://a.test/a/%2E%2e/b",
        Bad(400, "ambiguousRequestTarget"),
    ),
    ("GET http://a.test/./", Bad(400, "ambiguousRequestTarget")),
    ("GET http://a.test//b", Bad(400, "ambiguousRequestTarget")),
    ("GET http://a.test/a//b", For("a.test:80")),
    ("GET http://a.test/a%2Fb;c=..", For("a.test:80")),
];

#[tokio::test]
async fn a_target_has_one_reading_or_none() {
    let mut sandbox = Sandbox::new(policy(&["only.test"], &[]));
    for (line, is) in TARGETS {
        check(
            &mut sandbox,
            format!("{line} HTTP/1.1\r\n\r\n").as_bytes(),
            *is,
        )
        .await;
    }
}

const GOOD: &str = "GET http://a.test/ HTTP/1.1\r\n";
const POST: &str = "POST http://a.test/ HTTP/1.1\r\n";

#[tokio::test]
async fn a_head_has_one_reading_or_none() {
    let mut sandbox = Sandbox::new(policy(&["only.test"], &[]));
    let ok = For("a.test:80");
    let rows: &[(&str, &str, Is)] = &[
        (GOOD, "Host: a.test\r\n", ok),
        (GOOD, "hOST:a.test:80\r\n", ok),
        (GOOD, "Host:\t A.TEST. \t\r\n", ok),
        (GOOD, "X: \u{fc}\r\n", ok),
        (GOOD, "X:\r\n", ok),
        ("\r\nGET http://a.test/ HTTP/1.1\r\n", "", ok),
        ("GET http://a.test/ HTTP/1.0\r\n", "", ok),
        (POST, "Content-Length: 0\r\n", ok),
        (POST, "Content-Length: 2\r\n", ok),
        (POST, "Content-Length:   2  \r\n", ok),
        (POST, "Transfer-Encoding: chunked\r\n", ok),
        (POST, "transfer-encoding: Chunked\r\n", ok),
        // Two hosts.
        (GOOD, "Host: b.test\r\n", Bad(400, "must name the same")),
        (
            GOOD,
            "Host: a.test.evil\r\n",
            Bad(400, "must name the same"),
        ),
        (GOOD, "Host: 127.0.0.1\r\n", Bad(400, "must name the same")),
        (
            GOOD,
            "Host: a.test\r\nHost: a.test\r\n",
            Bad(400, "several Host"),
        ),
        (
            GOOD,
            "Host: a.test\r\nhost: b.test\r\n",
            Bad(400, "several Host"),
        ),
        (GOOD, "Host: u@a.test\r\n", Bad(400, "not host[:port]")),
        (GOOD, "Host: a.test/x\r\n", Bad(400, "not host[:port]")),
        (
            GOOD,
            "Host: a.test, b.test\r\n",
            Bad(400, "not host[:port]"),
        ),
        (GOOD, "Host: a.test:\r\n", Bad(400, "not host[:port]")),
        (GOOD, "Host:\r\n", Bad(400, "not host[:port]")),
        // Two ends of the body (RFC 9112, section 6.3).
        (
            POST,
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            Bad(400, "two ends"),
        ),
        (
            POST,
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            Bad(400, "two ends"),
        ),
        (
            POST,
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            Bad(400, "two ends"),
        ),
        (
            POST,
            "Content-Length: 4\r\nContent-Length: 5\r\n",
            Bad(400, "several Content-Length"),
        ),
        (
            POST,
            "Content-Length: 4\r\nContent-Length: 4\r\n",
            Bad(400, "several Content-Length"),
        ),
        (POST, "Content-Length: 4, 4\r\n", Bad(400, "not a number")),
        (POST, "Content-Length: +4\r\n", Bad(400, "not a number")),
        (POST, "Content-Length: -4\r\n", Bad(400, "not a number")),
        (POST, "Content-Length: 0x4\r\n", Bad(400, "not a number")),
        (POST, "Content-Length: 4 4\r\n", Bad(400, "not a number")),
        (POST, "Content-Length:\r\n", Bad(400, "not a number")),
        (
            POST,
            "Content-Length: 99999999999999999999\r\n",
            Bad(400, "not a number"),
        ),
        (POST, "Content-Length: \"4\"\r\n", Bad(400, "not a number")),
        (
            POST,
            "Transfer-Encoding: identity\r\n",
            Bad(400, "Transfer-Encoding"),
        ),
        (
            POST,
            "Transfer-Encoding: gzip\r\n",
            Bad(400, "Transfer-Encoding"),
        ),
        (
            POST,
            "Transfer-Encoding: gzip, chunked\r\n",
            Bad(400, "Transfer-Encoding"),
        ),
        (
            POST,
            "Transfer-Encoding: chunked, identity\r\n",
            Bad(400, "Transfer-Encoding"),
        ),
        (
            POST,
            "Transfer-Encoding: chunked, chunked\r\n",
            Bad(400, "Transfer-Encoding"),
        ),
        (
            POST,
            "Transfer-Encoding: xchunked\r\n",
            Bad(400, "Transfer-Encoding"),
        ),
        (
            POST,
            "Transfer-Encoding: chunked;x\r\n",
            Bad(400, "Transfer-Encoding"),
        ),
        (
            POST,
            "Transfer-Encoding: \"chunked\"\r\n",
            Bad(400, "Transfer-Encoding"),
        ),
        (
            POST,
            "Transfer-Encoding:\r\n",
            Bad(400, "Transfer-Encoding"),
        ),
        (
            POST,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Bad(400, "several Transfer-Encoding"),
        ),
        (
            "POST http://a.test/ HTTP/1.0\r\n",
            "Transfer-Encoding: chunked\r\n",
            Bad(400, "HTTP/1.0"),
        ),
        (
            "CONNECT a.test:1 HTTP/1.1\r\n",
            "Content-Length: 1\r\n",
            Bad(400, "CONNECT with a body"),
        ),
        (
            "CONNECT a.test:1 HTTP/1.1\r\n",
            "Transfer-Encoding: chunked\r\n",
            Bad(400, "CONNECT with a body"),
        ),
        // Lines (RFC 9112, sections 2.2 and 5).
        (GOOD, "X: 1\r\n folded\r\n", Bad(400, "line folding")),
        (GOOD, "X: 1\r\n\tfolded\r\n", Bad(400, "line folding")),
        (GOOD, " X: 1\r\n", Bad(400, "line folding")),
        (GOOD, "X : 1\r\n", Bad(400, "before the colon")),
        (
            GOOD,
            "Content-Length\t: 1\r\n",
            Bad(400, "before the colon"),
        ),
        (GOOD, "X Y: 1\r\n", Bad(400, "before the colon")),
        (GOOD, "X: 1\n", Bad(400, "LF alone")),
        (GOOD, "X: 1\nHost: b.test\r\n", Bad(400, "LF alone")),
        ("GET http://a.test/ HTTP/1.1\n", "", Bad(400, "LF alone")),
        (
            "\nGET http://a.test/ HTTP/1.1\r\n",
            "",
            Bad(400, "LF alone"),
        ),
        (GOOD, "X: 1\rY: 2\r\n", Bad(400, "")),
        (GOOD, "X: 1\r\r\n", Bad(400, "")),
        ("GET http://a.test/ HTTP/1.1\r", "", Bad(400, "")),
        (GOOD, "X: a\0b\r\n", Bad(400, "NUL")),
        (GOOD, "X\0: 1\r\n", Bad(400, "NUL")),
        ("GET http://a.test/\0 HTTP/1.1\r\n", "", Bad(400, "NUL")),
        (GOOD, "X: a\u{1}b\r\n", Bad(400, "control character")),
        (GOOD, "X\u{fc}: 1\r\n", Bad(400, "no name has")),
        (GOOD, "X\r\n", Bad(400, "")),
        (GOOD, ": 1\r\n", Bad(400, "no name has")),
        ("GET  http://a.test/ HTTP/1.1\r\n", "", Bad(400, "")),
        ("GET http://a.test/  HTTP/1.1\r\n", "", Bad(400, "")),
        ("GET http://a.test/ x HTTP/1.1\r\n", "", Bad(400, "")),
        ("GET http://a.test/ HTTP/1.1 \r\n", "", Bad(400, "")),
        (
            "GET http://a.test/ HTTP/2.0\r\n",
            "",
            Bad(400, "HTTP/1.1 or HTTP/1.0"),
        ),
        (
            "GET http://a.test/ http/1.1\r\n",
            "",
            Bad(400, "HTTP/1.1 or HTTP/1.0"),
        ),
        ("GET http://a.test/\r\n", "", Bad(400, "")),
        (
            "G(T http://a.test/ HTTP/1.1\r\n",
            "",
            Bad(400, "not an HTTP request"),
        ),
        ("\u{16}\u{3}\u{1}\u{2}\0", "", Bad(400, "")),
        ("SSH-2.0-OpenSSH_9\r\n", "", Bad(400, "")),
    ];
    for (line, headers, is) in rows {
        check(&mut sandbox, format!("{line}{headers}\r\n").as_bytes(), *is).await;
    }
    // The same where every byte comes by itself: the head is judged as a whole.
    for (line, headers, is) in rows {
        if let For(target) = is {
            let mut client = connect(sandbox.http).await;
            for byte in format!("{line}{headers}\r\n").as_bytes() {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!(soon(headers, reply(&mut client)).await.status, 403);
            let front_end = if line.starts_with("CONNECT") {
                "connect"
            } else {
                "http"
            };
            assert_eq!(sandbox.denial(front_end).await.subject, *target);
        }
    }
    // Too large, and too many.
    let long = format!("{GOOD}X: {}\r\n\r\n", "x".repeat(70_000));
    check(
        &mut sandbox,
        long.as_bytes(),
        Bad(431, "longer than 65536 bytes"),
    )
    .await;
    let endless = format!("{GOOD}X: {}", "x".repeat(70_000));
    check(
        &mut sandbox,
        endless.as_bytes(),
        Bad(431, "longer than 65536 bytes"),
    )
    .await;
    let many = format!("{GOOD}{}\r\n", "X: 1\r\n".repeat(101));
    check(
        &mut sandbox,
        many.as_bytes(),
        Bad(431, "more than 100 headers"),
    )
    .await;
    let just = format!("{GOOD}{}\r\n", "X: 1\r\n".repeat(100));
    check(&mut sandbox, just.as_bytes(), For("a.test:80")).await;
}

/// A server that answers each request with the bytes of it that it heard.
async fn echo() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                let mut buffer = [0; 4096];
                loop {
                    let Ok(read) = stream.read(&mut buffer).await else {
                        return;
                    };
                    if read == 0 {
                        return;
                    }
                    heard.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&heard).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        continue;
                    };
                    let length = head.to_lowercase().lines().find_map(|line| {
                        Some(
                            line.strip_prefix("content-length: ")?
                                .parse::<usize>()
                                .unwrap(),
                        )
                    });
                    let whole = match length {
                        Some(length) => body.len() >= length,
                        None if head.to_lowercase().contains("chunked") => {
                            body.ends_with("0\r\n\r\n")
                        }
                        None => true,
                    };
                    if whole {
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                            text.len()
                        );
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        heard.clear();
                    }
                }
            });
        }
    });
    at
}

#[tokio::test]
async fn a_chunked_body_has_one_end_or_none() {
    let at = echo().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let rows: &[(&str, Result<&str, &str>)] = &[
        ("0\r\n\r\n", Ok("")),
        ("2\r\nhi\r\n0\r\n\r\n", Ok("hi")),
        ("2\r\nhi\r\n3\r\n yo\r\n000\r\n\r\n", Ok("hi yo")),
        ("A\r\n0123456789\r\n0\r\n\r\n", Ok("0123456789")),
        ("2;x=y\r\nhi\r\n0;z\r\n\r\n", Ok("hi")),
        ("0\r\nX-After: 1\r\n\r\n", Ok("")),
        ("\r\n", Err("size of a chunk")),
        ("x\r\n", Err("size of a chunk")),
        ("0x2\r\nhi\r\n0\r\n\r\n", Err("size of a chunk")),
        ("+2\r\nhi\r\n0\r\n\r\n", Err("size of a chunk")),
        ("-2\r\nhi\r\n0\r\n\r\n", Err("size of a chunk")),
        (" 2\r\nhi\r\n0\r\n\r\n", Err("size of a chunk")),
        ("2 \r\nhi\r\n0\r\n\r\n", Err("size of a chunk")),
        ("2\nhi\r\n0\r\n\r\n", Err("size of a chunk")),
        ("2\r\nhi0\r\n\r\n", Err("not as long as its size")),
        ("2\r\nhi\n0\r\n\r\n", Err("not as long as its size")),
        ("1\r\nhi\r\n0\r\n\r\n", Err("not as long as its size")),
        (
            "10000000000000002\r\nhi\r\n0\r\n\r\n",
            Err("size of a chunk"),
        ),
        ("2;\nx\r\nhi\r\n0\r\n\r\n", Err("size of a chunk")),
        (
            "0\r\nContent-Length: 4\r\n\r\n",
            Err("content-length in a trailer"),
        ),
        (
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err("transfer-encoding in a trailer"),
        ),
        ("0\r\nHost: b.test\r\n\r\n", Err("host in a trailer")),
        ("0\r\nX : 1\r\n\r\n", Err("before the colon")),
        ("0\r\nX: 1\n\r\n", Err("LF alone")),
    ];
    for (body, expected) in rows {
        for whole in [true, false] {
            let mut client = connect(sandbox.http).await;
            let head = format!("POST http://{at}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
            if whole {
                client
                    .write_all(format!("{head}{body}").as_bytes())
                    .await
                    .unwrap();
            } else {
                client.write_all(head.as_bytes()).await.unwrap();
                for byte in body.as_bytes() {
                    // The proxy may have refused and left.
                    let _ = client.write_all(&[*byte]).await;
                    tokio::task::yield_now().await;
                }
            }
            let answer = soon(body, reply(&mut client)).await;
            match expected {
                Ok(content) => {
                    assert_eq!(answer.status, 200, "{body:?}: {answer:?}");
                    let (_, heard) = answer.body.split_once("\r\n\r\n").unwrap();
                    let mut joined = String::new();
                    let mut rest = heard;
                    while let Some((size, after)) = rest.split_once("\r\n") {
                        let size = usize::from_str_radix(size, 16).unwrap();
                        joined.push_str(&after[..size]);
                        if size == 0 {
                            break;
                        }
                        rest = &after[size + 2..];
                    }
                    assert_eq!(joined, *content, "{body:?}: {heard:?}");
                    assert_eq!(sandbox.flow("http").await.1, content.len() as u64);
                    // And the next request begins where this one ended.
                    let next = format!("GET http://{at}/next HTTP/1.1\r\n\r\n");
                    let answer = common::ask(&mut client, &next).await;
                    assert!(
                        answer.body.starts_with("GET /next "),
                        "{body:?}: {answer:?}"
                    );
                    sandbox.flow("http").await;
                }
                Err(words) => {
                    assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
                    assert!(answer.body.contains(words), "{body:?}: {}", answer.body);
                    // The flow that was begun, and why it ended.
                    let mut told = false;
                    for _ in 0..2 {
                        match sandbox.event().await {
                            Event::Denied { denial, .. } => {
                                assert!(denial.reason.contains(words), "{denial:?}");
                                told = true;
                            }
                            Event::Flow { .. } => {}
                            other => panic!("{body:?}: {other:?}"),
                        }
                    }
                    assert!(told, "{body:?}");
                }
            }
            sandbox.no_event();
        }
    }
}

/// Requests in one write, each with its own end; what follows a refused one is not a request.
#[tokio::test]
async fn requests_in_a_row_keep_their_ends() {
    let at = echo().await;
    let mut sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut client = connect(sandbox.http).await;
    let row = format!(
        "POST http://{at}/1 HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET POST http://{at}/2 HTTP/1.1\r\nTransfer-Encoding: \
         chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET http://{at}/3 HTTP/1.1\r\n\r\nCONNECT no.test:1 HTTP/1.1\r\n\r\nGET \
         http://{at}/4 HTTP/1.1\r\nUpgrade: x\r\n\r\nGET http://{at}/5 HTTP/1.1\r\n\r\nGET http://{at}/6\nHTTP/1.1\r\n\r\nGET \
         http://{at}/7 HTTP/1.1\r\n\r\n"
    );
    client.write_all(row.as_bytes()).await.unwrap();
    for (status, starts) in [
        (200, "POST /1 "),
        (200, "POST /2 "),
        (200, "GET /3 "),
        (403, "srt: blocked"),
        (200, "GET /4 "),
        (200, "GET /5 "),
        (400, "srt: refused"),
    ] {
        let answer = soon(starts, reply(&mut client)).await;
        assert_eq!(answer.status, status, "{starts} {answer:?}");
        assert!(answer.body.starts_with(starts), "{starts} {answer:?}");
    }
    let mut rest = Vec::new();
    soon("the end", client.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(rest.is_empty());
    let mut flows = 0;
    while let Ok(event) = sandbox.events.try_recv() {
        flows += usize::from(matches!(event, Event::Flow { .. }));
    }
    assert_eq!(flows, 5);
}

#[tokio::test]
async fn a_path_with_two_readings_goes_as_the_settings_say() {
    let at = echo().await;
    for (word, sent) in [
        ("asSpelled", "GET /a/../b//c?q=../x "),
        ("normalize", "GET /b//c?q=../x "),
    ] {
        let more = format!(",\n\"ambiguousRequestTarget\": \"{word}\"");
        let sandbox = Sandbox::new(policy_with(&[&at.to_string()], &[], &more));
        let mut client = connect(sandbox.http).await;
        let request = format!("GET http://{at}/a/../b//c?q=../x HTTP/1.1\r\n\r\n");
        let answer = common::ask(&mut client, &request).await;
        assert!(answer.body.starts_with(sent), "{word}: {}", answer.body);
    }
}

#[tokio::test]
async fn host_and_port_must_match_where_the_settings_say() {
    let more = ",\n\"requireHostMatch\": true";
    let mut strict = Sandbox::new(policy_with(&["only.test"], &[], more));
    let mut usual = Sandbox::new(policy(&["only.test"], &[]));
    let misdirected = Bad(421, "must name the same");
    for (head, without, with) in [
        (
            "GET http://a.test/ HTTP/1.1\r\nHost: a.test",
            For("a.test:80"),
            For("a.test:80"),
        ),
        (
            "GET http://a.test/ HTTP/1.1\r\nHost: a.test:81",
            For("a.test:80"),
            misdirected,
        ),
        (
            "GET http://a.test:81/ HTTP/1.1\r\nHost: a.test",
            For("a.test:81"),
            misdirected,
        ),
        (
            "GET http://a.test/ HTTP/1.1\r\nHost: b.test",
            Bad(400, "must name"),
            misdirected,
        ),
        (
            "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test",
            For("a.test:443"),
            For("a.test:443"),
        ),
        (
            "CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443",
            For("a.test:443"),
            misdirected,
        ),
        (
            "CONNECT a.test:22 HTTP/1.1\r\nHost: a.test",
            For("a.test:22"),
            misdirected,
        ),
        (
            "GET http://a.test/ HTTP/1.1\r\nX: 1",
            For("a.test:80"),
            For("a.test:80"),
        ),
    ] {
        let head = format!("{head}\r\n\r\n");
        check(&mut usual, head.as_bytes(), without).await;
        check(&mut strict, head.as_bytes(), with).await;
    }
}

#[tokio::test]
async fn the_proxies_themselves_are_no_target() {
    let mut sandbox = Sandbox::new(policy(&["127.0.0.1"], &[]));
    for own in [sandbox.http, sandbox.socks] {
        for head in [
            format!("CONNECT {own} HTTP/1.1\r\n\r\n"),
            format!("GET http://{own}/ HTTP/1.1\r\n\r\n"),
            format!("CONNECT 127.1:{} HTTP/1.1\r\n\r\n", own.port()),
            format!("CONNECT [::ffff:127.0.0.1]:{} HTTP/1.1\r\n\r\n", own.port()),
        ] {
            check(&mut sandbox, head.as_bytes(), Bad(400, "this proxy itself")).await;
        }
    }
}

#[tokio::test]
async fn headers_of_responses_are_kept_back_where_the_settings_say() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await.unwrap();
        let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX_Secret.Id: 3\r\nX-Kept: 4\r\n\
                      Trailer: X-Secret-Id\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Secret-Id: 5\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let more = ",\n\"stripResponseHeaders\": [\"set-cookie\", \"X-Secret-Id\"]";
    let sandbox = Sandbox::new(policy_with(&[&at.to_string()], &[], more));
    let mut client = connect(sandbox.http).await;
    let request = format!("GET http://{at}/ HTTP/1.1\r\nTE: trailers\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    soon("an answer", client.read_to_string(&mut heard))
        .await
        .unwrap();
    server.await.unwrap();
    let heard = heard.to_lowercase();
    assert!(heard.contains("x-kept: 4"), "{heard}");
    for gone in ["set-cookie", "x_secret.id", "x-secret-id: 5"] {
        assert!(!heard.contains(gone), "{gone} in {heard}");
    }
}

#[tokio::test]
async fn tunnels_are_refused_where_the_settings_say() {
    let at = echo().await;
    let more = ",\n\"refuseOpaqueTunnels\": true";
    let mut sandbox = Sandbox::with(
        policy_with(&[&at.to_string()], &[], more),
        Options::default(),
    );
    let words = "refuseOpaqueTunnels";
    let mut client = connect(sandbox.http).await;
    let plain = format!("GET http://{at}/ HTTP/1.1\r\n\r\n");
    assert_eq!(common::ask(&mut client, &plain).await.status, 200);
    sandbox.flow("http").await;
    for (request, front_end) in [
        (format!("CONNECT {at} HTTP/1.1\r\n\r\n"), "connect"),
        (
            format!(
                "GET http://{at}/ HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            ),
            "http",
        ),
    ] {
        let answer = common::ask(&mut client, &request).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.body.contains(words), "{}", answer.body);
        assert!(sandbox.denial(front_end).await.reason.contains(words));
    }
    let mut socks = connect(sandbox.socks).await;
    let [a, b, c, d] = [127, 0, 0, 1];
    let [high, low] = at.port().to_be_bytes();
    socks
        .write_all(&[5, 1, 0, 5, 1, 0, 1, a, b, c, d, high, low])
        .await
        .unwrap();
    let mut answer = [0; 4];
    soon("a SOCKS5 answer", socks.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer[..2], [5, 0]);
    assert_eq!(answer[2..], [5, 2], "connection not allowed by ruleset");
    assert!(sandbox.denial("socks5").await.reason.contains(words));
    sandbox.no_event();
}

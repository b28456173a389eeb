//! What a tunnel may begin with: the name inside must be the one that was permitted.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Options, Sandbox, connect, policy, policy_and, policy_with, soon};
use srt_egress::Bounds;
use srt_policy::NetworkPolicy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const LOOPBACK: &str = "127.0.0.1";

/// What a real client says first to a server of this name; to an address it names none.
fn hello(name: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut said = Vec::new();
    client.write_tls(&mut said).unwrap();
    said
}

/// A server that greets if it is to, hands over what it hears of each connection, and answers "heard".
async fn server(greeting: &'static [u8]) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (sender, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                stream.write_all(greeting).await.unwrap();
                let mut all = Vec::new();
                let mut part = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut part).await {
                    all.extend(&part[..read]);
                    let _ = stream.write_all(b"heard").await;
                }
                let _ = sender.send(all);
            });
        }
    });
    (at, heard)
}

/// A tunnel to a name, through the SOCKS5 proxy or by CONNECT.
async fn tunnel(sandbox: &Sandbox, connect_method: bool, name: &str, port: u16) -> TcpStream {
    if connect_method {
        let mut client = connect(sandbox.http).await;
        let request = format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n");
        assert_eq!(common::ask(&mut client, &request).await.status, 200);
        return client;
    }
    let mut client = connect(sandbox.socks).await;
    let mut ask = vec![5, 1, 0, 5, 1, 0, 3, name.len() as u8];
    ask.extend(name.as_bytes());
    ask.extend(port.to_be_bytes());
    client.write_all(&ask).await.unwrap();
    let mut answer = [0; 12];
    soon("a reply", client.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer[3], 0);
    client
}

/// What becomes of a tunnel that begins so.
#[derive(Clone, Copy, Debug)]
enum Expect<'a> {
    /// Every byte arrives.
    Pass,
    /// None does; the client hears this first, and the record has these words.
    Refused(&'a [u8], &'a str),
}

const UNRECOGNIZED: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
const DENIED: &[u8] = &[21, 3, 3, 0, 2, 2, 49];

async fn check(policy: Arc<NetworkPolicy>, name: &str, first: &[u8], expect: Expect<'_>) {
    for by_connect in [true, false] {
        let (at, mut heard) = server(b"").await;
        let mut sandbox = Sandbox::new(Arc::clone(&policy));
        let mut client = tunnel(&sandbox, by_connect, name, at.port()).await;
        client.write_all(first).await.unwrap();
        match expect {
            Expect::Pass => {
                let mut answer = [0; 5];
                soon("an answer", client.read_exact(&mut answer))
                    .await
                    .unwrap();
                assert_eq!(&answer, b"heard");
                drop(client);
                let all = soon("what was heard", heard.recv()).await.unwrap();
                assert!(all == first, "{name} heard something else");
                let front_end = if by_connect { "connect" } else { "socks5" };
                let (_, out, _) = sandbox.flow(front_end).await;
                assert_eq!(out, first.len() as u64);
            }
            Expect::Refused(words, why) => {
                let mut answer = Vec::new();
                soon("the end", client.read_to_end(&mut answer))
                    .await
                    .unwrap();
                assert!(answer.starts_with(words), "{answer:?}");
                let front_end = if by_connect { "connect" } else { "socks5" };
                let denial = sandbox.denial(front_end).await;
                assert_eq!(denial.subject, format!("{name}:{}", at.port()));
                assert!(denial.reason.contains(why), "{}", denial.reason);
                assert!(
                    soon("what was heard", heard.recv())
                        .await
                        .unwrap()
                        .is_empty()
                );
            }
        }
        sandbox.no_event();
    }
}

#[tokio::test]
async fn the_name_in_tls_is_the_one_that_was_permitted() {
    let exact = policy(&[LOOPBACK, "api.test"], &[]);
    let wild = policy(&[LOOPBACK, "*.example.test"], &[]);
    let strict = policy_and(
        &[LOOPBACK, "api.test"],
        &[],
        "",
        ",\n\"tls\": {\"requireSni\": true}",
    );
    let lax = policy_and(
        &[LOOPBACK, "*.example.test"],
        &[],
        "",
        ",\n\"tls\": {\"requireSni\": false}",
    );
    let fronts = "TLS names the server \"front.test\" (SNI), and api.test was permitted";
    let unnamed = "TLS names no server (SNI), and for";
    let mut garbled = hello("api.test");
    garbled.truncate(40);
    garbled[3..5].copy_from_slice(&[0, 35]);
    garbled[6..9].copy_from_slice(&[0, 0, 31]);
    for (policy, name, first, expect) in [
        (&exact, "api.test", hello("api.test"), Expect::Pass),
        (&exact, "api.test", hello("API.Test"), Expect::Pass),
        // The attack: to an address, which has no name to contradict, it works; under a name it does not.
        (&exact, LOOPBACK, hello("front.test"), Expect::Pass),
        (
            &exact,
            "api.test",
            hello("front.test"),
            Expect::Refused(UNRECOGNIZED, fronts),
        ),
        (
            &exact,
            "api.test",
            hello("api.test.front.test"),
            Expect::Refused(UNRECOGNIZED, "api.test was permitted"),
        ),
        (&exact, "api.test", hello("10.0.0.1"), Expect::Pass),
        (
            &strict,
            "api.test",
            hello("10.0.0.1"),
            Expect::Refused(UNRECOGNIZED, unnamed),
        ),
        (&strict, "api.test", hello("api.test"), Expect::Pass),
        (
            &wild,
            "a.example.test",
            hello("a.example.test"),
            Expect::Pass,
        ),
        (
            &wild,
            "a.example.test",
            hello("b.example.test"),
            Expect::Refused(UNRECOGNIZED, "\"b.example.test\""),
        ),
        (
            &wild,
            "a.example.test",
            hello("10.0.0.1"),
            Expect::Refused(UNRECOGNIZED, unnamed),
        ),
        (&lax, "a.example.test", hello("10.0.0.1"), Expect::Pass),
        (
            &exact,
            "api.test",
            garbled.clone(),
            Expect::Refused(DENIED, "cannot be read"),
        ),
        (&exact, LOOPBACK, garbled, Expect::Pass),
        (&exact, "api.test", b"SSH-2.0-x\r\n".to_vec(), Expect::Pass),
        (
            &strict,
            "api.test",
            b"\0\0\0\x08\x04\xd2\x16\x2f".to_vec(),
            Expect::Pass,
        ),
    ] {
        check(Arc::clone(policy), name, &first, expect).await;
    }
}

#[tokio::test]
async fn an_encrypted_hello_is_policys_affair() {
    // A real hello, with one extension more: the last in the list.
    let mut hidden = hello("api.test");
    let more = [0xfe, 0x0d, 0, 2, 0, 1];
    hidden.extend(more);
    let grown = more.len() as u16;
    // Record, message, and list of extensions; the list's length stands behind what rustls sends before it.
    let suites = u16::from_be_bytes([hidden[76], hidden[77]]);
    let list = 78 + usize::from(suites) + 2;
    for at in [3, 7, list] {
        let length = u16::from_be_bytes([hidden[at], hidden[at + 1]]) + grown;
        hidden[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    let allows = policy(&[LOOPBACK, "api.test"], &[]);
    let refuses = policy_and(
        &[LOOPBACK, "api.test"],
        &[],
        "",
        ",\n\"tls\": {\"ech\": \"refuse\"}",
    );
    check(allows, "api.test", &hidden, Expect::Pass).await;
    let why = "encrypted (ECH)";
    for name in ["api.test", LOOPBACK] {
        check(
            Arc::clone(&refuses),
            name,
            &hidden,
            Expect::Refused(DENIED, why),
        )
        .await;
        check(Arc::clone(&refuses), name, &hello("api.test"), Expect::Pass).await;
    }
}

#[tokio::test]
async fn the_host_in_plain_http_is_the_one_that_was_permitted() {
    let lax = policy(&[LOOPBACK, "api.test"], &[]);
    let strict = policy_with(
        &[LOOPBACK, "api.test"],
        &[],
        ",\n\"requireHostMatch\": true",
    );
    let request = |target: &str, host: &str| {
        format!("GET {target} HTTP/1.1\r\n{host}Accept: */*\r\n\r\n").into_bytes()
    };
    let misdirected = b"HTTP/1.1 421 ";
    // The attack, where nothing is asked for.
    let front = request("/", "Host: front.test\r\n");
    check(Arc::clone(&lax), "api.test", &front, Expect::Pass).await;
    for (first, why) in [
        (front, "\"front.test\""),
        (request("/", ""), "no Host"),
        (request("/", "Host: api.test:1\r\n"), "\"api.test:1\""),
        (
            request("/", "Host: front.test\r\nHost: api.test\r\n"),
            "more than one Host",
        ),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "HTTP/2"),
        (
            b"GET / HTTP/1.1\r\nHost : api.test\r\n\r\n".to_vec(),
            "cannot be read",
        ),
        (b"get  / HTTP/1.1\r\n\r\n".to_vec(), "cannot be read"),
    ] {
        check(
            Arc::clone(&strict),
            "api.test",
            &first,
            Expect::Refused(misdirected, why),
        )
        .await;
    }
    for first in [
        &b"SSH-2.0-x\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"\x10\x0c\0\x04MQTT",
    ] {
        check(Arc::clone(&strict), "api.test", first, Expect::Pass).await;
    }
    // The right one, whose port is only known when the server listens.
    let (at, mut heard) = server(b"").await;
    for host in [
        format!("API.test:{}", at.port()),
        format!("api.test.:{}", at.port()),
    ] {
        let mut sandbox = Sandbox::new(Arc::clone(&strict));
        let mut client = tunnel(&sandbox, true, "api.test", at.port()).await;
        let first = request(&format!("http://{host}/"), &format!("Host: {host}\r\n"));
        client.write_all(&first).await.unwrap();
        let mut answer = [0; 5];
        soon("an answer", client.read_exact(&mut answer))
            .await
            .unwrap();
        drop(client);
        assert_eq!(soon("what was heard", heard.recv()).await.unwrap(), first);
        sandbox.flow("connect").await;
        // The absolute form is looked at like the Host.
        let mut client = tunnel(&sandbox, true, "api.test", at.port()).await;
        let first = request("http://front.test/", &format!("Host: {host}\r\n"));
        client.write_all(&first).await.unwrap();
        sandbox.denial("connect").await;
        assert!(
            soon("what was heard", heard.recv())
                .await
                .unwrap()
                .is_empty()
        );
    }
    // The same port to one reader, and another one to the next.
    let mut sandbox = Sandbox::new(Arc::clone(&strict));
    let mut client = tunnel(&sandbox, true, "api.test", at.port()).await;
    let first = request("/", &format!("Host: api.test:0{}\r\n", at.port()));
    client.write_all(&first).await.unwrap();
    sandbox.denial("connect").await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_at_once() {
    let (at, mut heard) = server(b"220 mail ready\r\n").await;
    let strict = policy_and(
        &[LOOPBACK, "api.test"],
        &[],
        ",\n\"requireHostMatch\": true",
        ",\n\"tls\": {\"requireSni\": true}",
    );
    let mut sandbox = Sandbox::new(strict);
    let mut client = tunnel(&sandbox, true, "api.test", at.port()).await;
    let mut greeting = [0; 16];
    soon("the greeting", client.read_exact(&mut greeting))
        .await
        .unwrap();
    assert_eq!(&greeting, b"220 mail ready\r\n");
    client.write_all(b"EHLO me\r\n").await.unwrap();
    let mut answer = [0; 5];
    soon("an answer", client.read_exact(&mut answer))
        .await
        .unwrap();
    drop(client);
    assert_eq!(
        soon("what was heard", heard.recv()).await.unwrap(),
        b"EHLO me\r\n"
    );
    sandbox.flow("connect").await;
    // What passed before the refusal is a flow all the same.
    let mut client = tunnel(&sandbox, true, "api.test", at.port()).await;
    soon("the greeting", client.read_exact(&mut greeting))
        .await
        .unwrap();
    client.write_all(&hello("front.test")).await.unwrap();
    let (_, out, into) = sandbox.flow("connect").await;
    assert_eq!((out, into), (0, 16));
    sandbox.denial("connect").await;
    assert!(
        soon("what was heard", heard.recv())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn in_pieces_it_is_judged_as_a_whole_and_not_waited_for_for_ever() {
    let (at, mut heard) = server(b"").await;
    let bounds = Bounds {
        handshake_timeout: Duration::from_millis(300),
        ..Bounds::default()
    };
    let options = Options {
        bounds,
        ..Options::default()
    };
    let mut sandbox = Sandbox::with(policy(&[LOOPBACK, "api.test"], &[]), options);
    let first = hello("front.test");
    let mut client = tunnel(&sandbox, false, "api.test", at.port()).await;
    for part in first.chunks(first.len() / 4) {
        client.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(sandbox.denial("socks5").await.reason.contains("front.test"));
    assert!(
        soon("what was heard", heard.recv())
            .await
            .unwrap()
            .is_empty()
    );
    // Half of it and then silence, or an end.
    for ends in [false, true] {
        let mut client = tunnel(&sandbox, false, "api.test", at.port()).await;
        client.write_all(&hello("api.test")[..60]).await.unwrap();
        if ends {
            client.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        soon("the end", client.read_to_end(&mut answer))
            .await
            .unwrap();
        assert_eq!(answer, DENIED);
        let denial = sandbox.denial("socks5").await;
        assert!(
            denial.reason.contains("did not arrive in time"),
            "{denial:?}"
        );
        assert!(
            soon("what was heard", heard.recv())
                .await
                .unwrap()
                .is_empty()
        );
    }
}

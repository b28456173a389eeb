//! SOCKS5, transparent TCP and DNS, by raw bytes.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::{DEADLINE, Options, Sandbox, connect, policy, policy_with, reverser, say, soon};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use srt_egress::Bounds;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Greets, asks for a name, and returns the reply code.
async fn socks_name(client: &mut TcpStream, name: &str, port: u16) -> u8 {
    let mut ask = vec![5, 1, 0, 5, 1, 0, 3, name.len() as u8];
    ask.extend(name.as_bytes());
    ask.extend(port.to_be_bytes());
    client.write_all(&ask).await.unwrap();
    let mut answer = [0; 12];
    soon("a reply", client.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer[..3], [5, 0, 5]);
    answer[3]
}

#[tokio::test]
async fn socks_allows_and_refuses() {
    let at = reverser().await;
    let mut sandbox = Sandbox::new(policy(
        &[&at.to_string(), "api.test", "inside.test", "unknown.test"],
        &[],
    ));
    for host in ["api.test", "127.0.0.1", "API.test."] {
        let mut client = connect(sandbox.socks).await;
        assert_eq!(socks_name(&mut client, host, at.port()).await, 0);
        assert_eq!(say(&mut client, b"hello").await, b"olleh");
        let (target, out, into) = sandbox.flow("socks5").await;
        let host = host.to_lowercase();
        assert_eq!(
            (target, out, into),
            (
                format!("{}:{}", host.trim_end_matches('.'), at.port()),
                5,
                5
            )
        );
    }
    // By address, with data sent together with the request.
    let mut client = connect(sandbox.socks).await;
    let mut all = vec![5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1];
    all.extend(at.port().to_be_bytes());
    all.extend(b"early");
    assert_eq!(
        say(&mut client, &all).await,
        b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0ylrae"
    );
    sandbox.flow("socks5").await;

    for (host, subject) in [
        ("denied.test", "denied.test:443"),
        ("inside.test", "inside.test:443"),
        ("a b", "a b"),
    ] {
        let mut client = connect(sandbox.socks).await;
        assert_eq!(socks_name(&mut client, host, 443).await, 2, "{host}");
        assert_eq!(sandbox.denial("socks5").await.subject, subject);
    }
    let mut client = connect(sandbox.socks).await;
    assert_eq!(socks_name(&mut client, "unknown.test", 443).await, 4);
    sandbox.event().await;
    sandbox.no_event();
}

#[tokio::test]
async fn socks_refuses_what_it_does_not_speak() {
    let sandbox = Sandbox::new(policy(&[], &[]));
    for (said, heard) in [
        (
            &b"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50"[..],
            &b"\x05\x00\x05\x07\x00\x01\0\0\0\0\0\0"[..],
        ),
        (
            b"\x05\x01\x00\x05\x03\x00\x01\x7f\x00\x00\x01\x00\x50",
            b"\x05\x00\x05\x07\x00\x01\0\0\0\0\0\0",
        ),
        (
            b"\x05\x01\x00\x05\x01\x00\x02\x7f\x00\x00\x01\x00\x50",
            b"\x05\x00\x05\x08\x00\x01\0\0\0\0\0\0",
        ),
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x04\x01", b""),
    ] {
        let mut client = connect(sandbox.socks).await;
        client.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        // What was left unread makes the kernel send a reset after the answer.
        let _ = soon("the end", client.read_to_end(&mut answer)).await;
        assert_eq!(answer, heard, "{said:?}");
    }
}

#[tokio::test]
async fn socks_does_not_wait_for_ever() {
    let bounds = Bounds {
        handshake_timeout: Duration::from_millis(50),
        ..Bounds::default()
    };
    let sandbox = Sandbox::with(
        policy(&[], &[]),
        Options {
            bounds,
            ..Options::default()
        },
    );
    let mut client = connect(sandbox.socks).await;
    client.write_all(b"\x05").await.unwrap();
    assert_eq!(
        soon("the end of patience", client.read(&mut [0; 8]))
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn socks_asks_for_the_token_where_there_is_one() {
    let at = reverser().await;
    let options = Options {
        token: Some("s3cret".into()),
        ..Options::default()
    };
    let sandbox = Sandbox::with(policy(&[&at.to_string()], &[]), options);
    let mut request = b"\x05\x01\x00\x01\x7f\x00\x00\x01".to_vec();
    request.extend(at.port().to_be_bytes());
    let mut client = connect(sandbox.socks).await;
    let all = [b"\x05\x01\x02\x01\x03srt\x06s3cret", &request[..], b"hi"].concat();
    assert_eq!(
        say(&mut client, &all).await,
        b"\x05\x02\x01\x00\x05\x00\x00\x01\0\0\0\0\0\0ih"
    );
    let mut client = connect(sandbox.socks).await;
    client
        .write_all(b"\x05\x01\x02\x01\x03srt\x06s3creT")
        .await
        .unwrap();
    let mut answer = Vec::new();
    soon("the end", client.read_to_end(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer, b"\x05\x02\x01\x01");
}

#[tokio::test]
async fn a_refused_captured_connection_is_reset() {
    let mut sandbox = Sandbox::new(policy(&["api.test"], &[]));
    let mut client = connect(sandbox.transparent).await;
    let error = soon("a reset", client.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(
        sandbox.denial("tcp").await.subject,
        sandbox.transparent.to_string()
    );
}

#[tokio::test]
async fn the_users_own_proxy_is_asked_to_carry_on() {
    // A proxy that agrees to anything and then repeats what it hears.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    let more = format!(",\n\"proxyConfig\": {{ \"http\": \"http://{at}\" }}");
    let mut sandbox = Sandbox::new(policy_with(&["far.test"], &[], &more));
    let mut client = connect(sandbox.socks).await;
    assert_eq!(socks_name(&mut client, "far.test", 443).await, 0);
    assert_eq!(say(&mut client, b"hello").await, b"hello");
    drop(client);
    assert!(
        heard
            .await
            .unwrap()
            .starts_with("CONNECT far.test:443 HTTP/1.1\r\n")
    );
    assert_eq!(sandbox.flow("socks5").await, ("far.test:443".into(), 5, 5));
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut query = Message::new(77, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query.to_vec().unwrap()
}

async fn look_up(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // Connected: the kernel delivers an answer only from the very address that was asked.
    socket.connect(server).await.unwrap();
    socket.send(&query(name, kind)).await.unwrap();
    let mut buffer = [0; 512];
    let length = soon("an answer", socket.recv(&mut buffer)).await.unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

fn v4(message: &Message) -> IpAddr {
    match &message.answers[0].data {
        RData::A(a) => a.0.into(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn dns_knows_the_allowed_names_only() {
    let mut sandbox = Sandbox::new(policy(&["api.test:443", "*.wild.test"], &["no.wild.test"]));
    let ask = SocketAddr::new([127, 0, 0, 1].into(), sandbox.dns_udp.port());
    // Any other local address answers too, and as itself.
    let elsewhere = SocketAddr::new([127, 0, 0, 9].into(), sandbox.dns_udp.port());

    let first = look_up(ask, "Api.TEST.", RecordType::A).await;
    assert_eq!(first.metadata.response_code, ResponseCode::NoError);
    assert_eq!(first.answers[0].name.to_ascii(), "Api.TEST.");
    let address = v4(&first);
    assert!(address.to_string().starts_with("192.31.196."), "{address}");
    assert_eq!(
        v4(&look_up(elsewhere, "api.test.", RecordType::A).await),
        address
    );
    assert_ne!(
        v4(&look_up(ask, "a.wild.test.", RecordType::A).await),
        address
    );
    for kind in [
        RecordType::AAAA,
        RecordType::HTTPS,
        RecordType::SVCB,
        RecordType::TXT,
    ] {
        let none = look_up(ask, "api.test.", kind).await;
        assert_eq!(
            (none.metadata.response_code, none.answers.len()),
            (ResponseCode::NoError, 0),
            "{kind}"
        );
    }
    sandbox.no_event();
    for name in [
        "evil.test.",
        "secret.evil.test.",
        "no.wild.test.",
        "wild.test.",
    ] {
        for kind in [RecordType::A, RecordType::TXT] {
            let none = look_up(ask, name, kind).await;
            assert_eq!(
                none.metadata.response_code,
                ResponseCode::NXDomain,
                "{name}"
            );
        }
        // Asked for by two kinds, refused once.
        assert_eq!(
            sandbox.denial("dns").await.subject,
            name.trim_end_matches('.')
        );
        sandbox.no_event();
    }
    let none = look_up(ask, "8.8.8.8.in-addr.arpa.", RecordType::PTR).await;
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
    sandbox.no_event();

    // What DNS gave out leads, at the proxies too, to the name.
    let mut client = connect(sandbox.socks).await;
    let _ = socks_name(&mut client, &address.to_string(), 22).await;
    assert_eq!(sandbox.denial("socks5").await.subject, "api.test:22");
}

#[tokio::test]
async fn dns_over_tcp_and_full() {
    let bounds = Bounds {
        names: 1,
        ..Bounds::default()
    };
    let sandbox = Sandbox::with(
        policy(&["*.wild.test"], &[]),
        Options {
            bounds,
            ..Options::default()
        },
    );
    let mut client = connect(sandbox.dns_tcp).await;
    for (name, code) in [
        ("a.wild.test.", ResponseCode::NoError),
        ("b.wild.test.", ResponseCode::ServFail),
        ("a.wild.test.", ResponseCode::NoError),
    ] {
        let query = query(name, RecordType::A);
        let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
        client.write_all(&framed).await.unwrap();
        let length = soon("a length", client.read_u16()).await.unwrap();
        let mut answer = vec![0; length.into()];
        soon("an answer", client.read_exact(&mut answer))
            .await
            .unwrap();
        assert_eq!(
            Message::from_vec(&answer).unwrap().metadata.response_code,
            code,
            "{name}"
        );
    }
    // Longer than any query: closed without waiting for it.
    client.write_all(&[0xff, 0xff, 0]).await.unwrap();
    assert!(matches!(
        soon("the end", client.read(&mut [0; 8])).await,
        Ok(0) | Err(_)
    ));
}

#[tokio::test]
async fn shutdown_ends_and_joins_everything() {
    let at = reverser().await;
    let sandbox = Sandbox::new(policy(&[&at.to_string()], &[]));
    let mut tunnel = connect(sandbox.socks).await;
    assert_eq!(socks_name(&mut tunnel, "127.0.0.1", at.port()).await, 0);
    tunnel.write_all(b"half").await.unwrap();
    let mut idle = Vec::new();
    for (address, start) in [
        (sandbox.http, &b"GET "[..]),
        (sandbox.socks, b"\x05"),
        (sandbox.dns_tcp, b"\x00"),
    ] {
        let mut stream = connect(address).await;
        stream.write_all(start).await.unwrap();
        idle.push(stream);
    }
    let Sandbox {
        egress,
        mut events,
        http,
        ..
    } = sandbox;
    soon("the end of all tasks", egress.shutdown()).await;
    // The flow that was cut is recorded, and then nobody is left who could send an event.
    let flow = soon("the flow", events.recv()).await;
    assert!(
        matches!(flow, Some(srt_egress::Event::Flow { .. })),
        "{flow:?}"
    );
    assert_eq!(soon("the end of events", events.recv()).await, None);
    for mut stream in idle {
        assert!(matches!(
            soon("the end", stream.read(&mut [0; 8])).await,
            Ok(0) | Err(_)
        ));
    }
    assert!(TcpStream::connect(http).await.is_err());
}

#[tokio::test]
async fn a_full_log_holds_refusals_up_and_loses_none() {
    let mut sandbox = Sandbox::with(
        policy(&[], &[]),
        Options {
            queue: 1,
            ..Options::default()
        },
    );
    let http = sandbox.http;
    let asking = tokio::spawn(async move {
        let mut client = connect(http).await;
        for _ in 0..50 {
            let reply = common::ask(&mut client, "GET http://evil.test/ HTTP/1.1\r\n\r\n").await;
            assert_eq!(reply.status, 403);
        }
    });
    // The first reply needs no reader, the third at the latest waits for one.
    let mut read = 0;
    while read < 50 {
        sandbox.denial("http").await;
        read += 1;
    }
    tokio::time::timeout(DEADLINE, asking)
        .await
        .unwrap()
        .unwrap();
    sandbox.no_event();
}

#[tokio::test]
async fn a_silent_tunnel_ends() {
    let at = reverser().await;
    let bounds = Bounds {
        idle_timeout: Duration::from_millis(100),
        ..Bounds::default()
    };
    let mut sandbox = Sandbox::with(
        policy(&[&at.to_string()], &[]),
        Options {
            bounds,
            ..Options::default()
        },
    );
    let mut client = connect(sandbox.socks).await;
    assert_eq!(socks_name(&mut client, "127.0.0.1", at.port()).await, 0);
    assert!(matches!(
        soon("the end of patience", client.read(&mut [0; 8])).await,
        Ok(0) | Err(_)
    ));
    sandbox.flow("socks5").await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_and_are_not_lost() {
    let at = reverser().await;
    let bounds = Bounds {
        connections: 1,
        ..Bounds::default()
    };
    let sandbox = Sandbox::with(
        policy(&[&at.to_string()], &[]),
        Options {
            bounds,
            ..Options::default()
        },
    );
    let mut first = connect(sandbox.socks).await;
    assert_eq!(socks_name(&mut first, "127.0.0.1", at.port()).await, 0);
    let mut second = connect(sandbox.socks).await;
    second.write_all(b"\x05\x01\x00").await.unwrap();
    let mut method = [0; 2];
    // Nothing can be waited for here: that nothing comes is the point, and too short a wait can only pass.
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_exact(&mut method));
    assert!(early.await.is_err(), "served beyond the bound");
    assert_eq!(say(&mut first, b"hello").await, b"olleh");
    drop(first);
    soon("a free place", second.read_exact(&mut method))
        .await
        .unwrap();
    assert_eq!(method, [5, 0]);
}

//! What real clients say, whole, in pieces, and spoilt.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::*;

/// What rustls says first to a server of this name (or address, which is not told).
fn rustls_hello(name: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut said = Vec::new();
    client.write_tls(&mut said).unwrap();
    said
}

fn named(name: &str) -> First {
    First::Hello(ClientHello {
        name: Some(name.as_bytes().to_vec()),
        encrypted: false,
    })
}

/// The handshake message without its record.
fn bare(hello: &[u8]) -> &[u8] {
    &hello[RECORD_HEAD..]
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 3, 1][..], &length, payload].concat()
}

/// The hello with further extensions after its own.
fn extended(hello: &[u8], more: &[u8]) -> Vec<u8> {
    let body = &bare(hello)[4..];
    let mut at = Reader(body);
    at.take(34).unwrap();
    at.counted8().unwrap();
    at.counted16().unwrap();
    at.counted8().unwrap();
    let fixed = body.len() - at.0.len();
    let extensions = [at.counted16().unwrap(), more].concat();
    let mut body = body[..fixed].to_vec();
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    record(22, &[&[1], &length[1..], &body].concat())
}

#[test]
fn rustls_is_read_and_agrees() {
    let hello = rustls_hello("api.test");
    assert_eq!(read(&hello), named("api.test"));
    assert_eq!(
        read(&rustls_hello("10.0.0.1")),
        First::Hello(ClientHello::default())
    );
    // What it says itself of what it said.
    let mut acceptor = rustls::server::Acceptor::default();
    acceptor.read_tls(&mut &hello[..]).unwrap();
    let accepted = acceptor.accept().unwrap().unwrap();
    assert_eq!(accepted.client_hello().server_name(), Some("api.test"));
}

/// Programs that are there; a machine without any of them still has rustls above.
#[test]
fn other_clients_are_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let port = at.rsplit_once(':').unwrap().1;
    let node = format!(
        "require('tls').connect({{host:'127.0.0.1',port:{port},servername:'api.test'}}).on('error',()=>{{}})"
    );
    let python = format!(
        "import socket,ssl; c=ssl._create_unverified_context(); \
         c.wrap_socket(socket.create_connection(('127.0.0.1',{port})),server_hostname='api.test')"
    );
    let to = format!("::127.0.0.1:{port}");
    let resumed = [
        "s_client",
        "-tls1_2",
        "-connect",
        &at,
        "-servername",
        "api.test",
    ];
    for (program, arguments, name) in [
        (
            "openssl",
            &["s_client", "-connect", &at, "-servername", "api.test"][..],
            Some("api.test"),
        ),
        ("openssl", &resumed[..], Some("api.test")),
        (
            "openssl",
            &["s_client", "-connect", &at, "-noservername"],
            None,
        ),
        (
            "curl",
            &[
                "-sk",
                "--max-time",
                "5",
                "--connect-to",
                &to,
                "https://api.test/",
            ],
            Some("api.test"),
        ),
        ("node", &["-e", &node], Some("api.test")),
        ("python3", &["-c", &python], Some("api.test")),
    ] {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else {
            continue;
        };
        listener.set_nonblocking(true).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let mut stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if std::time::Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{program} {arguments:?} did not connect: {error}"),
            }
        };
        stream.set_nonblocking(false).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut held = Vec::new();
        let first = loop {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "{program} ended before its ClientHello did");
            held.extend(&part[..read]);
            match super::read(&held) {
                First::More => {}
                other => break other,
            }
        };
        let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]);
        drop(stream);
        let _ = child.wait();
        let expected = First::Hello(ClientHello {
            name: name.map(|name| name.as_bytes().to_vec()),
            encrypted: false,
        });
        assert_eq!(first, expected, "{program} {arguments:?}");
    }
}

#[test]
fn however_it_is_cut_it_is_the_same() {
    let hello = rustls_hello("api.test");
    for end in 0..hello.len() {
        assert_eq!(read(&hello[..end]), First::More, "{end} bytes");
    }
    for size in [1, 2, 3, 4, 5, 7, 100, bare(&hello).len() - 1] {
        let cut: Vec<u8> = bare(&hello)
            .chunks(size)
            .flat_map(|part| record(22, part))
            .collect();
        assert_eq!(read(&cut), named("api.test"), "records of {size}");
        for end in 0..cut.len() {
            assert_eq!(read(&cut[..end]), First::More, "{end} of records of {size}");
        }
    }
    // Early data and the like may follow in records of their own.
    let followed = [hello, record(20, &[1])].concat();
    assert_eq!(read(&followed), named("api.test"));
}

#[test]
fn what_has_two_readings_has_none() {
    let hello = rustls_hello("api.test");
    let bare = bare(&hello);
    let name = |name: &str| {
        let name = name.as_bytes();
        let count = u16::try_from(name.len()).unwrap();
        let parts = [
            &0_u16.to_be_bytes()[..],
            &(count + 5).to_be_bytes(),
            &(count + 3).to_be_bytes(),
            &[0],
            &count.to_be_bytes(),
            name,
        ];
        parts.concat()
    };
    let unnamed = rustls_hello("10.0.0.1");
    // The tool itself works.
    assert_eq!(read(&extended(&unnamed, &name("b.test"))), named("b.test"));
    let mut short = hello.clone();
    // The name's own length, one less than it is: the list ends within an entry.
    let at = short
        .windows(8)
        .position(|part| part == b"api.test")
        .unwrap();
    short[at - 1] -= 1;
    let mut kind = hello.clone();
    kind[at - 3] = 1;
    let mut long = bare.to_vec();
    long[3] = long[3].wrapping_add(1);
    let two = [0, 0, 0, 12, 0, 10, 0, 0, 1, b'a', 0, 0, 1, b'b', 0, 0];
    for (what, bytes) in [
        ("a second name extension", extended(&hello, &name("b.test"))),
        (
            "any extension twice",
            extended(&hello, &[0xff, 0xaa, 0, 0, 0xff, 0xaa, 0, 0]),
        ),
        ("two names in one", extended(&unnamed, &two[..])),
        ("an empty list", extended(&unnamed, &[0, 0, 0, 2, 0, 0])),
        ("an empty name extension", extended(&unnamed, &[0, 0, 0, 0])),
        (
            "something after the list",
            extended(&unnamed, &[0, 0, 0, 7, 0, 4, 0, 0, 1, b'a', 9]),
        ),
        ("half an extension", extended(&hello, &[0xff, 0xaa, 0])),
        ("a name cut short", short),
        ("a name of another kind", kind),
        ("another message", record(22, &[&[2], &bare[1..]].concat())),
        ("two messages", record(22, &[bare, bare].concat())),
        ("one byte too many", record(22, &[bare, &[0]].concat())),
        (
            "a record in between",
            [record(22, &bare[..9]), record(21, &[1, 0])].concat(),
        ),
        (
            "the head of one",
            [record(22, &bare[..9]), vec![23]].concat(),
        ),
        (
            "an empty record",
            [record(22, &bare[..9]), record(22, &[])].concat(),
        ),
        ("a record too long", vec![22, 3, 1, 0x40, 1]),
        ("a message too long", record(22, &[1, 1, 0, 0, 0])),
        ("nothing at all", record(22, &[1, 0, 0, 0])),
        (
            "garbage",
            record(22, &[&[1, 0, 0, 40][..], &[0xa5; 40]].concat()),
        ),
    ] {
        assert!(
            matches!(read(&bytes), First::Malformed(_)),
            "{what}: {:?}",
            read(&bytes)
        );
    }
    // A message that is announced as longer than it is waits for its end, for as long as there is room.
    assert_eq!(read(&record(22, &long)), First::More);
    let endless: Vec<u8> = std::iter::repeat_n(record(22, &[1, 0, 63, 255]), MOST / 9 + 1)
        .flatten()
        .collect();
    assert!(matches!(read(&endless), First::Malformed(_)));
}

#[test]
fn other_protocols_are_none_of_its_business() {
    for first in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"EHLO me\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"*1\r\n$4\r\nPING\r\n",
        b"\x80\x2e\x02\x03\x01",
        b"\xff\xff\xff",
    ] {
        assert_eq!(read(first), First::Other, "{first:?}");
    }
    assert_eq!(read(b""), First::More);
    assert_eq!(read(b"\x80"), First::More);
    // SSL 2's form, which OpenSSL's servers still take, names nobody.
    let old = b"\x80\x2e\x01\x03\x01\x00\x15";
    assert_eq!(read(old), First::Hello(ClientHello::default()));
    for end in 0..5 {
        assert_eq!(read(&old[..end]), First::More, "{end} bytes");
    }
}

#[test]
fn nothing_of_tls_comes_before_the_hello() {
    let hello = rustls_hello("elsewhere.test");
    for (kind, payload) in [
        (20, &[1][..]),
        (21, &[1, 90]),
        (23, &[0; 9]),
        (24, &[1, 0, 0]),
    ] {
        let begun = [record(kind, payload), hello.clone()].concat();
        assert!(matches!(read(&begun), First::Malformed(_)), "{kind}");
        assert_eq!(read(&begun[..2]), First::More);
    }
    // Lengths and words of other protocols.
    for other in [
        &b"\x15\x03\x40\x00"[..],
        b"\x14\x00\x00\x00",
        b"\x18\x04\x01",
    ] {
        assert_eq!(read(other), First::Other, "{other:?}");
    }
}

#[test]
fn encryption_is_seen_and_the_outer_name_with_it() {
    for kind in [0xfe0d_u16, 0xffce] {
        let [high, low] = kind.to_be_bytes();
        let hidden = extended(&rustls_hello("api.test"), &[high, low, 0, 2, 0, 1]);
        assert_eq!(
            read(&hidden),
            First::Hello(ClientHello {
                name: Some(b"api.test".to_vec()),
                encrypted: true,
            })
        );
    }
}

//! The beginning of a tunnel: however it is cut it is the same, and where rustls finds a server's name, this reader
//! finds the same one or refuses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use srt_egress::fuzzing::{Hello, hello};

fuzz_target!(|data: &[u8]| {
    let [mode, cut, size, rest @ ..] = data else {
        return;
    };
    // With lengths of our own the fuzzer need not find them.
    let bytes = match mode % 4 {
        0 => rest.to_vec(),
        1 => records(&message(rest), usize::from(*size)),
        2 => records(&message(&body(rest)), usize::from(*size)),
        _ => records(rest, usize::from(*size)),
    };
    let whole = hello(&bytes);
    let cut = bytes.len() * usize::from(*cut) / 256;
    let part = hello(&bytes[..cut]);
    assert!(
        part == Hello::More || part == whole,
        "{cut}: {part:?}, {whole:?}"
    );
    if bytes.len() >= 16 * 1024 {
        assert_ne!(whole, Hello::More, "it waits for more than it takes");
    }

    let mut acceptor = rustls::server::Acceptor::default();
    if acceptor.read_tls(&mut &bytes[..]).is_err() {
        return;
    }
    if let Ok(Some(accepted)) = acceptor.accept() {
        let theirs = accepted.client_hello().server_name().map(str::to_owned);
        match (whole, theirs) {
            (Hello::Malformed, _) => {}
            (Hello::Whole(Some(ours), _), Some(theirs)) => {
                assert!(
                    ours.eq_ignore_ascii_case(theirs.as_bytes()),
                    "{ours:?}, {theirs:?}"
                );
            }
            // rustls passes over names that are none.
            (Hello::Whole(_, _), None) => {}
            (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
        }
    }
});

/// A handshake message of records of this size; 0 is one record.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let size = if size == 0 { 1 << 14 } else { size };
    message
        .chunks(size)
        .flat_map(|part| {
            let length = (part.len() as u16).to_be_bytes();
            [&[22, 3, 1][..], &length, part].concat()
        })
        .collect()
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[1], &length[1..], body].concat()
}

/// A hello that rustls accepts as far as its extensions go, each of them a kind, a length and so many bytes.
fn body(extensions: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    let mut rest = extensions;
    while let [kind, length, data @ ..] = rest {
        let data = &data[..data.len().min(usize::from(*length))];
        // Those that a server needs, and a few others.
        let kinds = [0_u16, 10, 13, 43, 51, 16, 0xfe0d, 0xffce, 65281, 23];
        list.extend(kinds[usize::from(*kind) % kinds.len()].to_be_bytes());
        list.extend((data.len() as u16).to_be_bytes());
        list.extend(data);
        rest = &rest[2 + data.len()..];
    }
    let length = (list.len() as u16).to_be_bytes();
    let fixed = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &[0, 2, 0x13, 1],
        &[1, 0],
        &length,
    ];
    [&fixed.concat()[..], &list].concat()
}

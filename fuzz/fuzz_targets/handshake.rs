//! Bytes and descriptors as a peer of the handshake may send them, read by each end of it: it ends, keeps no
//! descriptor, and what it read is the same when it is sent on.
#![no_main]

use std::fs::File;
use std::os::fd::AsRawFd as _;

use libfuzzer_sys::fuzz_target;
use srt_sandbox::fuzzing::{End, Sent, handshake};

/// What fits into a socket's buffer: nobody reads while it is written.
const MOST: usize = 64 * 1024;

fuzz_target!(|data: &[u8]| {
    let [which, pieces, descriptors, framed, rest @ ..] = data else {
        return;
    };
    let end = match which % 3 {
        0 => End::Daemon,
        1 => End::Outside,
        _ => End::Inside,
    };
    let rest = &rest[..rest.len().min(MOST)];
    // With lengths of our own the fuzzer need not find them: each line is a message.
    let bytes: Vec<u8> = match framed % 2 {
        0 => rest.to_vec(),
        _ => rest
            .split(|byte| *byte == b'\n')
            .flat_map(|line| {
                let length = (line.len() as u32).to_le_bytes();
                [&length[..], line].concat()
            })
            .collect(),
    };
    let size = usize::from(*pieces).max(1) * 8;
    // No more pieces than a socket holds: each costs it more than its bytes (unix(7), SO_SNDBUF).
    let size = match bytes.len() / size > 64 {
        true => bytes.len(),
        false if *pieces < 4 && bytes.len() < 64 => usize::from(*pieces) + 1,
        false => size,
    };
    let sent = Sent {
        pieces: bytes
            .chunks(size.max(1))
            .enumerate()
            .map(|(place, piece)| match descriptors >> (place % 8) & 1 {
                1 => (piece, 1 + place % 3),
                _ => (piece, 0),
            })
            .collect(),
    };
    let before = lowest_free();
    let given: usize = sent.pieces.iter().map(|(_, count)| count).sum();
    let got = handshake(end, &sent).expect("sockets");
    assert!(got.descriptors <= given, "{got:?}");
    assert_eq!(lowest_free(), before, "a descriptor is left open");
});

/// The number that the next descriptor would have.
fn lowest_free() -> i32 {
    File::open("/dev/null").expect("/dev/null").as_raw_fd()
}

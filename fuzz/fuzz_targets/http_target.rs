//! Bytes as a client of the HTTP proxy may send them: every request that comes out of hyper behind the real reader is
//! the one that a second reading of the same bytes finds at that place, a reading that shares nothing with it and
//! takes no liberties; and what names two targets, or ends in two places, does not come out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use srt_egress::http_fuzzing::{Seen, requests};
use srt_fuzz::http::request;

/// Bytes of one head.
const MOST_HEAD: usize = 2048;

fuzz_target!(|data: &[u8]| {
    let [size, bytes @ ..] = data else { return };
    // Most of the time in one piece: a head that is cut is the same head.
    let size = if *size < 128 {
        bytes.len()
    } else {
        usize::from(*size) - 127
    };
    let outcome = requests(bytes, size, MOST_HEAD);
    let mut rest = bytes;
    for seen in &outcome.seen {
        let Some(body) = &seen.body else {
            // The last one, cut off or flawed in its body.
            break;
        };
        let (again, after) =
            read(rest).unwrap_or_else(|| panic!("{seen:?} of {}", rest.escape_ascii()));
        assert_eq!(
            (&again.method, &again.target, &again.path),
            (&seen.method, &seen.target, &seen.path)
        );
        assert_eq!(again.body.as_ref(), Some(body), "{}", rest.escape_ascii());
        rest = after;
    }
    // However it is cut, the same comes out.
    let again = requests(bytes, 1 + size / 3, MOST_HEAD);
    assert_eq!(again.seen, outcome.seen, "{}", bytes.escape_ascii());
});

/// One request from the front of `bytes`, and what follows it.
fn read(bytes: &[u8]) -> Option<(Seen, &[u8])> {
    let (request, rest) = request(bytes)?;
    // A target may be UTF-8, whatever the headers are.
    let target = str::from_utf8(&request.target).expect("a target in UTF-8");
    let (named, path) = aim(&request.method, target);
    let seen = Seen {
        method: request.method,
        target: Some(named),
        path,
        body: Some(request.body),
    };
    Some((seen, rest))
}

/// Target and path, by the letters of RFC 9112, section 3.2.
fn aim(method: &str, target: &str) -> ((String, u16), String) {
    let (authority, path, usual) = match method {
        "CONNECT" => (target, String::new(), None),
        _ => {
            let (scheme, rest) = target
                .split_once("://")
                .unwrap_or_else(|| panic!("{target:?}"));
            assert!(scheme.eq_ignore_ascii_case("http"), "{target:?}");
            let at = rest.find(['/', '?']).unwrap_or(rest.len());
            let path = match &rest[at..] {
                "" => "/".to_owned(),
                query if query.starts_with('?') => format!("/{query}"),
                path => path.to_owned(),
            };
            (&rest[..at], path, Some(80))
        }
    };
    assert!(
        !target.contains('#') && !authority.contains(['@', '%', '\\', '/', '?']),
        "{target:?}"
    );
    let split = match authority.rfind(']') {
        Some(at) => authority[at..].find(':').map(|colon| at + colon),
        None => authority.find(':'),
    };
    let (host, port) = match split {
        Some(colon) => {
            let port: u16 = authority[colon + 1..]
                .parse()
                .unwrap_or_else(|_| panic!("{target:?}"));
            (&authority[..colon], port)
        }
        None => (authority, usual.unwrap_or_else(|| panic!("{target:?}"))),
    };
    assert!(port > 0 && !host.is_empty(), "{target:?}");
    ((host.to_owned(), port), path)
}

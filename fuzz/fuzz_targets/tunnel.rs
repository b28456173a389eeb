//! Bytes as a client may send them through a tunnel in plain HTTP under `network.requireHostMatch`: whatever passes is, to a
//! second reading that shares nothing with the first and takes no liberties, requests for the permitted host alone; and
//! however it is cut, the same passes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use srt_egress::fuzzing::{End, tunnel};
use srt_fuzz::http::request;
use srt_fuzz::{facts, source};
use srt_policy::{Decision, Host, NetworkPolicy, Permit, Target};

static POLICY: LazyLock<NetworkPolicy> = LazyLock::new(|| {
    let text = r#"{ "network": { "allowedDomains": ["a.test:80"], "requireHostMatch": true } }"#;
    let compiled = srt_policy::compile(Some(&source(text)), &facts(false));
    compiled.expect("a policy").policy.network
});

static PERMIT: LazyLock<Permit> = LazyLock::new(|| {
    let target = Target {
        host: Host::Name("a.test".to_owned()),
        port: 80,
    };
    match POLICY.decide(&target) {
        Decision::Allow(permit) => permit,
        other => panic!("{other:?}"),
    }
});

fuzz_target!(|data: &[u8]| {
    let [size, bytes @ ..] = data else { return };
    let switches = size % 2 == 1;
    let through = |size| tunnel(&PERMIT, POLICY.requests(), bytes, size, switches);
    let whole = through(bytes.len());
    assert!(bytes.starts_with(&whole.bytes));
    let pieces = through(1 + usize::from(*size) / 2);
    // A flaw in a trailer is told when the trailer is whole, or in one piece when it is seen; nothing passes before either.
    let held = |end| end != End::Anything;
    assert_eq!(
        held(pieces.end),
        held(whole.end),
        "{}",
        bytes.escape_ascii()
    );
    // In one piece a refusal may come before the body in front of it has passed.
    if whole.end == pieces.end && whole.end != End::Refused {
        assert_eq!(pieces.bytes, whole.bytes, "{}", bytes.escape_ascii());
    }
    for passed in [&whole.bytes, &pieces.bytes] {
        let mut rest = &passed[..];
        while let Some(after) = read(rest) {
            rest = after;
        }
    }
});

/// One request from the front of what passed, which must be for the host; what follows it. `None` where it is cut off.
fn read(bytes: &[u8]) -> Option<&[u8]> {
    let (request, rest) = request(bytes)?;
    let head = &request.head;
    let [host] = &request.hosts[..] else {
        panic!("{head:?}")
    };
    is_the_one(host, head);
    let target = String::from_utf8_lossy(&request.target);
    if request.method == "CONNECT" {
        is_the_one(&target, head);
    } else if let Some((_, after)) = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))
    {
        is_the_one(after.split(['/', '?']).next().unwrap_or_default(), head);
    }
    Some(rest)
}

fn is_the_one(named: &str, head: &str) {
    let named = named.to_ascii_lowercase();
    let host = named.strip_suffix(":80").unwrap_or(&named);
    assert!(matches!(host, "a.test" | "a.test."), "{head:?}");
}

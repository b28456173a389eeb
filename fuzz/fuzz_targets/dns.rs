//! DNS queries: every reply is one, short, to this very question; an address is given to names that policy could allow
//! and to no other, and leads back to the name.
#![no_main]

use std::sync::LazyLock;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use libfuzzer_sys::fuzz_target;
use srt_egress::fuzzing::Dns;
use srt_fuzz::{facts, source};
use srt_policy::{Host, NetworkPolicy};

static POLICY: LazyLock<NetworkPolicy> = LazyLock::new(|| {
    let text = r#"{
        "network": {
            "allowedDomains": ["a.test", "*.b.test", "c.test:1", "1.2.3.4"],
            "deniedDomains": ["no.b.test", "c.test:2"]
        },
        "filesystem": {"denyRead": [], "allowWrite": [], "denyWrite": []}
    }"#;
    let compiled = srt_policy::compile(Some(&source(text)), &facts(false));
    compiled.expect("a policy").policy.network
});

fuzz_target!(|data: &[u8]| {
    let [mode, rest @ ..] = data else {
        return;
    };
    let dns = Dns::new(POLICY.clone(), 2);
    // As it comes; or a name and a kind, so that the fuzzer need not find the form; or one query after the other.
    let queries: Vec<Vec<u8>> = match mode % 3 {
        0 => vec![rest.to_vec()],
        1 => rest
            .split(|byte| *byte == b'\n')
            .filter_map(query)
            .collect(),
        _ => rest.chunks(64).map(<[u8]>::to_vec).collect(),
    };
    for query in queries {
        let (reply, denial) = dns.answer(&query);
        let Some(reply) = reply else {
            assert_eq!(denial, None);
            continue;
        };
        assert!(reply.len() <= 512 + query.len(), "{} bytes", reply.len());
        assert_eq!(reply[..2], query[..2], "another's id");
        let reply = Message::from_vec(&reply).expect("a reply");
        assert_eq!(reply.metadata.message_type, MessageType::Response);
        assert!(reply.answers.len() <= 1 && reply.queries.len() <= 1);
        let Some(answer) = reply.answers.first() else {
            continue;
        };
        assert_eq!(denial, None, "refused and answered");
        let [question] = &reply.queries[..] else {
            panic!("an answer to no question");
        };
        let asked = question.name.to_ascii().to_ascii_lowercase();
        let asked = asked.trim_end_matches('.');
        match &answer.data {
            RData::A(a) if a.0.is_loopback() => assert!(asked.ends_with("localhost")),
            RData::AAAA(aaaa) => assert!(aaaa.0.is_loopback() && asked.ends_with("localhost")),
            RData::A(a) => {
                let name = dns.name(a.0.into()).expect("a name");
                let host = Host::parse(asked).expect("a host");
                assert_eq!(Host::Name(name), host);
                assert!(POLICY.decide_lookup(&host).is_ok(), "{host} is not allowed");
            }
            RData::PTR(name) => {
                assert!(
                    dns.name("198.18.0.1".parse().expect("an address"))
                        .is_some(),
                    "{name:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
});

fn query(line: &[u8]) -> Option<Vec<u8>> {
    let (kind, name) = line.split_first()?;
    let kinds = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::PTR,
        RecordType::HTTPS,
        RecordType::ANY,
        RecordType::TXT,
    ];
    let name = Name::from_ascii(std::str::from_utf8(name).ok()?).ok()?;
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(name, kinds[usize::from(*kind) % kinds.len()]));
    query.to_vec().ok()
}

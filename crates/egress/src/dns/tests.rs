//! Answers to queries, as a table. The parts that need a policy with rules are in `tests/`.

use super::*;

fn ask(name: &str, kind: RecordType) -> (Message, Option<Denial>) {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let answer = answer(
        &query.to_vec().unwrap(),
        &NetworkPolicy::default(),
        &SyntheticNames::new(8),
    );
    (
        Message::from_vec(&answer.reply.unwrap()).unwrap(),
        answer.denial,
    )
}

#[test]
fn without_rules_nothing_exists_and_only_real_names_are_denials() {
    for (name, kind, code, denied) in [
        ("example.com.", RecordType::A, ResponseCode::NXDomain, true),
        (
            "example.com.",
            RecordType::HTTPS,
            ResponseCode::NXDomain,
            true,
        ),
        ("10.0.0.1.", RecordType::A, ResponseCode::NXDomain, true),
        (
            "a_b.example.com.",
            RecordType::A,
            ResponseCode::NXDomain,
            true,
        ),
        (
            "1.0.0.127.in-addr.arpa.",
            RecordType::PTR,
            ResponseCode::NXDomain,
            false,
        ),
        (
            "example.com.",
            RecordType::PTR,
            ResponseCode::NXDomain,
            false,
        ),
        (".", RecordType::NS, ResponseCode::NXDomain, false),
        ("LOCALHOST.", RecordType::A, ResponseCode::NoError, false),
        (
            "x.localhost.",
            RecordType::AAAA,
            ResponseCode::NoError,
            false,
        ),
        ("localhost.", RecordType::MX, ResponseCode::NoError, false),
    ] {
        let (reply, denial) = ask(name, kind);
        assert_eq!(reply.metadata.response_code, code, "{name} {kind}");
        assert_eq!(denial.is_some(), denied, "{name} {kind}: {denial:?}");
        assert_eq!(reply.metadata.id, 7);
        assert!(reply.metadata.recursion_desired && reply.metadata.recursion_available);
        assert_eq!(reply.queries.len(), 1);
    }
}

#[test]
fn localhost_is_loopback() {
    let (reply, _) = ask("localhost.", RecordType::A);
    assert_eq!(reply.answers[0].data, RData::A(A(Ipv4Addr::LOCALHOST)));
    let (reply, _) = ask("localhost.", RecordType::AAAA);
    assert_eq!(
        reply.answers[0].data,
        RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))
    );
}

#[test]
fn what_is_not_one_query_is_refused_or_dropped() {
    let none = NetworkPolicy::default();
    let names = SyntheticNames::new(8);
    let code = |bytes: &[u8]| {
        let answer = answer(bytes, &none, &names);
        assert_eq!(answer.denial, None);
        answer
            .reply
            .map(|reply| Message::from_vec(&reply).unwrap().metadata.response_code)
    };
    assert_eq!(code(b""), None);
    assert_eq!(code(b"\x00\x07\x01\x00\x00\x01"), None);
    // A header that promises a question which is not there.
    assert_eq!(
        code(b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"),
        Some(ResponseCode::FormErr)
    );
    // The same as a response: answering one could start an endless exchange.
    assert_eq!(
        code(b"\x00\x07\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00"),
        None
    );
    // No question.
    assert_eq!(
        code(b"\x00\x07\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
        Some(ResponseCode::FormErr)
    );
    // A compression pointer to itself.
    assert_eq!(
        code(b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"),
        Some(ResponseCode::FormErr)
    );
    let update = Message::new(7, MessageType::Query, OpCode::Update)
        .to_vec()
        .unwrap();
    assert_eq!(code(&update), Some(ResponseCode::NotImp));
    let response = Message::response(7, OpCode::Query).to_vec().unwrap();
    assert_eq!(code(&response), None);
}

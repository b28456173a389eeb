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

/// A resolver that hears nothing of how long "nothing" lasts asks the next server, or tries a search suffix.
#[test]
fn nothing_has_authority_and_an_end() {
    for (name, kind) in [
        ("example.com.", RecordType::A),
        ("localhost.", RecordType::MX),
        ("1.0.0.127.in-addr.arpa.", RecordType::PTR),
    ] {
        let (reply, _) = ask(name, kind);
        assert!(reply.answers.is_empty());
        let [authority] = &reply.authorities[..] else {
            panic!("{name} {kind}: {:?}", reply.authorities);
        };
        let RData::SOA(soa) = &authority.data else {
            panic!("{authority:?}");
        };
        assert_eq!((authority.ttl, soa.minimum), (NOTHING_TTL, NOTHING_TTL));
    }
    let (reply, _) = ask("localhost.", RecordType::A);
    assert!(reply.authorities.is_empty());
}

#[test]
fn an_address_that_stands_for_a_name_is_told_by_it() {
    let names = SyntheticNames::new(8);
    let address = names.address("api.test").unwrap();
    let [a, b, c, d] = address.octets();
    let none = NetworkPolicy::default();
    for (asked, expected) in [
        (format!("{d}.{c}.{b}.{a}.in-addr.arpa."), Some("api.test.")),
        (format!("{d}.{c}.{b}.{a}.IN-ADDR.ARPA."), Some("api.test.")),
        (format!("2.{c}.{b}.{a}.in-addr.arpa."), None),
        (format!("1.{d}.{c}.{b}.{a}.in-addr.arpa."), None),
        (format!("{c}.{b}.{a}.in-addr.arpa."), None),
        (format!("256.{c}.{b}.{a}.in-addr.arpa."), None),
    ] {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(
            Name::from_ascii(&asked).unwrap(),
            RecordType::PTR,
        ));
        let answer = answer(&query.to_vec().unwrap(), &none, &names);
        assert_eq!(answer.denial, None, "{asked}");
        let reply = Message::from_vec(&answer.reply.unwrap()).unwrap();
        match expected {
            Some(name) => assert_eq!(
                reply.answers[0].data,
                RData::PTR(PTR(Name::from_ascii(name).unwrap()))
            ),
            None => assert_eq!(
                reply.metadata.response_code,
                ResponseCode::NXDomain,
                "{asked}"
            ),
        }
    }
}

#[test]
fn the_question_comes_back_letter_by_letter_and_edns_as_it_is_spoken() {
    let none = NetworkPolicy::default();
    let names = SyntheticNames::new(8);
    for (version, code) in [
        (None, ResponseCode::NXDomain),
        (Some(0), ResponseCode::NXDomain),
        (Some(1), ResponseCode::BADVERS),
    ] {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(
            Name::from_ascii("eXaMpLe.CoM.").unwrap(),
            RecordType::A,
        ));
        query.edns = version.map(|version| {
            let mut edns = Edns::new();
            edns.set_version(version);
            edns
        });
        let asked = query.to_vec().unwrap();
        let reply = answer(&asked, &none, &names).reply.unwrap();
        if code == ResponseCode::NXDomain {
            assert_eq!(reply[12..29], asked[12..29]);
        }
        let reply = Message::from_vec(&reply).unwrap();
        // BADSIG has the same number.
        let found = u16::from(reply.metadata.response_code);
        assert_eq!(found, u16::from(code), "{version:?}");
        assert_eq!(reply.edns.map(|edns| edns.version()), version.map(|_| 0));
    }
}

/// Nothing is ever too long for a datagram of the oldest kind, so nothing is ever cut (TC).
#[test]
fn the_longest_answer_fits_in_512_bytes() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}.", "a".repeat(61));
    let names = SyntheticNames::new(8);
    let address = names.address(longest.trim_end_matches('.')).unwrap();
    let [a, b, c, d] = address.octets();
    for (name, kind) in [
        (longest, RecordType::A),
        (format!("{d}.{c}.{b}.{a}.in-addr.arpa."), RecordType::PTR),
    ] {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(&name).unwrap(), kind));
        query.edns = Some(Edns::new());
        let reply = answer(&query.to_vec().unwrap(), &NetworkPolicy::default(), &names).reply;
        let reply = reply.unwrap();
        assert!(reply.len() <= 512, "{} bytes", reply.len());
        assert!(reply.len() > 250, "not the longest: {} bytes", reply.len());
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

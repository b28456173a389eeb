//! DNS: a name that policy could allow gets a synthetic address, every other name does not exist.
//!
//! A query is never forwarded, so a lookup is no way out, and whoever then connects to the synthetic address has
//! told us the name.
//!
//! There are no synthetic IPv6 addresses: AAAA has no data. A sandbox has every IPv4 address, and a client that can only
//! speak IPv6 has never been met, whereas one that is given both tries IPv6 first and would know no more by it. Answers
//! about nothing carry a SOA record (RFC 2308), without which some stubs take them for a server that is broken and ask
//! the next, or the same with a search suffix.

pub(crate) mod tcp;

pub(crate) mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use srt_policy::{Denial, Host, NetworkPolicy};

use crate::refusal::unreadable;
use crate::synthetic::SyntheticNames;

/// The longest query taken; real ones are under 300 bytes, EDNS options included.
pub(crate) const MOST_QUERY: usize = 4096;

/// Seconds a client may keep an answer: the mapping never changes.
const TTL: u32 = 60;

/// Seconds a client may keep that there is nothing: a person may allow the name at any moment.
const NOTHING_TTL: u32 = 5;

/// What a query leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The reply; none for what is not a query at all.
    pub(crate) reply: Option<Vec<u8>>,
    /// The refusal to record.
    pub(crate) denial: Option<Denial>,
}

/// Answers one query.
pub(crate) fn answer(query: &[u8], policy: &NetworkPolicy, names: &SyntheticNames) -> Answer {
    let Ok(message) = Message::from_vec(query) else {
        return Answer {
            reply: malformed(query),
            denial: None,
        };
    };
    if message.metadata.message_type != MessageType::Query {
        return Answer::default();
    }
    let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    if message.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        reply.edns = Some(edns);
    }
    let mut denial = None;
    reply.metadata.response_code = match message.queries.as_slice() {
        _ if message.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
        // RFC 6891, section 6.1.3.
        _ if message
            .edns
            .as_ref()
            .is_some_and(|edns| edns.version() != 0) =>
        {
            ResponseCode::BADVERS
        }
        [question] => {
            let (code, data, refused) = look_up(question, policy, names);
            // As it was asked, letter by letter: a resolver that mixes upper and lower case knows its answer by it.
            reply.add_query(question.clone());
            match data {
                Some(data) => {
                    reply.add_answer(Record::from_rdata(question.name.clone(), TTL, data));
                }
                None if matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) => {
                    reply.add_authority(nothing());
                }
                None => {}
            }
            denial = refused;
            code
        }
        _ => ResponseCode::FormErr,
    };
    if let Some(edns) = &mut reply.edns {
        edns.set_rcode_high(reply.metadata.response_code.high());
    }
    Answer {
        reply: reply.to_vec().ok(),
        denial,
    }
}

type Found = (ResponseCode, Option<RData>, Option<Denial>);

fn look_up(question: &Query, policy: &NetworkPolicy, names: &SyntheticNames) -> Found {
    const NO_DATA: Found = (ResponseCode::NoError, None, None);
    const NO_NAME: Found = (ResponseCode::NXDomain, None, None);
    let kind = question.query_type;
    if question.query_class != DNSClass::IN {
        return (ResponseCode::Refused, None, None);
    }
    if kind == RecordType::PTR
        && let Some(name) = reverse(&question.name).and_then(|address| names.name(address))
        && let Ok(name) = Name::from_ascii(format!("{name}."))
    {
        return (ResponseCode::NoError, Some(RData::PTR(PTR(name))), None);
    }
    if kind == RecordType::PTR || quiet(&question.name) {
        return NO_NAME;
    }
    let name = text(&question.name);
    if name == "localhost" || name.ends_with(".localhost") {
        return match kind {
            RecordType::A | RecordType::ANY => (
                ResponseCode::NoError,
                Some(RData::A(A(Ipv4Addr::LOCALHOST))),
                None,
            ),
            RecordType::AAAA => (
                ResponseCode::NoError,
                Some(RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))),
                None,
            ),
            _ => NO_DATA,
        };
    }
    let host = match Host::parse(&name) {
        // An address in a query is just a name, and one that no rule can allow.
        Ok(Host::Ip(_)) => Host::Name(name),
        Ok(host) => host,
        Err(error) => return (ResponseCode::NXDomain, None, Some(unreadable(&error))),
    };
    if let Err(denial) = policy.decide_lookup(&host) {
        return (ResponseCode::NXDomain, None, Some(denial));
    }
    let Host::Name(name) = &host else {
        return NO_NAME;
    };
    match kind {
        RecordType::A | RecordType::ANY => match names.address(name) {
            Some(address) => (ResponseCode::NoError, Some(RData::A(A(address))), None),
            None => (ResponseCode::ServFail, None, None),
        },
        _ => NO_DATA,
    }
}

/// The address that a name below `in-addr.arpa` stands for (RFC 1035, section 3.5).
fn reverse(name: &Name) -> Option<IpAddr> {
    let text = text(name);
    let mut octets = [0; 4];
    let mut labels = text.strip_suffix(".in-addr.arpa")?.split('.');
    for octet in octets.iter_mut().rev() {
        *octet = labels.next()?.parse().ok()?;
    }
    labels.next().is_none().then(|| octets.into())
}

/// Authority over nothing: for how long (RFC 2308, section 5).
fn nothing() -> Record {
    let root = Name::root();
    let soa = SOA::new(
        root.clone(),
        root.clone(),
        1,
        3600,
        600,
        86_400,
        NOTHING_TTL,
    );
    Record::from_rdata(root, NOTHING_TTL, RData::SOA(soa))
}

/// Names that programs ask for on their own account: nobody was refused anything.
fn quiet(name: &Name) -> bool {
    name.is_root()
        || name
            .iter()
            .next_back()
            .is_some_and(|last| last.eq_ignore_ascii_case(b"arpa"))
}

/// Lower case, without the trailing dot.
fn text(name: &Name) -> String {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}

/// "Format error" for what at least has a query's header.
fn malformed(query: &[u8]) -> Option<Vec<u8>> {
    let header = query.first_chunk::<12>()?;
    let is_response = header[2] & 0x80 != 0;
    if is_response {
        return None;
    }
    let id = u16::from_be_bytes([header[0], header[1]]);
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
        .to_vec()
        .ok()
}

#[cfg(test)]
mod tests;

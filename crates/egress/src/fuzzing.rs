//! What fuzz targets reach of what is otherwise this crate's alone. `cargo fuzz` builds it and nobody else.

use std::net::IpAddr;

use srt_policy::{Denial, NetworkPolicy, Permit, RequestRules};

use crate::dns;
use crate::screen::clienthello::{self, First};
use crate::screen::requests::{Requests, Step};
use crate::screen::{self, Judged};
use crate::socks::wire;
use crate::synthetic::SyntheticNames;

/// What the first bytes of a tunnel are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// Not yet clear.
    More,
    /// No TLS.
    Other,
    /// A whole ClientHello: the name in it, and whether it carries an encrypted one.
    Whole(Option<Vec<u8>>, bool),
    /// TLS that cannot be read in one way only.
    Malformed,
}

/// Reads the beginning of a tunnel.
pub fn hello(bytes: &[u8]) -> Hello {
    match clienthello::read(bytes) {
        First::More => Hello::More,
        First::Other => Hello::Other,
        First::Hello(hello) => Hello::Whole(hello.name, hello.encrypted),
        First::Malformed(_) => Hello::Malformed,
    }
}

/// A message of SOCKS5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socks {
    /// More bytes are needed.
    More,
    /// It is none.
    Malformed,
    /// A greeting: whether the method is offered, and its length.
    Greeting(bool, usize),
    /// User name, password, and its length.
    Credentials(Vec<u8>, Vec<u8>, usize),
    /// Where to, and its length.
    Request(Result<IpAddr, Vec<u8>>, u16, usize),
}

/// Reads a greeting that may offer `method`, credentials, or a request (`stage` 0, 1, 2).
pub fn socks(stage: u8, method: u8, bytes: &[u8]) -> Socks {
    let read = match stage % 3 {
        0 => wire::greeting(bytes, method)
            .map(|read| read.map(|(offered, used)| Socks::Greeting(offered, used))),
        1 => wire::credentials(bytes).map(|read| {
            read.map(|(user, password, used)| {
                Socks::Credentials(user.to_vec(), password.to_vec(), used)
            })
        }),
        _ => wire::request(bytes).map(|read| {
            read.map(|(wanted, port, used)| {
                let wanted = match wanted {
                    wire::Wanted::Ip(ip) => Ok(ip),
                    wire::Wanted::Name(name) => Err(name.to_vec()),
                };
                Socks::Request(wanted, port, used)
            })
        }),
    };
    match read {
        Ok(Some(message)) => message,
        Ok(None) => Socks::More,
        Err(_) => Socks::Malformed,
    }
}

/// The most bytes that a message of SOCKS5 may take.
pub const MOST_SOCKS: usize = wire::MOST;

/// What a tunnel in plain HTTP lets pass, under `network.requireHostMatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// What the server gets.
    pub bytes: Vec<u8>,
    /// How it ends there.
    pub end: End,
}

/// How far a tunnel came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With what was sent.
    Open,
    /// It is no HTTP, or no longer: all passes from here on.
    Anything,
    /// It is closed.
    Refused,
}

/// A client's bytes, in pieces of `size`, through a tunnel that was permitted for a target. The server takes an offer to
/// switch protocols where `switches`.
pub fn tunnel(
    permit: &Permit,
    rules: &RequestRules,
    bytes: &[u8],
    size: usize,
    switches: bool,
) -> Passed {
    let mut passed = Passed {
        bytes: Vec::new(),
        end: End::Open,
    };
    let mut requests = None;
    let mut held = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        held.extend_from_slice(piece);
        let requests = match &mut requests {
            Some(requests) => requests,
            none => match screen::judge(&held, permit, rules) {
                Judged::More => continue,
                Judged::Pass => {
                    passed.end = End::Anything;
                    return passed;
                }
                Judged::Refused(_) => {
                    passed.end = End::Refused;
                    return passed;
                }
                Judged::Request(_) => none.insert(Requests::new()),
            },
        };
        loop {
            match requests.step(&held, permit) {
                Ok(Step::Pass(count)) => passed.bytes.extend(held.drain(..count)),
                Ok(Step::More) => break,
                Ok(Step::Switch) if switches => {
                    passed.end = End::Anything;
                    return passed;
                }
                Ok(Step::Switch) => requests.stays(),
                Err(_) => {
                    passed.end = End::Refused;
                    return passed;
                }
            }
        }
    }
    passed
}

/// One sandbox's DNS.
#[derive(Debug)]
pub struct Dns {
    policy: NetworkPolicy,
    names: SyntheticNames,
}

impl Dns {
    /// One that knows what the policy could allow, up to so many names.
    pub fn new(policy: NetworkPolicy, most: usize) -> Self {
        Self {
            policy,
            names: SyntheticNames::new(most),
        }
    }

    /// The reply to a query, and the refusal.
    pub fn answer(&self, query: &[u8]) -> (Option<Vec<u8>>, Option<Denial>) {
        let answer = dns::answer(query, &self.policy, &self.names);
        (answer.reply, answer.denial)
    }

    /// The name that an address stands for.
    pub fn name(&self, address: IpAddr) -> Option<String> {
        self.names.name(address).map(|name| (*name).to_owned())
    }
}

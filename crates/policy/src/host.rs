//! Hosts in the one form in which they are compared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host as asked for, in the one form in which it is compared: a lower-case IDNA-ASCII name without a
/// trailing dot, or an address (IPv4 in decimal, octal, hex or short form and IPv4-mapped IPv6 become IPv4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

/// Why a text is not a host.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a host name or address: {why}")]
pub struct HostError {
    /// The text, shortened.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// What `localhost` stands for.
pub(crate) const LOCALHOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// The longest text that is looked at: IDNA may shorten a name, but no name of 253 ASCII characters needs more.
const MAX_HOST_BYTES: usize = 1024;

impl Host {
    /// Reads a host from a request: a name, an IPv4 in any of the forms of `inet_aton(3)`, an IPv6 with or
    /// without brackets. No port, no userinfo, no zone.
    ///
    /// Names are mapped to ASCII by UTS 46 (non-transitional, as browsers do). Underscores and hyphens anywhere
    /// are let through, since names with them resolve; every other character outside letters, digits, hyphen
    /// and dot is refused. A name whose last label is a number is an IPv4 or nothing (WHATWG URL, "ends in a
    /// number"), because some resolver will take it for one. Lengths are those of RFC 1035: 63 and 253.
    ///
    /// # Errors
    /// When the text is none of these.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        parse(text).map_err(|why| HostError {
            text: text.chars().take(80).collect(),
            why,
        })
    }

    /// Whether it is `localhost`, which means this machine's loopback whoever is asked (RFC 6761, section 6.3).
    pub(crate) fn is_localhost(&self) -> bool {
        matches!(self, Self::Name(name) if name == "localhost")
    }

    /// Whether it is one of the two addresses that `localhost` stands for.
    pub(crate) fn is_localhosts(&self) -> bool {
        LOCALHOST.iter().any(|ip| *self == Self::Ip(*ip))
    }

    /// Whether both mean the same place: they are the same, or one is `localhost` and the other an address of it.
    pub fn means(&self, other: &Self) -> bool {
        self == other
            || self.is_localhost() && other.is_localhosts()
            || self.is_localhosts() && other.is_localhost()
    }

    /// The host of an address: IPv4 inside IPv6 (`::ffff:0:0/96`) becomes IPv4.
    pub fn from_ip(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

fn parse(text: &str) -> Result<Host, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > MAX_HOST_BYTES {
        return Err("it is longer than 253 characters");
    }
    if let Some(rest) = text.strip_prefix('[') {
        let inner = rest
            .strip_suffix(']')
            .ok_or("the bracket is not closed, or something follows it")?;
        return ipv6(inner);
    }
    for character in text.chars() {
        match character {
            '\0' => return Err("it contains a NUL character"),
            '@' => return Err("it carries a user name; only the host is wanted"),
            '%' => return Err("it contains a percent sign; escapes and zones are refused"),
            '/' | '\\' | '?' | '#' => {
                return Err("it contains parts of a URL; only the host is wanted");
            }
            _ if character.is_whitespace() => return Err("it contains a space"),
            _ if character.is_control() => return Err("it contains a control character"),
            _ => {}
        }
    }
    if text.contains(':') {
        return match text.parse::<Ipv6Addr>() {
            Ok(v6) => Ok(Host::from_ip(v6.into())),
            Err(_) => Err("it contains a colon and is no IPv6 address; the port goes elsewhere"),
        };
    }
    let ascii = idna::uts46::Uts46::new()
        .to_ascii(
            text.as_bytes(),
            idna::AsciiDenyList::URL,
            idna::uts46::Hyphens::Allow,
            idna::uts46::DnsLength::Ignore,
        )
        .map_err(|_| "it is not a valid internationalised name")?;
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > 253 {
        return Err("it is longer than 253 characters");
    }
    let mut last = "";
    for label in name.split('.') {
        if label.is_empty() {
            return Err("it has an empty label (two dots in a row, or one in front)");
        }
        if label.len() > 63 {
            return Err("a label is longer than 63 characters");
        }
        if !label.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        }) {
            return Err("it contains a character that names cannot have");
        }
        last = label;
    }
    if is_number(last) {
        return ipv4(name)
            .map(|v4| Host::Ip(v4.into()))
            .ok_or("its last label is a number, and it is no IPv4 address");
    }
    Ok(Host::Name(name.to_owned()))
}

fn ipv6(inner: &str) -> Result<Host, &'static str> {
    if inner.contains('%') {
        return Err("it has a zone; zones are refused");
    }
    inner
        .parse::<Ipv6Addr>()
        .map(|v6| Host::from_ip(v6.into()))
        .map_err(|_| "what stands in brackets is no IPv6 address")
}

/// The forms of `inet_aton(3)`: one to four numbers, the last of which fills the bytes that are left.
fn ipv4(name: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = name.split('.').map(ipv4_number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) {
        return None;
    }
    let room = 8 * (4 - leading.len());
    if u64::from(*last) >= 1 << room {
        return None;
    }
    let high = leading
        .iter()
        .enumerate()
        .fold(0_u32, |sum, (index, part)| sum | part << (24 - 8 * index));
    Some(Ipv4Addr::from(high | last))
}

/// WHATWG URL's "ends in a number": decimal digits, or `0x` and hexadecimal digits, of whatever size.
fn is_number(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit())
        || label
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Decimal, octal (leading 0) or hexadecimal (leading 0x; `0x` alone is zero, as browsers have it).
fn ipv4_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some("") => return Some(0),
        Some(hex) => (hex, 16),
        None => match text.strip_prefix('0') {
            Some("") => return Some(0),
            Some(octal) => (octal, 8),
            None => (text, 10),
        },
    };
    // `from_str_radix` takes a sign, which no address has.
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// What a server asked to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

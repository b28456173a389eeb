//! The domain grammar of `allowedDomains` and `deniedDomains`.
//!
//! An exact name, `*.base.tld` (strict subdomains), `localhost`, an IPv4, a `[v6]`, each with an optional `:port`;
//! `*` and `*:port` in `deniedDomains` only. Whatever could never match is refused rather than kept inert, and what has
//! a canonical form (`127.1`, `bücher.ch`) is compared in that form.

use std::net::IpAddr;

use crate::Host;
use crate::diagnostics::nearest;

/// Which list a pattern stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Allowed,
    Denied,
    /// `allowedUdp`: a host and a port, no wildcard.
    Udp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostPattern {
    /// A name or an address; `localhost` is its two addresses, too.
    Exact(Host),
    /// Names that end in `.` and this base, never the base itself, never an address.
    Subdomains(String),
    /// Every name and every address.
    Any,
}

impl HostPattern {
    pub(crate) fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(exact), host) => {
                exact == host || exact.is_localhost() && host.is_localhosts()
            }
            (Self::Subdomains(base), Host::Name(name)) => name
                .strip_suffix(base.as_str())
                .is_some_and(|front| front.len() > 1 && front.ends_with('.')),
            (Self::Subdomains(_), Host::Ip(_)) => false,
        }
    }

    /// Whether it matches every host that `other` matches.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (own, Self::Exact(host)) => own.matches(host),
            (Self::Subdomains(base), Self::Subdomains(other)) => {
                base == other || self.matches(&Host::Name(other.clone()))
            }
            (Self::Exact(_) | Self::Subdomains(_), Self::Any)
            | (Self::Exact(_), Self::Subdomains(_)) => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) host: HostPattern,
    pub(crate) port: Option<u16>,
}

impl Pattern {
    pub(crate) fn covers_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(crate) fn parse(text: &str, list: List) -> Result<Self, PatternError> {
        let (host, port) = split_port(text)?;
        let pattern = Self {
            host: parse_host(host, port, list)?,
            port,
        };
        if list == List::Udp && pattern.is_group() {
            return fail(
                "is a group of hosts: answers would come from others",
                UDP_HINT,
            );
        }
        Ok(pattern)
    }

    /// Whether it names an address that is no single host.
    fn is_group(&self) -> bool {
        match &self.host {
            HostPattern::Exact(Host::Ip(IpAddr::V4(v4))) => v4.is_multicast() || v4.is_broadcast(),
            HostPattern::Exact(Host::Ip(IpAddr::V6(v6))) => v6.is_multicast(),
            HostPattern::Exact(Host::Name(_)) | HostPattern::Subdomains(_) | HostPattern::Any => {
                false
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PatternError {
    pub(crate) why: String,
    pub(crate) hint: String,
}

fn fail<T>(why: impl Into<String>, hint: impl Into<String>) -> Result<T, PatternError> {
    Err(PatternError {
        why: why.into(),
        hint: hint.into(),
    })
}

const UDP_HINT: &str =
    "write one host and one port, such as \"ntp.example.com:123\" or \"[2001:db8::1]:5060\"";

const EXAMPLES: &str = "write a host such as \"example.com\", \"*.example.com\", \"example.com:443\", \"192.0.2.1\" or \"[2001:db8::1]:443\"";

/// Splits off the port, after refusing what is no host at all.
fn split_port(text: &str) -> Result<(&str, Option<u16>), PatternError> {
    if text.is_empty() {
        return fail("is empty", EXAMPLES);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return fail(
            "contains a space or control character",
            "write one host per entry, without spaces",
        );
    }
    if let Some((_, rest)) = text.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        return fail("is a URL", format!("write the host alone: \"{host}\""));
    }
    if text.parse::<ipnet::IpNet>().is_ok() {
        return fail(
            "is a range of addresses",
            "name each address; ranges are accepted in network.deniedResolvedAddresses only",
        );
    }
    if let Some((host, _)) = text.split_once('/') {
        return fail(
            "has a path",
            format!("rules are about hosts, not paths; write \"{host}\""),
        );
    }
    if let Some((_, host)) = text.rsplit_once('@') {
        return fail(
            "carries a user name",
            format!("write the host alone: \"{host}\""),
        );
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        match rest.split_once(']') {
            Some((_, "")) => (text, None),
            Some((inner, after)) => match after.strip_prefix(':') {
                Some(port) => (&text[..inner.len() + 2], Some(port)),
                None => {
                    return fail(
                        "has something other than a port after the bracket",
                        EXAMPLES,
                    );
                }
            },
            None => return fail("has a bracket that is not closed", EXAMPLES),
        }
    } else if text.matches(':').count() > 1 {
        if text.parse::<std::net::Ipv6Addr>().is_ok() {
            return fail(
                "is an IPv6 address without brackets",
                format!("write \"[{text}]\""),
            );
        }
        return fail("has more than one colon", EXAMPLES);
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port)
                if port > 0
                    && digits.bytes().all(|b| b.is_ascii_digit())
                    && !digits.starts_with('0') =>
            {
                Some(port)
            }
            _ => {
                return fail(
                    format!("has {digits:?} for a port"),
                    format!(
                        "a port is a number from 1 to 65535; without one, \"{host}\" covers every port"
                    ),
                );
            }
        },
    };
    Ok((host, port))
}

fn parse_host(host: &str, port: Option<u16>, list: List) -> Result<HostPattern, PatternError> {
    let shown_port = port.map(|port| format!(":{port}")).unwrap_or_default();
    if host == "*" {
        return match list {
            List::Denied => Ok(HostPattern::Any),
            List::Udp => fail("would allow every host", UDP_HINT),
            List::Allowed => fail(
                "would allow every host",
                format!(
                    "name the hosts, such as \"example.com{shown_port}\" or \"*.example.com{shown_port}\"; \"*\" is accepted in network.deniedDomains only"
                ),
            ),
        };
    }
    if list == List::Udp {
        if host.contains('*') {
            return fail("has an asterisk", UDP_HINT);
        }
        match port {
            None => return fail("has no port", UDP_HINT),
            // What one resolver is told, every name server may be: it is a way out that no rule could see.
            Some(53) => {
                return fail(
                    "is for port 53, where the sandbox answers itself",
                    "names are looked up without a rule; name the hosts in network.allowedDomains",
                );
            }
            Some(_) => {}
        }
    }
    if let Some(base) = host.strip_prefix("*.") {
        if base.contains('*') {
            return fail(
                "has more than one asterisk",
                "one asterisk, as the first label, covers subdomains at every depth: \"*.example.com\"",
            );
        }
        return match Host::parse(base) {
            Err(error) => fail(format!("is no host: {}", error.why), EXAMPLES),
            Ok(Host::Ip(_)) => fail(
                "puts an asterisk before an address",
                "a wildcard covers names only; write the address itself",
            ),
            Ok(Host::Name(name)) if !name.contains('.') => fail(
                format!("would cover everything below \"{name}\""),
                format!("add a label: \"*.example.{name}\""),
            ),
            Ok(Host::Name(name)) => Ok(HostPattern::Subdomains(name)),
        };
    }
    if host.contains('*') {
        return fail(
            "has an asterisk that is not its whole first label",
            "the asterisk stands alone in front of a domain: \"*.example.com\"",
        );
    }
    match Host::parse(host) {
        Err(error) => fail(format!("is no host: {}", error.why), EXAMPLES),
        Ok(Host::Name(name)) if !name.contains('.') && name != "localhost" => fail(
            "is a single label",
            match nearest(&name, ["localhost"]) {
                Some(near) => format!("did you mean \"{near}{shown_port}\"?"),
                None => format!(
                    "write the full name, such as \"{name}.example.com{shown_port}\", or the address"
                ),
            },
        ),
        Ok(host) => Ok(HostPattern::Exact(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names over few labels, addresses, and every kind of pattern about them: small enough to try all, large enough
    /// that every pattern has a host that it alone matches.
    fn universe() -> (Vec<Host>, Vec<HostPattern>) {
        let labels = ["a", "b", "aa"];
        let mut names: Vec<String> = labels.map(str::to_owned).to_vec();
        let mut longest = names.clone();
        for _ in 0..3 {
            longest = longest
                .iter()
                .flat_map(|name| labels.map(|label| format!("{label}.{name}")))
                .collect();
            names.extend(longest.iter().cloned());
        }
        let others = ["192.0.2.1", "127.0.0.1", "127.0.0.2", "::1", "localhost"]
            .map(|text| Host::parse(text).expect("a host"));
        // Patterns are a label shorter than hosts, so that a wildcard always has somebody below it.
        let short = names.iter().filter(|name| name.matches('.').count() < 3);
        let mut patterns = vec![HostPattern::Any];
        for name in short {
            patterns.push(HostPattern::Subdomains(name.clone()));
            patterns.push(HostPattern::Exact(Host::Name(name.clone())));
        }
        patterns.extend(others.iter().cloned().map(HostPattern::Exact));
        let hosts = names.into_iter().map(Host::Name).chain(others).collect();
        (hosts, patterns)
    }

    #[test]
    fn covering_is_matching_all_that_the_other_matches() {
        let (hosts, patterns) = universe();
        for one in &patterns {
            for other in &patterns {
                let all = hosts
                    .iter()
                    .filter(|host| other.matches(host))
                    .all(|host| one.matches(host));
                assert_eq!(one.covers(other), all, "{one:?} {other:?}");
            }
        }
    }

    /// What `policy check` prints of a pattern can be written in its place.
    #[test]
    fn the_canonical_form_of_a_pattern_is_that_pattern() {
        for text in [
            "EXAMPLE.com.",
            "*.Bücher.CH:443",
            "0x7f.1",
            "[::FFFF:192.0.2.1]:80",
            "ｅxample。com",
            "faß.de",
        ] {
            let pattern = Pattern::parse(text, List::Allowed).expect(text);
            let port = pattern
                .port
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            let shown = match &pattern.host {
                HostPattern::Exact(host) => format!("{host}{port}"),
                HostPattern::Subdomains(base) => format!("*.{base}{port}"),
                HostPattern::Any => format!("*{port}"),
            };
            assert_eq!(Pattern::parse(&shown, List::Allowed), Ok(pattern), "{text}");
        }
    }
}

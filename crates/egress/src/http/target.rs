//! What a request to a proxy asks for (RFC 9112, section 3.2), where it can be read in one way only.

use std::net::SocketAddr;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, StatusCode, Uri, header};
use srt_policy::{AmbiguousTarget, Host, Target};

use super::head::Flaw;
use crate::context::Context;

/// Host and port that a URI names.
pub(super) fn of_uri(connect: bool, uri: &Uri) -> Result<(&str, u16), Flaw> {
    let Some(named) = uri.authority() else {
        return Err(Flaw::new(
            "this is a proxy: ask for an absolute URI (GET http://host/path) or CONNECT host:port",
        ));
    };
    let (host, port) = authority(named.as_str(), connect)?;
    match (connect, uri.scheme()) {
        (true, None) if uri.path_and_query().is_some() => {
            Err(Flaw::new("CONNECT takes host:port and nothing after it"))
        }
        (true, None) => port
            .map(|port| (host, port))
            .ok_or_else(|| Flaw::new("CONNECT needs host:port")),
        (true, Some(_)) => Err(Flaw::new("CONNECT takes host:port, not a URI")),
        (false, Some(scheme)) if *scheme == Scheme::HTTP => Ok((host, port.unwrap_or(80))),
        (false, Some(_)) => Err(Flaw::new(
            "only http:// URIs can be forwarded; for https use CONNECT host:443",
        )),
        (false, None) => Err(Flaw::new(
            "host:port alone is for CONNECT; other methods take an absolute URI (http://host/path)",
        )),
    }
}

/// Splits `host[:port]`. What is left of the host is for [`Host::parse`] to read.
pub(super) fn authority(text: &str, connect: bool) -> Result<(&str, Option<u16>), Flaw> {
    for (sign, why) in [
        (
            '@',
            "user information (user@) in the target; send an Authorization header instead",
        ),
        (
            '%',
            "a percent escape in the target's host; write the host as it is",
        ),
        ('\\', "a backslash in the target's host"),
    ] {
        if text.contains(sign) {
            return Err(Flaw::new(why));
        }
    }
    if let (true, Some(_)) = (connect, text.find(['/', '?'])) {
        return Err(Flaw::new("CONNECT takes host:port and nothing after it"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if !text.bytes().all(plain) {
        return Err(Flaw::new(
            "a character in the target's host that no host has; write names in their ASCII form (xn--)",
        ));
    }
    let host_ends = match text.strip_prefix('[') {
        Some(_) => text.find(']').map(|at| at + 1),
        None => Some(text.find(':').unwrap_or(text.len())),
    };
    let Some((host, rest)) = host_ends.and_then(|at| text.split_at_checked(at)) else {
        return Err(Flaw::new("an IPv6 address that is not closed by ]"));
    };
    if host.is_empty() {
        return Err(Flaw::new("the target has no host"));
    }
    if rest.is_empty() {
        return Ok((host, None));
    }
    let bad = || Flaw::new("the target's port is not a number from 1 to 65535");
    let digits = rest.strip_prefix(':').ok_or_else(bad)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u16>() {
        // "080" is 80 to one reader and 64 to another.
        Ok(port) if plain && port > 0 && !digits.starts_with('0') => Ok((host, Some(port))),
        _ => Err(bad()),
    }
}

/// Compares the Host header with the target. Without `exact`, another host is a second reading of an absolute-form
/// request (RFC 9112, section 3.2.2 says which one counts, and not everybody follows); with it
/// (`network.requireHostMatch`), another port is one too, and the Host of a CONNECT counts.
pub(super) fn check_host(
    context: &Context,
    headers: &HeaderMap,
    target: &Target,
    connect: bool,
    exact: bool,
) -> Result<(), Flaw> {
    let mut given = headers.get_all(header::HOST).iter();
    let Some(value) = given.next() else {
        return Ok(());
    };
    if given.next().is_some() {
        return Err(Flaw::new("several Host headers"));
    }
    if connect && !exact {
        return Ok(());
    }
    let read = || {
        let (host, port) = authority(value.to_str().ok()?, false).ok()?;
        Some((Host::parse(host).ok()?, port))
    };
    let Some((host, port)) = read() else {
        let shown = value.as_bytes().escape_ascii();
        return Err(Flaw::new(format!("Host \"{shown}\" is not host[:port]")));
    };
    let usual = if connect { 443 } else { 80 };
    let named = context.target(host, port.unwrap_or(usual));
    if named.host == target.host && (named.port == target.port || !exact) {
        return Ok(());
    }
    let shown = value.as_bytes().escape_ascii();
    let flaw = Flaw::new(format!(
        "the Host header says \"{shown}\" and the target {target}; they must name the same"
    ));
    Err(match exact {
        true => Flaw {
            status: StatusCode::MISDIRECTED_REQUEST,
            kind: "host-mismatch",
            ..flaw
        },
        false => flaw,
    })
}

/// The path to ask a server for, where that is another than the client's (`network.ambiguousRequestTarget`).
pub(super) fn path(uri: &Uri, rule: AmbiguousTarget) -> Result<Option<PathAndQuery>, Flaw> {
    if rule == AmbiguousTarget::AsSpelled {
        return Ok(None);
    }
    let Some(plain) = normalised(uri.path()) else {
        return Ok(None);
    };
    let ambiguous = || Flaw {
        kind: "ambiguous-request-target",
        ..Flaw::new(format!(
            "servers read this path in two ways: as it is, and as {plain:?} (network.ambiguousRequestTarget)"
        ))
    };
    if rule == AmbiguousTarget::Refuse {
        return Err(ambiguous());
    }
    let text = match uri.query() {
        Some(query) => format!("{plain}?{query}"),
        None => plain.clone(),
    };
    match text.try_into() {
        Ok(path) => Ok(Some(path)),
        Err(_) => Err(ambiguous()),
    }
}

/// A path with its dot segments resolved, `\` read as `/`, and one slash in front; `None` where it is so already.
fn normalised(path: &str) -> Option<String> {
    let dots = |segment: &str| match segment.len() {
        // "." and "..", where each dot may be %2e.
        1..=6 => match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => 1,
            ".." => 2,
            _ => 0,
        },
        _ => 0,
    };
    let ends = ['/', '\\'];
    let dotted = || path.split(ends).any(|segment| dots(segment) > 0);
    let may_be_dotted = path.contains('.') || path.contains("%2");
    let plain = !path.contains('\\') && !path.starts_with("//");
    if plain && (!may_be_dotted || !dotted()) {
        return None;
    }
    let mut kept = Vec::new();
    let mut segments = path.split(ends).skip(1).peekable();
    while let Some(segment) = segments.next() {
        let dots = dots(segment);
        if dots == 2 {
            kept.pop();
        }
        match (dots, segments.peek()) {
            (0, _) => kept.push(segment),
            // The last one names a folder.
            (_, None) => kept.push(""),
            _ => {}
        }
    }
    let joined = kept.join("/");
    Some(format!("/{}", joined.trim_start_matches('/')))
}

/// Whether `target` is where one of the sandbox's own proxies listens, as its clients see it.
pub(super) fn is_own(target: &Target, own: &[SocketAddr]) -> bool {
    let Host::Ip(ip) = &target.host else {
        return false;
    };
    own.iter().any(|own| {
        own.port() == target.port
            && (own.ip() == *ip
                || own.ip().is_unspecified() && (ip.is_loopback() || ip.is_unspecified()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_as_browsers_do() {
        for same in [
            "/", "/a", "/a//b", "/a/b.c", "/...", "/a%2Fb", "/%2f..", "/a;b=..", "/.a",
        ] {
            assert_eq!(normalised(same), None, "{same}");
        }
        for (spelled, plain) in [
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/%2e%2E/c", "/a/c"),
            ("/a/.%2e/c", "/c"),
            ("/%2e", "/"),
            ("//a", "/a"),
            ("///a//b", "/a//b"),
            ("/..//a", "/a"),
            ("/../../a", "/a"),
            ("/a\\..\\b", "/b"),
            ("/a\\b", "/a/b"),
        ] {
            assert_eq!(normalised(spelled).as_deref(), Some(plain), "{spelled}");
        }
    }
}

//! Headers that are meant for the next hop only (RFC 9110, section 7.6.1), and the Host of a forwarded request.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use srt_policy::{RequestRules, Target};

static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The protocol asked for by `Connection: upgrade` and `Upgrade`, both of which it takes to mean one.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    connection_options(headers)
        .any(|option| option.eq_ignore_ascii_case("upgrade"))
        .then(|| headers.get(header::UPGRADE).cloned())
        .flatten()
}

/// Removes what is for the next hop only: the fixed names, and those that `Connection` lists. Framing is hyper's to
/// write anew, from how the body arrives.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = connection_options(headers)
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        // Not even a client that lists it may lose the length: the body would change its framing.
        .filter(|name| name != header::CONTENT_LENGTH)
        .collect();
    for name in &listed {
        headers.remove(name);
    }
    for name in [
        &header::CONNECTION,
        &PROXY_CONNECTION,
        &KEEP_ALIVE,
        &header::TE,
        &header::TRANSFER_ENCODING,
        &header::UPGRADE,
        &header::PROXY_AUTHORIZATION,
        &header::PROXY_AUTHENTICATE,
    ] {
        headers.remove(name);
    }
}

/// Puts back what a proper Upgrade needs.
pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.append(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Whether a client takes fields after a body. Without that word a server would leave them out (RFC 9110, section
/// 10.1.4).
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// Says that this hop takes them, too.
pub(super) fn set_trailers(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.append(header::CONNECTION, HeaderValue::from_static("te"));
}

/// Keeps from the sandbox what `network.stripResponseHeaders` names.
pub(super) fn strip(headers: &mut HeaderMap, rules: &RequestRules) {
    if rules.strip_response_headers.is_empty() {
        return;
    }
    let stripped: Vec<HeaderName> = headers
        .keys()
        .filter(|name| rules.strips(name.as_str()))
        .cloned()
        .collect();
    for name in stripped {
        headers.remove(name);
    }
}

/// Joins what HTTP/2 splits for its compression's sake (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let Some(first) = crumbs.next() else {
        return;
    };
    let joined = crumbs.fold(first.as_bytes().to_vec(), |mut joined, crumb| {
        joined.extend(b"; ");
        joined.extend(crumb.as_bytes());
        joined
    });
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// The Host of a request for `target`, over plain HTTP: the port where it is not 80.
pub(super) fn host(target: &Target) -> Option<HeaderValue> {
    let text = match target.port {
        80 => target.host.to_string(),
        _ => target.to_string(),
    };
    HeaderValue::try_from(text).ok()
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn the_next_hop_keeps_its_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("connection", "content-length"),
            ("x-private", "1"),
            ("x-public", "2"),
            ("content-length", "3"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("x-public", "2"), ("content-length", "3")]));
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let check = |pairs: &[_], expected: Option<&str>| {
            assert_eq!(
                upgrade(&map(pairs)).as_ref().and_then(|v| v.to_str().ok()),
                expected,
                "{pairs:?}"
            );
        };
        check(
            &[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
            ],
            Some("websocket"),
        );
        check(&[("upgrade", "websocket")], None);
        check(&[("connection", "upgrade")], None);
    }

    #[test]
    fn the_host_is_the_target() {
        for (host, port, expected) in [
            ("a.test", 80, "a.test"),
            ("A.test.", 81, "a.test:81"),
            ("[::1]", 8, "[::1]:8"),
            ("127.1", 80, "127.0.0.1"),
        ] {
            let host = srt_policy::Host::parse(host).unwrap();
            let target = Target { host, port };
            assert_eq!(super::host(&target).unwrap(), expected);
        }
    }

    #[test]
    fn crumbs_become_one_cookie() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        assert!(headers.is_empty());
        for crumb in ["a=1", "b=2; c=3"] {
            headers.append("cookie", HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; b=2; c=3")]));
    }
}

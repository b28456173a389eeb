//! Headers that are meant for the next hop only (RFC 9110, section 7.6.1), and the Host of a forwarded request.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;

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
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// The Host of a request for `authority`, without user information.
pub(super) fn host(authority: &Authority) -> Option<HeaderValue> {
    let text = authority.as_str();
    let text = text.rsplit_once('@').map_or(text, |(_user, host)| host);
    HeaderValue::from_str(text).ok()
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
    fn the_host_is_the_authority_without_the_user() {
        for (authority, expected) in [
            ("a.test", "a.test"),
            ("a.test:81", "a.test:81"),
            ("u:p@a.test", "a.test"),
            ("[::1]:8", "[::1]:8"),
        ] {
            assert_eq!(host(&authority.parse().unwrap()).unwrap(), expected);
        }
    }
}

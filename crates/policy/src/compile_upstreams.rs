//! From a checked document to the proxies of the user's own.

use crate::compile::Compiler;
use crate::compile_network::shown;
use crate::diagnostics::{Findings, quoted};
use crate::document::Located;
use crate::upstream::{Exception, UpstreamRule, Upstreams, parse_port};
use crate::{Credentials, Host, Target, Upstream};

const PROXY_HTTP: &str = "network.proxyConfig.http";
const PROXY_SOCKS: &str = "network.proxyConfig.socks";
const PORT_HTTP: &str = "network.httpProxyPort";
const PORT_SOCKS: &str = "network.socksProxyPort";
const PARENT_HTTP: &str = "network.parentProxy.http";
const PARENT_HTTPS: &str = "network.parentProxy.https";
const NO_PROXY: &str = "network.parentProxy.noProxy";

impl Compiler<'_> {
    /// Three keys can name proxies; a document uses one of them.
    pub(crate) fn upstreams(&self, findings: &mut Findings) -> Upstreams {
        let config_http = self.url(PROXY_HTTP, &[HTTP, HTTPS], findings);
        let config_socks = self.url(PROXY_SOCKS, &[SOCKS], findings);
        let port_http = self.port(PORT_HTTP, findings);
        let port_socks = self.port(PORT_SOCKS, findings);
        let parent_http = self.url(PARENT_HTTP, &[HTTP, HTTPS, SOCKS], findings);
        let parent_https = self.url(PARENT_HTTPS, &[HTTP, HTTPS, SOCKS], findings);

        let named = [
            config_http.as_ref().or(config_socks.as_ref()),
            port_http.as_ref().or(port_socks.as_ref()),
            parent_http.as_ref().or(parent_https.as_ref()),
        ];
        let named: Vec<_> = named.into_iter().flatten().collect();
        if let [first, second, ..] = named[..] {
            findings.error(
                second.offset,
                format!(
                    "{} and {} both name the proxy that traffic goes on through",
                    first.value.key, second.value.key
                ),
                Some("keep one of them".to_owned()),
            );
        }

        let exceptions = self.exceptions(findings);
        if named.is_empty()
            && let Some(list) = self.document.string(NO_PROXY)
            && !findings.any_error()
        {
            findings.warning(
                list.offset,
                format!("{NO_PROXY} has no effect: no proxy is named"),
                Some("add the proxy as \"http\" or \"https\" beside it, or remove it".to_owned()),
            );
        }
        let either = config_http
            .or(port_http)
            .or(config_socks)
            .or(port_socks)
            .map(|rule| rule.value);
        match either {
            Some(rule) => Upstreams {
                plain: Some(rule.clone()),
                tunnel: Some(rule),
                exceptions,
            },
            None => {
                let plain = parent_http.map(|rule| rule.value);
                Upstreams {
                    tunnel: parent_https
                        .map(|rule| rule.value)
                        .or_else(|| plain.clone()),
                    plain,
                    exceptions,
                }
            }
        }
    }

    /// The proxy that a key names by its URL.
    fn url(
        &self,
        key: &'static str,
        kinds: &[Kind],
        findings: &mut Findings,
    ) -> Option<Located<UpstreamRule>> {
        let entry = self.document.string(key)?;
        match parse_upstream(&entry.value, kinds) {
            Ok(upstream) => Some(self.named(key, upstream, entry.offset)),
            Err((why, hint)) => {
                // The URL itself is not repeated: it may hold a password.
                findings.error(entry.offset, format!("{key} {why}"), Some(hint));
                None
            }
        }
    }

    /// The proxy at a port of this machine.
    fn port(&self, key: &'static str, findings: &mut Findings) -> Option<Located<UpstreamRule>> {
        let number = self.document.number(key)?;
        let Some(port) = u16::try_from(number.value).ok().filter(|port| *port > 0) else {
            findings.error(
                number.offset,
                format!("{key} must be from 1 to 65535, not {}", number.value),
                Some(
                    "write the port at which your proxy listens on this machine, or remove the key"
                        .to_owned(),
                ),
            );
            return None;
        };
        let proxy = Target {
            host: Host::Ip(std::net::Ipv4Addr::LOCALHOST.into()),
            port,
        };
        let credentials = None;
        let upstream = if key == PORT_HTTP {
            Upstream::Http {
                proxy,
                tls: false,
                credentials,
            }
        } else {
            Upstream::Socks5 { proxy, credentials }
        };
        Some(self.named(key, upstream, number.offset))
    }

    fn named(&self, key: &'static str, upstream: Upstream, offset: usize) -> Located<UpstreamRule> {
        Located {
            value: UpstreamRule {
                key,
                upstream,
                origin: self.origin(offset),
            },
            offset,
        }
    }

    fn exceptions(&self, findings: &mut Findings) -> Vec<Exception> {
        let Some(list) = self.document.string(NO_PROXY) else {
            return Vec::new();
        };
        let mut exceptions = Vec::new();
        let entries = list
            .value
            .split(|c: char| c == ',' || c.is_ascii_whitespace());
        for entry in entries.filter(|entry| !entry.is_empty()) {
            match Exception::parse(entry) {
                Some(exception) => exceptions.push(exception),
                None => findings.error(
                    list.offset,
                    format!("{} in {NO_PROXY} is no host", quoted(&shown(entry))),
                    Some("write names, addresses and ranges with commas between them, such as \"example.com,.internal.example,10.0.0.0/8,[2001:db8::1]:8080\", or \"*\"".to_owned()),
                ),
            }
        }
        exceptions
    }
}

/// A kind of proxy, by the schemes of its URLs.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    schemes: &'static [&'static str],
    example: &'static str,
}

const HTTP: Kind = Kind {
    schemes: &["http"],
    example: "\"http://127.0.0.1:8080\"",
};
/// The same by TLS.
const HTTPS: Kind = Kind {
    schemes: &["https"],
    example: "\"https://proxy.example.com:3129\"",
};
/// Either resolves names at its far end here: nothing but the proxy is looked up on this side.
const SOCKS: Kind = Kind {
    schemes: &["socks5", "socks5h"],
    example: "\"socks5://127.0.0.1:1080\"",
};

fn parse_upstream(text: &str, kinds: &[Kind]) -> Result<Upstream, (&'static str, String)> {
    let hint = || {
        let examples: Vec<&str> = kinds.iter().map(|kind| kind.example).collect();
        format!("write {}", examples.join(" or "))
    };
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| ("is no URL", hint()))?;
    let scheme = scheme.to_ascii_lowercase();
    let kind = kinds
        .iter()
        .find(|kind| kind.schemes.contains(&scheme.as_str()));
    let Some(kind) = kind else {
        return Err(("has a scheme that is not for this kind of proxy", hint()));
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (credentials, place) = match authority.rsplit_once('@') {
        Some((userinfo, place)) => (Some(credentials(userinfo, *kind)?), place),
        None => (None, authority),
    };
    let (host, port) = place
        .rsplit_once(':')
        .ok_or_else(|| ("has no port", hint()))?;
    if host.contains(':') && !host.starts_with('[') {
        return Err((
            "has an IPv6 address without brackets, or more than one port",
            hint(),
        ));
    }
    let port =
        parse_port(port).ok_or_else(|| ("has no port from 1 to 65535 at its end", hint()))?;
    let host = Host::parse(host).map_err(|_| ("names a host that is none", hint()))?;
    let proxy = Target { host, port };
    Ok(match *kind == SOCKS {
        true => Upstream::Socks5 { proxy, credentials },
        false => Upstream::Http {
            proxy,
            tls: *kind == HTTPS,
            credentials,
        },
    })
}

/// The user name and password in front of the `@`, percent-decoded.
fn credentials(userinfo: &str, kind: Kind) -> Result<Credentials, (&'static str, String)> {
    const ESCAPES: &str = "write a % as %25, a : as %3A, a @ as %40 and a / as %2F";
    if userinfo.contains(['/', '?', '#', '@']) {
        return Err((
            "has a user name or password with a character that must be escaped",
            ESCAPES.to_owned(),
        ));
    }
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let decode = |text: &str| {
        percent_decoded(text).ok_or_else(|| {
            (
                "has a user name or password with a percent sign that is no escape, or that is no UTF-8",
                ESCAPES.to_owned(),
            )
        })
    };
    let (user, password) = (decode(user)?, decode(password)?);
    if user.chars().chain(password.chars()).any(char::is_control) {
        return Err((
            "has a user name or password with a control character",
            "write it without".to_owned(),
        ));
    }
    if user.is_empty() {
        return Err((
            "has no user name in front of its @",
            "write \"USER:PASSWORD@\", or leave the @ out".to_owned(),
        ));
    }
    if kind != SOCKS && user.contains(':') {
        // RFC 7617, section 2: the first colon ends it.
        return Err((
            "has a colon in its user name, which HTTP cannot carry",
            "use another user name".to_owned(),
        ));
    }
    if kind == SOCKS && (user.len() > 255 || password.len() > 255 || password.is_empty()) {
        // RFC 1929, section 2: one byte holds each length, from 1.
        return Err((
            "has a user name or password that SOCKS5 cannot carry",
            "each must have from 1 to 255 bytes".to_owned(),
        ));
    }
    Ok(Credentials { user, password })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(decoded).ok()
}

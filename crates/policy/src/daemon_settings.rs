//! What a document says of the daemon as a whole and of no single server: how long the audit log is kept, and where it is
//! told of beside the database.
//!
//! One daemon serves all servers, so these keys count in the user's own file alone: a server's file or a project's must not
//! decide what is forgotten of the others.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::check::check;
use crate::compile::Compiler;
use crate::diagnostics::{Findings, quoted};
use crate::document::Parsed;
use crate::limits::is_number;
use crate::sources::{SourceMap, unmarked};
use crate::{Facts, FilesystemMode, InvalidPolicy, Origin, Source, paths};

/// The name of the user's settings file, directly in the home folder.
pub const USER_SETTINGS: &str = ".srt-settings.json";

const RETAIN: &str = "audit.retain";
const ENDPOINT: &str = "audit.otlp.endpoint";
const HEADERS: &str = "audit.otlp.headers";
const SYSLOG: &str = "audit.anchor.syslog";

/// What the user's file says of the daemon as a whole; the default is what holds where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonSettings {
    /// `audit.retain`: how much of the audit log is kept; `None`: all of it.
    pub retain: Option<Retain>,
    /// `audit.otlp`: the collector that entries are shipped to.
    pub otlp: Option<Otlp>,
    /// `audit.anchor.syslog`: whether the log's head is told to syslog, too.
    pub anchor_syslog: bool,
    /// Where each key that is set is written, by its dotted name.
    pub origins: BTreeMap<&'static str, Origin>,
}

/// How much of the audit log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// What is not older, in hours from 1.
    Hours(u64),
    /// The newest entries, at least so many, from 1.
    Entries(u64),
}

/// A collector of OpenTelemetry.
#[derive(Clone, PartialEq, Eq)]
pub struct Otlp {
    /// `audit.otlp.endpoint`: an http or https URL without a user in it.
    pub endpoint: String,
    /// `audit.otlp.headers`: names and values sent with each request. They are often secrets.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Otlp")
            .field("endpoint", &self.endpoint)
            .field("headers", &names)
            .finish()
    }
}

impl Retain {
    /// Reads `90d`, `12w`, `36h`, or a number of entries.
    ///
    /// # Errors
    /// What would be right.
    fn parse(text: &str) -> Result<Self, &'static str> {
        const HINT: &str = "write an age such as \"90d\" (h, d and w are hours, days and weeks), or the number of entries to keep, from 1";
        let number = |digits: &str| {
            let number = Some(digits).filter(|digits| is_number(digits))?;
            number.parse::<u64>().ok().filter(|number| *number > 0)
        };
        let unit = match text.as_bytes().last() {
            Some(b'h') => 1,
            Some(b'd') => 24,
            Some(b'w') => 7 * 24,
            _ => return number(text).map(Self::Entries).ok_or(HINT),
        };
        number(&text[..text.len() - 1])
            .and_then(|amount| amount.checked_mul(unit))
            .map(Self::Hours)
            .ok_or(HINT)
    }
}

impl fmt::Display for Retain {
    /// As a document could write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hours(hours) if hours % 24 == 0 => write!(f, "{}d", hours / 24),
            Self::Hours(hours) => write!(f, "{hours}h"),
            Self::Entries(entries) => entries.fmt(f),
        }
    }
}

impl DaemonSettings {
    /// Each key that is set: dotted name, value as a document would write it (of a header its name alone), place.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String, &Origin)> {
        let mut all = Vec::new();
        all.extend(self.retain.map(|retain| (RETAIN, retain.to_string())));
        if let Some(otlp) = &self.otlp {
            all.push((ENDPOINT, otlp.endpoint.clone()));
            let names = otlp.headers.iter().map(|(name, _)| name);
            all.extend(names.map(|name| (HEADERS, format!("{name}: (not shown)"))));
        }
        all.push((SYSLOG, self.anchor_syslog.to_string()));
        all.into_iter()
            .filter_map(|(key, value)| Some((key, value, self.origins.get(key)?)))
            .collect()
    }
}

/// What the user's own file says of the daemon. Files that it extends are not asked: a key that counts in one file alone is
/// looked for in that one.
///
/// # Errors
/// When the file is not JSON, or a key of it is unknown or has the wrong type or value.
pub fn daemon_settings(source: &Source, home: &Path) -> Result<DaemonSettings, InvalidPolicy> {
    let mut findings = Findings::default();
    let mut sources = SourceMap::default();
    let text = unmarked(&source.text);
    let base = sources.add(&source.path, text);
    let facts = Facts {
        home: home.to_owned(),
        cwd: home.to_owned(),
        protected: Vec::new(),
        program: Vec::new(),
        macos: false,
    };
    let settings = Parsed::parse(text, base, &mut findings).map(|parsed| {
        check(&parsed, &mut findings);
        let compiler = Compiler {
            document: &parsed.document(),
            sources: &sources,
            facts: &facts,
            default_mode: FilesystemMode::Shared,
        };
        compiler.daemon_settings(&mut findings)
    });
    match settings {
        Some(settings) if !findings.any_error() => Ok(settings),
        _ => Err(InvalidPolicy {
            diagnostics: findings.finish(&sources),
        }),
    }
}

impl Compiler<'_> {
    pub(crate) fn daemon_settings(&self, findings: &mut Findings) -> DaemonSettings {
        let mut settings = DaemonSettings::default();
        if let Some(amount) = self.document.amount(RETAIN) {
            match Retain::parse(&amount.value) {
                Ok(retain) if self.is_users(RETAIN, amount.offset, &mut settings, findings) => {
                    settings.retain = Some(retain);
                }
                Ok(_) => {}
                Err(hint) => findings.error(
                    amount.offset,
                    format!("{} is no value of {RETAIN}", quoted(&amount.value)),
                    Some(hint.to_owned()),
                ),
            }
        }
        settings.otlp = self.otlp(&mut settings, findings);
        if let Some(syslog) = self.document.bool(SYSLOG)
            && self.is_users(SYSLOG, syslog.offset, &mut settings, findings)
        {
            settings.anchor_syslog = syslog.value;
        }
        settings
    }

    fn otlp(&self, settings: &mut DaemonSettings, findings: &mut Findings) -> Option<Otlp> {
        let mut headers = Vec::new();
        for (name, value) in self.document.members(HEADERS) {
            let fit = !name.value.is_empty()
                && name.value.bytes().all(is_token)
                && value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            if !fit {
                findings.error(
                    name.offset,
                    format!("{} in {HEADERS} is no header of HTTP", quoted(&name.value)),
                    Some("a name has letters, digits and -, a value visible characters of ASCII, such as { \"authorization\": \"Bearer …\" }".to_owned()),
                );
            } else if self.is_users(HEADERS, name.offset, settings, findings) {
                headers.push((name.value, value));
            }
        }
        let Some(endpoint) = self.document.string(ENDPOINT) else {
            if let Some(origin) = self.document.members(HEADERS).first() {
                findings.error(
                    origin.0.offset,
                    format!("{HEADERS} is set without {ENDPOINT}: nothing is sent anywhere"),
                    Some(
                        "name the collector: \"endpoint\": \"https://collector.example.com:4318\""
                            .to_owned(),
                    ),
                );
            }
            return None;
        };
        let plain = match collector(&endpoint.value) {
            Ok(plain) => plain,
            Err(hint) => {
                findings.error(
                    endpoint.offset,
                    format!("{} is no value of {ENDPOINT}", quoted(&endpoint.value)),
                    Some(hint.to_owned()),
                );
                return None;
            }
        };
        if !self.is_users(ENDPOINT, endpoint.offset, settings, findings) {
            return None;
        }
        if plain {
            findings.warning(
                endpoint.offset,
                format!("{ENDPOINT} is not encrypted: audit entries and headers could be read and changed on their way"),
                Some("use https://, or a collector on this machine (http://localhost:4318) that passes them on".to_owned()),
            );
        }
        Some(Otlp {
            endpoint: endpoint.value,
            headers,
        })
    }

    /// Whether a key stands in the user's own file, which is noted; an error where it stands elsewhere.
    fn is_users(
        &self,
        key: &'static str,
        offset: usize,
        settings: &mut DaemonSettings,
        findings: &mut Findings,
    ) -> bool {
        let origin = self.origin(offset);
        let users = self.facts.home.join(USER_SETTINGS);
        let is_users = match &origin {
            Origin::File { path, .. } => {
                paths::normalise(&self.facts.cwd.join(path)) == paths::normalise(&users)
            }
            _ => false,
        };
        if is_users {
            settings.origins.entry(key).or_insert(origin);
        } else {
            findings.error(
                offset,
                format!(
                    "{key} is about the daemon and all its servers: it does not count in this file"
                ),
                Some(format!(
                    "write it in the user's own file, ~/{USER_SETTINGS}, and remove it here"
                )),
            );
        }
        is_users
    }
}

/// A character of a header's name (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a collector's URL is one that leaves this machine unencrypted.
///
/// # Errors
/// What would be right, where it is none.
fn collector(url: &str) -> Result<bool, &'static str> {
    const HINT: &str = "write the address of its OTLP/HTTP receiver, such as \"https://collector.example.com:4318\" or \"http://localhost:4318\"";
    let (plain, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(HINT),
    };
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['#', '?']) {
        return Err(HINT);
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            "a password does not belong in the URL, which is shown and logged: send it as a header, in audit.otlp.headers",
        );
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of [::1] are not a port's.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port_fits =
        port.is_none_or(|port| is_number(port) && port.parse::<u16>().is_ok_and(|port| port > 0));
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let address = bracketed.unwrap_or(host).parse::<std::net::IpAddr>().ok();
    let host_fits = match bracketed {
        Some(_) => address.is_some_and(|address| address.is_ipv6()),
        None => !host.is_empty() && !host.contains(['[', ']', ':']),
    };
    if !port_fits || !host_fits {
        return Err(HINT);
    }
    let here = host.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|address| address.is_loopback());
    Ok(plain && !here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept() {
        #[track_caller]
        fn check(text: &str, expected: Option<Retain>) {
            let parsed = Retain::parse(text).ok();
            assert_eq!(parsed, expected, "{text}");
            if let Some(retain) = parsed {
                assert_eq!(Retain::parse(&retain.to_string()), Ok(retain), "{text}");
            }
        }
        check("90d", Some(Retain::Hours(90 * 24)));
        check("2w", Some(Retain::Hours(14 * 24)));
        check("36h", Some(Retain::Hours(36)));
        check("1000000", Some(Retain::Entries(1_000_000)));
        for wrong in [
            "",
            "0",
            "0d",
            "d",
            "90 d",
            "-1d",
            "+1",
            "1.5d",
            "90D",
            "3m",
            "90days",
            "é",
            "18446744073709551615w",
            "18446744073709551616",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn addresses_of_collectors() {
        #[track_caller]
        fn check(url: &str, expected: Option<bool>) {
            assert_eq!(collector(url).ok(), expected, "{url}");
        }
        for (url, plain) in [
            ("https://collector.example.com:4318", false),
            ("https://collector.example.com/otlp", false),
            ("http://localhost:4318", false),
            ("http://127.0.0.1:4318/", false),
            ("http://[::1]:4318", false),
            ("http://[::1]", false),
            ("http://collector.example.com:4318", true),
            ("http://192.0.2.1", true),
        ] {
            check(url, Some(plain));
        }
        for wrong in [
            "",
            "collector:4318",
            "ftp://x",
            "https://",
            "https://:4318",
            "https://x:",
            "https://x:0",
            "https://x:65536",
            "https://x:+1",
            "https://user:secret@x",
            "https://x y",
            "https://x?token=1",
            "https://[x]",
            "https://[::1",
            "https://::1",
        ] {
            check(wrong, None);
        }
    }
}

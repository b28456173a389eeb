//! From a checked document to rules.

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::address::parse_range;
use crate::diagnostics::{Findings, nearest, quoted};
use crate::document::{Document, Located, PathEntry, Positions, string};
use crate::environment::{StripRule, is_name};
use crate::network::{ALLOWED, DENIED, DENIED_ADDRESSES, DomainRule, RangeRule, UpstreamRule};
use crate::pattern::{List, Pattern};
use crate::stores::stores;
use crate::{
    EnvironmentPolicy, Facts, FileRule, FileRuleKind, FilesystemPolicy, Host, Limits,
    NetworkPolicy, Origin, RuleRef, Source, Target, Upstream, paths,
};

/// What rules are made from.
pub(crate) struct Compiler<'a> {
    pub(crate) document: &'a Document<'a>,
    pub(crate) source: &'a Source,
    pub(crate) positions: &'a Positions<'a>,
    pub(crate) facts: &'a Facts,
}

impl Compiler<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let (line, column) = self.positions.at(offset);
        Origin::File {
            path: self.source.path.clone(),
            line,
            column,
        }
    }

    fn rule(&self, key: &str, entry: &Located<String>) -> RuleRef {
        RuleRef {
            key: key.to_owned(),
            pattern: entry.value.clone(),
            origin: self.origin(entry.offset),
        }
    }

    pub(crate) fn network(&self, findings: &mut Findings) -> NetworkPolicy {
        let mut network = NetworkPolicy {
            allowed: self.domains(ALLOWED, List::Allowed, findings),
            denied: self.domains(DENIED, List::Denied, findings),
            denied_ranges: self.ranges(findings),
            http_upstream: self.upstream("network.proxyConfig.http", findings),
            socks_upstream: self.upstream("network.proxyConfig.socks", findings),
        };
        self.reasons(&mut network.denied, findings);
        self.unreachable(&network, findings);
        network
    }

    fn domains(&self, key: &str, list: List, findings: &mut Findings) -> Vec<DomainRule> {
        let mut rules = Vec::new();
        for entry in self.document.strings(key) {
            match Pattern::parse(&entry.value, list) {
                Ok(pattern) => rules.push(DomainRule {
                    pattern,
                    rule: self.rule(key, &entry),
                    reason: None,
                }),
                Err(error) => findings.error(
                    entry.offset,
                    format!("{} in {key} {}", quoted(&entry.value), error.why),
                    Some(error.hint),
                ),
            }
        }
        rules
    }

    fn reasons(&self, denied: &mut [DomainRule], findings: &mut Findings) {
        for (name, reason) in self.document.members("network.deniedDomainReasons") {
            let mut used = false;
            for rule in denied
                .iter_mut()
                .filter(|rule| rule.rule.pattern == name.value)
            {
                rule.reason = Some(reason.clone());
                used = true;
            }
            if !used {
                let near = nearest(
                    &name.value,
                    denied.iter().map(|rule| rule.rule.pattern.as_str()),
                );
                findings.warning(
                    name.offset,
                    format!(
                        "network.deniedDomainReasons has {}, which is no entry of {DENIED}",
                        quoted(&name.value)
                    ),
                    Some(match near {
                        Some(near) => format!("did you mean {}?", quoted(near)),
                        None => format!("add it to {DENIED}, or remove the reason"),
                    }),
                );
            }
        }
    }

    /// An allowed entry that a denied one takes back whole is a mistake worth a word.
    fn unreachable(&self, network: &NetworkPolicy, findings: &mut Findings) {
        let entries = self.document.strings(ALLOWED);
        // Each check walks the denied list: a hostile document must not make that quadratic.
        for entry in entries.iter().take(1000) {
            let Ok(pattern) = Pattern::parse(&entry.value, List::Allowed) else {
                continue;
            };
            let taken_back = network.denied.iter().find(|denied| {
                denied.pattern.host.covers(&pattern.host)
                    && (denied.pattern.port.is_none() || denied.pattern.port == pattern.port)
            });
            if let Some(denied) = taken_back {
                findings.warning(
                    entry.offset,
                    format!(
                        "{} has no effect: {DENIED} has {}, which comes first",
                        quoted(&entry.value),
                        quoted(&denied.rule.pattern)
                    ),
                    None,
                );
            }
        }
    }

    fn ranges(&self, findings: &mut Findings) -> Vec<RangeRule> {
        let mut rules = Vec::new();
        for entry in self.document.strings(DENIED_ADDRESSES) {
            match parse_range(&entry.value) {
                Some(range) => rules.push(RangeRule {
                    range,
                    rule: self.rule(DENIED_ADDRESSES, &entry),
                }),
                None => findings.error(
                    entry.offset,
                    format!(
                        "{} in {DENIED_ADDRESSES} is no address and no range",
                        quoted(&entry.value)
                    ),
                    Some("write an address or a range such as \"192.0.2.1\", \"10.0.0.0/8\" or \"fd00::/8\"".to_owned()),
                ),
            }
        }
        rules
    }

    fn upstream(&self, key: &'static str, findings: &mut Findings) -> Option<UpstreamRule> {
        let entry = self.document.string(key)?;
        match parse_upstream(key, &entry.value) {
            Ok(upstream) => Some(UpstreamRule {
                upstream,
                origin: self.origin(entry.offset),
                text: entry.value,
            }),
            Err((why, hint)) => {
                // The URL itself is not repeated: it may hold a password.
                findings.error(entry.offset, format!("{key} {why}"), Some(hint));
                None
            }
        }
    }

    pub(crate) fn filesystem(&self, findings: &mut Findings) -> FilesystemPolicy {
        let mut rules = built_in(self.facts);
        let mut writes = Vec::new();
        for (key, kind) in [
            ("filesystem.denyRead", FileRuleKind::DenyRead),
            ("filesystem.allowRead", FileRuleKind::AllowRead),
            ("filesystem.allowWrite", FileRuleKind::AllowWrite),
            ("filesystem.denyWrite", FileRuleKind::DenyWrite),
        ] {
            for entry in self.document.paths(key) {
                if let Some(rule) = self.file_rule(key, kind, &entry, findings) {
                    if kind == FileRuleKind::AllowWrite {
                        writes.push((entry.offset, rule.path.clone()));
                    }
                    rules.push(rule);
                }
            }
        }
        for entry in self.credentials("credentials.files", "path", findings) {
            let entry = Located {
                offset: entry.offset,
                value: PathEntry {
                    text: entry.value,
                    literal: false,
                },
            };
            rules.extend(self.file_rule(
                "credentials.files",
                FileRuleKind::DenyRead,
                &entry,
                findings,
            ));
        }
        let filesystem = FilesystemPolicy { rules };
        for (offset, path) in writes.into_iter().take(1000) {
            let decision = filesystem.decide_write(&path);
            if let (false, Some(rule)) = (decision.allowed, decision.rule) {
                let (why, hint) = refusal(rule);
                findings.warning(
                    offset,
                    format!("this entry of filesystem.allowWrite has no effect: {why}"),
                    hint,
                );
            }
        }
        filesystem
    }

    fn file_rule(
        &self,
        key: &str,
        kind: FileRuleKind,
        entry: &Located<PathEntry>,
        findings: &mut Findings,
    ) -> Option<FileRule> {
        match paths::absolute(&entry.value, self.facts) {
            Ok(path) => Some(FileRule {
                kind,
                path,
                text: entry.value.text.clone(),
                origin: self.origin(entry.offset),
            }),
            Err(error) => {
                findings.error(
                    entry.offset,
                    format!("{} in {key} {}", quoted(&entry.value.text), error.why),
                    Some(error.hint),
                );
                None
            }
        }
    }

    /// The entries of a credentials list whose mode is `deny`; `mask` is an error, since the secret would be shown.
    fn credentials(&self, key: &str, name: &str, findings: &mut Findings) -> Vec<Located<String>> {
        let mut denied = Vec::new();
        for element in self.document.elements(key) {
            let Value::Object(object) = element else {
                continue;
            };
            let what = object
                .get(name)
                .and_then(|property| string(&property.value));
            let Some(what) = what else {
                if object.get(name).is_none() {
                    findings.error(
                        object.start(),
                        format!("an entry of {key} has no {name:?}"),
                        None,
                    );
                }
                continue;
            };
            const DENY: &str = "write \"mode\": \"deny\": the server then does not see it at all";
            match object.get("mode").map(|property| (property.start(), string(&property.value))) {
                None => findings.error(object.start(), format!("an entry of {key} has no \"mode\""), Some(DENY.to_owned())),
                Some((_, None)) => {}
                Some((at, Some(mode))) => match mode.value.as_str() {
                    "deny" => denied.push(what),
                    "mask" => findings.error(
                        at,
                        format!("{key} with mode \"mask\" is not enforced yet: ignoring it would show the secret"),
                        Some(DENY.to_owned()),
                    ),
                    other => findings.error(mode.offset, format!("{} is no mode", quoted(other)), Some(DENY.to_owned())),
                },
            }
        }
        denied
    }

    pub(crate) fn environment(&self, findings: &mut Findings) -> EnvironmentPolicy {
        let mut strip = Vec::new();
        let listed = self
            .document
            .strings("runtime.envStrip")
            .into_iter()
            .map(|entry| ("runtime.envStrip", entry));
        let denied = self.credentials("credentials.envVars", "name", findings);
        let denied = denied
            .into_iter()
            .map(|entry| ("credentials.envVars", entry));
        for (key, entry) in listed.chain(denied) {
            if !is_name(&entry.value)
                || entry.value.contains(['*', '?', '$'])
                || entry.value.trim() != entry.value
            {
                findings.error(
                    entry.offset,
                    format!("{} in {key} is no name of a variable", quoted(&entry.value)),
                    Some("write each name in full, such as \"AWS_SECRET_ACCESS_KEY\"; variables that nothing names are not passed anyway".to_owned()),
                );
                continue;
            }
            strip.push(StripRule {
                key,
                origin: self.origin(entry.offset),
                name: entry.value,
            });
        }
        EnvironmentPolicy { strip }
    }

    pub(crate) fn limits(&self) -> (Limits, Option<Origin>) {
        let descriptors = self.document.number("runtime.maxFileDescriptors");
        let origin = descriptors
            .as_ref()
            .map(|number| self.origin(number.offset));
        let limits = Limits {
            max_file_descriptors: descriptors.map(|number| number.value),
        };
        (limits, origin)
    }
}

fn refusal(rule: &FileRule) -> (String, Option<String>) {
    match (rule.kind, &rule.origin) {
        (FileRuleKind::Protected, _) => (
            format!("{} is protected under every policy", rule.path.display()),
            None,
        ),
        (FileRuleKind::DenyWrite, _) => (
            format!("filesystem.denyWrite has {}", quoted(&rule.text)),
            None,
        ),
        (_, Origin::BuiltIn(reason)) => (
            format!(
                "{} is unreadable ({reason}), and what cannot be read cannot be written",
                rule.text
            ),
            Some(format!(
                "add {} to filesystem.allowRead to open it",
                quoted(&rule.text)
            )),
        ),
        (_, Origin::File { .. }) => (
            format!(
                "{} is unreadable, and what cannot be read cannot be written",
                quoted(&rule.text)
            ),
            Some("add the folder to filesystem.allowRead too".to_owned()),
        ),
    }
}

/// Rules that hold under every policy, the built-in default included.
pub(crate) fn built_in(facts: &Facts) -> Vec<FileRule> {
    let protected = facts.protected.iter().map(|path| FileRule {
        kind: FileRuleKind::Protected,
        path: paths::normalise(&facts.cwd.join(path)),
        text: path.display().to_string(),
        origin: Origin::BuiltIn("the daemon's own socket, state, configuration and settings files"),
    });
    let stores = stores(facts.macos).map(|store| FileRule {
        kind: FileRuleKind::DenyRead,
        path: paths::normalise(&facts.home.join(store.path.trim_start_matches("~/"))),
        text: store.path.to_owned(),
        origin: Origin::BuiltIn(store.reason),
    });
    protected.chain(stores).collect()
}

fn parse_upstream(key: &str, text: &str) -> Result<Upstream, (&'static str, String)> {
    let http = key.ends_with(".http");
    let example = if http {
        "http://127.0.0.1:8080"
    } else {
        "socks5://127.0.0.1:1080"
    };
    let hint = || format!("write {example:?}");
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| ("is no URL", hint()))?;
    match (http, scheme) {
        (true, "http") | (false, "socks5" | "socks5h") => {}
        (true, "https") => {
            return Err((
                "asks for TLS to the proxy, which is not available yet",
                hint(),
            ));
        }
        _ => return Err(("has a scheme that is not for this kind of proxy", hint())),
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err((
            "holds a user name or password, which is not supported yet",
            "run a local proxy that adds them, and name that one".to_owned(),
        ));
    }
    let (host, port) = authority
        .rsplit_once(':')
        .ok_or_else(|| ("has no port", hint()))?;
    if host.contains(':') && !host.starts_with('[') {
        return Err((
            "has an IPv6 address without brackets, or more than one port",
            hint(),
        ));
    }
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|number| *number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| ("has no port from 1 to 65535 at its end", hint()))?;
    let host = Host::parse(host).map_err(|_| ("names a host that is none", hint()))?;
    let target = Target { host, port };
    Ok(if http {
        Upstream::Http(target)
    } else {
        Upstream::Socks5(target)
    })
}

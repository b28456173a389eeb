//! The effective policy, line by line, for `policy show`.

use crate::address::ranges;
use crate::domains::Domains;
use crate::environment::BASELINE;
use crate::keys::KEYS;
use crate::network::{ALLOWED, ALLOWED_UDP, DENIED, DENIED_ADDRESSES};
use crate::tools::{ALLOW as ALLOW_TOOLS, DENY as DENY_TOOLS, PIN as PIN_TOOLS};
use crate::{FileRuleKind, Origin, Policy, UnixSockets};

/// A line of the effective policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveLine {
    /// Dotted key of the format; "built-in.protected" and "built-in.environment" for what no key says.
    pub key: &'static str,
    /// The value as written; "(none)" where a default says that nothing is allowed.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Policy {
    /// Every line in force, built-in ones included, in the order of the format's keys, then by value.
    pub fn lines(&self) -> Vec<EffectiveLine> {
        let mut lines = Vec::new();
        let mut add = |key: &'static str, value: String, origin: &Origin| {
            lines.push(EffectiveLine {
                key,
                value,
                origin: origin.clone(),
            });
        };
        let network = &self.network;
        let domains = |list: &Domains| -> Vec<(String, Origin)> {
            list.iter()
                .map(|rule| (rule.rule.pattern.clone(), rule.rule.origin.clone()))
                .collect()
        };
        for (value, origin) in domains(&network.allowed) {
            add(ALLOWED, value, &origin);
        }
        if network.allowed.is_empty() {
            add(
                ALLOWED,
                NONE.to_owned(),
                &Origin::BuiltIn("no host is reachable unless a rule allows it"),
            );
        }
        for (value, origin) in domains(&network.denied) {
            add(DENIED, value, &origin);
        }
        for rule in network.denied.iter() {
            if let Some(reason) = &rule.reason {
                let value = format!("{}: {reason}", rule.rule.pattern);
                add("network.deniedDomainReasons", value, &rule.rule.origin);
            }
        }
        for rule in &network.denied_ranges {
            add(
                DENIED_ADDRESSES,
                rule.rule.pattern.clone(),
                &rule.rule.origin,
            );
        }
        for (range, class) in ranges() {
            add(
                DENIED_ADDRESSES,
                range.to_string(),
                &Origin::BuiltIn(class.reason),
            );
        }
        for (value, origin) in domains(&network.allowed_udp) {
            add(ALLOWED_UDP, value, &origin);
        }
        let (plain, tunnel) = (&network.upstreams.plain, &network.upstreams.tunnel);
        let other = tunnel
            .as_ref()
            .filter(|tunnel| plain.as_ref().is_none_or(|plain| plain.key != tunnel.key));
        for rule in plain.iter().chain(other) {
            add(rule.key, rule.upstream.to_string(), &rule.origin);
        }
        for (key, value, origin) in &network.settings {
            add(key, value.clone(), origin);
        }
        add(
            "filesystem.mode",
            self.filesystem.mode().word().to_owned(),
            self.filesystem
                .mode_origin
                .as_ref()
                .unwrap_or(&Origin::BuiltIn(
                    "what is seen where no rule says otherwise",
                )),
        );
        for overlay in self.filesystem.overlays() {
            add("filesystem.overlay", overlay.text.clone(), &overlay.origin);
        }
        if let Some((most, origin)) = &self.filesystem.overlay_max {
            add("filesystem.overlayMax", most.to_string(), origin);
        }
        for rule in self.filesystem.rules() {
            add(rule.kind.key(), rule.text.clone(), &rule.origin);
        }
        if !self
            .filesystem
            .rules()
            .iter()
            .any(|rule| rule.kind == FileRuleKind::AllowWrite)
        {
            let reason =
                "nothing is writable but the launch's own temporary folder unless a rule allows it";
            add(
                "filesystem.allowWrite",
                NONE.to_owned(),
                &Origin::BuiltIn(reason),
            );
        }
        for rule in &self.environment.strip {
            add(rule.key, rule.name.clone(), &rule.origin);
        }
        for name in BASELINE {
            let reason = "passed without being named: what a program needs to run, and no secret";
            add(
                "built-in.environment",
                (*name).to_owned(),
                &Origin::BuiltIn(reason),
            );
        }
        for (key, value, origin) in self.limits.lines() {
            add(key, value, origin);
        }
        if let Some(origin) = &self.all_sockets {
            add("network.allowAllUnixSockets", "true".to_owned(), origin);
        }
        if let UnixSockets::Listed(listed) = &self.sockets {
            for rule in listed {
                add("network.allowUnixSockets", rule.text.clone(), &rule.origin);
            }
        }
        if let Some(origin) = &self.process.origin {
            add("allowNestedUserNamespaces", "true".to_owned(), origin);
        }
        if let Some(origin) = &self.audit.origin {
            add(
                "audit.filesystem",
                self.audit.filesystem.to_string(),
                origin,
            );
        }
        if let Some(origin) = &self.audit.mcp_origin {
            add("audit.mcp", self.audit.mcp.word().to_owned(), origin);
        }
        for (key, value, origin) in self.daemon.lines() {
            add(key, value, origin);
        }
        let tools = &self.tools;
        for rule in tools.allow.iter().flatten() {
            add(ALLOW_TOOLS, rule.text.clone(), &rule.origin);
        }
        if tools.allow.as_ref().is_some_and(Vec::is_empty) {
            let reason = "the list is empty: no tool may be used";
            add(ALLOW_TOOLS, NONE.to_owned(), &Origin::BuiltIn(reason));
        }
        for rule in &tools.deny {
            add(DENY_TOOLS, rule.text.clone(), &rule.origin);
        }
        if let Some(origin) = &tools.pin {
            add(PIN_TOOLS, "true".to_owned(), origin);
        }
        for rule in &self.audit.ignore {
            let value = format!("{}: {}", rule.program, rule.text);
            add("ignoreViolations", value, &rule.origin);
        }
        lines.sort_by(|a, b| {
            (place(a.key), &a.value, &a.origin).cmp(&(place(b.key), &b.value, &b.origin))
        });
        lines
    }
}

const NONE: &str = "(none)";

/// A key's place in the table; what is no key comes last.
fn place(key: &str) -> usize {
    KEYS.iter()
        .position(|row| row.path == key)
        .unwrap_or(usize::MAX)
}

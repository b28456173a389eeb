//! The effective policy, line by line, for `policy show`.

use crate::address::ranges;
use crate::environment::BASELINE;
use crate::keys::KEYS;
use crate::network::{ALLOWED, DENIED, DENIED_ADDRESSES, DomainRule};
use crate::{FileRuleKind, Origin, Policy};

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
        let domains = |list: &[DomainRule]| -> Vec<(String, Origin)> {
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
        for rule in &network.denied {
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
        if let Some(rule) = &network.http_upstream {
            add("network.proxyConfig.http", rule.text.clone(), &rule.origin);
        }
        if let Some(rule) = &network.socks_upstream {
            add("network.proxyConfig.socks", rule.text.clone(), &rule.origin);
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
        if let (Some(number), Some(origin)) =
            (self.limits.max_file_descriptors, &self.limits_origin)
        {
            add("runtime.maxFileDescriptors", number.to_string(), origin);
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

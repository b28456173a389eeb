//! Whether an entry of a project's list that allows is covered by what is in force.

use std::path::Path;

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::diagnostics::Findings;
use crate::document::{Document, Located};
use crate::domains::Domains;
use crate::merge::{ENFORCE, STRICT};
use crate::network::{ALLOWED, ALLOWED_UDP};
use crate::paths::{Meant, absolute, meant};
use crate::pattern::{HostPattern, List, Pattern};
use crate::tighten::{Outer, looser};
use crate::tools::ALLOW as ALLOW_TOOLS;
use crate::{FileRule, FileRuleKind, FilesystemPolicy, Host, Origin, UnixSockets};

const OVERLAY: &str = "filesystem.overlay";
const SOCKETS: &str = "network.allowUnixSockets";
const IGNORE: &str = "ignoreViolations";

pub(crate) struct Covers<'a, 'b> {
    pub(crate) outer: &'b Outer<'a>,
    /// The project's own values.
    pub(crate) project: &'b Document<'a>,
}

impl Covers<'_, '_> {
    /// Reports each entry that nothing in force covers.
    pub(crate) fn check(&self, key: &'static str, value: &Value<'_>, findings: &mut Findings) {
        match key {
            ALLOWED => self.hosts(
                key,
                List::Allowed,
                &self.outer.policy.network.allowed,
                findings,
            ),
            ALLOWED_UDP => self.hosts(
                key,
                List::Udp,
                &self.outer.policy.network.allowed_udp,
                findings,
            ),
            SOCKETS => self.sockets(findings),
            "filesystem.allowRead" => self.files(FileRuleKind::AllowRead, findings),
            "filesystem.allowWrite" => self.files(FileRuleKind::AllowWrite, findings),
            OVERLAY => self.overlays(value.start(), findings),
            ALLOW_TOOLS => self.tools(findings),
            IGNORE => self.ignored(findings),
            // Lists that nothing reads: the same entries, then.
            _ => {
                let known: Vec<String> = self
                    .outer
                    .document
                    .strings(key)
                    .into_iter()
                    .map(|entry| entry.value)
                    .collect();
                for entry in self.project.strings(key) {
                    if !known.contains(&entry.value) {
                        looser(
                            entry.offset,
                            &entry.value,
                            key,
                            "it has no such entry",
                            findings,
                        );
                    }
                }
            }
        }
    }

    fn hosts(&self, key: &'static str, list: List, outer: &Domains, findings: &mut Findings) {
        let observes = list == List::Allowed && self.outer.policy.network.observes();
        // A name that leaves the list would be let through as all others are, and no more asked to be told over TLS.
        if observes && !self.enforces() {
            let at = self.project.get(key).map_or(0, Ranged::start);
            findings.error(
                at,
                format!("{key} says nothing while the list is only observed ({ENFORCE}: false)"),
                Some("add \"enforceAllowlist\": true beside it, so that it holds".to_owned()),
            );
            return;
        }
        for entry in self.project.strings(key) {
            let Ok(pattern) = Pattern::parse(&entry.value, list) else {
                continue;
            };
            let covered = outer.iter().any(|rule| rule.pattern.covers(&pattern));
            // While the list is only observed each name is reached. To name an address opens what is closed there.
            if covered || observes && is_plain_name(&pattern.host) {
                continue;
            }
            let near = outer.iter().find(|rule| {
                pattern.host.covers(&rule.pattern.host) || rule.pattern.host.covers(&pattern.host)
            });
            let in_force = match near {
                Some(rule) => format!("{:?} ({})", rule.rule.pattern, rule.rule.origin),
                None if outer.is_empty() => "no host (built-in)".to_owned(),
                None => format!("no entry of {key} covers it"),
            };
            looser(entry.offset, &entry.value, key, &in_force, findings);
        }
    }

    /// Whether the project has the list hold that is only observed without it.
    fn enforces(&self) -> bool {
        let on = |key| self.project.bool(key).is_some_and(|literal| literal.value);
        on(ENFORCE) || on(STRICT) && self.project.get(ENFORCE).is_none()
    }

    fn sockets(&self, findings: &mut Findings) {
        let UnixSockets::Listed(listed) = &self.outer.policy.sockets else {
            return;
        };
        for entry in self.project.paths(SOCKETS) {
            let Ok(path) = absolute(&entry.value, self.outer.facts) else {
                continue;
            };
            // Not what is below: a link there would lead to another socket.
            if !listed.iter().any(|rule| rule.path == path) {
                let none = "no entry of the list is the same";
                looser(entry.offset, &entry.value.text, SOCKETS, none, findings);
            }
        }
    }

    fn files(&self, kind: FileRuleKind, findings: &mut Findings) {
        let files = &self.outer.policy.filesystem;
        for entry in self.project.paths(kind.key()) {
            let Ok(all) = meant(&entry.value, self.outer.facts) else {
                continue;
            };
            for meant in all {
                if files.grants(kind, &meant) {
                    continue;
                }
                let in_force = match files.decide_read(&meant.path) {
                    refused if kind == FileRuleKind::AllowRead && meant.pattern.is_none() => {
                        match refused.rule {
                            Some(rule) => denial(rule),
                            None => "it cannot be read".to_owned(),
                        }
                    }
                    _ if meant.pattern.is_some() => {
                        format!(
                            "a pattern must be the same as one of {}, or be below one that is no pattern",
                            kind.key()
                        )
                    }
                    _ => format!("no entry of {} covers it", kind.key()),
                };
                looser(
                    entry.offset,
                    &entry.value.text,
                    kind.key(),
                    &in_force,
                    findings,
                );
                break;
            }
        }
    }

    fn overlays(&self, at: usize, findings: &mut Findings) {
        let files = &self.outer.policy.filesystem;
        let mut kept = Vec::new();
        for entry in self.project.paths(OVERLAY) {
            let Ok(path) = absolute(&entry.value, self.outer.facts) else {
                continue;
            };
            if files
                .overlays()
                .iter()
                .any(|overlay| path.starts_with(&overlay.path))
            {
                kept.push(path);
            } else {
                let none = format!("no entry of {OVERLAY} covers it");
                looser(entry.offset, &entry.value.text, OVERLAY, &none, findings);
            }
        }
        // Without its layer, what may be written there is the host's own copy.
        let near = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
        let dropped = files
            .overlays()
            .iter()
            .filter(|overlay| !kept.contains(&overlay.path));
        for overlay in dropped {
            let write = files.rules().iter().find(|rule| {
                rule.kind == FileRuleKind::AllowWrite && near(&rule.path, &overlay.path)
            });
            if let Some(write) = write {
                findings.error(
                    at,
                    format!(
                        "{OVERLAY}: without {:?} ({}) this is looser than what is in force: the host's own copy could be written, by filesystem.allowWrite {:?} ({})",
                        overlay.text, overlay.origin, write.text, write.origin
                    ),
                    Some("keep the entry".to_owned()),
                );
            }
        }
    }

    fn tools(&self, findings: &mut Findings) {
        let Some(rules) = &self.outer.policy.tools.allow else {
            return;
        };
        for entry in self.project.strings(ALLOW_TOOLS) {
            let plain = !entry.value.contains(['*', '?', '[', '{', '\\']);
            let covered = rules
                .iter()
                .any(|rule| rule.text == entry.value || plain && rule.matches(&entry.value));
            if !covered {
                let none = format!("no entry of {ALLOW_TOOLS} covers it");
                looser(entry.offset, &entry.value, ALLOW_TOOLS, &none, findings);
            }
        }
    }

    fn ignored(&self, findings: &mut Findings) {
        let known = self.outer.document.lists(IGNORE);
        for (program, listed) in self.project.lists(IGNORE) {
            let of_program: Vec<&Located<String>> = known
                .iter()
                .filter(|(name, _)| *name == program || name == "*")
                .flat_map(|(_, listed)| listed)
                .collect();
            for entry in listed {
                if !of_program.iter().any(|known| known.value == entry.value) {
                    looser(
                        entry.offset,
                        &entry.value,
                        IGNORE,
                        "it would be reported",
                        findings,
                    );
                }
            }
        }
    }
}

/// Why something cannot be read.
fn denial(rule: &FileRule) -> String {
    match &rule.origin {
        Origin::BuiltIn(reason) => format!("{} cannot be read (built-in: {reason})", rule.text),
        origin => format!("{} has {:?} ({origin})", rule.kind.key(), rule.text),
    }
}

/// A name, or names, that no rule about this machine's own addresses speaks of.
fn is_plain_name(host: &HostPattern) -> bool {
    match host {
        HostPattern::Exact(Host::Name(name)) => name != "localhost",
        HostPattern::Subdomains(_) => true,
        HostPattern::Exact(Host::Ip(_)) | HostPattern::Any => false,
    }
}

impl Pattern {
    /// Whether it matches every host and port that `other` matches.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.host.covers(&other.host) && (self.port.is_none() || self.port == other.port)
    }
}

impl FilesystemPolicy {
    /// Whether another rule of this kind, about this path, would open nothing that is closed here.
    ///
    /// A plain path that may be read: what denies below it is about a longer path, and still wins. A pattern wins at the
    /// depth of what it matches, so it must be one of these rules itself.
    pub(crate) fn grants(&self, kind: FileRuleKind, meant: &Meant) -> bool {
        let mut of_kind = self.rules().iter().filter(|rule| rule.kind == kind);
        if of_kind
            .clone()
            .any(|rule| rule.path == meant.path && rule.pattern == meant.pattern)
        {
            return true;
        }
        match kind {
            FileRuleKind::AllowRead => {
                meant.pattern.is_none() && self.decide_read(&meant.path).allowed
            }
            FileRuleKind::AllowWrite => of_kind.any(|rule| match rule.pattern {
                None => meant.path.starts_with(&rule.path),
                Some(_) => meant.pattern.is_none() && rule.covers(&meant.path),
            }),
            _ => false,
        }
    }
}

//! From a checked document to limits, Unix sockets, what processes may do, which tools may be used, and what is reported.

use std::path::PathBuf;

use crate::compile::Compiler;
use crate::diagnostics::{Findings, quoted};
use crate::document::{Located, PathEntry};
use crate::gather::is_template;
use crate::limits::bytes;
use crate::tools::{ALLOW, DENY, PIN};
use crate::{
    AuditPolicy, CpuQuota, IgnoreRule, Limits, McpAudit, Origin, ProcessPolicy, Restart,
    SocketRule, ToolPolicy, ToolRule, UnixSockets, paths,
};

impl Compiler<'_> {
    pub(crate) fn limits(&self, findings: &mut Findings) -> Limits {
        let mut limits = Limits::default();
        let number = |key: &'static str, limits: &mut Limits| {
            let number = self.document.number(key)?;
            limits.origins.insert(key, self.origin(number.offset));
            Some(number.value)
        };
        limits.max_file_descriptors = number("runtime.maxFileDescriptors", &mut limits);
        limits.max_processes = number("runtime.maxProcesses", &mut limits);
        limits.timeout_seconds = number("runtime.timeoutSeconds", &mut limits);
        limits.health_timeout = number("runtime.healthTimeoutSeconds", &mut limits);
        limits.warm = number("runtime.warm", &mut limits);
        if limits.warm.is_some_and(|warm| warm > Limits::MOST_WARM)
            && let Some(warm) = self.document.number("runtime.warm")
        {
            findings.error(
                warm.offset,
                format!("runtime.warm is at most {}", Limits::MOST_WARM),
                Some("each of them is a process that waits for a host; 1 or 2 will do".to_owned()),
            );
        }
        if let Some(word) = self.document.string("runtime.restart") {
            limits
                .origins
                .insert("runtime.restart", self.origin(word.offset));
            limits.restart = Restart::parse(&word.value).unwrap_or_default();
        }
        limits.memory_max = self.amount("runtime.memoryMax", bytes, &mut limits, findings);
        limits.max_file_size = self.amount("runtime.maxFileSize", bytes, &mut limits, findings);
        limits.cpu_quota = self.amount("runtime.cpuQuota", CpuQuota::parse, &mut limits, findings);
        // The second is how other implementations' articles write it.
        for key in ["runtime.limits", "limits"] {
            let Some(word) = self.document.string(key) else {
                continue;
            };
            if word.value == "best-effort" {
                limits.best_effort = true;
                limits
                    .origins
                    .insert("runtime.limits", self.origin(word.offset));
            }
        }
        limits
    }

    /// A number or text that `parse` understands.
    fn amount<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
        limits: &mut Limits,
        findings: &mut Findings,
    ) -> Option<T> {
        let text = self.document.amount(key)?;
        match parse(&text.value) {
            Ok(value) => {
                limits.origins.insert(key, self.origin(text.offset));
                Some(value)
            }
            Err(hint) => {
                findings.error(
                    text.offset,
                    format!("{} is no value of {key}", quoted(&text.value)),
                    Some(hint.to_owned()),
                );
                None
            }
        }
    }

    pub(crate) fn sockets(&self, findings: &mut Findings) -> UnixSockets {
        const KEY: &str = "network.allowUnixSockets";
        let mut listed = Vec::new();
        for entry in self.document.strings(KEY) {
            if entry.value.starts_with('@') {
                findings.error(
                    entry.offset,
                    format!("{} in {KEY} names an abstract socket", quoted(&entry.value)),
                    Some("abstract sockets of the host are out of reach in a sandbox; name a socket that is a file (\"./@name\" if it is really called so)".to_owned()),
                );
                continue;
            }
            let Some(path) = self.path(KEY, &entry, findings) else {
                continue;
            };
            let protected = self
                .facts
                .protected
                .iter()
                .map(|own| paths::normalise(&self.facts.cwd.join(own)))
                .find(|own| path.starts_with(own) || own.starts_with(&path));
            if let Some(own) = protected {
                findings.warning(
                    entry.offset,
                    format!(
                        "this entry of {KEY} has no effect: {} is protected under every policy",
                        own.display()
                    ),
                    Some("name the socket itself".to_owned()),
                );
                continue;
            }
            listed.push(SocketRule {
                path,
                text: entry.value,
                origin: self.origin(entry.offset),
            });
        }
        match self.all_sockets() {
            Some(_) => UnixSockets::All,
            None => UnixSockets::Listed(listed),
        }
    }

    /// Where every Unix socket is opened, if it is.
    pub(crate) fn all_sockets(&self) -> Option<Origin> {
        let all = self.document.bool("network.allowAllUnixSockets")?;
        all.value.then(|| self.origin(all.offset))
    }

    pub(crate) fn process(&self, findings: &mut Findings) -> ProcessPolicy {
        const KEY: &str = "allowNestedUserNamespaces";
        match self.document.bool(KEY) {
            Some(nested) if nested.value => {
                let project = paths::normalise(&self.facts.cwd);
                let path = self.sources.holder(nested.offset);
                let file = paths::normalise(&self.facts.cwd.join(path));
                if file.starts_with(&project)
                    && !is_template(path)
                    && !self.facts.home.starts_with(&project)
                {
                    findings.error(
                        nested.offset,
                        format!("{KEY} is refused in a settings file inside the working directory: who may change the project would choose it"),
                        Some("write it in a file outside of the project, such as ~/.srt-settings.json".to_owned()),
                    );
                }
                ProcessPolicy {
                    nested_user_namespaces: true,
                    origin: Some(self.origin(nested.offset)),
                }
            }
            _ => ProcessPolicy::default(),
        }
    }

    pub(crate) fn audit(&self, findings: &mut Findings) -> AuditPolicy {
        const KEY: &str = "ignoreViolations";
        let filesystem = self.document.bool("audit.filesystem");
        let mut ignore = Vec::new();
        for (program, listed) in self.document.lists(KEY) {
            for entry in listed {
                let path = PathEntry {
                    text: entry.value.clone(),
                    literal: false,
                };
                match paths::meant(&path, self.facts) {
                    Ok(meant) => ignore.extend(meant.into_iter().map(|meant| IgnoreRule {
                        program: program.clone(),
                        paths: meant,
                        text: entry.value.clone(),
                        origin: self.origin(entry.offset),
                    })),
                    Err(error) => self.report(KEY, &entry, error, findings),
                }
            }
        }
        let mcp = self.document.string("audit.mcp");
        AuditPolicy {
            filesystem: filesystem.as_ref().is_none_or(|reported| reported.value),
            ignore,
            origin: filesystem.map(|reported| self.origin(reported.offset)),
            mcp: mcp
                .as_ref()
                .and_then(|word| McpAudit::parse(&word.value))
                .unwrap_or_default(),
            mcp_origin: mcp.map(|word| self.origin(word.offset)),
        }
    }

    pub(crate) fn tools(&self, findings: &mut Findings) -> ToolPolicy {
        let pin = self.document.bool(PIN).filter(|pin| pin.value);
        ToolPolicy {
            // An empty list allows nothing, which is not the same as no list.
            allow: (self.document.get(ALLOW).is_some()).then(|| self.tool_rules(ALLOW, findings)),
            deny: self.tool_rules(DENY, findings),
            pin: pin.map(|pin| self.origin(pin.offset)),
            outer: None,
        }
    }

    fn tool_rules(&self, key: &str, findings: &mut Findings) -> Vec<ToolRule> {
        let mut rules = Vec::new();
        for entry in self.document.strings(key) {
            let origin = self.origin(entry.offset);
            match ToolRule::new(&entry.value, origin, key == DENY) {
                Ok(rule) => rules.push(rule),
                Err(why) => findings.error(
                    entry.offset,
                    format!("{} in {key} is no pattern: {why}", quoted(&entry.value)),
                    Some("write a tool's name, with *, ?, [ab] or {a,b} for what varies; a backslash before one of these characters takes away its meaning".to_owned()),
                ),
            }
        }
        rules
    }

    /// The path that an entry of a list of strings means; an error is reported.
    fn path(&self, key: &str, entry: &Located<String>, findings: &mut Findings) -> Option<PathBuf> {
        let path = PathEntry {
            text: entry.value.clone(),
            literal: false,
        };
        match paths::absolute(&path, self.facts) {
            Ok(path) => Some(path),
            Err(error) => {
                self.report(key, entry, error, findings);
                None
            }
        }
    }

    fn report(
        &self,
        key: &str,
        entry: &Located<String>,
        error: paths::PathError,
        findings: &mut Findings,
    ) {
        findings.error(
            entry.offset,
            format!("{} in {key} {}", quoted(&entry.value), error.why),
            Some(error.hint),
        );
    }
}

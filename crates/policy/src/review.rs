//! What is to be said of a policy before somebody agrees to it: the part of a review that the policy alone tells.

use std::path::Path;

use crate::pattern::HostPattern;
use crate::suffix::{Shared, shared};
use crate::{
    FileRule, FileRuleKind, FilesystemMode, McpAudit, NetworkPolicy, Origin, Policy, UnixSockets,
};

/// How much a check weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Looser than most servers need.
    Warning,
    /// Not much of a sandbox is left in this respect.
    High,
}

impl Weight {
    /// Every weight, from the heaviest.
    pub const ALL: [Self; 4] = [Self::High, Self::Warning, Self::Note, Self::Good];

    /// As reviews print it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::High => "high",
        }
    }
}

/// One line of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it is about: "egress", "credentials".
    pub about: &'static str,
    /// How much it weighs.
    pub weight: Weight,
    /// In words whose subject is the server, where it has one. Lower case, no full stop.
    pub text: String,
    /// Where what it says is written.
    pub origin: Option<Origin>,
    /// What would be better.
    pub remedy: Option<String>,
}

impl Check {
    /// A line without a place and a remedy.
    pub fn new(about: &'static str, weight: Weight, text: impl Into<String>) -> Self {
        Self {
            about,
            weight,
            text: text.into(),
            origin: None,
            remedy: None,
        }
    }

    /// Names where it is written.
    #[must_use]
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    /// Says what would be better.
    #[must_use]
    pub fn hint(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

use Weight::{Good, High, Note, Warning};

impl Policy {
    /// What is to be said of it for a server whose home folder and working directory these are; in no order.
    pub fn review(&self, home: &Path, cwd: &Path) -> Vec<Check> {
        let mut checks = vec![self.reviewed_mode()];
        checks.extend(self.reviewed_credentials());
        checks.extend(self.reviewed_writes(home, cwd));
        checks.extend(self.reviewed_reads(home));
        checks.extend(hosts(&self.network));
        checks.extend(self.reviewed_sockets());
        checks.extend(self.reviewed_rest());
        checks
    }

    fn reviewed_mode(&self) -> Check {
        match self.filesystem.mode() {
            FilesystemMode::Minimal => Check::new(
                "mode",
                Good,
                "sees only what is named (filesystem.mode is minimal)",
            ),
            FilesystemMode::Shared => Check::new(
                "mode",
                Note,
                "sees the whole disk but for what is denied (filesystem.mode is shared)",
            )
            .hint("\"filesystem\": { \"mode\": \"minimal\" } shows it what is named, and no more"),
        }
    }

    fn reviewed_credentials(&self) -> Vec<Check> {
        const ABOUT: &str = "credentials";
        let files = &self.filesystem;
        let stores: Vec<&FileRule> = files
            .rules()
            .iter()
            .filter(|rule| rule.is_store())
            .collect();
        let mut checks = Vec::new();
        for store in &stores {
            let decision = files.decide_read(&store.path);
            if decision.allowed {
                let reason = match &store.origin {
                    Origin::BuiltIn(reason) => reason,
                    _ => "a credential store",
                };
                let check = Check::new(ABOUT, High, format!("may read {}: {reason}", store.text));
                let by = decision.rule.map(|rule| &rule.origin);
                let check =
                    check.hint("name the one file in it that it needs, in filesystem.allowRead");
                checks.push(match by {
                    Some(origin) => check.at(origin),
                    None => check,
                });
            }
        }
        let opened = files.rules().iter().filter(|rule| {
            rule.kind == FileRuleKind::AllowRead && matches!(rule.origin, Origin::File { .. })
        });
        for rule in opened {
            let inside =
                |store: &&&FileRule| rule.path.starts_with(&store.path) && rule.path != store.path;
            if let Some(store) = stores.iter().find(inside) {
                let text = format!("may read {}, which is in {}", rule.text, store.text);
                checks.push(Check::new(ABOUT, Warning, text).at(&rule.origin));
            }
        }
        if checks.is_empty() {
            let text = format!("sees none of {} credential stores", stores.len());
            checks.push(Check::new(ABOUT, Good, text));
        }
        checks
    }

    fn reviewed_writes(&self, home: &Path, cwd: &Path) -> Vec<Check> {
        const ABOUT: &str = "files";
        let files = &self.filesystem;
        let mut checks = Vec::new();
        let rules = files.rules().iter();
        for rule in rules.filter(|rule| rule.kind == FileRuleKind::AllowWrite) {
            let parts = rule.path.components().count();
            let holds_home = home.starts_with(&rule.path);
            let (weight, why) = match &rule.pattern {
                None if !files.decide_write(&rule.path).allowed => continue,
                None if parts <= 1 => (High, "that is the whole disk"),
                None if holds_home => (High, "that is the whole home folder"),
                None if is_shared_temp(&rule.path) => {
                    (Warning, "every program of this machine writes there")
                }
                None if parts == 2 => (High, "that is a folder of the system"),
                Some(_) if holds_home => (
                    Warning,
                    "that matches wherever in the home folder such a name is",
                ),
                _ => continue,
            };
            let about = match is_shared_temp(&rule.path) {
                true => "temp",
                false => ABOUT,
            };
            let text = format!("may write {}: {why}", rule.text);
            checks.push(
                Check::new(about, weight, text)
                    .at(&rule.origin)
                    .hint("name the folders that it needs"),
            );
        }
        let git = cwd.join(".git/config");
        if files.decide_write(cwd).allowed && files.decide_write(&git).allowed {
            let text =
                "may write .git/config, and git runs what that names (filesystem.allowGitConfig)";
            checks.push(Check::new(ABOUT, Warning, text));
        }
        if !checks.iter().any(|check| check.about == ABOUT) {
            let number = files
                .rules()
                .iter()
                .filter(|rule| rule.kind == FileRuleKind::AllowWrite)
                .count();
            checks.push(Check::new(
                ABOUT,
                Good,
                match number {
                    0 => "may write nothing but its own temporary folder".to_owned(),
                    1 => "may write where one rule names it, and nowhere else".to_owned(),
                    number => format!("may write where {number} rules name it, and nowhere else"),
                },
            ));
        }
        checks
    }

    /// In minimal mode what is named counts; in the other everything can be read anyway.
    fn reviewed_reads(&self, home: &Path) -> Vec<Check> {
        if self.filesystem.mode() == FilesystemMode::Shared {
            return Vec::new();
        }
        let rules = self.filesystem.rules().iter();
        let wide = rules.filter(|rule| {
            matches!(rule.origin, Origin::File { .. })
                && rule.kind == FileRuleKind::AllowRead
                && rule.pattern.is_none()
                && home.starts_with(&rule.path)
        });
        wide.map(|rule| {
            let text = format!("may read {}, which holds the whole home folder", rule.text);
            Check::new("files", Warning, text)
                .at(&rule.origin)
                .hint("name the folders that it needs")
        })
        .collect()
    }

    fn reviewed_sockets(&self) -> Vec<Check> {
        const ABOUT: &str = "sockets";
        let listed = match (&self.sockets, &self.all_sockets) {
            (UnixSockets::All, origin) => {
                let text = "may connect to every Unix socket that it can see: of session buses, agents, containers";
                let check = Check::new(ABOUT, High, text)
                    .hint("name the sockets that it needs, in network.allowUnixSockets");
                return vec![match origin {
                    Some(origin) => check.at(origin),
                    None => check,
                }];
            }
            (UnixSockets::Listed(listed), _) => listed,
        };
        if listed.is_empty() {
            return vec![Check::new(ABOUT, Good, "may connect to no Unix socket")];
        }
        let mut checks = Vec::new();
        for rule in listed {
            let path = rule.path.to_string_lossy();
            let power = POWERFUL.iter().find(|(part, _)| path.contains(part));
            let (weight, why) = match power {
                Some((_, why)) => (High, format!(": {why}")),
                None => (Note, String::new()),
            };
            let text = format!("may connect to the socket {}{why}", rule.text);
            checks.push(Check::new(ABOUT, weight, text).at(&rule.origin));
        }
        checks
    }

    fn reviewed_rest(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        if self.process.nested_user_namespaces {
            let text = "may make user namespaces, which opens more of the kernel to it (allowNestedUserNamespaces)";
            let check = Check::new("sandbox", Warning, text);
            checks.push(match &self.process.origin {
                Some(origin) => check.at(origin),
                None => check,
            });
        }
        let limits = &self.limits;
        let open: Vec<&str> = [
            ("memory", limits.memory_max.is_none()),
            ("processes", limits.max_processes.is_none()),
        ]
        .into_iter()
        .filter_map(|(what, open)| open.then_some(what))
        .collect();
        checks.push(match open.as_slice() {
            [] => Check::new("limits", Good, "has limits on memory and processes"),
            open => Check::new(
                "limits",
                Note,
                format!("has no limit on {}", open.join(" and ")),
            )
            .hint("\"runtime\": { \"memoryMax\": \"2G\", \"maxProcesses\": 200 }"),
        });
        if limits.best_effort {
            let text = "a limit that this machine cannot enforce is left out (runtime.limits is best-effort)";
            checks.push(Check::new("limits", Note, text));
        }
        let tools = &self.tools;
        checks.push(match (&tools.pin, &tools.allow) {
            (Some(_), _) => Check::new("tools", Good, "cannot change what its tools say unnoticed"),
            (None, allow) => {
                let which = match allow {
                    Some(_) => "of the tools that are named",
                    None => "of its tools, all of which may be used",
                };
                Check::new("tools", Note, format!("may change what it says {which}"))
                    .hint("\"mcp\": { \"pinTools\": true } refuses a tool that changed until you accept it")
            }
        });
        checks.extend(self.reviewed_records());
        checks
    }

    fn reviewed_records(&self) -> Vec<Check> {
        const ABOUT: &str = "record";
        let mut checks = Vec::new();
        if !self.network.records_denials() {
            let text =
                "is refused connections without a record (network.logDroppedConnections is false)";
            checks.push(Check::new(ABOUT, Warning, text));
        }
        if !self.audit.filesystem {
            let text = "is refused files without a record (audit.filesystem is false)";
            let check = Check::new(ABOUT, Warning, text);
            checks.push(match &self.audit.origin {
                Some(origin) => check.at(origin),
                None => check,
            });
        }
        if self.audit.mcp == McpAudit::Off {
            let text = "calls tools without a record (audit.mcp is off)";
            let check = Check::new(ABOUT, Note, text);
            checks.push(match &self.audit.mcp_origin {
                Some(origin) => check.at(origin),
                None => check,
            });
        }
        if checks.is_empty() {
            checks.push(Check::new(
                ABOUT,
                Good,
                "what it does and is refused is recorded",
            ));
        }
        checks
    }
}

/// Sockets behind which more than the one program is, by a part of their path.
const POWERFUL: [(&str, &str); 7] = [
    (
        "docker.sock",
        "who may speak to it may do anything on this machine",
    ),
    (
        "podman.sock",
        "who may speak to it may do anything as this user",
    ),
    (
        "containerd.sock",
        "who may speak to it may do anything on this machine",
    ),
    (
        "crio.sock",
        "who may speak to it may do anything on this machine",
    ),
    ("gpg-agent", "it signs and decrypts with the user's keys"),
    ("ssh-", "an agent there signs with the user's keys"),
    ("/bus", "every program of the user's session listens there"),
];

fn is_shared_temp(path: &Path) -> bool {
    [
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/private/tmp",
        "/private/var/tmp",
    ]
    .iter()
    .any(|shared| path == Path::new(shared))
}

fn hosts(network: &NetworkPolicy) -> Vec<Check> {
    const ABOUT: &str = "egress";
    let mut checks = Vec::new();
    if network.observes() {
        let text = "reaches every host that no rule denies: the list is only observed (network.enforceAllowlist is false)";
        checks.push(
            Check::new(ABOUT, High, text)
                .hint("add what \"srtctl audit --kind would-deny\" lists to network.allowedDomains, and remove the key"),
        );
    }
    for rule in network.allowed.iter() {
        let text = &rule.rule.pattern;
        let (weight, text, hint) = match &rule.pattern.host {
            HostPattern::Any => (
                High,
                format!("may reach {text}: every host"),
                "name the hosts",
            ),
            HostPattern::Subdomains(base) => match shared(base) {
                Some(Shared::Registry) => (
                    High,
                    format!("may reach {text}: anybody can register a name below {base}"),
                    "name the domain that is meant",
                ),
                Some(Shared::Company) => (
                    High,
                    format!("may reach {text}: names below {base} are given out to anybody"),
                    "name the one that is meant",
                ),
                None => (
                    Note,
                    format!("may reach {text}: every name below {base}"),
                    "name the hosts, where they are known",
                ),
            },
            HostPattern::Exact(crate::Host::Name(name)) if name == "localhost" => (
                Warning,
                format!("may reach {text}: services of this machine"),
                "name the port",
            ),
            HostPattern::Exact(crate::Host::Ip(ip)) if ip.is_loopback() => (
                Warning,
                format!("may reach {text}: a service of this machine"),
                "is it meant for this server?",
            ),
            HostPattern::Exact(_) => continue,
        };
        // One port of this machine is one service, which somebody chose.
        let chosen = weight == Warning && rule.pattern.port.is_some();
        let weight = if chosen { Note } else { weight };
        checks.push(
            Check::new(ABOUT, weight, text)
                .at(&rule.rule.origin)
                .hint(hint),
        );
    }
    if network.asks() {
        let text = "may reach hosts that no rule names where a person says yes (network.ask)";
        checks.push(Check::new(ABOUT, Note, text));
    }
    if !checks.iter().any(|check| check.weight >= Warning) {
        let number = network.allowed.iter().count() + network.allowed_udp.iter().count();
        let text = match number {
            0 => "no rule lets it reach any host".to_owned(),
            1 => "one rule names what it may reach".to_owned(),
            number => format!("{number} rules name what it may reach"),
        };
        checks.push(Check::new(ABOUT, Good, text));
    }
    checks
}

//! The one bridge from rules to mechanism: what did this rule become?
//!
//! Every path that a rule names is asked of the policy itself, and what it answers there is what the sandbox
//! gets; between those paths a policy's answer cannot change. What the disk says is asked through [`Place`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use srt_policy::{FileRuleKind, FilesystemPolicy, Origin, Policy};
use srt_sandbox::{Access, Limits, NetworkSpec, PathRule, SandboxSpec, TempFolder};

/// Where the server sees its temporary folder.
///
/// Below `/run`, which a sandbox does not share with the host: there no rule for `/tmp`, `/var` or the home
/// folder can be about it.
#[cfg(not(target_os = "macos"))]
pub const TEMP_INSIDE: &str = "/run/srt/tmp";
/// macOS cannot show a folder elsewhere: the real path is used.
#[cfg(target_os = "macos")]
pub const TEMP_INSIDE: &str = "";

/// Sockets of the session, the desktop and other daemons live here; nothing of it is visible unless a rule names
/// a path inside.
pub(crate) const RUNTIME: &str = "/run";

/// Ports captured where the kernel cannot redirect every one: HTTP, HTTPS, ssh, git, PostgreSQL, MySQL, Redis,
/// MongoDB, AMQP, SMTP submission, and common alternatives.
const COMMON_PORTS: &[u16] = &[
    22, 80, 443, 587, 3306, 5432, 5672, 6379, 8080, 8443, 9418, 27017,
];

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder,
    /// Anything else.
    File,
    /// Nothing.
    Absent,
}

/// A policy as a sandbox, and what it takes on the host.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// What to build.
    pub spec: SandboxSpec,
    /// The rules that it was made from, their paths without links.
    pub files: FilesystemPolicy,
    /// Paths that must exist for a rule to hold, though nothing is there yet: each is made an empty file for as
    /// long as the launch lasts. Their rules are in `spec` already.
    pub stubs: Vec<PathBuf>,
    /// What the person should know: rules that have no effect at the moment.
    pub notes: Vec<String>,
    /// Links on the way to a rule that the server could replace, and with them what the rule is about. No mount
    /// can hold a link in its place: while there is one, the sandbox that was asked for cannot be built.
    pub loose: Vec<LooseLink>,
}

/// A symbolic link in a folder that the server may write, on the way to a path that it must not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LooseLink {
    /// The link.
    pub link: PathBuf,
    /// The rule's path, as written.
    pub rule: String,
}

/// Lowers a policy.
///
/// `place` tells what stands at a path, `resolve` replaces links (of the part that exists), `links` lists the links
/// that a path leads through, and `temp` is the launch's own folder on the host.
pub fn lower(
    policy: &Policy,
    cwd: &Path,
    temp: &Path,
    place: impl Fn(&Path) -> Place,
    resolve: impl Fn(&Path) -> PathBuf,
    links: impl Fn(&Path) -> Vec<PathBuf>,
) -> Lowered {
    let files = policy.filesystem.resolved(&resolve);
    let cwd = resolve(cwd);
    let mut rules = Rules::new(&files, &cwd);
    let mut stubs = BTreeMap::new();
    let mut notes = Vec::new();
    let mut paths = BTreeSet::from([PathBuf::from(RUNTIME), cwd.clone()]);
    for rule in files.rules() {
        if place(&rule.path) != Place::Absent {
            paths.insert(rule.path.clone());
            continue;
        }
        match rule.kind {
            FileRuleKind::AllowWrite => notes.push(format!(
                "filesystem.allowWrite {:?}: nothing is at {}, so nothing can be written there; create it first",
                rule.text,
                rule.path.display()
            )),
            // What the document denies must hold when it appears, and settings that are not there yet must not be
            // a server's to write. Built-in stores are not worth an empty file in everybody's home.
            FileRuleKind::Protected | FileRuleKind::DenyRead | FileRuleKind::DenyWrite
                if rule.kind == FileRuleKind::Protected
                    || matches!(rule.origin, Origin::File { .. }) =>
            {
                if let Some(first) = first_missing(&rule.path, &place) {
                    let access = match rule.kind {
                        FileRuleKind::DenyWrite => Access::Read,
                        _ => Access::None,
                    };
                    let strictest = stubs.entry(first).or_insert(access);
                    *strictest = access.min(*strictest);
                }
            }
            _ => {}
        }
    }
    for path in paths {
        if path == Path::new(RUNTIME) && place(&path) == Place::Absent {
            continue;
        }
        rules.visit(&path, &place);
    }
    // A path that is missing where nothing can be written cannot appear.
    stubs.retain(|path, _| {
        path.parent()
            .is_some_and(|parent| rules.access_at(parent) == Access::ReadWrite)
    });
    for (path, access) in &stubs {
        rules.put(path, *access, &place);
    }
    let loose = loose_links(policy, &rules, &place, &links);
    let emitted = rules.emitted;

    let temp = TempFolder {
        host: temp.to_owned(),
        inside: if TEMP_INSIDE.is_empty() {
            temp.to_owned()
        } else {
            TEMP_INSIDE.into()
        },
    };
    Lowered {
        spec: SandboxSpec {
            files: emitted
                .into_iter()
                .map(|(path, access)| PathRule { path, access })
                .collect(),
            temp,
            network: network(policy),
            limits: Limits::of_descriptors(policy.limits.max_file_descriptors),
            allow_unix_sockets: false,
            overlays: Vec::new(),
        },
        files,
        stubs: stubs.into_keys().collect(),
        notes,
        loose,
    }
}

/// What is hidden may be hidden by its target alone: who replaces the link to it has not read it. A rule against
/// writing, and one whose target is not there to be hidden, stand and fall with the link.
fn loose_links(
    policy: &Policy,
    rules: &Rules<'_>,
    place: &impl Fn(&Path) -> Place,
    links: &impl Fn(&Path) -> Vec<PathBuf>,
) -> Vec<LooseLink> {
    let mut loose = Vec::new();
    if !rules
        .emitted
        .values()
        .any(|access| *access == Access::ReadWrite)
    {
        return loose;
    }
    for rule in policy.filesystem.rules() {
        let by_document = matches!(rule.origin, Origin::File { .. });
        let whole = match rule.kind {
            FileRuleKind::Protected => true,
            FileRuleKind::DenyWrite => by_document,
            FileRuleKind::DenyRead if by_document => place(&rule.path) == Place::Absent,
            _ => false,
        };
        if !whole {
            continue;
        }
        let links = links(&rule.path);
        let replaceable = links.into_iter().find(|link| {
            link.parent()
                .is_some_and(|folder| rules.access_at(folder) == Access::ReadWrite)
        });
        loose.extend(replaceable.map(|link| LooseLink {
            link,
            rule: rule.text.clone(),
        }));
    }
    loose
}

fn network(policy: &Policy) -> NetworkSpec {
    let loopback: Vec<SocketAddr> = policy.network.loopback_listeners();
    let mut ports = COMMON_PORTS.to_vec();
    ports.extend(loopback.iter().map(SocketAddr::port));
    ports.sort_unstable();
    ports.dedup();
    NetworkSpec { loopback, ports }
}

/// The uppermost missing part of a missing path.
fn first_missing(path: &Path, place: &impl Fn(&Path) -> Place) -> Option<PathBuf> {
    let mut first = path;
    while let Some(parent) = first.parent() {
        match place(parent) {
            Place::Absent => first = parent,
            Place::Folder => return Some(first.to_owned()),
            Place::File => return None,
        }
    }
    None
}

struct Rules<'a> {
    files: &'a FilesystemPolicy,
    cwd: &'a Path,
    /// Sorted, hence parents first.
    emitted: BTreeMap<PathBuf, Access>,
}

impl<'a> Rules<'a> {
    fn new(files: &'a FilesystemPolicy, cwd: &'a Path) -> Self {
        Self {
            files,
            cwd,
            emitted: BTreeMap::new(),
        }
    }

    /// What the policy says of a path.
    fn decide(&self, path: &Path) -> Access {
        let read = self.files.decide_read(path);
        let write = self.files.decide_write(path);
        let named = |rule: Option<&srt_policy::FileRule>| {
            !path.starts_with(RUNTIME)
                || rule.is_some_and(|rule| rule.path.starts_with(RUNTIME))
                || path.starts_with(self.cwd) && self.cwd.starts_with(RUNTIME)
        };
        if !read.allowed {
            Access::None
        } else if write.allowed && named(write.rule) {
            Access::ReadWrite
        } else if named(read.rule) {
            Access::Read
        } else {
            Access::None
        }
    }

    /// What the rules emitted so far give at a path.
    fn access_at(&self, path: &Path) -> Access {
        path.ancestors()
            .find_map(|above| self.emitted.get(above))
            .copied()
            .unwrap_or(Access::Read)
    }

    fn visit(&mut self, path: &Path, place: &impl Fn(&Path) -> Place) {
        let access = self.decide(path);
        if self.access_at(path) != access {
            self.put(path, access, place);
        }
    }

    /// Emits a rule. Where it is stricter than a writable folder around it, the folders between are made mounts
    /// of their own: the kernel refuses to rename a mount point (EBUSY), and with it the way around a rule by
    /// renaming a folder on the way to it.
    fn put(&mut self, path: &Path, access: Access, place: &impl Fn(&Path) -> Place) {
        let around = path
            .ancestors()
            .skip(1)
            .find_map(|above| self.emitted.get_key_value(above));
        if let Some((around, Access::ReadWrite)) = around {
            let around = around.clone();
            let between = path
                .ancestors()
                .skip(1)
                .take_while(|above| *above != around)
                .filter(|above| place(above) == Place::Folder)
                .map(Path::to_owned)
                .collect::<Vec<_>>();
            for folder in between {
                self.emitted.entry(folder).or_insert(Access::ReadWrite);
            }
        }
        self.emitted.insert(path.to_owned(), access);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Facts, Source, compile};

    /// Lowers `document` on a disk that has `folders` and `files`, and compares the rules.
    fn check(document: &str, disk: &[&str], expected: &[&str], stubs: &[&str]) {
        let lowered = lowered(document, disk);
        let got = lowered
            .spec
            .files
            .iter()
            .map(|rule| {
                let access = match rule.access {
                    Access::None => "-",
                    Access::Read => "r",
                    Access::ReadWrite => "w",
                };
                format!("{access} {}", rule.path.display())
            })
            .collect::<Vec<_>>();
        assert_eq!(got, expected);
        assert_eq!(
            lowered.stubs,
            stubs.iter().map(PathBuf::from).collect::<Vec<_>>()
        );
    }

    fn lowered(document: &str, disk: &[&str]) -> Lowered {
        let facts = Facts {
            home: "/home/u".into(),
            cwd: "/home/u/p".into(),
            protected: vec!["/home/u/.local/state/srt".into()],
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: document.into(),
        };
        let policy = compile(Some(&source), &facts).unwrap().policy;
        let place = |path: &Path| {
            let path = path.to_str().unwrap();
            if disk.contains(&path) {
                Place::File
            } else if path == "/"
                || disk.iter().any(|there| {
                    there.starts_with(&format!("{path}/")) || *there == format!("{path}/")
                })
            {
                Place::Folder
            } else {
                Place::Absent
            }
        };
        lower(
            &policy,
            &facts.cwd,
            Path::new("/tmp/l"),
            place,
            Path::to_path_buf,
            // A name that ends in `.link` is one.
            |path| {
                path.ancestors()
                    .filter(|above| above.extension().is_some_and(|end| end == "link"))
                    .map(Path::to_owned)
                    .collect()
            },
        )
    }

    #[test]
    fn nothing_is_writable_and_stores_are_hidden_without_a_word_about_them() {
        check(
            "{}",
            &[
                "/home/u/p/",
                "/home/u/.ssh/",
                "/run/user/",
                "/home/u/.local/state/srt/",
            ],
            &["- /home/u/.local/state/srt", "- /home/u/.ssh", "- /run"],
            &[],
        );
    }

    #[test]
    fn a_store_opens_only_where_it_is_named() {
        check(
            r#"{"filesystem": {"allowRead": ["~", "~/.ssh/known_hosts"], "allowWrite": ["~"]}}"#,
            &[
                "/home/u/p/",
                "/home/u/.ssh/known_hosts",
                "/home/u/.aws/",
                "/home/u/.local/state/srt/",
            ],
            &[
                "w /home/u",
                "- /home/u/.aws",
                "w /home/u/.local",
                "w /home/u/.local/state",
                "- /home/u/.local/state/srt",
                "- /home/u/.ssh",
                "w /home/u/.ssh/known_hosts",
            ],
            &[],
        );
    }

    #[test]
    fn the_daemons_own_files_cannot_be_made_by_a_server() {
        check(
            r#"{"filesystem": {"allowWrite": ["~"]}}"#,
            &["/home/u/p/", "/home/u/.local/state/"],
            &[
                "w /home/u",
                "w /home/u/.local",
                "w /home/u/.local/state",
                "- /home/u/.local/state/srt",
            ],
            &["/home/u/.local/state/srt"],
        );
    }

    #[test]
    fn the_way_to_a_rule_inside_a_writable_folder_cannot_be_renamed() {
        check(
            r#"{"filesystem": {"allowWrite": ["."], "denyWrite": ["a/b/fixed"]}}"#,
            &["/home/u/p/a/b/fixed"],
            &[
                "w /home/u/p",
                "w /home/u/p/a",
                "w /home/u/p/a/b",
                "r /home/u/p/a/b/fixed",
            ],
            &[],
        );
    }

    #[test]
    fn a_rule_for_what_is_not_there_yet_holds_where_it_could_appear() {
        check(
            r#"{"filesystem": {"allowWrite": ["."], "denyWrite": [".env", "config/production.json", "/etc/new"], "denyRead": ["key"]}}"#,
            &["/home/u/p/", "/etc/"],
            &[
                "w /home/u/p",
                "r /home/u/p/.env",
                "r /home/u/p/config",
                "- /home/u/p/key",
            ],
            &["/home/u/p/.env", "/home/u/p/config", "/home/u/p/key"],
        );
    }

    #[test]
    fn settings_that_are_not_there_yet_are_not_a_servers_to_write() {
        check(
            r#"{"filesystem": {"allowWrite": ["~"]}}"#,
            &["/home/u/p/", "/home/u/.local/"],
            &["w /home/u", "w /home/u/.local", "- /home/u/.local/state"],
            &["/home/u/.local/state"],
        );
    }

    #[test]
    fn a_link_that_the_server_could_replace_is_told() {
        let loose = |document: &str, disk: &[&str]| {
            lowered(document, disk)
                .loose
                .into_iter()
                .map(|loose| format!("{} for {}", loose.link.display(), loose.rule))
                .collect::<Vec<_>>()
        };
        let disk = ["/home/u/p/a.link", "/home/u/q.link/x", "/home/u/p/"];
        for (rules, expected) in [
            (
                r#""allowWrite": ["."], "denyWrite": ["a.link"]"#,
                &["/home/u/p/a.link for a.link"][..],
            ),
            (
                r#""allowWrite": ["."], "denyWrite": ["gone.link"]"#,
                &["/home/u/p/gone.link for gone.link"],
            ),
            (
                r#""allowWrite": ["."], "denyRead": ["gone.link"]"#,
                &["/home/u/p/gone.link for gone.link"],
            ),
            // Its target is hidden.
            (r#""allowWrite": ["."], "denyRead": ["a.link"]"#, &[]),
            // Where nothing can be written, no link can be replaced.
            (r#""allowWrite": ["."], "denyWrite": ["~/q.link/x"]"#, &[]),
            (
                r#""allowWrite": ["~"], "denyWrite": ["~/q.link/x"]"#,
                &["/home/u/q.link for ~/q.link/x"],
            ),
        ] {
            let document = format!("{{\"filesystem\": {{{rules}}}}}");
            assert_eq!(loose(&document, &disk), expected, "{rules}");
        }
    }

    #[test]
    fn what_other_programs_run_is_guarded_where_it_is_there() {
        check(
            r#"{"filesystem": {"allowWrite": ["."]}}"#,
            &[
                "/home/u/p/.git/hooks/",
                "/home/u/p/.git/config",
                "/home/u/p/.mcp.json",
            ],
            &[
                "w /home/u/p",
                "w /home/u/p/.git",
                "r /home/u/p/.git/config",
                "r /home/u/p/.git/hooks",
                "r /home/u/p/.mcp.json",
            ],
            &[],
        );
    }

    #[test]
    fn a_hidden_home_with_an_open_project() {
        check(
            r#"{"filesystem": {"denyRead": ["/home"], "allowRead": ["."], "allowWrite": ["."]}}"#,
            &["/home/u/p/", "/home/u/.ssh/", "/run/"],
            &["- /home", "w /home/u/p", "- /run"],
            &[],
        );
    }

    #[test]
    fn the_hosts_run_is_hidden_but_for_what_is_named() {
        check(
            r#"{"filesystem": {"allowRead": ["/", "/run/user/7/data"]}}"#,
            &["/home/u/p/", "/run/user/7/data", "/run/docker.sock"],
            &["- /run", "r /run/user/7/data"],
            &[],
        );
    }
}

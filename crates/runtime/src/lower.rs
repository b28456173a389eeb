//! The one bridge from rules to mechanism: what did this rule become?
//!
//! Every path that a rule names is asked of the policy itself, and what it answers there is what the sandbox
//! gets; between those paths a policy's answer cannot change, but where a rule has a pattern or is about what is
//! not there: then it is asked again when a file is used ([`PolicyJudge`]). What the disk says is asked through
//! [`Look`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use srt_policy::{FileRule, FileRuleKind, FilesystemMode, FilesystemPolicy, Origin, Policy};
use srt_sandbox::{
    Access, Judged, Limits, NetworkSpec, OwnPlaces, PathRule, Patterns, SandboxSpec, TempFolder,
    UnixSockets,
};

use crate::judge::PolicyJudge;

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

/// What the disk says. Paths are absolute and lexically normal.
pub trait Look {
    /// What stands at a path, links followed.
    fn place(&self, path: &Path) -> Place;
    /// The path without links in the part that exists.
    fn resolve(&self, path: &Path) -> PathBuf;
    /// Device and inode of what has other names too (hard links): the file there, or those in the folder there. Of a
    /// large folder, only of the first.
    fn several_names(&self, path: &Path) -> Vec<(u64, u64)>;
}

/// A policy as a sandbox.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// What to build.
    pub spec: SandboxSpec,
    /// The rules that it was made from, their paths without links.
    pub files: Arc<FilesystemPolicy>,
    /// What the person should know: rules that have no effect at the moment.
    pub notes: Vec<String>,
}

/// Why a server may not write the programs that run outside of its sandbox.
const PROGRAMS: &str = "the daemon runs it outside of every sandbox";

/// Why a server may not replace a socket that it may reach: another one could be moved to its place.
const SOCKET: &str = "network.allowUnixSockets lists it, and it must stay the socket that it is";

/// Lowers a policy. `temp` is the launch's own folder on the host, `programs` are those that the daemon runs.
pub fn lower(
    policy: &Policy,
    cwd: &Path,
    temp: &Path,
    programs: &[PathBuf],
    disk: &impl Look,
) -> Lowered {
    let sockets: Vec<PathBuf> = match &policy.sockets {
        srt_policy::UnixSockets::Listed(rules) => {
            rules.iter().map(|rule| rule.path.clone()).collect()
        }
        srt_policy::UnixSockets::All => Vec::new(),
    };
    let guarded = [(sockets.as_slice(), SOCKET), (programs, PROGRAMS)];
    let files = policy
        .filesystem
        .resolved_guarding(&guarded, |path| disk.resolve(path));
    let files = Arc::new(files);
    let judge = PolicyJudge::new(files.clone(), disk.resolve(cwd));
    let mut mounts = Mounts::new(&files, &judge);
    let mut paths = BTreeSet::from([PathBuf::from(RUNTIME), disk.resolve(cwd)]);
    for rule in files.rules().iter().filter(|rule| !rule.alias) {
        // Seatbelt goes by names, whether something is there or not; a mount needs something to be on.
        if cfg!(target_os = "macos") || disk.place(&rule.path) != Place::Absent {
            paths.insert(rule.path.clone());
        }
    }
    for path in paths {
        if path != Path::new(RUNTIME) || disk.place(&path) != Place::Absent {
            mounts.visit(&path);
        }
    }
    let mut notes = notes(&files, &mounts, disk);
    notes.extend_from_slice(files.notes());
    let unreadable = identities(&files, disk, |rule| {
        rule.denies() && !judge.reads(&rule.path)
    });
    let judged = Judged {
        // No mount hides a file under its other names.
        reads: !unreadable.is_empty() || judges_reads(&files, &judge, disk),
        unwritable: identities(&files, disk, |rule| {
            rule.denies() && rule.kind != FileRuleKind::DenyRead
        }),
        unreadable,
        judge: Arc::new(judge.clone()),
    };
    let emitted = mounts.emitted;
    // Elsewhere the judge is asked.
    let patterns = if cfg!(target_os = "macos") {
        crate::patterns::of(&files, &judge)
    } else {
        Patterns::default()
    };
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
            limits: limits(policy),
            unix_sockets: UnixSockets::default(),
            nested_user_namespaces: policy.process.nested_user_namespaces,
            overlays: Vec::new(),
            own: OwnPlaces::default(),
            patterns,
            judged: Some(judged),
            observe: policy.audit.filesystem,
        },
        files,
        notes,
    }
}

/// Whether what mounts hide could come to be seen: a rule with a pattern, or one whose path could be made, replaced
/// or renamed by programs outside while the launch lasts. Nothing below a hidden folder can.
fn judges_reads(files: &FilesystemPolicy, judge: &PolicyJudge, disk: &impl Look) -> bool {
    files.rules().iter().any(|rule| {
        let seen = |path: &Path| path.parent().is_some_and(|folder| judge.reads(folder));
        match rule.kind {
            FileRuleKind::AllowRead => rule.pattern.is_some(),
            // What may be written is shown where the mode hides the rest.
            FileRuleKind::AllowWrite => {
                rule.pattern.is_some() && files.mode() == FilesystemMode::Minimal
            }
            FileRuleKind::Protected | FileRuleKind::DenyRead if rule.pattern.is_some() => {
                judge.reads(&rule.path) || shows_below(files, rule)
            }
            FileRuleKind::Protected | FileRuleKind::DenyRead => {
                seen(&rule.path) && !is_lasting(&rule.path, disk)
            }
            FileRuleKind::DenyWrite => false,
        }
    })
}

/// Whether something is shown in the folder of a pattern, which is itself hidden, where the pattern may hold: a
/// project in a home folder that minimal mode hides, with `~/**/.env`.
fn shows_below(files: &FilesystemPolicy, rule: &FileRule) -> bool {
    files.rules().iter().any(|open| {
        open.allows() && open.path.starts_with(&rule.path) && rule.may_cover_below(&open.path)
    })
}

/// Whether a mount on a path stays where it is, whatever programs outside do: they do not replace the root's
/// folders.
fn is_lasting(path: &Path, disk: &impl Look) -> bool {
    path.parent().and_then(Path::parent).is_none() && disk.place(path) == Place::Folder
}

/// The files of these rules that have other names.
fn identities(
    files: &FilesystemPolicy,
    disk: &impl Look,
    which: impl Fn(&FileRule) -> bool,
) -> HashSet<(u64, u64)> {
    files
        .rules()
        .iter()
        // Of a link, what it leads to has a rule of its own.
        .filter(|rule| rule.pattern.is_none() && !rule.alias && which(rule))
        .flat_map(|rule| disk.several_names(&rule.path))
        .collect()
}

/// Rules that have no effect at the moment.
fn notes(files: &FilesystemPolicy, mounts: &Mounts<'_>, disk: &impl Look) -> Vec<String> {
    let allowed = files.rules().iter().filter(|rule| rule.is_asked_for());
    // Where all is seen, what comes later is; a folder of the sandbox's own has nothing of the host's.
    let missing = allowed.filter(|rule| {
        disk.place(&rule.path) == Place::Absent
            && rule
                .path
                .parent()
                .is_some_and(|folder| mounts.access_at(folder) == Access::None)
    });
    missing
        .map(|rule| {
            format!(
                "{} {:?}: nothing is at {}, and what is made there later is not seen by this launch; create it first",
                rule.kind.key(),
                rule.text,
                rule.path.display()
            )
        })
        .collect()
}

fn limits(policy: &Policy) -> Limits {
    let wanted = &policy.limits;
    let mut limits = Limits::of_descriptors(wanted.max_file_descriptors);
    limits.processes = wanted.max_processes;
    limits.file_size = wanted.max_file_size;
    limits.memory = wanted.memory_max;
    limits.cpu_percent = wanted.cpu_quota.map(|quota| quota.percent);
    limits.best_effort = wanted.best_effort;
    limits
}

fn network(policy: &Policy) -> NetworkSpec {
    let loopback: Vec<SocketAddr> = policy.network.loopback_listeners();
    let mut ports = COMMON_PORTS.to_vec();
    ports.extend(loopback.iter().map(SocketAddr::port));
    ports.sort_unstable();
    ports.dedup();
    NetworkSpec {
        loopback,
        ports,
        udp_ports: policy.network.udp_ports(),
    }
}

/// What is mounted where.
struct Mounts<'a> {
    files: &'a FilesystemPolicy,
    judge: &'a PolicyJudge,
    /// Sorted, hence parents first.
    emitted: BTreeMap<PathBuf, Access>,
}

impl<'a> Mounts<'a> {
    fn new(files: &'a FilesystemPolicy, judge: &'a PolicyJudge) -> Self {
        Self {
            files,
            judge,
            emitted: BTreeMap::new(),
        }
    }

    /// What is to be seen at a path: what policy says of it, but that what a pattern may open below it must be
    /// reachable; what else is there is then judged when it is used.
    fn seen(&self, path: &Path) -> Access {
        match srt_sandbox::Judge::access(self.judge, path) {
            Access::None if self.is_opened_below(path) => Access::Read,
            access => access,
        }
    }

    fn is_opened_below(&self, path: &Path) -> bool {
        let closed = self.files.decide_read(path).rule;
        // Neither a store nor what is ours is opened by a pattern.
        if closed.is_some_and(|rule| rule.is_store() || rule.kind == FileRuleKind::Protected) {
            return false;
        }
        // What may be written is shown in spite of the mode, and of nothing else.
        let by_mode = closed.is_some_and(|rule| matches!(rule.origin, Origin::BuiltIn(_)));
        self.files.rules().iter().any(|rule| {
            let opens = match rule.kind {
                FileRuleKind::AllowRead => true,
                FileRuleKind::AllowWrite => by_mode,
                _ => false,
            };
            opens
                && rule.pattern.is_some()
                && path.starts_with(&rule.path)
                && rule.may_cover_below(path)
        })
    }

    /// What the rules emitted so far give at a path.
    fn access_at(&self, path: &Path) -> Access {
        path.ancestors()
            .find_map(|above| self.emitted.get(above))
            .copied()
            .unwrap_or(Access::Read)
    }

    fn visit(&mut self, path: &Path) {
        let access = self.seen(path);
        if self.access_at(path) != access {
            self.emitted.insert(path.to_owned(), access);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Facts, Source, compile};

    /// Lowers `document` on a disk that has `folders` and `files`, and compares the rules.
    fn check(document: &str, disk: &[&str], expected: &[&str]) {
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
    }

    fn lowered(document: &str, disk: &[&str]) -> Lowered {
        let facts = Facts {
            home: "/home/u".into(),
            cwd: "/home/u/p".into(),
            protected: vec!["/home/u/.local/state/srt".into()],
            program: Vec::new(),
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: document.into(),
        };
        let policy = compile(Some(&source), &facts).unwrap().policy;
        lower(&policy, &facts.cwd, Path::new("/tmp/l"), &[], &Listed(disk))
    }

    /// A disk of these files and, with a slash at the end, folders.
    struct Listed<'a>(&'a [&'a str]);

    impl Look for Listed<'_> {
        fn place(&self, path: &Path) -> Place {
            let path = path.to_str().unwrap();
            let is_folder = |there: &&str| {
                there.starts_with(&format!("{path}/")) || **there == format!("{path}/")
            };
            if self.0.contains(&path) {
                Place::File
            } else if path == "/" || self.0.iter().any(is_folder) {
                Place::Folder
            } else {
                Place::Absent
            }
        }
        fn resolve(&self, path: &Path) -> PathBuf {
            path.to_owned()
        }
        /// A name that ends in `.linked` is one of several.
        fn several_names(&self, path: &Path) -> Vec<(u64, u64)> {
            let is_linked = path.extension().is_some_and(|end| end == "linked");
            let identity = is_linked.then_some((7, path.as_os_str().len() as u64));
            identity.into_iter().collect()
        }
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
                "- /home/u/.local/state/srt",
                "- /home/u/.ssh",
                "w /home/u/.ssh/known_hosts",
            ],
        );
    }

    #[test]
    fn the_daemons_own_files_cannot_be_made_by_a_server() {
        let document = r#"{"filesystem": {"allowWrite": ["~"]}}"#;
        let spec = lowered(document, &["/home/u/p/", "/home/u/.local/state/"]).spec;
        for (path, expected) in [
            ("/home/u/.local/state/other", Access::ReadWrite),
            ("/home/u/.local/state/srt/srt.db", Access::None),
        ] {
            assert_eq!(spec.access(Path::new(path)), expected, "{path}");
        }
        let judge = spec.judged.unwrap().judge;
        assert!(!judge.may_be_file(Path::new("/home/u/.local")));
        let (from, to) = (Path::new("/home/u/.local"), Path::new("/home/u/x"));
        assert!(!judge.may_move(from, to, true) && !judge.may_move(to, from, true));
    }

    #[test]
    fn what_no_mount_can_hold_is_judged_when_it_is_used() {
        let check = |rules: &str, disk: &[&str], reads: bool, path: &str, expected: Access| {
            let document = format!("{{\"filesystem\": {{{rules}}}}}");
            let judged = lowered(&document, disk).spec.judged.unwrap();
            assert_eq!(judged.reads, reads, "{rules}");
            assert_eq!(
                judged.judge.access(Path::new(path)),
                expected,
                "{rules} {path}"
            );
        };
        // All is hidden but these two.
        let closed = r#""denyRead": ["/"], "allowRead": ["/usr", "."], "allowWrite": ["."]"#;
        let here = &["/home/u/p/", "/usr/"][..];
        // In shared mode each store that is not there could come.
        check("", here, true, "/home/u/.ssh/id", Access::None);
        check(closed, here, false, "/home/u/p/x", Access::ReadWrite);
        for guarded in ["/home/u/p/.mcp.json", "/home/u/p/sub/.git/hooks/pre-commit"] {
            check(closed, here, false, guarded, Access::Read);
        }
        for (rules, path, expected) in [
            (
                (r#""**/.env""#, r#""/lib""#),
                "/home/u/p/a/.env",
                Access::None,
            ),
            ((r#""later""#, r#""/lib""#), "/home/u/p/later", Access::None),
            ((r#""file""#, r#""/lib""#), "/home/u/p/file", Access::None),
            ((r#""sub""#, r#""/lib""#), "/home/u/p/sub/x", Access::None),
            (
                (r#""sub""#, r#""sub/**/*.md""#),
                "/home/u/p/sub/deep/x.md",
                Access::ReadWrite,
            ),
        ] {
            let disk = ["/home/u/p/", "/home/u/p/file", "/home/u/p/sub/", "/usr/"];
            let all = closed
                .replace(r#""denyRead": ["/""#, r#""denyRead": ["/", DENIED"#)
                .replace(
                    r#""allowRead": ["/usr""#,
                    r#""allowRead": ["/usr", ALLOWED"#,
                );
            let (denied, allowed) = rules;
            let all = all.replace("DENIED", denied).replace("ALLOWED", allowed);
            check(&all, &disk, true, path, expected);
        }
    }

    #[test]
    fn what_a_pattern_opens_can_be_reached() {
        check(
            r#"{"filesystem": {"denyRead": ["~/docs", "~/shut"], "allowRead": ["~/docs/**/*.md", "~/.aws/*"]}}"#,
            &[
                "/home/u/p/",
                "/home/u/docs/",
                "/home/u/shut/",
                "/home/u/.aws/",
                "/home/u/.ssh/",
            ],
            &["- /home/u/.aws", "- /home/u/.ssh", "- /home/u/shut"],
        );
    }

    #[test]
    fn a_pattern_holds_in_what_is_shown_of_a_hidden_folder() {
        for (entry, shown) in [
            ("~/**/.env", true),
            ("~/p/.e*", true),
            ("/**/.env", true),
            // What is about hidden folders alone needs no judge.
            ("~/docs/**/*.md", false),
        ] {
            let document =
                format!(r#"{{"filesystem": {{"mode": "minimal", "denyRead": ["{entry}"]}}}}"#);
            let lowered = lowered(&document, &["/home/u/p/", "/home/u/p/.env"]);
            let mut rules = lowered.files.rules().iter();
            let rule = rules.find(|rule| rule.pattern.is_some()).unwrap();
            assert_eq!(shows_below(&lowered.files, rule), shown, "{entry}");
            let judged = lowered.spec.judged.unwrap();
            assert!(judged.reads || !shown, "{entry}");
            let access = judged.judge.access(Path::new("/home/u/p/.env"));
            assert_eq!(access == Access::None, shown, "{entry}");
        }
    }

    #[test]
    fn what_a_pattern_lets_be_written_opens_no_more_than_that() {
        let disk = &["/home/u/p/", "/srv/d/", "/srv/d/file"][..];
        let lowered = lowered(
            r#"{"filesystem": {"mode": "minimal", "allowWrite": ["/srv/d/**/*.log"]}}"#,
            disk,
        );
        let judged = lowered.spec.judged.unwrap();
        assert!(judged.reads, "the folder is shown, so openings are judged");
        for (path, expected) in [
            ("/srv/d/file", Access::None),
            ("/srv/d/x.log", Access::ReadWrite),
        ] {
            assert_eq!(judged.judge.access(Path::new(path)), expected, "{path}");
        }
        // It opens nothing that a document hides.
        check(
            r#"{"filesystem": {"denyRead": ["/srv"], "allowWrite": ["/srv/**/*.log"]}}"#,
            disk,
            &["- /srv"],
        );
    }

    #[test]
    fn a_file_of_several_names_is_known_by_each() {
        let judged = lowered(
            r#"{"filesystem": {"denyRead": ["a.linked", "b"], "denyWrite": ["longer.linked"]}}"#,
            &[
                "/home/u/p/a.linked",
                "/home/u/p/b",
                "/home/u/p/longer.linked",
            ],
        )
        .spec
        .judged
        .unwrap();
        assert_eq!(judged.unreadable.len(), 1, "{judged:?}");
        assert_eq!(judged.unwritable.len(), 1, "{judged:?}");
        assert!(judged.unreadable.is_disjoint(&judged.unwritable));
        // Also where all that is around the file is hidden: its other name may be in what is shown.
        let judged = lowered(
            r#"{"filesystem": {"mode": "minimal", "denyRead": ["/srv/a.linked"]}}"#,
            &["/home/u/p/", "/srv/a.linked"],
        )
        .spec
        .judged
        .unwrap();
        assert!(judged.reads && judged.unreadable.len() == 1, "{judged:?}");
    }

    #[test]
    fn a_hidden_home_with_an_open_project() {
        check(
            r#"{"filesystem": {"denyRead": ["/home"], "allowRead": ["."], "allowWrite": ["."]}}"#,
            &["/home/u/p/", "/home/u/.ssh/", "/run/"],
            &["- /home", "w /home/u/p", "- /run"],
        );
    }

    #[test]
    fn the_hosts_run_is_hidden_but_for_what_is_named() {
        check(
            r#"{"filesystem": {"allowRead": ["/", "/run/user/7/data"]}}"#,
            &["/home/u/p/", "/run/user/7/data", "/run/docker.sock"],
            &["- /run", "r /run/user/7/data"],
        );
    }
}

//! A refused use of a file, in the words of the policy that refused it.

use std::path::{Path, PathBuf};

use srt_policy::{FileRule, FileRuleKind, FilesystemPolicy, Origin};
use srt_sandbox::Violation;

use crate::lower::RUNTIME;

/// A refused use of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDenial {
    /// The path, absolute, links followed.
    pub path: PathBuf,
    /// Whether it was to be written rather than read.
    pub write: bool,
    /// The program that tried.
    pub program: String,
    /// How many times.
    pub times: u64,
    /// A closing report: how often it came again since it was first told.
    pub again: bool,
    /// Why, for a person.
    pub reason: String,
    /// The rule that refused it, with its place; `None` where nothing allowed it.
    pub rule: Option<String>,
    /// The settings line that would allow it; `None` where none would.
    pub remedy: Option<String>,
}

/// Finds the words. `files` has the paths without links.
pub(crate) fn explain(violation: Violation, files: &FilesystemPolicy) -> FileDenial {
    let Violation {
        path,
        write,
        program,
        times,
        again,
    } = violation;
    let Reasons {
        rule,
        reason,
        remedy,
    } = reasons(&path, write, files);
    FileDenial {
        rule: rule.map(rule_text),
        path,
        write,
        program,
        times,
        again,
        reason,
        remedy,
    }
}

/// What runtimes look for each time they start, and do without. It says nothing of the user's.
const LOOKED_FOR: [&str; 3] = [
    // Node and Java: how much memory is theirs.
    "/sys/fs/cgroup",
    // Java: the sizes of pages.
    "/sys/kernel/mm/hugepages",
    // ps, numactl: the machine's memory nodes.
    "/sys/devices/system/node",
];

/// Java lists the folder that its user's other programs in Java have there.
const HSPERFDATA: &str = "/tmp/hsperfdata_";

fn is_looked_for(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    LOOKED_FOR.iter().any(|folder| path.starts_with(folder))
        || text.starts_with(HSPERFDATA.as_bytes())
}

/// Whether a refusal took anything away. What minimal mode hides because nobody named it, and what the host has not
/// either, would have been missing without a sandbox, too: programs look for many such files. And there is what every
/// runtime looks for: a log that had it at each start would be read by nobody.
pub(crate) fn is_one(
    violation: &Violation,
    files: &FilesystemPolicy,
    on_host: impl Fn(&Path) -> bool,
) -> bool {
    let unnamed = |rule: &FileRule| {
        rule.path == Path::new("/")
            && rule.kind == FileRuleKind::DenyRead
            && matches!(rule.origin, Origin::BuiltIn(_))
    };
    let rule = reasons(&violation.path, violation.write, files).rule;
    let path = &violation.path;
    violation.write || !rule.is_some_and(unnamed) || !is_looked_for(path) && on_host(path)
}

/// Why a use of a file is refused.
pub(crate) struct Reasons<'a> {
    /// The rule that refuses it; `None` where nothing allows it.
    pub(crate) rule: Option<&'a FileRule>,
    pub(crate) reason: String,
    /// The settings line that would allow it; `None` where none would.
    pub(crate) remedy: Option<String>,
}

/// Finds the words for a refused use of a path. `files` has the paths without links.
pub(crate) fn reasons<'a>(path: &Path, write: bool, files: &'a FilesystemPolicy) -> Reasons<'a> {
    let read = files.decide_read(path);
    // A place that cannot be read cannot be written either: then that is the reason.
    let decision = if write && read.allowed {
        files.decide_write(path)
    } else {
        read
    };
    let mut rule = decision.rule.filter(|_| !decision.allowed);
    let (mut reason, mut remedy) = words(path, write, rule);
    // The path itself may be written; what it would do to a rule about others may not be done.
    if let (true, Some(led_to)) = (decision.allowed && write, files.leads_to(path)) {
        rule = Some(led_to);
        reason = format!(
            "{} is protected, and the way to it may only be a folder that stays where it is",
            led_to.text
        );
        remedy = None;
    }
    Reasons {
        rule,
        reason,
        remedy,
    }
}

fn words(path: &Path, write: bool, rule: Option<&FileRule>) -> (String, Option<String>) {
    let line = |key: &str| {
        let path = path.display().to_string();
        Some(format!("\"filesystem\": {{ \"{key}\": [{path:?}] }}"))
    };
    let asked = if write { "allowWrite" } else { "allowRead" };
    let Some(rule) = rule else {
        return if path.starts_with(RUNTIME) {
            let reason = "a sandbox has a /run of its own; of the host's it sees what a rule names";
            (reason.into(), line(asked))
        } else if write {
            (
                "no rule in filesystem.allowWrite covers it".into(),
                line(asked),
            )
        } else {
            ("it is not open to this launch".into(), None)
        };
    };
    let text = &rule.text;
    match (rule.kind, &rule.origin) {
        (FileRuleKind::Protected, _) => (
            "the daemon's own files are closed to every server".into(),
            None,
        ),
        (FileRuleKind::DenyWrite, Origin::BuiltIn(why)) => (
            format!("{text} stays write-protected under every allowWrite: {why}"),
            None,
        ),
        (FileRuleKind::DenyWrite, Origin::File { .. } | Origin::Grant { .. }) => (
            format!("filesystem.denyWrite has {text:?}, which wins over every allowWrite"),
            None,
        ),
        (_, Origin::BuiltIn(why)) => (
            format!("{text} is closed by default: {why}"),
            line("allowRead"),
        ),
        (_, Origin::File { .. } | Origin::Grant { .. }) => (
            format!("filesystem.denyRead has {text:?}"),
            line("allowRead"),
        ),
    }
}

/// A rule as a person finds it: its key, its text, its place.
pub(crate) fn rule_text(rule: &FileRule) -> String {
    let key = rule.kind.key();
    match &rule.origin {
        Origin::BuiltIn(_) => format!("{key}: {}", rule.text),
        Origin::Grant { id } => format!("{key}: {} (grant {id})", rule.text),
        Origin::File { path, line, .. } => {
            format!("{key}: {} ({}:{line})", rule.text, path.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Facts, Source, compile};

    fn facts() -> Facts {
        Facts {
            home: "/home/u".into(),
            cwd: "/home/u/p".into(),
            protected: vec!["/home/u/.local/state/srt".into()],
            program: Vec::new(),
            macos: false,
        }
    }

    fn violation(path: &str, write: bool) -> Violation {
        Violation {
            path: path.into(),
            write,
            program: "cat".into(),
            times: 1,
            again: false,
        }
    }

    fn check(path: &str, write: bool, reason: &str, rule: Option<&str>, remedy: bool) {
        let source = Source {
            path: "/s.json".into(),
            text: "{\"filesystem\":\n{\"denyRead\": [\"/secret\"],\n\"allowWrite\": [\".\"],\n\"denyWrite\": [\".env\"]}}".into(),
        };
        let policy = compile(Some(&source), &facts()).unwrap().policy;
        let denial = explain(violation(path, write), &policy.filesystem);
        assert!(denial.reason.contains(reason), "{path}: {}", denial.reason);
        assert_eq!(denial.rule.as_deref(), rule, "{path}");
        assert_eq!(
            denial.remedy.is_some(),
            remedy,
            "{path}: {:?}",
            denial.remedy
        );
    }

    #[test]
    fn what_is_missing_anyway_was_not_refused() {
        // Without a settings file the mode is minimal.
        let policy = compile(None, &facts()).unwrap().policy;
        for (path, write, on_host, told) in [
            ("/opt/x", false, true, true),
            ("/opt/x", false, false, false),
            ("/opt/x", true, false, true),
            ("/sys/fs/cgroup/memory.max", false, true, false),
            ("/sys/fs/cgroup/memory.max", true, true, true),
            ("/sys/class/dmi/id/product_serial", false, true, true),
            ("/tmp/hsperfdata_u/1", false, true, false),
            ("/tmp/other", false, true, true),
            // Somebody named these.
            ("/home/u/.ssh/id_rsa", false, false, true),
            ("/home/u/.local/state/srt/srt.db", false, false, true),
        ] {
            let one = is_one(&violation(path, write), &policy.filesystem, |_| on_host);
            assert_eq!(one, told, "{path} {write} {on_host}");
        }
    }

    #[test]
    fn each_refusal_names_its_rule_and_what_would_lift_it() {
        check(
            "/home/u/.ssh/id_rsa",
            false,
            "private SSH keys",
            Some("filesystem.denyRead: ~/.ssh"),
            true,
        );
        check(
            "/home/u/.ssh/id_rsa",
            true,
            "private SSH keys",
            Some("filesystem.denyRead: ~/.ssh"),
            true,
        );
        check(
            "/secret/x",
            false,
            "\"/secret\"",
            Some("filesystem.denyRead: /secret (/s.json:2)"),
            true,
        );
        check(
            "/home/u/x",
            true,
            "no rule in filesystem.allowWrite",
            None,
            true,
        );
        check(
            "/home/u/p/.env",
            true,
            "denyWrite",
            Some("filesystem.denyWrite: .env (/s.json:4)"),
            false,
        );
        check(
            "/home/u/.local/state/srt/srt.db",
            false,
            "daemon's own",
            Some("built-in.protected: /home/u/.local/state/srt"),
            false,
        );
        check("/run/docker.sock", false, "/run", None, true);
    }
}

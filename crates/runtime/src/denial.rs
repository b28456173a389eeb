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
    let read = files.decide_read(&path);
    // A place that cannot be read cannot be written either: then that is the reason.
    let decision = if write && read.allowed {
        files.decide_write(&path)
    } else {
        read
    };
    let (reason, remedy) = words(&path, write, decision.rule.filter(|_| !decision.allowed));
    FileDenial {
        rule: decision.rule.filter(|_| !decision.allowed).map(rule_text),
        path,
        write,
        program,
        times,
        again,
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
        (FileRuleKind::DenyWrite, Origin::File { .. }) => (
            format!("filesystem.denyWrite has {text:?}, which wins over every allowWrite"),
            None,
        ),
        (_, Origin::BuiltIn(why)) => (
            format!("{text} is closed by default: {why}"),
            line("allowRead"),
        ),
        (_, Origin::File { .. }) => (
            format!("filesystem.denyRead has {text:?}"),
            line("allowRead"),
        ),
    }
}

fn rule_text(rule: &FileRule) -> String {
    let key = rule.kind.key();
    match &rule.origin {
        Origin::BuiltIn(_) => format!("{key}: {}", rule.text),
        Origin::File { path, line, .. } => {
            format!("{key}: {} ({}:{line})", rule.text, path.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Facts, Source, compile};

    fn check(path: &str, write: bool, reason: &str, rule: Option<&str>, remedy: bool) {
        let facts = Facts {
            home: "/home/u".into(),
            cwd: "/home/u/p".into(),
            protected: vec!["/home/u/.local/state/srt".into()],
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: "{\"filesystem\":\n{\"denyRead\": [\"/secret\"],\n\"allowWrite\": [\".\"],\n\"denyWrite\": [\".env\"]}}".into(),
        };
        let policy = compile(Some(&source), &facts).unwrap().policy;
        let violation = Violation {
            path: path.into(),
            write,
            program: "cat".into(),
            times: 1,
            again: false,
        };
        let denial = explain(violation, &policy.filesystem);
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

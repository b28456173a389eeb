//! What a launch would be told of one path: by the rules that a sandbox is built by, and by its judge.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use srt_policy::{FileRule, Policy};
use srt_sandbox::Access;

use crate::denial::reasons;
use crate::disk::Disk;
use crate::lower::{Look as _, lower};

/// What policy says of a use of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAnswer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The path without links, which is what rules are held against.
    pub path: PathBuf,
    /// The rule that decides; `None` where none does.
    pub rule: Option<FileRule>,
    /// Why, for a person; empty where the rule says it all.
    pub reason: String,
    /// The settings line that would change it; `None` where none would.
    pub remedy: Option<String>,
    /// What else there is to know, a sentence each.
    pub notes: Vec<String>,
}

/// Asks about reading or writing `path` (absolute), as a launch that begins now would be answered. `programs` are those
/// that the daemon runs. It looks at the disk.
pub(crate) fn examine(
    policy: &Policy,
    cwd: &Path,
    programs: &[PathBuf],
    path: &Path,
    write: bool,
) -> FileAnswer {
    let disk = Disk::default();
    // Nothing is made there: it is where the launch's own folder would be.
    let temp = Path::new("/nonexistent");
    let lowered = lower(policy, cwd, temp, programs, &disk);
    let (files, real) = (&lowered.files, disk.resolve(path));
    let access = lowered
        .spec
        .judged
        .as_ref()
        .map_or(Access::None, |judged| judged.judge.access(&real));
    let mut allowed = match write {
        true => access == Access::ReadWrite,
        false => access != Access::None,
    };
    let mut notes = Vec::new();
    let mut answer = |allowed, rule: Option<&FileRule>, reason, remedy| FileAnswer {
        allowed,
        path: real.clone(),
        rule: rule.cloned(),
        reason,
        remedy,
        notes: std::mem::take(&mut notes),
    };
    let another_name = lowered.spec.judged.as_ref().is_some_and(|judged| {
        let of = |known: &HashSet<(u64, u64)>| {
            let names = disk.several_names(&real);
            !real.is_dir() && names.iter().any(|name| known.contains(name))
        };
        of(&judged.unreadable) || write && of(&judged.unwritable)
    });
    if allowed && another_name {
        let reason = "it is another name (a hard link) of a file that a rule closes";
        return answer(false, None, reason.to_owned(), None);
    }
    let overlay = files
        .overlays()
        .iter()
        .find(|overlay| real.starts_with(&overlay.path));
    if let (true, false, Some(overlay)) = (write, allowed, overlay)
        && access != Access::None
        && files.write_denied(&real).is_none()
    {
        let reason = format!(
            "filesystem.overlay has {:?}: what is written goes to a layer, and the host's copy stays as it is",
            overlay.text
        );
        return answer(true, None, reason, None);
    }
    if write && allowed && files.leads_to(&real).is_some() && !real.is_dir() {
        allowed = false;
    }
    if allowed {
        let decision = match write {
            true => files.decide_write(&real),
            false => files.decide_read(&real),
        };
        let reason = match decision.rule {
            Some(_) => String::new(),
            None => "no rule closes it, and what is not closed can be read".to_owned(),
        };
        let key = if write { "denyWrite" } else { "denyRead" };
        let text = real.display().to_string();
        let remedy = format!("to refuse it: \"filesystem\": {{ \"{key}\": [{text:?}] }}");
        return answer(true, decision.rule, reason, Some(remedy));
    }
    if let Some(home) = files.private_home()
        && real.starts_with(home)
    {
        notes = vec![format!(
            "in minimal mode a sandbox has an empty folder of its own at {}; this is about the host's",
            home.display()
        )];
    }
    let words = reasons(&real, write, files);
    FileAnswer {
        allowed: false,
        path: real,
        rule: words.rule.cloned(),
        reason: words.reason,
        remedy: words.remedy,
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Facts, Source, compile};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_answer_is_about_the_real_path_and_names_the_line() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        for folder in ["home/p/out", "home/p/layered", "secret"] {
            fs::create_dir_all(top.join(folder)).unwrap();
        }
        fs::write(top.join("secret/key"), "x").unwrap();
        fs::write(top.join("home/p/file"), "x").unwrap();
        symlink(top.join("secret/key"), top.join("home/p/link")).unwrap();
        fs::hard_link(top.join("secret/key"), top.join("home/p/name")).unwrap();
        let facts = Facts {
            home: top.join("home"),
            cwd: top.join("home/p"),
            protected: Vec::new(),
            program: Vec::new(),
            macos: false,
        };
        let text = format!(
            "{{\"filesystem\":\n{{\"denyRead\": [{:?}],\n\"allowWrite\": [\"out\"],\n\"overlay\": [\"layered\"]}}}}",
            top.join("secret/key")
        );
        let source = Source {
            path: "/s.json".into(),
            text,
        };
        let policy = compile(Some(&source), &facts).unwrap().policy;
        let check = |path: &str, write: bool, allowed: bool, words: &str| {
            let answer = examine(&policy, &facts.cwd, &[], &top.join(path), write);
            let line = match answer.rule.as_ref().map(|rule| &rule.origin) {
                Some(srt_policy::Origin::File { line, .. }) => *line,
                _ => 0,
            };
            let said = format!("{answer:?} line {line}");
            assert_eq!(answer.allowed, allowed, "{path}: {said}");
            assert!(said.contains(words), "{path}: {said}");
        };
        check("home/p/file", false, true, "no rule closes it");
        check(
            "home/p/file",
            true,
            false,
            "no rule in filesystem.allowWrite",
        );
        check("home/p/out/new", true, true, "line 3");
        check("secret/key", false, false, "line 2");
        // A link is what it leads to.
        check("home/p/link", false, false, "secret/key\", rule: Some");
        check("home/p/layered/new", true, true, "goes to a layer");
        if cfg!(target_os = "linux") {
            check("home/p/name", false, false, "hard link");
        }
    }
}

//! Symbolic links on the way to what a policy opens: who may replace such a link chooses what is opened.
//!
//! A rule that denies is held under both names. A rule that allows, behind a link in a folder that some server may
//! write, would open whatever that server chose before the launch: so it is refused.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use srt_policy::{FileRule, FilesystemPolicy};
use srt_sandbox::{Access, Judge, SandboxSpec};
use uuid::Uuid;

use crate::disk::{Disk, links};
use crate::lower::{Look, Place};

/// The judges of all launches of a manager.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judges(Arc<Mutex<HashMap<Uuid, Arc<dyn Judge>>>>);

/// A launch's place among them; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Seat {
    all: Judges,
    id: Uuid,
}

impl Judges {
    pub(crate) fn add(&self, id: Uuid, judge: Arc<dyn Judge>) -> Seat {
        self.lock().insert(id, judge);
        Seat {
            all: self.clone(),
            id,
        }
    }

    /// Whether some server may write what stands at a path.
    fn let_write(&self, path: &Path) -> bool {
        let judges: Vec<_> = self.lock().values().cloned().collect();
        judges
            .iter()
            .any(|judge| judge.access(path) == Access::ReadWrite)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<dyn Judge>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

/// A link that decides what a rule opens, and is not the person's alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Loose {
    pub(crate) link: PathBuf,
    pub(crate) rule: String,
    pub(crate) target: PathBuf,
}

/// The first rule of a document that opens something through a link which a server may replace. `written` are the
/// rules as written, `disk` what they were resolved by; this launch's own judge is among `judges`.
pub(crate) fn first_loose(
    written: &FilesystemPolicy,
    disk: &impl Look,
    judges: &Judges,
) -> Option<Loose> {
    let opens = |rule: &&FileRule| rule.is_asked_for();
    written.rules().iter().filter(opens).find_map(|rule| {
        let target = disk.resolve(&rule.path);
        // What another rule of the kind opens by its own name is opened anyway.
        let anyway = target == rule.path
            || written.rules().iter().filter(opens).any(|other| {
                other.kind == rule.kind
                    && other.pattern.is_none()
                    && disk.resolve(&other.path) == other.path
                    && target.starts_with(&other.path)
            });
        if anyway {
            return None;
        }
        let links = links(&rule.path);
        // None: it was one a moment ago.
        let loose = match links.is_empty() && disk.place(&rule.path) != Place::Absent {
            true => Some(rule.path.clone()),
            false => links.into_iter().find(|link| judges.let_write(link)),
        };
        loose.map(|link| Loose {
            link,
            rule: rule.text.clone(),
            target,
        })
    })
}

/// What must stand in the sandbox where policy opens something: another server could have put something else there
/// between our look and the mount.
pub(crate) fn expected(
    files: &FilesystemPolicy,
    spec: &SandboxSpec,
    disk: &Disk,
    cwd: &Path,
) -> Vec<(PathBuf, (u64, u64))> {
    let asked_for = files.rules().iter().filter(|rule| rule.is_asked_for());
    asked_for
        .filter(|rule| disk.place(&rule.path) == Place::Folder)
        .map(|rule| rule.path.as_path())
        .chain([cwd])
        .filter(|path| !spec.is_own(path) && spec.access(path) != Access::None)
        // What is not there any more by this name is nothing that could be found there.
        .map(|path| (path.to_owned(), identity_of(path).unwrap_or_default()))
        .collect()
}

/// Device and inode of what stands at a path that has no links; a link that came to be on the way is not followed.
#[cfg(target_os = "linux")]
pub(crate) fn identity_of(path: &Path) -> Option<(u64, u64)> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
    let stat = fstat(file).ok()?;
    Some((stat.st_dev, stat.st_ino))
}
#[cfg(not(target_os = "linux"))]
pub(crate) fn identity_of(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::PolicyJudge;
    use srt_policy::{Facts, Source, compile};
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_that_a_server_may_replace_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        for name in ["p", "p/in", "out", "q"] {
            std::fs::create_dir(top.join(name)).unwrap();
        }
        symlink(top.join("out"), top.join("p/door")).unwrap();
        symlink("in", top.join("p/inner")).unwrap();
        symlink(top.join("out"), top.join("q/door")).unwrap();
        let policy = |rules: &str| {
            let facts = Facts {
                home: top.join("home"),
                cwd: top.join("p"),
                protected: vec![],
                program: vec![],
                macos: false,
            };
            let source = Source {
                path: "/s.json".into(),
                text: format!("{{\"filesystem\": {{{rules}}}}}"),
            };
            compile(Some(&source), &facts).unwrap().policy.filesystem
        };
        let disk = Disk::default();
        let judge = |policy: &FilesystemPolicy| {
            let files = Arc::new(policy.resolved(|path| disk.resolve(path)));
            Arc::new(PolicyJudge::new(files, top.join("p")))
        };
        let judges = Judges::default();
        let other = judges.add(
            Uuid::from_u128(1),
            judge(&policy(r#""allowWrite": ["../q"]"#)),
        );
        for (rules, expected) in [
            (r#""allowWrite": [".", "door"]"#, Some("p/door")),
            (
                r#""allowWrite": ["."], "allowRead": ["door"]"#,
                Some("p/door"),
            ),
            // It leads to what may be written anyway.
            (r#""allowWrite": [".", "inner"]"#, None),
            // Nobody may replace it.
            (r#""allowWrite": ["door"]"#, None),
            // Another server may.
            (r#""allowRead": ["../q/door"]"#, Some("q/door")),
        ] {
            let policy = policy(rules);
            let seat = judges.add(Uuid::from_u128(2), judge(&policy));
            let loose = first_loose(&policy, &disk, &judges);
            let got = loose.map(|loose| loose.link);
            assert_eq!(got, expected.map(|link| top.join(link)), "{rules}");
            drop(seat);
        }
        drop(other);
        let policy = policy(r#""allowRead": ["../q/door"]"#);
        assert_eq!(first_loose(&policy, &disk, &judges), None);
    }
}

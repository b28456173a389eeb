//! From a policy's Unix sockets to a sandbox's.

use srt_policy::{FileRuleKind, FilesystemPolicy};
use srt_sandbox::{Access, PathRule, SandboxSpec, UnixSockets};

use crate::{Look, Place};

/// Adds the sockets that a policy names to a spec: each can be connected to, and is shown where nothing of it would
/// be. What cannot be reached is told in a note.
///
/// `files` has the paths without links.
pub(crate) fn add(
    wanted: &srt_policy::UnixSockets,
    files: &FilesystemPolicy,
    spec: &mut SandboxSpec,
    disk: &impl Look,
) -> Vec<String> {
    let rules = match wanted {
        srt_policy::UnixSockets::All => {
            spec.unix_sockets = UnixSockets::All;
            return Vec::new();
        }
        srt_policy::UnixSockets::Listed(rules) => rules,
    };
    let mut notes = Vec::new();
    let mut listed = Vec::new();
    for rule in rules {
        let real = disk.resolve(&rule.path);
        let protected = files.rules().iter().any(|own| {
            own.kind == FileRuleKind::Protected
                && (real.starts_with(&own.path) || own.path.starts_with(&real))
        });
        if protected {
            notes.push(format!(
                "network.allowUnixSockets {:?}: {} is protected under every policy, so it cannot be reached",
                rule.text,
                real.display()
            ));
            continue;
        }
        let hidden = spec.mounted(&real) == Access::None;
        if hidden && disk.place(&real) == Place::Absent {
            notes.push(format!(
                "network.allowUnixSockets {:?}: nothing is at {}, so it cannot be reached; start what listens there first",
                rule.text,
                real.display()
            ));
            continue;
        }
        if hidden {
            let at = spec.files.partition_point(|other| other.path < real);
            let rule = PathRule {
                path: real.clone(),
                access: Access::Read,
            };
            spec.files.insert(at, rule);
        }
        listed.push(real);
    }
    spec.unix_sockets = UnixSockets::Listed(listed);
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    use srt_policy::{Facts, Source, compile};

    /// A disk with everything on it but what is called `none`, and one link.
    struct Toy;

    impl Look for Toy {
        fn place(&self, path: &Path) -> Place {
            match path.ends_with("none") {
                true => Place::Absent,
                false => Place::Folder,
            }
        }
        fn resolve(&self, path: &Path) -> PathBuf {
            match path.strip_prefix("/link") {
                Ok(rest) => Path::new("/data/own").join(rest),
                Err(_) => path.to_owned(),
            }
        }
        fn several_names(&self, _: &Path) -> Vec<(u64, u64)> {
            Vec::new()
        }
    }

    fn added(sockets: &str) -> (SandboxSpec, Vec<String>) {
        let facts = Facts {
            home: "/h".into(),
            cwd: "/h/p".into(),
            protected: vec!["/run/user/1/srt".into(), "/data/own".into()],
            program: vec![],
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: format!(r#"{{"network": {{{sockets}}}}}"#),
        };
        let policy = compile(Some(&source), &facts).unwrap().policy;
        let mut lowered = crate::lower(&policy, &facts.cwd, Path::new("/l/tmp"), &[], &Toy);
        let notes = add(&policy.sockets, &lowered.files, &mut lowered.spec, &Toy);
        (lowered.spec, notes)
    }

    #[test]
    fn a_hidden_socket_is_shown_and_nothing_around_it() {
        let (spec, notes) = added(r#""allowUnixSockets": ["/run/user/1/bus", "/data/x.sock"]"#);
        assert_eq!(notes, [] as [&str; 0]);
        let listed = ["/data/x.sock", "/run/user/1/bus"].map(PathBuf::from);
        let UnixSockets::Listed(mut got) = spec.unix_sockets.clone() else {
            panic!("{:?}", spec.unix_sockets)
        };
        got.sort();
        assert_eq!(got, listed);
        for (path, access) in [
            ("/run/user/1/bus", Access::Read),
            ("/run/user/1/other", Access::None),
            ("/run/user/1/srt", Access::None),
        ] {
            assert_eq!(spec.mounted(Path::new(path)), access, "{path}");
        }
        let paths: Vec<_> = spec.files.iter().map(|rule| &rule.path).collect();
        assert!(paths.is_sorted(), "parents before children: {paths:?}");
    }

    #[test]
    fn what_is_ours_or_not_there_is_told_and_not_listed() {
        for (sockets, said) in [
            (r#""allowUnixSockets": ["/link/srtd.sock"]"#, "is protected"),
            (
                r#""allowUnixSockets": ["/run/none"]"#,
                "start what listens there",
            ),
        ] {
            let (spec, notes) = added(sockets);
            assert!(notes.len() == 1 && notes[0].contains(said), "{notes:?}");
            assert_eq!(spec.unix_sockets, UnixSockets::Listed(vec![]));
        }
        let (spec, _) = added(r#""allowAllUnixSockets": true"#);
        assert_eq!(spec.unix_sockets, UnixSockets::All);
        assert_eq!(spec.mounted(Path::new("/run/x")), Access::None);
    }
}

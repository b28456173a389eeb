//! What rules become below an overlaid folder. Pure.
//!
//! There the server writes into its layer, so a rule that refuses to have the host's copy written holds anyway, and
//! shows in `srtctl apply`. What may not be read stays hidden. What `allowWrite` names inside the folder is the host's,
//! with the rules in it.

use std::path::Path;

use srt_policy::{FileRuleKind, FilesystemPolicy};
use srt_sandbox::{Access, Overlay, PathRule};

/// The rules that are left; `files` has paths without links, `rules` come parents first.
pub(crate) fn beneath(
    rules: Vec<PathRule>,
    overlays: &[Overlay],
    files: &FilesystemPolicy,
) -> Vec<PathRule> {
    let mut kept: Vec<PathRule> = Vec::with_capacity(rules.len());
    for rule in rules {
        let depth = |path: &Path| path.components().count();
        let folder = overlays
            .iter()
            .map(|overlay| &overlay.path)
            .filter(|folder| rule.path.starts_with(folder))
            .max_by_key(|folder| depth(folder));
        let around = |kept: &[PathRule]| {
            kept.iter()
                .filter(|other| rule.path != other.path && rule.path.starts_with(&other.path))
                .max_by_key(|other| depth(&other.path))
                .map(|other| (depth(&other.path), other.access))
        };
        let keep = match (folder, rule.access) {
            (None, _) | (Some(_), Access::None) => true,
            // The overlay takes its place.
            (Some(folder), _) if rule.path == *folder => true,
            (Some(folder), Access::ReadWrite) => {
                files.decide_write(&rule.path).rule.is_some_and(|named| {
                    named.kind == FileRuleKind::AllowWrite
                        && named.path != *folder
                        && named.path.starts_with(folder)
                })
            }
            // Only in a place that shows the host's, or hides it.
            (Some(folder), Access::Read) => around(&kept).is_some_and(|(at, _)| at > depth(folder)),
        };
        if keep {
            kept.push(rule);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Facts, Source, compile};

    #[track_caller]
    fn check(document: &str, rules: &[(&str, Access)], expected: &[&str]) {
        let facts = Facts {
            home: "/h".into(),
            cwd: "/h/p".into(),
            protected: vec![],
            program: vec![],
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: document.into(),
        };
        let files = compile(Some(&source), &facts).unwrap().policy.filesystem;
        let rules = rules
            .iter()
            .map(|(path, access)| PathRule {
                path: path.into(),
                access: *access,
            })
            .collect();
        let overlay = Overlay {
            path: "/h/p".into(),
            upper: "/l/u".into(),
            work: "/l/w".into(),
            merged: "/l/m".into(),
        };
        let kept: Vec<_> = beneath(rules, &[overlay], &files)
            .into_iter()
            .map(|rule| rule.path.display().to_string())
            .collect();
        assert_eq!(kept, expected, "{document}");
    }

    #[test]
    fn only_what_hides_or_is_named_lies_over_an_overlay() {
        use Access::{None, Read, ReadWrite};
        // Guards, and the folders on the way to them, are about the host's copy.
        check(
            r#"{"filesystem": {"allowWrite": ["."], "overlay": ["."]}}"#,
            &[
                ("/h/p", ReadWrite),
                ("/h/p/.git", ReadWrite),
                ("/h/p/.git/hooks", Read),
                ("/h/p/.env", None),
                ("/q", Read),
            ],
            &["/h/p", "/h/p/.env", "/q"],
        );
        // A folder that is named inside is the host's, with its guards.
        check(
            r#"{"filesystem": {"allowWrite": ["out"], "overlay": ["."]}}"#,
            &[
                ("/h/p/out", ReadWrite),
                ("/h/p/out/.git", ReadWrite),
                ("/h/p/out/.git/hooks", Read),
                ("/h/p/x", Read),
            ],
            &["/h/p/out", "/h/p/out/.git", "/h/p/out/.git/hooks"],
        );
        // What is opened again inside what is hidden.
        check(
            r#"{"filesystem": {"denyRead": ["s"], "allowRead": ["s/open"], "overlay": ["."]}}"#,
            &[("/h/p/s", None), ("/h/p/s/open", Read)],
            &["/h/p/s", "/h/p/s/open"],
        );
    }
}

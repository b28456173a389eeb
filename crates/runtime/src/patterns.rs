//! Rules with patterns as regular expressions, for a sandbox that goes by names alone (macOS).
//!
//! There nobody can be asked when a file is used, so all that the rules would answer must be said before. Only rules
//! that deny have patterns there (`srt_policy` refuses others by name), and so what can open a match again is a path.

use std::collections::BTreeSet;

use srt_policy::{FileRule, FileRuleKind, FilesystemPolicy};
use srt_sandbox::{Access, Judge, Opened, PathRule, Patterns};

/// What the rules with patterns say. `judge` decides by the same rules.
pub(crate) fn of(files: &FilesystemPolicy, judge: &impl Judge) -> Patterns {
    let denying = || {
        let rules = files.rules().iter();
        rules.filter(|rule| rule.pattern.is_some() && rule.denies())
    };
    let hides = |rule: &&FileRule| rule.kind != FileRuleKind::DenyWrite;
    let mut unwritable: BTreeSet<String> = denying()
        .filter(|rule| rule.kind == FileRuleKind::DenyWrite)
        .filter_map(FileRule::regex)
        .collect();
    // Nobody sees what is in a folder that is renamed, so what leads to a rule stays where it is.
    unwritable.extend(denying().flat_map(FileRule::regexes_leading));
    let hidden: BTreeSet<String> = denying()
        .filter(hides)
        .filter_map(FileRule::regex)
        .collect();

    let plain = files.rules().iter();
    let plain = plain.filter(|rule| rule.pattern.is_none() && !rule.alias);
    let paths: BTreeSet<_> = plain.map(|rule| rule.path.as_path()).collect();
    let is_hidden = |path: &_| denying().filter(hides).any(|rule| rule.covers(path));
    let opened = paths.into_iter().filter(|path| is_hidden(path));
    let opened = opened.filter_map(|path| {
        let access = judge.access(path);
        // What opens it is as deep as the pattern's match; what the pattern matches below that stays hidden.
        let by = files.decide_read(path).rule?;
        (access != Access::None).then(|| Opened {
            rule: PathRule {
                path: path.to_owned(),
                access,
            },
            hidden: denying()
                .filter(hides)
                .filter_map(|rule| rule.regex_below(&by.path))
                .collect(),
        })
    });
    Patterns {
        opened: opened.collect(),
        hidden: hidden.into_iter().collect(),
        unwritable: unwritable.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::PolicyJudge;
    use srt_policy::{Facts, Source, compile};
    use std::sync::Arc;

    fn patterns(filesystem: &str) -> Patterns {
        let facts = Facts {
            home: "/Users/u".into(),
            cwd: "/Users/u/p".into(),
            protected: vec![],
            program: vec![],
            macos: true,
        };
        let source = Source {
            path: "/s.json".into(),
            text: format!(r#"{{"filesystem": {{{filesystem}}}}}"#),
        };
        let files = compile(Some(&source), &facts).unwrap().policy.filesystem;
        let files = Arc::new(files);
        of(&files, &PolicyJudge::new(files.clone(), facts.cwd))
    }

    #[test]
    fn guards_become_regular_expressions_where_something_may_be_written() {
        assert_eq!(patterns(""), Patterns::default());
        let written = patterns(r#""allowWrite": ["."]"#);
        for expected in [
            r"^/([^/]+/)*\.[gG][iI][tT]/[hH][oO][oO][kK][sS]($|/)",
            r"^/([^/]+/)*\.[mM][cC][pP]\.[jJ][sS][oO][nN]($|/)",
            r"^/([^/]+/)*\.[gG][iI][tT]$",
        ] {
            assert!(
                written.unwritable.iter().any(|regex| regex == expected),
                "{expected}"
            );
        }
        assert!(written.hidden.is_empty() && written.opened.is_empty());
    }

    #[test]
    fn a_path_as_deep_as_a_patterns_match_is_opened_again() {
        #[track_caller]
        fn check(filesystem: &str, expected: &[(&str, Access, &[&str])]) {
            let patterns = patterns(filesystem);
            assert_eq!(patterns.hidden, [r"^/Users/u/p/([^/]+/)*[sS]($|/)"]);
            let opened: Vec<_> = patterns
                .opened
                .iter()
                .map(|opened| {
                    let hidden: Vec<_> = opened.hidden.iter().map(String::as_str).collect();
                    (
                        opened.rule.path.to_str().unwrap(),
                        opened.rule.access,
                        hidden,
                    )
                })
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(path, access, hidden)| (*path, *access, hidden.to_vec()))
                .collect();
            assert_eq!(opened, expected, "{filesystem}");
        }
        check(r#""denyRead": ["**/s"]"#, &[]);
        check(r#""denyRead": ["**/s"], "allowRead": ["a"]"#, &[]);
        check(r#""denyRead": ["**/s"], "allowWrite": ["s/w"]"#, &[]);
        let below = [r"^/Users/u/p/s/([^/]+/)*[sS]($|/)"];
        check(
            r#""denyRead": ["**/s"], "allowRead": ["s"], "allowWrite": ["s/w"]"#,
            &[
                ("/Users/u/p/s", Access::Read, &below),
                ("/Users/u/p/s/w", Access::ReadWrite, &below),
            ],
        );
    }
}

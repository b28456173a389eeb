//! A profile's text says what the policy says: the text is read as Seatbelt would, and asked about paths.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use srt_policy::{Facts, Source, compile};
use srt_sandbox::Access;

use crate::{Look, Place, lower};

thread_local! {
    /// Each is made once: there are many paths.
    static COMPILED: RefCell<HashMap<String, regex::Regex>> = RefCell::default();
}

/// One expression of a profile.
#[derive(Debug)]
enum Expression {
    Word(String),
    List(Vec<Expression>),
}

fn parse(text: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Vec<Expression> {
    let mut found = Vec::new();
    while let Some(character) = text.next() {
        match character {
            '(' => found.push(Expression::List(parse(text))),
            ')' => break,
            '"' => {
                let mut word = String::new();
                while let Some(character) = text.next().filter(|next| *next != '"') {
                    let escaped = character == '\\';
                    word.push(if escaped {
                        text.next().unwrap()
                    } else {
                        character
                    });
                }
                found.push(Expression::Word(word));
            }
            space if space.is_whitespace() => {}
            first => {
                let mut word = String::from(first);
                while let Some(next) = text.next_if(|next| !next.is_whitespace() && *next != ')') {
                    word.push(next);
                }
                found.push(Expression::Word(word));
            }
        }
    }
    found
}

fn holds(filter: &Expression, path: &Path) -> bool {
    let Expression::List(parts) = filter else {
        panic!("{filter:?} is no filter");
    };
    let [Expression::Word(kind), rest @ ..] = &parts[..] else {
        panic!("{filter:?} has no kind");
    };
    match (kind.as_str(), rest) {
        ("require-all", all) => all.iter().all(|filter| holds(filter, path)),
        ("require-any", any) => any.iter().any(|filter| holds(filter, path)),
        ("require-not", [not]) => !holds(not, path),
        ("subpath", [Expression::Word(folder)]) => path.starts_with(folder),
        ("literal", [Expression::Word(only)]) => path == Path::new(only),
        ("regex", [Expression::Word(regex)]) => COMPILED.with_borrow_mut(|compiled| {
            let regex = compiled
                .entry(regex.clone())
                .or_insert_with(|| regex::Regex::new(regex).unwrap());
            regex.is_match(path.to_str().unwrap())
        }),
        _ => panic!("{filter:?} is not known"),
    }
}

/// Whether the profile allows an operation on a path.
fn allows(profile: &[Expression], operation: &str, path: &Path) -> bool {
    profile.iter().any(|rule| match rule {
        Expression::List(parts) => match &parts[..] {
            [
                Expression::Word(allow),
                Expression::Word(named),
                filters @ ..,
            ] => {
                allow == "allow"
                    && named == operation
                    && filters.iter().any(|filter| holds(filter, path))
            }
            _ => false,
        },
        Expression::Word(_) => false,
    })
}

/// A disk on which all is a folder.
struct Folders;

impl Look for Folders {
    fn place(&self, _: &Path) -> Place {
        Place::Folder
    }
    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
    fn several_names(&self, _: &Path) -> Vec<(u64, u64)> {
        Vec::new()
    }
}

#[test]
fn the_profile_says_what_the_policy_says() {
    let facts = Facts {
        home: "/Users/u".into(),
        cwd: "/Users/u/p".into(),
        protected: vec!["/Users/u/.srt".into()],
        program: vec![],
        macos: true,
    };
    let mut paths: Vec<PathBuf> = [
        "/",
        "/Users",
        "/Users/u",
        "/Users/u/.ssh/id",
        "/usr/bin/true",
        "/opt",
    ]
    .map(PathBuf::from)
    .to_vec();
    let names = [
        "s",
        "k",
        "w",
        ".git",
        "hooks",
        ".mcp.json",
        ".config",
        "fish",
        ".srt",
        "x.pem",
    ];
    for base in ["/Users/u", "/Users/u/p"] {
        for one in names {
            for two in names {
                paths.extend(
                    ["k", "hooks", "x.pem"]
                        .map(|three| Path::new(base).join(one).join(two).join(three)),
                );
                paths.push(Path::new(base).join(one).join(two));
            }
            paths.push(Path::new(base).join(one));
        }
    }
    let mut seen = [0; 3];
    for document in [
        r#""allowWrite": ["."]"#,
        r#""allowWrite": ["~"], "denyWrite": ["s/k", "w/*/k"]"#,
        r#""denyRead": ["**/s", "*.pem"], "allowRead": ["s", "w/s/k"], "allowWrite": [".", "s/w"]"#,
        r#""denyRead": ["~", "~/p/**/x.pem"], "allowRead": [".", "w/x.pem"], "allowWrite": ["w", "k/s"]"#,
        r#""mode": "minimal", "allowWrite": ["."]"#,
        r#""mode": "minimal", "denyRead": ["**/k", "s"], "allowRead": ["~/w", "s/k"], "allowWrite": ["w/k", "~/.config"]"#,
    ] {
        let source = Source {
            path: "/s.json".into(),
            text: format!(r#"{{"filesystem": {{{document}}}}}"#),
        };
        let policy = compile(Some(&source), &facts).unwrap().policy;
        let temp = Path::new("/private/tmp/l");
        let mut lowered = lower(&policy, &facts.cwd, temp, &[], &Folders);
        let judge = lowered.spec.judged.clone().unwrap().judge;
        let decided = crate::judge::PolicyJudge::new(lowered.files.clone(), facts.cwd.clone());
        lowered.spec.patterns = crate::patterns::of(&lowered.files, &decided);
        let text = srt_sandbox::seatbelt::profile(&lowered.spec, &[]);
        let profile = parse(&mut text.chars().peekable());
        let leading: Vec<regex::Regex> = lowered
            .files
            .rules()
            .iter()
            .flat_map(srt_policy::FileRule::regexes_leading)
            .map(|regex| regex::Regex::new(&regex).unwrap())
            .collect();
        for path in &paths {
            let access = judge.access(path);
            seen[access as usize] += 1;
            let read = allows(&profile, "file-read*", path);
            assert_eq!(
                read,
                access != Access::None,
                "reading {}: {document}",
                path.display()
            );
            let leads = lowered
                .spec
                .files
                .iter()
                .any(|rule| rule.path.starts_with(path))
                || leading
                    .iter()
                    .any(|regex| regex.is_match(path.to_str().unwrap()));
            let write = allows(&profile, "file-write*", path);
            // What leads to a rule may be written by the rules, and stays what it is.
            let expected = access == Access::ReadWrite && (write || !leads);
            assert_eq!(write, expected, "writing {}: {document}", path.display());
        }
    }
    assert!(seen.iter().all(|times| *times > 200), "{seen:?}");
}

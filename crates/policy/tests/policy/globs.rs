//! Patterns in paths: what they match, which rule wins, and which are refused.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use srt_policy::{FileRule, FileRuleKind, FilesystemPolicy, Origin};

use crate::files::{Nothing, Read, Write, check};
use crate::support::{policy, show, try_compile};

/// The rules that one entry of `denyRead` makes.
fn rules(entry: &str) -> Vec<FileRule> {
    let text = format!("{{\"filesystem\": {{\"denyRead\": [{entry:?}]}}}}");
    policy(&text)
        .filesystem
        .rules()
        .iter()
        .filter(|rule| rule.text == entry)
        .cloned()
        .collect()
}

#[test]
fn a_pattern_matches_what_gits_would() {
    /// `depth` is the depth of the deepest match, 0 where nothing covers the path. The working directory has 3 names.
    #[track_caller]
    fn check(entry: &str, table: &[(&str, usize)]) {
        let rules = rules(entry);
        assert!(!rules.is_empty(), "{entry}");
        for (path, depth) in table {
            let path = Path::new("/home/ada/project").join(path);
            let found = rules.iter().filter_map(|rule| rule.depth_at(&path)).max();
            assert_eq!(found.unwrap_or(0), *depth, "{entry} on {}", path.display());
            assert_eq!(rules.iter().any(|rule| rule.covers(&path)), *depth > 0);
        }
    }
    check(
        "*.pem",
        &[
            ("a.pem", 4),
            (".pem", 4),
            ("a.pem/x/y", 4),
            ("x/a.pem", 0),
            ("a.pemx", 0),
        ],
    );
    check(
        "**/*.pem",
        &[
            ("a.pem", 4),
            ("x/y/a.pem", 6),
            ("a.pem/b.pem", 5),
            ("a.pem/b", 4),
            ("a", 0),
        ],
    );
    check(
        "**/.env",
        &[
            (".env", 4),
            ("a/.env", 5),
            ("a/.env/b/.env/c", 7),
            ("a/.envx", 0),
            ("a.env", 0),
        ],
    );
    check(
        "src/**/*.gen.ts",
        &[
            ("src/a.gen.ts", 5),
            ("src/b/c/a.gen.ts", 7),
            ("a.gen.ts", 0),
            ("src", 0),
            ("lib/src/a.gen.ts", 0),
        ],
    );
    check(
        "a?c",
        &[("abc", 4), ("ac", 0), ("abbc", 0), ("a/c", 0), ("axc/y", 4)],
    );
    check(
        "x/[a-c]",
        &[("x/a", 5), ("x/c/d", 5), ("x/d", 0), ("x/ab", 0)],
    );
    check("x/[!a-c]", &[("x/d", 5), ("x/a", 0), ("x/-", 5)]);
    check("x/[^a]", &[("x/d", 5), ("x/a", 0)]);
    check("x/[]a]", &[("x/]", 5), ("x/a", 5), ("x/b", 0)]);
    check("x/*", &[("x", 0), ("x/a", 5), ("x/a/b", 5), ("x/.a", 5)]);
    check("*/b", &[("a/b", 5), ("b", 0), ("a/c/b", 0)]);
    check("**", &[("", 3), ("a", 3), ("..", 0)]);
    check("a/**", &[("a", 4), ("a/b", 4)]);
    check("*/**", &[("", 0), ("a", 4), ("a/b", 4)]);
    check("**/**/a/**/**", &[("a", 4), ("x/a/b", 5)]);
    check(
        "a/**/b",
        &[
            ("a/b", 5),
            ("a/x/y/b", 7),
            ("a/b/b", 6),
            ("b", 0),
            ("x/a/b", 0),
        ],
    );
    check("**/a/*/b", &[("a/x/b", 6), ("a/a/x/b", 7), ("a/b", 0)]);
    check("/var/*/x", &[("/var/a/x", 3), ("/var/x", 0)]);
    check("~/*.key", &[("/home/ada/a.key", 3), ("a.key", 0)]);
    check("./*.key", &[("a.key", 4)]);
    check("../*.key", &[("/home/ada/a.key", 3), ("a.key", 0)]);
    check(
        "/**/id_*",
        &[("/id_rsa", 1), ("/a/b/id_x", 3), ("/a/xid_", 0)],
    );
    check("{a,b/c}.txt", &[("a.txt", 4), ("b/c.txt", 5), ("b", 0)]);
    check(".env{,.*}", &[(".env", 4), (".env.local", 4), (".envx", 0)]);
    check(
        "{~,/srv}/*.key",
        &[("/home/ada/a.key", 3), ("/srv/a.key", 2)],
    );
    check("a\\*b*", &[("a*b", 4), ("a*bc", 4), ("aXb", 0)]);
    check("\\{a\\}*", &[("{a}", 4), ("a", 0)]);
    check("x/é*", &[("x/é", 5), ("x/éa", 5), ("x/e", 0)]);
    check("a/./*//b/", &[("a/x/b", 6)]);
    // Case matters: it does to the file systems of Linux.
    check("**/.env", &[(".ENV", 0)]);
}

#[test]
fn names_that_are_no_text_are_matched_by_their_bytes() {
    use std::os::unix::ffi::OsStrExt as _;
    let rules = rules("**/x*.pem");
    for (name, covered) in [(&b"/a/x\xff\xfe.pem"[..], true), (b"/a/\xffx.pem", false)] {
        let path =
            Path::new("/home/ada/project").join(Path::new(std::ffi::OsStr::from_bytes(&name[1..])));
        assert_eq!(rules[0].covers(&path), covered, "{}", path.display());
    }
}

#[test]
fn the_deepest_match_decides_on_reading() {
    check(
        r#"{"filesystem": {"denyRead": ["**/.env", "**/secrets"], "allowRead": [".", "a/.env", "secrets/pub"]}}"#,
        &[
            ("/home/ada/project/x", Read),
            ("/home/ada/project/.env", Nothing),
            ("/home/ada/project/b/.env/x", Nothing),
            ("/home/ada/project/a/.env", Read),
            ("/home/ada/project/secrets/x", Nothing),
            ("/home/ada/project/secrets/pub/x", Read),
            ("/home/ada/project/secrets/pub/secrets", Nothing),
            ("/home/ada/.env", Read),
        ],
    );
    // At the same depth allowRead wins.
    check(
        r#"{"filesystem": {"denyRead": ["**/*.pem"], "allowRead": ["**/ca.pem"]}}"#,
        &[
            ("/home/ada/project/a/ca.pem", Read),
            ("/home/ada/project/a/b.pem", Nothing),
        ],
    );
}

#[test]
fn no_pattern_from_outside_opens_a_store() {
    for allow in [
        "~/**/*",
        "**/*",
        "~/**/id_rsa",
        "/**/.ssh/*",
        "~/.*",
        "~/.s*/id_rsa",
        "/*/*/*/*",
    ] {
        check(
            &format!(r#"{{"filesystem": {{"allowRead": ["{allow}"], "allowWrite": ["~"]}}}}"#),
            &[("/home/ada/.ssh/id_rsa", Nothing)],
        );
    }
    check(
        r#"{"filesystem": {"allowRead": ["~/.ssh/*.pub", "~/.aws/**/config"]}}"#,
        &[
            ("/home/ada/.ssh/id.pub", Read),
            ("/home/ada/.ssh/id", Nothing),
            ("/home/ada/.aws/config", Read),
            ("/home/ada/.aws/credentials", Nothing),
        ],
    );
    // What the document itself denies, its own patterns may open.
    check(
        r#"{"filesystem": {"denyRead": ["/data"], "allowRead": ["/data/**/*.csv"]}}"#,
        &[("/data/a/b.csv", Read), ("/data/a/b", Nothing)],
    );
}

#[test]
fn writes_are_allowed_and_denied_by_patterns() {
    check(
        r#"{"filesystem": {"allowWrite": ["src/**/*.gen.ts", "out"], "denyWrite": ["**/*.lock", "out/{a,b}*"]}}"#,
        &[
            ("/home/ada/project/src/a.gen.ts", Write),
            ("/home/ada/project/src/a.ts", Read),
            ("/home/ada/project/out/x", Write),
            ("/home/ada/project/out/x.lock", Read),
            ("/home/ada/project/out/ax", Read),
            ("/home/ada/project/out/c/ax", Write),
        ],
    );
    check(
        r#"{"filesystem": {"allowWrite": ["."]}, "credentials": {"files": [{"path": "**/*.key", "mode": "deny"}]}}"#,
        &[
            ("/home/ada/project/a/b.key", Nothing),
            ("/home/ada/project/a/b", Write),
        ],
    );
}

#[test]
fn patterns_without_a_meaning_are_refused() {
    #[track_caller]
    fn check(entry: &str, why: &str) {
        for key in ["denyRead", "allowRead", "allowWrite", "denyWrite"] {
            let text = format!(r#"{{"filesystem": {{"{key}": [{entry:?}]}}}}"#);
            let shown = show(&try_compile(&text).expect_err(entry).diagnostics);
            assert!(
                shown.len() == 1 && shown[0].contains(why) && shown[0].contains(" | "),
                "{entry}: {shown:?}"
            );
        }
    }
    check("a**b", "\"**\" within a name");
    check("**.js", "\"**\" within a name");
    check("***", "\"**\" within a name");
    check("x/[ab", "\"[\" that is not closed");
    check("x/[a/b]", "\"[\" that is not closed");
    check("x/[b-a]*", "invalid range");
    check("[[:alpha:]]", "named class");
    check("[é]", "other than ASCII");
    check("[\\]]*", "backslash between brackets");
    check("a*\\", "ends a name with a backslash");
    check("*/../x", "\"..\" after a pattern");
    check("{a,b", "brace that is not closed");
    check("{a,b}}", "closes a brace");
    check("{,a}", "empty path");
    check("{$HOME,a}/*", "shell variable");
    check("~bob/*", "another user's home");
    check(&"{a,b}".repeat(8), "more than 100 paths");
    check(&"{".repeat(3000), "brace that is not closed");
    check(&"*/".repeat(63), "more than 62 parts");
    check(&"a".repeat(5000), "longer than any path");
    check(" *.x", "space");
}

#[test]
fn where_patterns_do_not_hold_they_are_refused() {
    let facts = srt_policy::Facts {
        macos: true,
        ..crate::support::facts()
    };
    for (key, entry, fits) in [
        ("denyRead", "a/**", true),
        ("denyRead", "/Users/ada/x", true),
        ("denyRead", "**/.env", true),
        ("denyWrite", "**/.env", true),
        ("allowRead", "a/**", true),
        ("allowRead", "**/.env", false),
        ("allowWrite", "src/*.ts", false),
    ] {
        let source = srt_policy::Source {
            path: crate::support::SETTINGS.into(),
            text: format!("{{\"filesystem\": {{\"{key}\": [\"{entry}\"]}}}}"),
        };
        match srt_policy::compile(Some(&source), &facts) {
            Ok(_) => assert!(fits, "{key} {entry}"),
            Err(invalid) => {
                assert!(!fits, "{key} {entry}");
                assert!(
                    invalid.to_string().contains("do not hold on macOS"),
                    "{invalid}"
                );
            }
        }
    }
}

#[test]
fn what_looks_wider_than_it_is_is_worth_a_warning() {
    #[track_caller]
    fn check(entry: &str, warned: bool) {
        for (key, denies) in [
            ("denyRead", true),
            ("denyWrite", true),
            ("allowRead", false),
        ] {
            let text = format!(r#"{{"filesystem": {{"{key}": ["{entry}"]}}}}"#);
            let shown = show(&try_compile(&text).expect(entry).warnings);
            assert_eq!(
                shown.len(),
                usize::from(warned && denies),
                "{entry}: {shown:?}"
            );
        }
    }
    check("*.pem", true);
    check(".env*", true);
    check("{a,b}?", true);
    check("*", false);
    check("**/*.pem", false);
    check("./*.pem", false);
    check(".env", false);
    check("{.env,.key}", false);
}

#[test]
fn literal_entries_have_no_patterns() {
    let text = r#"{"filesystem": {"denyRead": [{"path": "**/[id]*{a,b}", "literal": true}]}}"#;
    let filesystem = policy(text).filesystem;
    let rule = filesystem.rules().last().expect("a rule");
    assert_eq!(rule.kind, FileRuleKind::DenyRead);
    assert!(rule.pattern.is_none());
    assert_eq!(rule.path, Path::new("/home/ada/project/**/[id]*{a,b}"));
}

#[test]
fn what_a_pattern_may_cover_below_a_folder_is_known() {
    #[track_caller]
    fn check(entry: &str, folder: &str, may: bool) {
        let rules = rules(entry);
        let found = rules
            .iter()
            .any(|rule| rule.may_cover_below(Path::new(folder)));
        assert_eq!(found, may, "{entry} below {folder}");
    }
    check("/srv/a", "/srv", true);
    check("/srv/a", "/srv/a/b", true);
    check("/srv/a", "/srv/b", false);
    check("/srv/**/x", "/srv/b/c", true);
    check("/srv/**/x", "/", true);
    check("/srv/**/x", "/var", false);
    check("/srv/a*/x", "/srv/ab", true);
    check("/srv/a*/x", "/srv/b", false);
    check("/srv/*.pem", "/srv/sub", false);
    check("/srv/*.pem", "/srv/a.pem", true);
    check("/srv/*.pem", "relative", false);
}

/// What a walk of the tree says is what asking every rule says, for drawn rules and paths.
#[test]
fn the_tree_of_rules_forgets_none() {
    let mut seed = 7_u64;
    let mut draw = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    const PARTS: [&str; 10] = ["a", "b", "A", "**", "*", "a*", "?", ".git", "hooks", ".ssh"];
    const NAMES: [&str; 8] = ["a", "b", "A", "ab", ".git", ".GIT", "hooks", ".ssh"];
    const ROOTS: [&str; 4] = ["", "/", "~/", "~/.ssh/"];
    let (mut yes, mut no) = (0, 0);
    for _ in 0..300 {
        let mut list = || {
            let entries: Vec<String> = (0..draw(4))
                .map(|_| {
                    let parts: Vec<&str> = (0..=draw(3)).map(|_| PARTS[draw(10)]).collect();
                    format!("\"{}{}\"", ROOTS[draw(4)], parts.join("/"))
                })
                .collect();
            entries.join(",")
        };
        let mode = ["shared", "minimal"][usize::from(list().len() % 2 == 1)];
        let text = format!(
            r#"{{"filesystem": {{"mode": "{mode}", "denyRead": [{}], "allowRead": [{}], "allowWrite": [{}], "denyWrite": [{}]}}}}"#,
            list(),
            list(),
            list(),
            list()
        );
        let filesystem = policy(&text).filesystem;
        for _ in 0..40 {
            let names: Vec<&str> = (0..=draw(5)).map(|_| NAMES[draw(8)]).collect();
            let root = ["/", "/home/ada/", "/home/ada/.ssh/", "/home/ada/project/"][draw(4)];
            let path = PathBuf::from(format!("{root}{}", names.join("/")));
            let (read, write) = plainly(&filesystem, &path);
            assert_eq!(
                filesystem.decide_read(&path).allowed,
                read,
                "{text}: {}",
                path.display()
            );
            assert_eq!(
                filesystem.decide_write(&path).allowed,
                write,
                "{text}: {}",
                path.display()
            );
            yes += u32::from(read) + u32::from(write);
            no += u32::from(!read) + u32::from(!write);
        }
    }
    assert!(yes > 1000 && no > 1000, "{yes} times yes, {no} times no");
}

/// May it be read, may it be written: by asking every rule.
fn plainly(filesystem: &FilesystemPolicy, path: &Path) -> (bool, bool) {
    use FileRuleKind::{AllowRead, AllowWrite, DenyRead, DenyWrite, Protected};
    let built_in = |rule: &&FileRule| matches!(rule.origin, Origin::BuiltIn(_));
    let of = |kind| {
        let rules = filesystem.rules().iter();
        rules.filter(move |rule| rule.kind == kind && rule.covers(path))
    };
    let depth = |rule: &FileRule| rule.depth_at(path).expect("it covers the path");
    let is_all = |rule: &&FileRule| built_in(rule) && rule.path == Path::new("/");
    let store = of(DenyRead)
        .filter(|rule| built_in(rule) && !is_all(rule))
        .map(depth)
        .max();
    let deny = of(DenyRead).filter(|rule| !is_all(rule)).map(depth).max();
    let allow = of(AllowRead)
        .filter(|rule| !built_in(rule))
        .filter(|rule| Some(rule.path.components().count() - 1) >= store)
        .map(depth)
        .max();
    let hidden = of(DenyRead).any(|rule| is_all(&rule));
    let shown = of(AllowRead).any(|rule| built_in(&rule)) || of(AllowWrite).next().is_some();
    let read = of(Protected).next().is_none()
        && match (deny, allow) {
            (None, None) => !hidden || shown,
            (deny, allow) => allow.is_some() && allow >= deny,
        };
    let write = read && of(DenyWrite).next().is_none() && of(AllowWrite).next().is_some();
    (read, write)
}

/// The time that matching takes does not explode with the number of `**`, wildcards or names.
#[test]
fn no_pattern_is_costly() {
    let started = Instant::now();
    let entry = "**/a/".repeat(30) + "b";
    let long = "/home/ada/project/".to_owned() + &"a/".repeat(2000);
    let stars = "**/".to_owned() + &"*a".repeat(60) + "*b";
    let name = "/home/ada/project/".to_owned() + &"a".repeat(255);
    for (entry, path) in [
        (entry.as_str(), long.as_str()),
        (&stars, &name),
        (&"*/".repeat(60), &long),
    ] {
        let text = format!("{{\"filesystem\": {{\"denyRead\": [{entry:?}]}}}}");
        let filesystem = policy(&text).filesystem;
        for _ in 0..20 {
            let readable = filesystem.decide_read(Path::new(path)).allowed;
            assert_eq!(readable, !entry.starts_with("*/"), "{entry}");
        }
    }
    // A document of nothing but patterns is refused before it costs anything.
    let many: String = (0..100_000).map(|n| format!("\"*{n}\",")).collect();
    let invalid = try_compile(&format!("{{\"filesystem\": {{\"allowRead\": [{many}]}}}}"))
        .expect_err("too many");
    assert!(show(&invalid.diagnostics)[0].contains("more than 1000 patterns"));
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

/// What a decision costs with the built-in rules and a few patterns; asked for by
/// `cargo test --release -p srt-policy --test policy cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_decision() {
    let text = r#"{"filesystem": {"allowWrite": ["~", "."], "denyRead": ["**/.env", "**/*.pem"], "denyWrite": ["**/*.lock"]}}"#;
    let started = Instant::now();
    for _ in 0..100 {
        drop(policy(text));
    }
    println!("compile: {:?}", started.elapsed() / 100);
    let filesystem = policy(text).filesystem;
    println!("rules: {}", filesystem.rules().len());
    for path in [
        "/home/ada/project/node_modules/@scope/package/dist/index.js",
        "/home/ada/project/.git/objects/ab/cdef0123456789",
        "/home/ada/project/.git/hooks/pre-commit",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
    ] {
        let path = Path::new(path);
        let times = 100_000;
        let measure = |what: &str, ask: &dyn Fn() -> bool| {
            let started = Instant::now();
            let mut yes = 0_u32;
            for _ in 0..times {
                yes += u32::from(std::hint::black_box(ask()));
            }
            let each = started.elapsed() / times;
            println!("{what} {}: {each:?} ({})", path.display(), yes == times);
        };
        measure("read", &|| filesystem.decide_read(path).allowed);
        measure("write", &|| filesystem.decide_write(path).allowed);
        measure("leads_to", &|| filesystem.leads_to(path).is_some());
        let to = Path::new("/home/ada/project/other");
        measure("moves", &|| filesystem.moves(path, to, true).is_ok());
    }
}

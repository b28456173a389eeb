//! What the layout promises, held by reading the sources: who may import whom, where `unsafe`, sqlx and the
//! contract's types may stand, how long a file is, and what no file of the repository may name.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every file of the repository with its path relative to the root, what is built or installed left out.
fn files() -> Vec<(String, PathBuf)> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<(String, PathBuf)>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name();
            if ["target", "node_modules", ".git", ".venv", "__pycache__"]
                .iter()
                .any(|skipped| name == *skipped)
            {
                continue;
            }
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                walk(&entry.path(), root, found);
            } else if kind.is_file() {
                let path = entry.path();
                let relative = path.strip_prefix(root).unwrap();
                found.push((relative.to_string_lossy().into_owned(), path));
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    found.sort();
    assert!(found.len() > 20, "the repository has files");
    found
}

fn sources() -> Vec<(String, String)> {
    let found: Vec<_> = files()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".rs"))
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect();
    assert!(!found.is_empty());
    found
}

/// The lines of a source that are not its unit tests and not comments, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[track_caller]
fn check(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Lines of product code that hold one of `needles`, in files for which `outside` holds.
fn lines_with(needles: &[&str], outside: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in sources() {
        if !outside(&name) || name.contains("/tests/") || name.starts_with("tests/") {
            continue;
        }
        for (number, line) in code(&text) {
            if needles.iter().any(|needle| line.contains(needle)) {
                found.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

/// The dependencies of a manifest, those for development left out.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut within = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            within = section.ends_with("dependencies") && !section.ends_with("dev-dependencies");
        } else if within && line.starts_with(|first: char| first.is_ascii_alphabetic()) {
            let name = line.split(['.', '=', ' ']).next().unwrap();
            found.push(name.to_owned());
        }
    }
    found
}

#[test]
fn imports_follow_the_arrows() {
    let arrows: BTreeMap<&str, &[&str]> = [
        ("crates/policy", &[] as &[&str]),
        ("crates/mcp", &[]),
        ("crates/sandbox", &[]),
        ("crates/egress", &["srt-policy"]),
        (
            "crates/runtime",
            &["srt-policy", "srt-sandbox", "srt-egress"],
        ),
        ("proto", &[]),
        (
            "daemon",
            &["srt-policy", "srt-mcp", "srt-runtime", "srt-proto"],
        ),
        ("client", &["srt-mcp", "srt-proto"]),
        ("examples/demo-server", &[]),
        ("tests", &[]),
        // The store's throughput is measured without the rest of the daemon.
        ("benches", &["srtd"]),
    ]
    .into();
    let mut wrong = Vec::new();
    for (name, path) in files() {
        let Some(room) = name.strip_suffix("/Cargo.toml") else {
            continue;
        };
        let Some(allowed) = arrows.get(room) else {
            if room != "fuzz" {
                wrong.push(format!("{room} is in no arrow: add it here and to DESIGN"));
            }
            continue;
        };
        for dependency in dependencies(&fs::read_to_string(path).unwrap()) {
            if dependency.starts_with("srt") && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{room} imports {dependency}"));
            }
        }
    }
    check("imports against the arrows", wrong);
}

#[test]
fn policy_is_pure() {
    let manifest = fs::read_to_string(root().join("crates/policy/Cargo.toml")).unwrap();
    let impure = ["tokio", "rustix", "nix", "libc", "jiff", "hyper"];
    let found = dependencies(&manifest)
        .into_iter()
        .filter(|name| impure.contains(&name.as_str()))
        .collect();
    check("policy imports what does I/O", found);
    let needles = [
        "std::fs",
        "std::env",
        "std::process",
        "SystemTime",
        "Instant::now",
        "TcpStream",
        "UdpSocket",
        ".exists()",
        ".is_dir()",
        "canonicalize()",
    ];
    check(
        "policy reads a clock, a disk or a network",
        lines_with(&needles, |name| name.starts_with("crates/policy/src")),
    );
}

#[test]
fn unsafe_stands_only_in_the_sandbox() {
    let needles = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe extern",
        "allow(unsafe_code)",
    ];
    check(
        "unsafe outside crates/sandbox",
        lines_with(&needles, |name| !name.starts_with("crates/sandbox/")),
    );
}

#[test]
fn sqlx_stands_only_in_the_store() {
    check(
        "sqlx outside daemon/src/store",
        lines_with(&["sqlx::", "use sqlx"], |name| {
            !name.starts_with("daemon/src/store")
        }),
    );
}

#[test]
fn contract_types_stand_only_in_the_api() {
    check(
        "types of srt.v1 in the daemon outside its api",
        lines_with(&["srt_proto::v1", "use srt_proto::*"], |name| {
            name.starts_with("daemon/src/") && !name.starts_with("daemon/src/api")
        }),
    );
}

#[test]
fn egress_connects_only_in_dial() {
    let needles = [
        "TcpStream::connect",
        "TcpSocket::",
        "UdpSocket::connect",
        "socket::connect",
        "net::connect",
    ];
    let found = lines_with(&needles, |name| {
        name.starts_with("crates/egress/src/") && !name.starts_with("crates/egress/src/dial")
    });
    check("egress connects outside dial", found);
    // The resolver is handed to dial; nobody else asks for an address.
    let found = lines_with(&["lookup_host", "to_socket_addrs"], |name| {
        name.starts_with("crates/egress/src/") && !name.starts_with("crates/egress/src/resolve")
    });
    check("egress resolves outside its resolver", found);
}

#[test]
fn pure_modules_stay_pure() {
    let pure = [
        "daemon/src/supervisor/state",
        "daemon/src/session/book.",
        "daemon/src/session/calls",
        "daemon/src/session/item",
        "daemon/src/session/listing",
        "daemon/src/session/ruling",
        "daemon/src/session/talk.",
        "crates/mcp/src",
        "daemon/src/audit/chain",
        "daemon/src/audit/redact",
    ];
    let needles = [
        "tokio::",
        "std::fs",
        "std::net",
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
    ];
    check(
        "a pure module does I/O",
        lines_with(&needles, |name| pure.iter().any(|p| name.starts_with(p))),
    );
}

#[test]
fn every_module_says_what_it_is_for() {
    let found = sources()
        .into_iter()
        .filter(|(_, text)| {
            let first = text.lines().next().unwrap_or_default();
            !first.starts_with("//! ") || first.len() < 12 || first.contains("To be written")
        })
        .map(|(name, _)| name)
        .collect();
    check("files that do not begin with what they are for", found);
}

#[test]
fn a_file_is_one_thought() {
    let found = sources()
        .into_iter()
        // A file of tests is as long as what it tests has cases.
        .filter(|(name, _)| !name.contains("/tests/"))
        .filter_map(|(name, text)| {
            let lines = text
                .lines()
                .take_while(|line| line.trim() != "#[cfg(test)]")
                .count();
            (lines > 500).then(|| format!("{name}: {lines} lines without tests"))
        })
        .collect();
    check("files of more than 500 lines", found);
}

#[test]
fn nothing_names_a_registry_or_a_machine() {
    // Written in two parts, so that this file does not name them either.
    let needles: Vec<String> = [
        ("registry.npm", "js.org"),
        ("registry.yarn", "pkg.com"),
        ("files.python", "hosted.org"),
        ("pypi", ".org"),
        ("deb.", "debian.org"),
        ("index.crates", ".io"),
        ("static.crates", ".io"),
        ("/work", "/wt"),
        ("/work", "/main"),
        ("/work", "/shared"),
        ("/root", "/.cargo"),
        ("/root", "/.pyenv"),
    ]
    .iter()
    .map(|(one, two)| format!("{one}{two}"))
    .collect();
    let mut found = Vec::new();
    for (name, path) in files() {
        // What is no text names nothing that a reader would follow.
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            for needle in &needles {
                if line.contains(needle.as_str()) {
                    found.push(format!("{name}:{number}: {needle}"));
                }
            }
        }
    }
    check("names of registries or paths of one machine", found);
}

#[test]
fn the_rules_find_what_they_look_for() {
    assert_eq!(
        dependencies(
            "[dependencies]\nsrt-policy.workspace = true\n\n[dev-dependencies]\nx = \"1\"\n\n\
             [target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n[lints]\nworkspace = true"
        ),
        ["srt-policy", "libc"]
    );
    let text = "a\n// unsafe {\nb\n#[cfg(test)]\nmod tests { unsafe { } }\n";
    let seen: Vec<_> = code(text).collect();
    assert_eq!(seen, [(1, "a"), (3, "b")]);
}

//! A pattern and paths, one a line: what the policy says of them is what a matcher says that tries everything.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use srt_fuzz::reference::{self, Pattern};
use srt_fuzz::{facts, source};
use srt_policy::{FilesystemPolicy, Origin, compile};

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(entry) = lines.next().and_then(|line| std::str::from_utf8(line).ok()) else {
        return;
    };
    let facts = facts(false);
    let document = serde_json::json!({ "filesystem": { "denyRead": [entry] } }).to_string();
    let Ok(compiled) = compile(Some(&source(&document)), &facts) else {
        return;
    };
    let files = compiled.policy.filesystem;
    let patterns = reference::parse(entry, "/home/u", "/w/p")
        .unwrap_or_else(|| panic!("{entry:?} is accepted, and means nothing"));
    let paths: Vec<PathBuf> = lines.take(4).map(path).collect();
    for path in &paths {
        agrees(&files, &patterns, path);
        for other in &paths {
            stays(&files, &patterns, path, other);
        }
    }
});

/// An absolute path of any letters.
fn path(line: &[u8]) -> PathBuf {
    let text: Vec<u8> = line.iter().copied().filter(|byte| *byte != 0).collect();
    Path::new("/w/p").join(OsStr::from_bytes(&text))
}

/// The answers about one path.
fn agrees(files: &FilesystemPolicy, patterns: &[Pattern], path: &Path) {
    let names = reference::names(path.as_os_str().as_bytes());
    let mut own = files
        .rules()
        .iter()
        .filter(|rule| matches!(rule.origin, Origin::File { .. }));
    let depth = own.clone().filter_map(|rule| rule.depth_at(path)).max();
    let expected = patterns.iter().filter_map(|own| own.depth(&names)).max();
    assert_eq!(depth, expected, "depth of {path:?}");
    assert_eq!(own.clone().any(|rule| rule.covers(path)), depth.is_some());
    assert_eq!(
        own.any(|rule| rule.may_cover_below(path)),
        patterns.iter().any(|own| own.may_cover_below(&names)),
        "below {path:?}"
    );
    let built_in = files
        .rules()
        .iter()
        .any(|rule| matches!(rule.origin, Origin::BuiltIn(_)) && rule.covers(path));
    assert_eq!(
        files.decide_read(path).allowed,
        expected.is_none() && !built_in,
        "reading {path:?}"
    );
    assert!(!files.decide_write(path).allowed);
    leads(files, patterns, path, expected.is_some());
}

/// Where nothing is said to lead on from a path, another name in its place would lead to the same.
fn leads(files: &FilesystemPolicy, patterns: &[Pattern], path: &Path, covered: bool) {
    let path = &srt_policy::normalise(path);
    let (Some(folder), false, None) = (path.parent(), covered, files.leads_to(path)) else {
        return;
    };
    let sibling = folder.join("\u{1}sibling");
    for tail in patterns.iter().flat_map(Pattern::tails) {
        let here = covers(patterns, path, &tail);
        let there = covers(patterns, &sibling, &tail);
        assert!(
            there || !here,
            "{path:?} leads to {tail:?} and is said not to"
        );
    }
}

/// A folder that may be moved takes nothing out of a rule, or into it.
fn stays(files: &FilesystemPolicy, patterns: &[Pattern], from: &Path, to: &Path) {
    assert!(files.moves(from, to, false).is_ok());
    if files.moves(from, to, true).is_err() {
        return;
    }
    for tail in patterns
        .iter()
        .flat_map(Pattern::tails)
        .chain([vec![b"x".to_vec()]])
    {
        assert_eq!(
            covers(patterns, from, &tail),
            covers(patterns, to, &tail),
            "{from:?} may become {to:?}, and {tail:?} in it differs"
        );
    }
}

fn covers(patterns: &[Pattern], folder: &Path, tail: &[Vec<u8>]) -> bool {
    let mut names = reference::names(folder.as_os_str().as_bytes());
    // A name that the pattern would not have written is no name.
    if tail
        .iter()
        .any(|name| matches!(name.as_slice(), b"" | b"." | b".."))
    {
        return false;
    }
    names.extend(tail.iter().map(Vec::as_slice));
    patterns.iter().any(|own| own.depth(&names).is_some())
}

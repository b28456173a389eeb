//! A spec as a Seatbelt profile (macOS, `sandbox-exec`). Pure text, built and tested on every OS.
//!
//! Seatbelt's precedence is not simply "last match wins" (narrower operations beat wildcards in either order), so
//! only shapes are written whose order cannot matter: everything is denied by default, and each allowance carries
//! its own exceptions as `require-not`. There is no `deny` of a path anywhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::{Access, SandboxSpec, UnixSockets};

/// Mach services without which ordinary programs (libc's user look-up, logging, preferences) do not start. Not
/// among them: `com.apple.trustd.agent`, which fetches over the network for its caller.
const SERVICES: &[&str] = &[
    "com.apple.system.opendirectoryd.libinfo",
    "com.apple.system.opendirectoryd.membership",
    "com.apple.system.logger",
    "com.apple.system.notification_center",
    "com.apple.bsd.dirhelper",
    "com.apple.logd",
];

/// Links in the root folder that everybody's paths begin with: to follow one is to read what it is.
const LINKS: [&str; 3] = ["/etc", "/tmp", "/var"];

/// The profile of a launch whose proxies listen on these ports of loopback.
///
/// Paths must be resolved (`/private/tmp`, never `/tmp`): Seatbelt matches vnodes.
pub fn profile(spec: &SandboxSpec, proxy_ports: &[u16]) -> String {
    let mut text = String::from(
        "(version 1)\n(deny default)\n\
         (allow process-exec*)\n(allow process-fork)\n\
         (allow signal (target same-sandbox))\n\
         (allow process-info* (target same-sandbox))\n\
         (deny process-info* (target others))\n\
         (allow sysctl-read)\n\
         (allow file-ioctl (subpath \"/dev\"))\n",
    );
    // Without the data of the root folder itself every program aborts.
    text.push_str("(allow file-read-data (literal \"/\"))\n");
    for service in SERVICES {
        let _ = writeln!(
            text,
            "(allow mach-lookup (global-name {}))",
            quoted(service)
        );
    }
    reads(&mut text, spec);
    writes(&mut text, spec);
    for (operation, path) in [
        ("file-read*", spec.temp.inside.as_path()),
        ("file-write*", spec.temp.inside.as_path()),
        ("file-write-data", Path::new("/dev")),
    ] {
        let _ = writeln!(
            text,
            "(allow {operation} (subpath {}))",
            quoted(&path.display().to_string())
        );
    }
    for port in proxy_ports {
        // A host other than "localhost" or "*" makes the whole profile fail to load.
        let _ = writeln!(
            text,
            "(allow network-outbound (remote ip \"localhost:{port}\"))"
        );
    }
    match &spec.unix_sockets {
        UnixSockets::All => text.push_str("(allow network-outbound (remote unix-socket))\n"),
        UnixSockets::Listed(paths) => {
            for path in paths {
                let path = quoted(&path.to_string_lossy());
                let _ = writeln!(
                    text,
                    "(allow network-outbound (remote unix-socket (subpath {path})))"
                );
            }
        }
    }
    text
}

/// What may be read. Where a rule hides the root, no more than the rules show.
fn reads(text: &mut String, spec: &SandboxSpec) {
    let root = Path::new("/");
    let by_rule = spec.files.iter().any(|rule| rule.path == root);
    let shown = spec.files.iter().filter(|rule| readable(rule.access));
    let shown = shown.map(|rule| rule.path.as_path());
    let places: Vec<&Path> = (!by_rule)
        .then_some(root)
        .into_iter()
        .chain(shown)
        .collect();
    let filters = places.iter().map(|path| place(spec, path, readable));
    allow(text, "file-read*", filters.collect(), &spec.patterns.hidden);
    for opened in &spec.patterns.opened {
        let filter = place(spec, &opened.rule.path, readable);
        allow(text, "file-read*", vec![filter], &opened.hidden);
    }
    // Programs ask what the folders are that lead to a file (realpath(3), getcwd(3)); what is in those stays hidden.
    let opened = spec.patterns.opened.iter();
    let opened = opened.map(|opened| opened.rule.path.as_path());
    let above = places
        .into_iter()
        .chain(opened)
        .chain([spec.temp.inside.as_path()]);
    let mut above: BTreeSet<&Path> = above.flat_map(|path| path.ancestors().skip(1)).collect();
    if spec.mounted(root) == Access::None {
        above.extend(LINKS.map(Path::new));
    }
    for path in above {
        if spec.mounted(path) == Access::None {
            let path = literal(path);
            let _ = writeln!(text, "(allow file-read-metadata {path})");
        }
    }
}

/// What may be written.
fn writes(text: &mut String, spec: &SandboxSpec) {
    let patterns = &spec.patterns;
    let rules = spec.files.iter().filter(|rule| writable(rule.access));
    let filters = rules.map(|rule| place(spec, &rule.path, writable));
    let denied = [&patterns.hidden[..], &patterns.unwritable].concat();
    allow(text, "file-write*", filters.collect(), &denied);
    for opened in patterns
        .opened
        .iter()
        .filter(|opened| writable(opened.rule.access))
    {
        let filter = place(spec, &opened.rule.path, writable);
        let denied = [&opened.hidden[..], &patterns.unwritable].concat();
        allow(text, "file-write*", vec![filter], &denied);
    }
}

fn readable(access: Access) -> bool {
    access != Access::None
}

fn writable(access: Access) -> bool {
    access == Access::ReadWrite
}

/// Allows an operation in these places but for what the regular expressions find.
fn allow(text: &mut String, operation: &str, places: Vec<String>, but: &[String]) {
    if but.is_empty() {
        for place in places {
            let _ = writeln!(text, "(allow {operation} {place})");
        }
    } else if !places.is_empty() {
        // Once for all places: a profile is an argument, and those are limited in size.
        let places = places.join(" ");
        let _ = write!(
            text,
            "(allow {operation} (require-all (require-any {places})"
        );
        for regex in but {
            let _ = write!(text, " (require-not (regex {}))", quoted(regex));
        }
        text.push_str("))\n");
    }
}

/// A path and what is below, but for what deeper rules do not grant. Where it is about writing, what leads to those
/// stays too: whoever renames a folder takes what is in it away from the rules about it.
fn place(spec: &SandboxSpec, path: &Path, granted: fn(Access) -> bool) -> String {
    let below = spec
        .files
        .iter()
        .filter(|rule| rule.path != path && rule.path.starts_with(path) && !granted(rule.access));
    let exceptions: Vec<&Path> = below.map(|rule| rule.path.as_path()).collect();
    let place = subpath(path);
    if exceptions.is_empty() {
        return place;
    }
    let mut filters: Vec<String> = exceptions.iter().map(|path| subpath(path)).collect();
    if !granted(Access::Read) {
        let leading = exceptions.iter().flat_map(|exception| {
            let above = exception.ancestors().skip(1);
            above.take_while(|above| above.starts_with(path))
        });
        let leading: BTreeSet<&Path> = leading.collect();
        filters.extend(leading.into_iter().map(literal));
    }
    let mut all = format!("(require-all {place}");
    for filter in filters {
        let _ = write!(all, " (require-not {filter})");
    }
    all + ")"
}

fn subpath(path: &Path) -> String {
    format!("(subpath {})", quoted(&path.display().to_string()))
}

fn literal(path: &Path) -> String {
    format!("(literal {})", quoted(&path.display().to_string()))
}

/// A string literal of the profile language.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempFolder;

    fn spec(files: &[(&str, Access)]) -> SandboxSpec {
        let temp = TempFolder {
            host: "/private/tmp/t".into(),
            inside: "/private/tmp/t".into(),
        };
        SandboxSpec::of(files, temp)
    }

    fn lines(files: &[(&str, Access)], wanted: &str) -> Vec<String> {
        profile(&spec(files), &[4711])
            .lines()
            .filter(|line| line.contains(wanted))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_allowance_carries_its_exceptions() {
        let files = [
            ("/Users/u", Access::None),
            ("/Users/u/p", Access::ReadWrite),
            ("/Users/u/p/.env", Access::Read),
        ];
        assert_eq!(
            lines(&files, "file-read*"),
            [
                "(allow file-read* (require-all (subpath \"/\") (require-not (subpath \"/Users/u\"))))",
                "(allow file-read* (subpath \"/Users/u/p\"))",
                "(allow file-read* (subpath \"/Users/u/p/.env\"))",
                "(allow file-read* (subpath \"/private/tmp/t\"))",
            ]
        );
        assert_eq!(
            lines(&files, "file-write*"),
            [
                "(allow file-write* (require-all (subpath \"/Users/u/p\") (require-not (subpath \"/Users/u/p/.env\")) (require-not (literal \"/Users/u/p\"))))",
                "(allow file-write* (subpath \"/private/tmp/t\"))",
            ]
        );
    }

    #[test]
    fn the_only_way_out_is_the_proxies() {
        assert_eq!(
            lines(&[], "network"),
            ["(allow network-outbound (remote ip \"localhost:4711\"))"]
        );
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        let files = [("/a\") (allow default) (\"\\", Access::ReadWrite)];
        assert_eq!(
            lines(&files, "file-write* (subpath \"/a"),
            ["(allow file-write* (subpath \"/a\\\") (allow default) (\\\"\\\\\"))"]
        );
    }

    #[test]
    fn a_hidden_root_shows_what_the_rules_show_and_the_way_there() {
        let files = [
            ("/", Access::None),
            ("/Users/u/p", Access::Read),
            ("/usr", Access::Read),
        ];
        assert_eq!(
            lines(&files, "file-read"),
            [
                "(allow file-read-data (literal \"/\"))",
                "(allow file-read* (subpath \"/Users/u/p\"))",
                "(allow file-read* (subpath \"/usr\"))",
                "(allow file-read-metadata (literal \"/\"))",
                "(allow file-read-metadata (literal \"/Users\"))",
                "(allow file-read-metadata (literal \"/Users/u\"))",
                "(allow file-read-metadata (literal \"/etc\"))",
                "(allow file-read-metadata (literal \"/private\"))",
                "(allow file-read-metadata (literal \"/private/tmp\"))",
                "(allow file-read-metadata (literal \"/tmp\"))",
                "(allow file-read-metadata (literal \"/var\"))",
                "(allow file-read* (subpath \"/private/tmp/t\"))",
            ]
        );
    }

    #[test]
    fn what_leads_to_an_exception_stays_where_it_is() {
        let files = [("/p", Access::ReadWrite), ("/p/a/b/key", Access::Read)];
        assert_eq!(
            lines(&files, "file-write* (require-all"),
            [
                "(allow file-write* (require-all (subpath \"/p\") (require-not (subpath \"/p/a/b/key\")) \
              (require-not (literal \"/p\")) (require-not (literal \"/p/a\")) (require-not (literal \"/p/a/b\"))))"
            ]
        );
    }

    #[test]
    fn patterns_are_exceptions_of_every_place_but_of_what_is_opened() {
        let mut spec = spec(&[("/p", Access::ReadWrite), ("/q", Access::ReadWrite)]);
        let one = |text: &str| vec![text.to_owned()];
        spec.patterns = crate::Patterns {
            hidden: one(r"^/p/[^/]*\.pem($|/)"),
            unwritable: one("^/\"($|/)"),
            opened: vec![crate::Opened {
                rule: crate::PathRule {
                    path: "/p/ca.pem".into(),
                    access: Access::ReadWrite,
                },
                hidden: Vec::new(),
            }],
        };
        let text = profile(&spec, &[]);
        let found: Vec<_> = text.lines().filter(|line| line.contains("/p")).collect();
        let (hidden, unwritable) = (
            r#" (require-not (regex "^/p/[^/]*\\.pem($|/)"))"#,
            r#" (require-not (regex "^/\"($|/)"))"#,
        );
        assert_eq!(
            found[..4],
            [
                format!(
                    r#"(allow file-read* (require-all (require-any (subpath "/") (subpath "/p") (subpath "/q")){hidden}))"#
                ),
                r#"(allow file-read* (subpath "/p/ca.pem"))"#.to_owned(),
                format!(
                    r#"(allow file-write* (require-all (require-any (subpath "/p") (subpath "/q")){hidden}{unwritable}))"#
                ),
                format!(
                    r#"(allow file-write* (require-all (require-any (subpath "/p/ca.pem")){unwritable}))"#
                ),
            ]
        );
    }

    #[test]
    fn no_path_is_denied_and_nothing_is_allowed_without_a_filter_that_needs_one() {
        let text = profile(&spec(&[("/x", Access::None)]), &[]);
        assert!(!text.contains("(deny file"));
        for broad in [
            "(allow mach-lookup)",
            "(allow network",
            "(allow default)",
            "(allow file-read*)",
        ] {
            assert!(!text.contains(broad), "{broad}");
        }
    }
}

//! A spec as a Seatbelt profile (macOS, `sandbox-exec`). Pure text, built and tested on every OS.
//!
//! Seatbelt's precedence is not simply "last match wins" (narrower operations beat wildcards in either order), so
//! only shapes are written whose order cannot matter: everything is denied by default, and each allowance carries
//! its own exceptions as `require-not`. There is no `deny` of a path anywhere.

use std::fmt::Write as _;
use std::path::Path;

use crate::{Access, SandboxSpec};

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
    let mut allow = |operation: &str, path: &Path, granted: fn(Access) -> bool| {
        let exceptions = spec
            .files
            .iter()
            .filter(|rule| {
                rule.path != path && rule.path.starts_with(path) && !granted(rule.access)
            })
            .collect::<Vec<_>>();
        let place = format!("(subpath {})", quoted(&path.display().to_string()));
        let filter = if exceptions.is_empty() {
            place
        } else {
            let mut all = format!("(require-all {place}");
            for exception in exceptions {
                let _ = write!(
                    all,
                    " (require-not (subpath {}))",
                    quoted(&exception.path.display().to_string())
                );
            }
            all + ")"
        };
        let _ = writeln!(text, "(allow {operation} {filter})");
    };
    let readable: fn(Access) -> bool = |access| access != Access::None;
    let writable: fn(Access) -> bool = |access| access == Access::ReadWrite;
    allow("file-read*", Path::new("/"), readable);
    for rule in &spec.files {
        if readable(rule.access) {
            allow("file-read*", &rule.path, readable);
        }
        if writable(rule.access) {
            allow("file-write*", &rule.path, writable);
        }
    }
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
    if spec.allow_unix_sockets {
        text.push_str("(allow network-outbound (remote unix-socket))\n");
    }
    text
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
                "(allow file-write* (require-all (subpath \"/Users/u/p\") (require-not (subpath \"/Users/u/p/.env\"))))",
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

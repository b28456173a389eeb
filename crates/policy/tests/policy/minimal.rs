//! What minimal mode shows.

use std::path::{Path, PathBuf};

use srt_policy::{Facts, FilesystemMode, FilesystemPolicy, Source, compile};

use crate::support::{SETTINGS, facts};

fn minimal(rules: &str, facts: &Facts) -> FilesystemPolicy {
    let source = Source {
        path: PathBuf::from(SETTINGS),
        text: format!("{{\"filesystem\": {{\"mode\": \"minimal\"{rules}}}}}"),
    };
    let policy = compile(Some(&source), facts).unwrap_or_else(|error| panic!("{rules}: {error}"));
    policy.policy.filesystem
}

fn in_project() -> Facts {
    Facts {
        program: vec![
            "/home/ada/.nvm/versions/node/v22".into(),
            "/opt/tool".into(),
        ],
        ..facts()
    }
}

/// `r` readable, `w` writable too, `-` neither.
#[track_caller]
fn check(filesystem: &FilesystemPolicy, table: &[(&str, char)]) {
    for (path, expected) in table {
        let path = Path::new(path);
        let found = match (
            filesystem.decide_read(path).allowed,
            filesystem.decide_write(path).allowed,
        ) {
            (false, false) => '-',
            (true, false) => 'r',
            (true, true) => 'w',
            (false, true) => panic!("{} may be written and not read", path.display()),
        };
        assert_eq!(
            found,
            *expected,
            "{}: {:?}",
            path.display(),
            filesystem.decide_read(path).rule
        );
    }
}

#[test]
fn only_what_is_named_is_seen() {
    let filesystem = minimal("", &in_project());
    assert_eq!(filesystem.mode(), FilesystemMode::Minimal);
    assert_eq!(filesystem.private_home(), Some(Path::new("/home/ada")));
    assert!(filesystem.notes().is_empty());
    check(
        &filesystem,
        &[
            ("/usr/bin/env", 'r'),
            ("/lib64/ld-linux-x86-64.so.2", 'r'),
            ("/etc/ssl/certs/ca-certificates.crt", 'r'),
            ("/etc/localtime", 'r'),
            ("/dev/null", 'r'),
            ("/proc/self/maps", 'r'),
            ("/sys/devices/system/cpu/online", 'r'),
            ("/sys/kernel/mm/transparent_hugepage/enabled", 'r'),
            ("/var/cache/fontconfig/x", 'r'),
            ("/var/cache/apt", '-'),
            ("/home/ada/project/x", 'r'),
            ("/home/ada/.nvm/versions/node/v22/bin/node", 'r'),
            ("/opt/tool/x", 'r'),
            ("/", '-'),
            ("/etc", '-'),
            ("/etc/shadow", '-'),
            ("/etc/passwd", '-'),
            ("/etc/ssh/ssh_host_ed25519_key", '-'),
            ("/etc/machine-id", '-'),
            ("/etc/sudoers", '-'),
            ("/sys/class/net", '-'),
            ("/home/ada", '-'),
            ("/home/ada/x", '-'),
            ("/home/ada/.nvm/x", '-'),
            ("/home/ada/.ssh/id", '-'),
            ("/home/bob/x", '-'),
            ("/tmp/x", '-'),
            ("/var/lib/x", '-'),
            ("/opt/x", '-'),
            // Ours, in the middle of what is shown.
            ("/home/ada/project/.srt-settings.json", '-'),
        ],
    );
    assert_eq!(
        filesystem
            .decide_read(Path::new("/home/ada/x"))
            .rule
            .map(|rule| rule.text.as_str()),
        Some("/")
    );
}

#[test]
fn it_is_the_mode_of_a_server_without_a_document() {
    let default = compile(None, &in_project())
        .expect("it compiles")
        .policy
        .filesystem;
    assert_eq!(default.mode(), FilesystemMode::Minimal);
    check(
        &default,
        &[
            ("/home/ada/project/x", 'r'),
            ("/home/ada/x", '-'),
            ("/usr/bin/env", 'r'),
            ("/opt/tool/x", 'r'),
        ],
    );
    assert_eq!(
        crate::support::policy("{}").filesystem.mode(),
        FilesystemMode::Shared
    );
}

#[test]
fn what_the_document_names_is_seen_too() {
    check(
        &minimal(
            r#", "allowRead": ["/data", "~/.ssh/known_hosts"], "allowWrite": ["~/out", "gen/*.ts", "~/.aws"], "denyRead": ["/data/secret", "/usr/share", "**/.env"]"#,
            &in_project(),
        ),
        &[
            ("/data/x", 'r'),
            ("/data/secret/x", '-'),
            ("/home/ada/.ssh/known_hosts", 'r'),
            ("/home/ada/.ssh/id", '-'),
            ("/home/ada/out/x", 'w'),
            ("/home/ada/out/.bashrc", 'r'),
            ("/home/ada/project/gen/a.ts", 'w'),
            ("/home/ada/project/gen/a.js", 'r'),
            // What may be written opens no store.
            ("/home/ada/.aws/credentials", '-'),
            // What the document denies is not shown because it is usually.
            ("/usr/share/x", '-'),
            ("/usr/bin/x", 'r'),
            ("/home/ada/project/a/.env", '-'),
        ],
    );
    let named = minimal(r#", "allowRead": ["~"]"#, &in_project());
    assert_eq!(named.private_home(), None, "the host's home is shown");
    check(&named, &[("/home/ada/x", 'r'), ("/home/ada/.ssh/id", '-')]);
}

#[test]
fn a_working_directory_with_the_home_folder_in_it_is_not_shown() {
    for (cwd, shown) in [
        ("/home/ada", false),
        ("/home", false),
        ("/", false),
        ("/home/ada/../ada", false),
        ("/home/ada/project", true),
        ("/srv/data", true),
    ] {
        let facts = Facts {
            cwd: cwd.into(),
            ..facts()
        };
        let filesystem = minimal("", &facts);
        let inside = Path::new(cwd).join("file");
        assert_eq!(filesystem.decide_read(&inside).allowed, shown, "{cwd}");
        assert_eq!(
            filesystem.notes().is_empty(),
            shown,
            "{cwd}: {:?}",
            filesystem.notes()
        );
    }
    // A working directory in a store is as closed as the store.
    let facts = Facts {
        cwd: "/home/ada/.ssh/x".into(),
        ..facts()
    };
    check(&minimal("", &facts), &[("/home/ada/.ssh/x/y", '-')]);
}

#[test]
fn links_change_nothing_about_what_is_shown() {
    let filesystem = minimal("", &in_project()).resolved(|path| {
        match (path.strip_prefix("/lib64"), path.strip_prefix("/home/ada")) {
            (Ok(rest), _) => Path::new("/usr/lib64").join(rest),
            (_, Ok(rest)) => Path::new("/data/ada").join(rest),
            _ => path.to_owned(),
        }
    });
    assert_eq!(filesystem.private_home(), Some(Path::new("/data/ada")));
    check(
        &filesystem,
        &[
            ("/usr/lib64/x", 'r'),
            ("/data/ada/project/x", 'r'),
            ("/data/ada/x", '-'),
            ("/data/ada/.ssh/id", '-'),
        ],
    );
}

//! Limits, Unix sockets, processes, modes, and what is reported.

use std::path::Path;

use srt_policy::{Facts, FilesystemMode, Source, UnixSockets, compile};

use crate::support::{facts, policy, show, try_compile};

/// All findings of a document.
fn findings(text: &str) -> Vec<String> {
    match try_compile(text) {
        Ok(compiled) => show(&compiled.warnings),
        Err(invalid) => show(&invalid.diagnostics),
    }
}

#[test]
fn values_that_mean_nothing_are_refused_with_what_would_be_right() {
    #[track_caller]
    fn check(text: &str, what: &str, hint: &str) {
        let shown = findings(text);
        assert!(
            shown
                .iter()
                .any(|line| line.contains("error") && line.contains(what) && line.contains(hint)),
            "{text}: {shown:#?}"
        );
    }
    let runtime = |member: &str| format!("{{\"runtime\": {{{member}}}}}");
    for key in ["memoryMax", "maxFileSize"] {
        for value in ["\"5MB\"", "\"\"", "\"0\"", "\"1.5G\"", "\"-1\""] {
            check(
                &runtime(&format!("\"{key}\": {value}")),
                &format!("is no value of runtime.{key}"),
                "\"512M\"",
            );
        }
        for value in ["0", "-1", "1.5"] {
            check(
                &runtime(&format!("\"{key}\": {value}")),
                "whole number from 1",
                "",
            );
        }
        check(
            &runtime(&format!("\"{key}\": true")),
            "must be a number of bytes",
            "",
        );
    }
    for value in ["\"50\"", "\"0%\"", "\"half\"", "\"12.5%\""] {
        check(
            &runtime(&format!("\"cpuQuota\": {value}")),
            "is no value of runtime.cpuQuota",
            "\"200%\" for two CPUs",
        );
    }
    check(
        &runtime("\"limits\": \"lax\""),
        "\"lax\" is no value",
        "best-effort",
    );
    check(
        "{\"limits\": \"enforced\"}",
        "is no value of limits",
        "best-effort",
    );
    check("{\"limits\": true}", "limits must be a string", "");
    check(
        "{\"filesystem\": {\"mode\": \"Minimal\"}}",
        "\"Minimal\" is no value of filesystem.mode",
        "\"minimal\"",
    );
    check(
        "{\"filesystem\": {\"overlayMax\": \"8Q\"}}",
        "\"8Q\" is no value of filesystem.overlayMax",
        "512M",
    );
    check(
        "{\"filesystem\": {\"overlay\": [\"\"]}}",
        "\"\" in filesystem.overlay is empty",
        "",
    );
    check(
        "{\"network\": {\"allowUnixSockets\": [\"@docker\"]}}",
        "names an abstract socket",
        "./@name",
    );
    check(
        "{\"ignoreViolations\": {\"*\": [\"~bob\"]}}",
        "another user's home folder",
        "absolute",
    );
}

#[test]
fn limits_are_read_with_their_places() {
    let policy = policy(
        "{\"runtime\": {\"cpuQuota\": \"150%\",\n \"maxFileDescriptors\": 9}, \"limits\": \"best-effort\"}",
    );
    let limits = &policy.limits;
    assert_eq!(limits.max_file_descriptors, Some(9));
    assert_eq!(limits.cpu_quota.map(|quota| quota.percent), Some(150));
    assert_eq!(limits.memory_max, None);
    assert!(limits.best_effort);
    let lines: Vec<String> = limits
        .lines()
        .into_iter()
        .map(|(key, value, origin)| format!("{key}={value} {origin}"))
        .collect();
    assert_eq!(
        lines,
        [
            "runtime.maxFileDescriptors=9 /home/ada/.srt-settings.json:2:24",
            "runtime.cpuQuota=150% /home/ada/.srt-settings.json:1:26",
            "runtime.limits=best-effort /home/ada/.srt-settings.json:2:38",
        ]
    );
}

#[test]
fn sockets_are_none_some_or_all() {
    assert!(policy("{}").sockets.none());
    let some = policy("{\"network\": {\"allowUnixSockets\": [\"~/a.sock\", \"/run/x\"]}}").sockets;
    let UnixSockets::Listed(list) = &some else {
        panic!("{some:?}");
    };
    let paths: Vec<&Path> = list.iter().map(|rule| rule.path.as_path()).collect();
    assert_eq!(paths, [Path::new("/home/ada/a.sock"), Path::new("/run/x")]);
    assert!(!some.none());
    let all = "{\"network\": {\"allowUnixSockets\": [\"/x\"], \"allowAllUnixSockets\": true}}";
    assert_eq!(policy(all).sockets, UnixSockets::All);
    // Ours is nobody's, neither by its name nor by that of a folder around it.
    for own in ["~/.local/state/srt/s.sock", "~/.local"] {
        let text = format!("{{\"network\": {{\"allowUnixSockets\": [\"{own}\"]}}}}");
        assert!(policy(&text).sockets.none(), "{own}");
        assert!(
            findings(&text)
                .iter()
                .any(|line| line.contains("has no effect") && line.contains("protected")),
            "{own}"
        );
    }
}

#[test]
fn a_project_cannot_open_user_namespaces_for_its_own_server() {
    #[track_caller]
    fn check(file: &str, cwd: &str, allowed: bool) {
        let source = Source {
            path: file.into(),
            text: "{\"allowNestedUserNamespaces\": true}".into(),
        };
        let facts = Facts {
            cwd: cwd.into(),
            ..facts()
        };
        match compile(Some(&source), &facts) {
            Ok(compiled) => {
                assert!(allowed, "{file} in {cwd}");
                assert!(compiled.policy.process.nested_user_namespaces);
            }
            Err(invalid) => {
                assert!(!allowed, "{file} in {cwd}: {invalid}");
                assert!(invalid.to_string().contains("inside the working directory"));
            }
        }
    }
    check("/home/ada/.srt-settings.json", "/home/ada/project", true);
    check("/home/ada/project/s.json", "/home/ada/project", false);
    check(
        "/home/ada/x/../project/a/s.json",
        "/home/ada/project",
        false,
    );
    check("s.json", "/home/ada/project", false);
    check("../s.json", "/home/ada/project", true);
    // The home folder is no project: the user's own settings are in it.
    check("/home/ada/.srt-settings.json", "/home/ada", true);
    assert!(!policy("{}").process.nested_user_namespaces);
    // A template is nobody's file: who extends it counts.
    for (file, allowed) in [
        ("/home/ada/s.json", true),
        ("/home/ada/project/s.json", false),
    ] {
        let source = Source {
            path: file.into(),
            text: "{\"extends\": [\"@browser\"]}".into(),
        };
        let compiled = compile(Some(&source), &facts());
        assert_eq!(compiled.is_ok(), allowed, "{file}: {compiled:?}");
    }
}

#[test]
fn modes_and_overlays_are_told() {
    let filesystem = policy("{\"filesystem\": {\"mode\": \"shared\"}}").filesystem;
    assert_eq!(filesystem.mode(), FilesystemMode::Shared);
    assert!(filesystem.overlays().is_empty());
    assert_eq!(filesystem.overlay_max(), 1 << 30);
    let overlaid =
        policy("{\"filesystem\": {\"overlay\": [\".\", \"~/x\"], \"overlayMax\": \"8M\"}}");
    let overlaid = &overlaid.filesystem;
    assert_eq!(overlaid.overlay_max(), 8 << 20);
    let paths: Vec<_> = overlaid.overlays().iter().map(|one| &one.path).collect();
    assert_eq!(
        paths,
        [Path::new("/home/ada/project"), Path::new("/home/ada/x")]
    );
    // What is protected is known when changes are applied; the host's copy is not opened.
    let guarded = Path::new("/home/ada/project/.mcp.json");
    assert!(overlaid.decide_write(guarded).rule.is_some());
    let inside = overlaid.decide_write(Path::new("/home/ada/project/x"));
    assert!(!inside.allowed && inside.rule.is_none());
    assert_eq!(filesystem.private_home(), None);
    assert_eq!(policy("{}").filesystem.mode(), FilesystemMode::Shared);
}

#[test]
fn what_is_ignored_is_one_programs_and_below_a_path() {
    let audit =
        policy("{\"ignoreViolations\": {\"*\": [\"/usr/share\"], \"git\": [\"~/.gitconfig\", \"**/*.lock\"]}}")
            .audit;
    assert!(audit.filesystem);
    for (program, path, ignored) in [
        ("node", "/usr/share/x", true),
        ("node", "/usr/sharex", false),
        ("node", "/home/ada/.gitconfig", false),
        ("git", "/home/ada/.gitconfig", true),
        ("git", "/home/ada/project/a/b.lock", true),
        ("git", "/home/ada/project/a/b", false),
        ("/usr/bin/git", "/home/ada/.gitconfig", true),
        ("gitk", "/home/ada/.gitconfig", false),
    ] {
        assert_eq!(
            audit.ignores(program, Path::new(path)),
            ignored,
            "{program} {path}"
        );
    }
    assert!(
        !policy("{\"audit\": {\"filesystem\": false}}")
            .audit
            .filesystem
    );
}

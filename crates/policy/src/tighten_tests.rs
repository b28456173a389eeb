//! Every key, tried in a project's file: what tightens counts, what loosens is refused with its place.

use std::collections::BTreeSet;

use crate::directions::{DIRECTIONS, Direction};
use crate::keys::{Shape, find};
use crate::version::written;
use crate::{Compiled, Facts, InvalidPolicy, Layer, Layered, Source, compile, compile_layers};

fn facts() -> Facts {
    Facts {
        home: "/home/u".into(),
        cwd: "/home/u/p".into(),
        protected: Vec::new(),
        program: Vec::new(),
        macos: false,
    }
}

/// `a.b: VALUE` as a document; nothing for no value.
fn document(key: &str, value: &str) -> String {
    if value.is_empty() {
        return "{}".to_owned();
    }
    let mut text = value.to_owned();
    for name in key.rsplit('.') {
        text = format!("{{\"{name}\": {text}}}");
    }
    text
}

fn layered(layer: Layer, text: &str) -> Layered {
    let path = match layer {
        Layer::User => "/home/u/.srt-settings.json",
        Layer::Server => "/home/u/.config/srt/servers/s.json",
        Layer::Project => "/home/u/p/.srt.json",
    };
    let source = Source {
        path: path.into(),
        text: text.to_owned(),
    };
    Layered::alone(layer, source)
}

fn project(base: Option<&str>, project: &str) -> Result<Compiled, InvalidPolicy> {
    let base = base.map(|text| layered(Layer::User, text));
    let layers: Vec<Layered> = base
        .into_iter()
        .chain([layered(Layer::Project, project)])
        .collect();
    compile_layers(&layers, &facts())
}

/// A key with a value that is in force ("" for none), values of a project's file that tighten it or leave it as it is, and
/// such that loosen it.
struct Row {
    key: &'static str,
    base: &'static str,
    tighter: &'static [&'static str],
    looser: &'static [&'static str],
}

const fn row(
    key: &'static str,
    base: &'static str,
    tighter: &'static [&'static str],
    looser: &'static [&'static str],
) -> Row {
    Row {
        key,
        base,
        tighter,
        looser,
    }
}

const LIMIT: (&str, &[&str], &[&str]) = ("100", &["1", "100"], &["101", "18446744073709551615"]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("network.allowedDomains", r#"["*.a.com", "b.com:443", "127.0.0.1:80"]"#,
        &["[]", r#"["x.a.com"]"#, r#"["*.x.a.com", "b.com:443"]"#, r#"["*.a.com:443"]"#, r#"["127.0.0.1:80"]"#],
        &[r#"["a.com"]"#, r#"["b.com"]"#, r#"["b.com:80"]"#, r#"["x.b.com:443"]"#, r#"["127.0.0.1"]"#,
          r#"["127.0.0.2:80"]"#, r#"["localhost:80"]"#, r#"["x.a.com", "evil.com"]"#, r#"["xa.com"]"#]),
    row("network.allowedDomains", "", &["[]"], &[r#"["a.com"]"#, r#"["localhost"]"#]),
    row("network.deniedDomains", r#"["a.com"]"#, &["[]", r#"["b.com"]"#, r#"["*"]"#, r#"["a.com:80"]"#], &[]),
    row("network.deniedDomainReasons", "", &[r#"{}"#, r#"{"a.com": "no"}"#], &[]),
    row("network.deniedResolvedAddresses", r#"["10.0.0.0/8"]"#, &["[]", r#"["10.1.0.0/16"]"#], &[]),
    row("network.enforceAllowlist", "", &["true"], &["false"]),
    row("network.enforceAllowlist", "false", &["true", "false"], &[]),
    row("network.enforceAllowlist", "true", &["true"], &["false"]),
    row("network.strictAllowlist", "true", &["true"], &["false"]),
    row("network.strictAllowlist", "", &["true", "false"], &[]),
    row("network.ask", "", &["false"], &["true"]),
    row("network.ask", "true", &["true", "false"], &[]),
    row("network.askTimeoutSeconds", "", &["1", "60"], &["61", "600"]),
    row("network.askTimeoutSeconds", "100", &["1", "100"], &["101"]),
    row("network.logDroppedConnections", "", &["true"], &["false"]),
    row("network.allowedUdp", r#"["a.com:5353"]"#, &["[]", r#"["a.com:5353"]"#], &[r#"["a.com:5454"]"#, r#"["b.com:5353"]"#, r#"["10.0.0.1:5353"]"#]),
    row("network.allowUnixSockets", r#"["/run/x.sock", "/run/d"]"#, &["[]", r#"["/run/x.sock"]"#, r#"["/run/./d/"]"#],
        &[r#"["/run"]"#, r#"["/run/d/y.sock"]"#, r#"["/run/x.sock", "/run/y.sock"]"#]),
    row("network.allowAllUnixSockets", "", &["false"], &["true"]),
    row("network.allowAllUnixSockets", "true", &["false", "true"], &[]),
    row("network.allowLocalBinding", "", &["false"], &["true"]),
    row("network.allowMachLookup", r#"["a"]"#, &["[]", r#"["a"]"#], &[r#"["b"]"#]),
    row("network.allowPlaintextHeaderSet", "", &["false"], &["true"]),
    row("network.stripResponseHeaders", r#"["x-a"]"#, &["[]", r#"["x-b"]"#], &[]),
    row("network.refuseOpaqueTunnels", "true", &["true"], &["false"]),
    row("network.requireHostMatch", "true", &["true"], &["false"]),
    row("network.ambiguousRequestTarget", "", &["\"refuse\""], &["\"normalize\"", "\"asSpelled\""]),
    row("network.ambiguousRequestTarget", "\"normalize\"", &["\"refuse\"", "\"normalize\""], &["\"asSpelled\""]),
    row("tls.requireSni", "", &["true"], &["false"]),
    row("tls.requireSni", "false", &["true", "false"], &[]),
    row("tls.requireSni", "true", &["true"], &["false"]),
    row("tls.ech", "\"refuse\"", &["\"refuse\""], &["\"allow\""]),
    row("tls.ech", "", &["\"refuse\"", "\"allow\""], &[]),
    row("strict", "true", &["true"], &["false"]),
    row("filesystem.mode", "\"minimal\"", &["\"minimal\""], &["\"shared\""]),
    row("filesystem.mode", "\"shared\"", &["\"minimal\"", "\"shared\""], &[]),
    row("filesystem.overlay", r#"["./o"]"#, &["[]", r#"["./o"]"#, r#"["./o/x", "./o/y"]"#], &[r#"["."]"#, r#"["./oo"]"#, r#"["./o/../x"]"#]),
    row("filesystem.overlayMax", "", &["1", "\"1G\""], &["\"2G\"", "1073741825"]),
    row("filesystem.overlayMax", "\"2G\"", &["\"1G\"", "\"2G\""], &["\"3G\""]),
    row("filesystem.denyRead", r#"["/a"]"#, &["[]", r#"["/b"]"#, r#"["/"]"#, r#"["/a/b"]"#], &[]),
    row("filesystem.allowRead", r#"["~/.ssh/known_hosts", "/home/u/p/**/*.md"]"#,
        &["[]", r#"["~/.ssh/known_hosts"]"#, r#"["./**/*.md"]"#, r#"["~/else"]"#, r#"["./**"]"#],
        &[r#"["~/.ssh"]"#, r#"["~/.ssh/id_ed25519"]"#, r#"["~/.aws"]"#, r#"["/etc/shadow"]"#, r#"["~/**/*.md"]"#, r#"["./**/*"]"#,
          r#"["./**/*.{md,txt}"]"#]),
    row("filesystem.allowWrite", r#"["./build", "/data/*/out"]"#,
        &["[]", r#"["./build/x"]"#, r#"["./build/**/*.o"]"#, r#"["/data/*/out"]"#, r#"["/data/a/out/b"]"#],
        &[r#"["."]"#, r#"["./src"]"#, r#"["./build/../src"]"#, r#"["/data"]"#, r#"["/data/a"]"#, r#"["/data/**/out"]"#, r#"["~"]"#, r#"["/"]"#, r#"["./build", "./src"]"#,
          r#"["./{build,src}"]"#]),
    row("filesystem.denyWrite", r#"["./a"]"#, &["[]", r#"["./b"]"#], &[]),
    row("filesystem.allowGitConfig", "", &["false"], &["true"]),
    row("filesystem.disabled", "", &["false"], &["true"]),
    row("credentials.files", r#"[{"path": "/k", "mode": "deny"}]"#, &["[]", r#"[{"path": "/l", "mode": "deny"}]"#], &[]),
    row("credentials.envVars", r#"[{"name": "K", "mode": "deny"}]"#, &["[]", r#"[{"name": "L", "mode": "deny"}]"#], &[]),
    row("runtime.envStrip", r#"["K"]"#, &["[]", r#"["L"]"#], &[]),
    row("runtime.maxFileDescriptors", LIMIT.0, LIMIT.1, LIMIT.2),
    row("runtime.maxFileDescriptors", "", LIMIT.1, &[]),
    row("runtime.maxProcesses", LIMIT.0, LIMIT.1, LIMIT.2),
    row("runtime.memoryMax", "\"1M\"", &["1", "\"1024K\"", "1048576"], &["\"2M\"", "\"1G\"", "1048577"]),
    row("runtime.maxFileSize", "\"1M\"", &["\"1K\""], &["\"1T\""]),
    row("runtime.timeoutSeconds", LIMIT.0, LIMIT.1, LIMIT.2),
    row("runtime.limits", "", &["\"enforced\""], &["\"best-effort\""]),
    row("runtime.limits", "\"best-effort\"", &["\"enforced\"", "\"best-effort\""], &[]),
    row("runtime.cpuQuota", "\"50%\"", &["\"1%\"", "\"50%\""], &["\"51%\"", "\"200%\""]),
    row("limits", "", &[], &["\"best-effort\""]),
    row("limits", "\"best-effort\"", &["\"best-effort\""], &[]),
    row("mcp.tools.allow", r#"["read_*", "list"]"#, &["[]", r#"["read_*"]"#, r#"["read_file", "list"]"#],
        &[r#"["*"]"#, r#"["write_file"]"#, r#"["read*"]"#, r#"["read_*", "write_*"]"#, r#"["{read_a,write_b}"]"#, r#"["read_?"]"#]),
    row("mcp.tools.allow", "", &["[]", r#"["*"]"#, r#"["x"]"#], &[]),
    row("mcp.tools.deny", r#"["rm_*"]"#, &["[]", r#"["x"]"#], &[]),
    row("mcp.pinTools", "true", &["true"], &["false"]),
    row("audit.filesystem", "", &["true"], &["false"]),
    row("audit.filesystem", "false", &["true", "false"], &[]),
    row("git.safeDirectories", r#"["/a"]"#, &["[]", r#"["/a"]"#], &[r#"["/b"]"#, r#"["*"]"#]),
    row("ignoreViolations", r#"{"node": ["/a"], "*": ["/b"]}"#, &["{}", r#"{"node": ["/a"]}"#, r#"{"node": ["/b"]}"#],
        &[r#"{"node": ["/c"]}"#, r#"{"*": ["/a"]}"#, r#"{"npm": ["/a"]}"#]),
    row("enableWeakerNestedSandbox", "", &["false"], &["true"]),
    row("enableWeakerNetworkIsolation", "", &["false"], &["true"]),
    row("allowNestedUserNamespaces", "", &["false"], &["true"]),
    row("allowNestedUserNamespaces", "true", &["false"], &[]),
    row("allowAppleEvents", "", &["false"], &["true"]),
    row("allowPty", "", &["false"], &["true"]),
];

/// The lines that a policy puts in force, those of settings files.
fn lines(compiled: &Compiled) -> BTreeSet<(String, String)> {
    let lines = compiled.policy.lines().into_iter();
    lines
        .map(|line| (line.key.to_owned(), line.value))
        .collect()
}

#[test]
fn a_project_may_tighten_every_key_and_loosen_none() {
    for row in ROWS {
        let base = document(row.key, row.base);
        let alone = compile(Some(&layered(Layer::User, &base).files[0]), &facts())
            .unwrap_or_else(|error| panic!("{}: {} must be right: {error}", row.key, row.base));
        for tighter in row.tighter {
            let text = document(row.key, tighter);
            let compiled = project(Some(&base), &text)
                .unwrap_or_else(|error| panic!("{base} and {text} must do: {error}"));
            // What denies stays.
            if crate::directions::direction(row.key) == Direction::Denies {
                let missing: Vec<_> = lines(&alone)
                    .difference(&lines(&compiled))
                    .cloned()
                    .collect();
                assert!(missing.is_empty(), "{base} and {text}: {missing:?}");
            }
        }
        for looser in row.looser {
            let text = document(row.key, looser);
            let Err(refused) = project(Some(&base), &text) else {
                panic!("{base} is loosened by {text}");
            };
            let found = refused
                .diagnostics
                .iter()
                .find(|found| {
                    found.message.contains(row.key)
                        && found.message.contains("looser than what is in force")
                })
                .unwrap_or_else(|| panic!("{base} and {text}: {refused:#?}"));
            assert_eq!(found.path.to_str(), Some("/home/u/p/.srt.json"));
            assert!(found.hint.is_some());
            let column = usize::try_from(found.column).unwrap();
            assert!(
                column > row.key.split('.').count(),
                "{found}: the place of the value"
            );
            // In the server's file it would be right: that is the person's own.
            let own = layered(Layer::Server, &text);
            compile_layers(&[layered(Layer::User, &base), own], &facts())
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}

#[test]
fn the_table_above_has_every_key_that_a_project_may_say() {
    let tried: BTreeSet<&str> = ROWS.iter().map(|row| row.key).collect();
    let may: BTreeSet<&str> = DIRECTIONS
        .iter()
        .filter(|(_, direction)| {
            !matches!(
                direction,
                Direction::Neutral | Direction::Daemon | Direction::OfFile
            )
        })
        .map(|(key, _)| *key)
        .collect();
    assert_eq!(tried, may);
    // A list that denies, and what adds to one, cannot loosen; of all others a looser value is tried.
    for key in may {
        let denies = crate::directions::direction(key) == Direction::Denies;
        let tried = ROWS
            .iter()
            .any(|row| row.key == key && !row.looser.is_empty());
        assert!(denies || tried, "{key}");
    }
}

#[test]
fn what_is_not_a_projects_to_say_is_refused_whatever_it_says() {
    for (key, direction) in DIRECTIONS {
        let why = match direction {
            Direction::Neutral => "does not belong in a project's file",
            Direction::Daemon => "does not count in this file",
            _ => continue,
        };
        let value = match find(key, 1).or(find(key, 2)).unwrap().shape {
            Shape::Bool => "true",
            Shape::Number | Shape::Positive | Shape::Size => "1",
            Shape::Strings | Shape::Paths | Shape::Sections => "[]",
            Shape::StringMap | Shape::ListMap => r#"{"a": "b"}"#,
            _ if key.ends_with("endpoint") => "\"https://c\"",
            _ => "\"1\"",
        };
        let refused = project(Some("{}"), &document(written(key, 1), value)).unwrap_err();
        let told = refused
            .diagnostics
            .iter()
            .any(|found| found.message.contains(why) && found.message.contains(*key));
        assert!(told, "{key}: {refused:#?}");
    }
}

#[test]
fn it_is_said_what_is_looser_than_what() {
    #[track_caller]
    fn check(base: Option<&str>, text: &str, expected: &str) {
        let refused = project(base, text).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    check(
        Some("{\n  \"runtime\": {\"memoryMax\": \"512M\"}\n}"),
        r#"{"runtime": {"memoryMax": "1G"}}"#,
        "/home/u/p/.srt.json:1:27: runtime.memoryMax: \"1G\" is looser than what is in force: \"512M\" (/home/u/.srt-settings.json:2:28)",
    );
    check(
        Some("{}"),
        r#"{"network": {"ask": true}}"#,
        "/home/u/p/.srt.json:1:21: network.ask: true is looser than what is in force: false (built-in)",
    );
    check(
        Some(r#"{"network": {"allowedDomains": ["api.a.com:443"]}}"#),
        r#"{"network": {"allowedDomains": ["api.a.com"]}}"#,
        "/home/u/p/.srt.json:1:33: \"api.a.com\" in network.allowedDomains is looser than what is in force: \"api.a.com:443\" (/home/u/.srt-settings.json:1:33)",
    );
    check(
        Some(r#"{"filesystem": {"denyRead": ["./secret"]}}"#),
        r#"{"filesystem": {"allowRead": ["./secret/x"]}}"#,
        "/home/u/p/.srt.json:1:31: \"./secret/x\" in filesystem.allowRead is looser than what is in force: filesystem.denyRead has \"./secret\" (/home/u/.srt-settings.json:1:30)",
    );
    check(
        Some(r#"{"filesystem": {"allowWrite": ["."], "overlay": ["./o"]}}"#),
        r#"{"filesystem": {"overlay": []}}"#,
        "/home/u/p/.srt.json:1:28: filesystem.overlay: without \"./o\" (/home/u/.srt-settings.json:1:50) this is looser than what is in force: the host's own copy could be written, by filesystem.allowWrite \".\" (/home/u/.srt-settings.json:1:32)",
    );
    check(
        None,
        r#"{"filesystem": {"mode": "shared"}}"#,
        "/home/u/p/.srt.json:1:25: filesystem.mode: \"shared\" is looser than what is in force: \"minimal\" (built-in)",
    );
}

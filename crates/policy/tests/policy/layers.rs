//! Files that extend others, what a server's file inherits from the user's, and where what is wrong with that is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use srt_policy::{
    Compiled, Decision, FilesystemMode, InvalidPolicy, Layer, Layered, Policy, Source,
    compile_layers, gather,
};

use crate::support::{facts, target};

const USER: &str = "/home/ada/.srt-settings.json";
const SERVER: &str = "/home/ada/.config/srt/servers/s.json";
const PROJECT: &str = "/home/ada/project/.srt.json";

fn source(path: &str, text: &str) -> Source {
    Source {
        path: PathBuf::from(path),
        text: text.to_owned(),
    }
}

/// A layer's file with what it extends, read from these files and no others.
fn gathered(layer: Layer, path: &str, files: &[(&str, &str)]) -> Result<Layered, InvalidPolicy> {
    let files: BTreeMap<&Path, &str> = files
        .iter()
        .map(|(path, text)| (Path::new(*path), *text))
        .collect();
    let main = source(path, files[Path::new(path)]);
    let mut read = |path: &Path| {
        files
            .get(path)
            .map(|text| (*text).to_owned())
            .ok_or_else(|| "there is no such file".to_owned())
    };
    gather(layer, main, Path::new("/home/ada"), &mut read)
}

fn together(user: Option<&str>, server: Option<&str>) -> Result<Compiled, InvalidPolicy> {
    let user = user.map(|text| Layered::alone(Layer::User, source(USER, text)));
    let server = server.map(|text| Layered::alone(Layer::Server, source(SERVER, text)));
    let layers: Vec<Layered> = user.into_iter().chain(server).collect();
    compile_layers(&layers, &facts())
}

fn both(user: &str, server: &str) -> Policy {
    together(Some(user), Some(server))
        .expect("both are right")
        .policy
}

/// The lines that files put in force: `KEY VALUE PATH:LINE:COLUMN`.
fn lines(policy: &Policy) -> Vec<String> {
    let lines = policy.lines().into_iter();
    lines
        .filter(|line| matches!(line.origin, srt_policy::Origin::File { .. }))
        .map(|line| format!("{} {} {}", line.key, line.value, line.origin))
        .collect()
}

fn reaches(policy: &Policy, text: &str) -> bool {
    matches!(policy.network.decide(&target(text)), Decision::Allow(_))
}

#[test]
fn what_a_file_extends_counts_before_it() {
    let files = [
        (
            SERVER,
            "{\n  \"extends\": [\"./base.json\", \"~/team.json\"],\n  \"runtime\": {\"maxProcesses\": 7},\n  \"filesystem\": {\"allowWrite\": [\"./c\"]}\n}",
        ),
        (
            "/home/ada/.config/srt/servers/base.json",
            "{\"runtime\": {\"maxProcesses\": 5, \"memoryMax\": 1024}, \"filesystem\": {\"allowWrite\": [\"./a\"], \"denyRead\": [\"/x\"]}}",
        ),
        (
            "/home/ada/team.json",
            "// The team's.\n{\"runtime\": {\"memoryMax\": 2048}, \"filesystem\": {\"allowWrite\": [\"./b\"], \"denyRead\": [\"/y\"]}}",
        ),
    ];
    let layered = gathered(Layer::Server, SERVER, &files).unwrap();
    let policy = compile_layers(&[layered], &facts()).unwrap().policy;
    assert_eq!(
        lines(&policy),
        [
            "filesystem.denyRead /x /home/ada/.config/srt/servers/base.json:1:104",
            "filesystem.denyRead /y /home/ada/team.json:2:85",
            "filesystem.allowWrite ./a /home/ada/.config/srt/servers/base.json:1:83",
            "filesystem.allowWrite ./b /home/ada/team.json:2:64",
            "filesystem.allowWrite ./c /home/ada/.config/srt/servers/s.json:4:33",
            "runtime.maxProcesses 7 /home/ada/.config/srt/servers/s.json:3:31",
            "runtime.memoryMax 2048 /home/ada/team.json:2:27",
        ]
    );
    assert_eq!(policy.source(), Some(Path::new(SERVER)));
    let paths: Vec<_> = policy
        .sources()
        .iter()
        .map(|source| source.path.to_str().unwrap())
        .collect();
    assert_eq!(paths, [files[1].0, files[2].0, files[0].0]);
}

#[test]
fn what_is_extended_is_not_left_out_in_silence() {
    let alone = Layered::alone(Layer::User, source(USER, r#"{"extends": ["@memory"]}"#));
    let refused = compile_layers(&[alone], &facts()).unwrap_err();
    let told = format!("{USER}:1:14: what extends names was not read");
    assert_eq!(refused.to_string(), told);
}

#[test]
fn templates_are_extended_by_name() {
    let files = [(
        SERVER,
        r#"{"extends": ["@memory"], "filesystem": {"allowWrite": ["./more"]}}"#,
    )];
    let policy = compile_layers(
        &[gathered(Layer::Server, SERVER, &files).unwrap()],
        &facts(),
    )
    .unwrap()
    .policy;
    assert_eq!(policy.filesystem.mode(), FilesystemMode::Minimal);
    let lines = lines(&policy);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("filesystem.allowWrite ./memory @memory:")),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("filesystem.allowWrite ./more /home/")),
        "{lines:?}"
    );
}

#[test]
fn a_file_that_two_others_extend_counts_once() {
    let files = [
        (SERVER, r#"{"extends": ["./a.json", "./b.json"]}"#),
        (
            "/home/ada/.config/srt/servers/a.json",
            r#"{"extends": ["./c.json"], "runtime": {"maxProcesses": 1}}"#,
        ),
        (
            "/home/ada/.config/srt/servers/b.json",
            r#"{"extends": ["./c.json"]}"#,
        ),
        (
            "/home/ada/.config/srt/servers/c.json",
            r#"{"runtime": {"maxProcesses": 9}, "filesystem": {"denyRead": ["/x"]}}"#,
        ),
    ];
    let policy = compile_layers(
        &[gathered(Layer::Server, SERVER, &files).unwrap()],
        &facts(),
    )
    .unwrap()
    .policy;
    assert_eq!(
        policy.limits.max_processes,
        Some(1),
        "what a.json says counts after c.json"
    );
    assert_eq!(policy.sources().len(), 4);
}

#[test]
fn what_is_wrong_with_what_is_extended() {
    #[track_caller]
    fn check(layer: Layer, files: &[(&str, &str)], expected: &str) {
        let refused = gathered(layer, files[0].0, files).unwrap_err();
        assert_eq!(refused.to_string(), expected);
        assert!(refused.diagnostics[0].hint.is_some());
    }
    let folder = "/home/ada/.config/srt/servers";
    check(
        Layer::Server,
        &[(SERVER, "{\n  \"extends\": [\"./none.json\"]\n}")],
        &format!(
            "{SERVER}:2:15: extends names {folder}/none.json, and it cannot be read: there is no such file"
        ),
    );
    check(
        Layer::Server,
        &[(SERVER, r#"{"extends": ["@memmory"]}"#)],
        &format!("{SERVER}:1:14: there is no template \"@memmory\""),
    );
    check(
        Layer::Server,
        &[(SERVER, r#"{"extends": ["./s.json"]}"#)],
        &format!("{SERVER}:1:14: the files extend one another in a circle: {SERVER} → {SERVER}"),
    );
    let base = format!("{folder}/base.json");
    check(
        Layer::Server,
        &[
            (SERVER, r#"{"extends": ["./base.json"]}"#),
            (&base, r#"{"extends": ["../servers/s.json"]}"#),
        ],
        &format!(
            "{base}:1:14: the files extend one another in a circle: {SERVER} → {base} → {SERVER}"
        ),
    );
    check(
        Layer::Server,
        &[(SERVER, r#"{"extends": ["~root/x.json"]}"#)],
        &format!("{SERVER}:1:14: \"~root/x.json\" in extends names another user's home folder"),
    );
    check(
        Layer::Server,
        &[(SERVER, r#"{"extends": [""]}"#)],
        &format!("{SERVER}:1:14: \"\" in extends names no file"),
    );
    for out in ["/etc/passwd", "~/x.json", "../x.json", "./a/../../x.json"] {
        check(
            Layer::Project,
            &[(PROJECT, &format!(r#"{{"extends": ["{out}"]}}"#))],
            &format!("{PROJECT}:1:14: \"{out}\" in extends leads out of the project"),
        );
    }
    let inside = [
        (PROJECT, r#"{"extends": ["./policy/base.json"]}"#),
        ("/home/ada/project/policy/base.json", "{}"),
    ];
    assert_eq!(
        gathered(Layer::Project, PROJECT, &inside)
            .unwrap()
            .files
            .len(),
        2
    );
}

#[test]
fn a_chain_and_a_crowd_of_files_end() {
    let names: Vec<String> = (0..10).map(|n| format!("/home/ada/{n}.json")).collect();
    let texts: Vec<String> = (1..=10)
        .map(|n| format!(r#"{{"extends": ["./{n}.json"]}}"#))
        .collect();
    let mut chain: Vec<(&str, &str)> = names
        .iter()
        .zip(&texts)
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let refused = gathered(Layer::User, &names[0], &chain).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "/home/ada/8.json:1:14: more than 8 files extend one another, one after the other"
    );
    chain[8].1 = "{}";
    assert_eq!(
        gathered(Layer::User, &names[0], &chain)
            .unwrap()
            .files
            .len(),
        9
    );

    let all: Vec<String> = (1..=64).map(|n| format!("\"./{n}.json\"")).collect();
    let main = format!(r#"{{"extends": [{}]}}"#, all.join(", "));
    let names: Vec<String> = (1..=64).map(|n| format!("/home/ada/{n}.json")).collect();
    let mut crowd = vec![(USER, main.as_str())];
    crowd.extend(names.iter().map(|name| (name.as_str(), "{}")));
    let refused = gathered(Layer::User, USER, &crowd).unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("with this entry there are more than 64 files"),
        "{refused}"
    );
}

#[test]
fn a_fault_is_told_with_the_file_that_has_it() {
    let files = [
        (SERVER, r#"{"extends": ["./base.json"], "netwrok": {}}"#),
        (
            "/home/ada/.config/srt/servers/base.json",
            "{\n  \"strict\": 1}",
        ),
    ];
    let layered = gathered(Layer::Server, SERVER, &files).unwrap();
    let refused = compile_layers(&[layered], &facts()).unwrap_err();
    let told: Vec<String> = refused
        .diagnostics
        .iter()
        .map(|found| format!("{}:{}:{}", found.path.display(), found.line, found.column))
        .collect();
    assert_eq!(
        told,
        [format!("{}:2:13", files[1].0), format!("{SERVER}:1:30")]
    );
    // A fault of the text itself.
    let broken = [
        (SERVER, r#"{"extends": ["./base.json"]}"#),
        (files[1].0, "{"),
    ];
    let layered = gathered(Layer::Server, SERVER, &broken).unwrap();
    let refused = compile_layers(&[layered], &facts()).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with(&format!("{}:1:1: not JSON", files[1].0)),
        "{refused}"
    );
}

#[test]
fn a_server_inherits_what_tightens() {
    let user = r#"{
        "network": {"deniedDomains": ["ads.x.test"], "requireHostMatch": true},
        "filesystem": {"mode": "minimal", "denyRead": ["/u"], "denyWrite": ["/v"]},
        "credentials": {"envVars": [{"name": "K", "mode": "deny"}]},
        "runtime": {"memoryMax": "1M", "maxProcesses": 10},
        "mcp": {"tools": {"allow": ["read_*"], "deny": ["rm"]}, "pinTools": true}
    }"#;
    let server = r#"{"network": {"allowedDomains": ["*.x.test"], "deniedDomains": ["b.x.test"]}, "runtime": {"maxProcesses": 20}}"#;
    let policy = both(user, server);
    assert!(reaches(&policy, "a.x.test:443"));
    assert!(!reaches(&policy, "ads.x.test:443") && !reaches(&policy, "b.x.test:443"));
    assert!(policy.network.requests().require_host_match);
    assert_eq!(policy.filesystem.mode(), FilesystemMode::Minimal);
    assert_eq!(policy.limits.memory_max, Some(1 << 20));
    assert_eq!(
        policy.limits.max_processes,
        Some(20),
        "the server's own word"
    );
    assert!(policy.tools.decide("read_x").is_ok() && policy.tools.decide("write_x").is_err());
    assert!(policy.tools.pin.is_some());
    let kept = [
        "filesystem.denyRead /u",
        "filesystem.denyWrite /v",
        "credentials.envVars K",
    ];
    let lines = lines(&policy);
    for kept in kept {
        assert!(
            lines.iter().any(|line| line.starts_with(kept)),
            "{kept}: {lines:?}"
        );
    }
}

#[test]
fn a_server_inherits_nothing_that_loosens() {
    let user = r#"{
        "network": {"allowedDomains": ["a.test"], "ask": true, "askTimeoutSeconds": 5, "allowUnixSockets": ["/run/x"],
                    "parentProxy": {"http": "http://127.0.0.1:8080"}, "logDroppedConnections": false},
        "tls": {"requireSni": false},
        "filesystem": {"allowRead": ["~/.ssh/known_hosts"], "allowWrite": ["."], "overlay": ["./o"], "allowGitConfig": true, "overlayMax": "9G"},
        "runtime": {"limits": "best-effort", "restart": "always", "warm": 2},
        "audit": {"filesystem": false, "mcp": "full"},
        "allowNestedUserNamespaces": true,
        "ignoreViolations": {"*": ["/x"]}
    }"#;
    let alone = together(None, Some("{}")).unwrap().policy;
    let policy = both(user, "{}");
    assert_eq!(
        lines(&policy),
        lines(&alone),
        "an empty file of the server's is as empty as without the user's"
    );
    let only = together(Some(user), None).unwrap().policy;
    assert!(
        reaches(&only, "a.test:443") || only.network.asks(),
        "a server without a file has it all"
    );
    // Nobody is told of the user's file that it contradicts what the server says.
    let observed = together(
        Some(r#"{"network": {"strictAllowlist": true}}"#),
        Some(r#"{"network": {"enforceAllowlist": false}}"#),
    );
    assert!(observed.unwrap().policy.network.observes());
}

#[test]
fn one_document_has_the_digest_of_its_text_and_several_have_their_own() {
    use sha2::{Digest as _, Sha256};
    let plain: String = Sha256::digest(b"{}")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(together(Some("{}"), None).unwrap().policy.digest(), plain);
    assert_eq!(together(None, Some("{}")).unwrap().policy.digest(), plain);
    let mut seen = vec![plain];
    let pairs = [("{}", "{}"), ("{} ", "{}"), ("{}", " {}")];
    for (user, server) in pairs {
        let digest = both(user, server).digest().to_owned();
        assert!(!seen.contains(&digest), "{user:?} {server:?}");
        seen.push(digest);
    }
}

#[test]
fn a_project_without_other_files_tightens_what_is_built_in() {
    let project = |text: &str| {
        let layered = Layered::alone(Layer::Project, source(PROJECT, text));
        compile_layers(&[layered], &facts())
    };
    let policy =
        project(r#"{"filesystem": {"denyRead": ["./secret"]}, "runtime": {"maxProcesses": 3}}"#)
            .unwrap()
            .policy;
    assert_eq!(policy.filesystem.mode(), FilesystemMode::Minimal);
    assert_eq!(policy.limits.max_processes, Some(3));
    assert!(
        !policy
            .filesystem
            .decide_read(Path::new("/home/ada/project/secret/x"))
            .allowed
    );
    assert!(
        policy
            .filesystem
            .decide_read(Path::new("/home/ada/project/x"))
            .allowed
    );
    project(r#"{"filesystem": {"allowWrite": ["."]}}"#).unwrap_err();
}

/// The letters of a rule do not tell where a link in the project leads.
#[test]
fn a_link_in_the_project_opens_nothing() {
    let user = r#"{"filesystem": {"denyRead": ["~/private"], "allowWrite": ["."]}}"#;
    let project =
        r#"{"filesystem": {"allowRead": ["./data"], "allowWrite": ["./out", "./build"]}}"#;
    let layers = [
        Layered::alone(Layer::User, source(USER, user)),
        Layered::alone(Layer::Project, source(PROJECT, project)),
    ];
    let policy = compile_layers(&layers, &facts()).unwrap().policy;
    let resolve = |path: &Path| match path.to_str().unwrap() {
        "/home/ada/project/data" => PathBuf::from("/home/ada/private"),
        "/home/ada/project/out" => PathBuf::from("/home/ada/elsewhere"),
        _ => path.to_owned(),
    };
    let files = policy.filesystem.resolved(resolve);
    assert!(!files.decide_read(Path::new("/home/ada/private/x")).allowed);
    assert!(
        !files
            .decide_write(Path::new("/home/ada/elsewhere/x"))
            .allowed
    );
    assert!(
        files
            .decide_write(Path::new("/home/ada/project/build/x"))
            .allowed
    );
    assert!(
        !files
            .decide_write(Path::new("/home/ada/project/src"))
            .allowed
    );
    let notes = files.notes().join("\n");
    assert!(notes.contains("\"./data\" (/home/ada/project/.srt.json:1:31) leads through a link to /home/ada/private"), "{notes}");
    // The same links in the person's own file are the person's own.
    let own = [Layered::alone(Layer::User, source(USER, project))];
    let files = compile_layers(&own, &facts())
        .unwrap()
        .policy
        .filesystem
        .resolved(resolve);
    assert!(
        files
            .decide_write(Path::new("/home/ada/elsewhere/x"))
            .allowed
    );
}

/// A wildcard's names must be told over TLS; named one by one by a project they still must.
#[test]
fn a_name_below_a_wildcard_must_still_be_told() {
    let user = r#"{"network": {"allowedDomains": ["*.a.test", "b.test"]}}"#;
    let project = r#"{"network": {"allowedDomains": ["x.a.test", "b.test"]}}"#;
    let layers = [
        Layered::alone(Layer::User, source(USER, user)),
        Layered::alone(Layer::Project, source(PROJECT, project)),
    ];
    let network = compile_layers(&layers, &facts()).unwrap().policy.network;
    let needs = |text: &str| match network.decide(&target(text)) {
        Decision::Allow(permit) => permit.requires_sni(),
        other => panic!("{other:?}"),
    };
    assert!(needs("x.a.test:443"));
    assert!(!needs("b.test:443"));
    assert!(!matches!(
        network.decide(&target("y.a.test:443")),
        Decision::Allow(_)
    ));
}

/// A list of tools may allow what is refused without it: names with letters that look like others.
#[test]
fn a_projects_list_of_tools_allows_nothing_new() {
    let user = r#"{"mcp": {"tools": {"deny": ["rm"]}}}"#;
    let project = r#"{"mcp": {"tools": {"allow": ["*"]}}}"#;
    let tools = |layers: &[Layered]| compile_layers(layers, &facts()).unwrap().policy.tools;
    let user = Layered::alone(Layer::User, source(USER, user));
    let project = Layered::alone(Layer::Project, source(PROJECT, project));
    let (before, after) = (tools(std::slice::from_ref(&user)), tools(&[user, project]));
    for name in ["ls", "rm", "RM", "ｒｍ", "rм"] {
        assert!(
            before.decide(name).is_ok() || after.decide(name).is_err(),
            "{name}"
        );
    }
    assert!(after.decide("ls").is_ok());
}

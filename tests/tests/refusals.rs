//! One server tries what it should not. Each attempt is first shown to succeed without the sandbox, against a host
//! of the test's own, then refused with it, then found in the audit log.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use srt_tests::{SOON, Talk, Web, World, until};

fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

/// The demo server bare, in the same world.
fn bare(world: &World) -> Talk {
    Talk::start(&mut world.bare(world.program("demo-server")))
}

fn network(allowed: &[String], denied: &[String]) -> Value {
    json!({
        "filesystem": { "denyRead": [], "allowWrite": ["."], "denyWrite": [] },
        "network": { "allowedDomains": allowed, "deniedDomains": denied },
    })
}

/// A call succeeds bare and is refused in the sandbox. Gives what the sandboxed tool said.
#[track_caller]
fn only_bare(bare: &mut Talk, boxed: &mut Talk, tool: &str, arguments: &Value) -> String {
    let (said, failed) = bare.tool(tool, arguments.clone());
    assert!(!failed, "{tool} {arguments} must succeed bare: {said}");
    let (said, failed) = boxed.tool(tool, arguments.clone());
    assert!(
        failed,
        "{tool} {arguments} must be refused in the sandbox: {said}"
    );
    said
}

#[test]
fn the_ssh_key_cannot_be_read() {
    let world = World::start();
    world.policy(&network(&[], &[]));
    let key = text(world.write("home/.ssh/id_rsa", "the key\n"));
    let said = only_bare(
        &mut bare(&world),
        &mut Talk::start(&mut world.demo()),
        "read_file",
        &json!({ "path": key }),
    );
    assert!(!said.contains("the key"), "{said}");
    world.until_audited("deny", ".ssh");
}

#[test]
fn what_is_to_be_ignored_is_refused_without_a_word() {
    for (observe, expected) in [(true, &["other.txt"][..]), (false, &[])] {
        let world = World::start();
        let mut policy = network(&[], &[]);
        policy["filesystem"]["denyRead"] = json!(["noisy", "other.txt"]);
        policy["ignoreViolations"] = json!({ "*": ["noisy"] });
        policy["audit"] = json!({ "filesystem": observe });
        world.policy(&policy);
        for name in ["work/noisy/file", "work/other.txt"] {
            world.write(name, "text");
        }
        let mut boxed = Talk::start(&mut world.demo());
        for name in ["noisy/file", "other.txt"] {
            let path = text(world.path("work").join(name));
            let (said, failed) = boxed.tool("read_file", json!({ "path": path }));
            assert!(failed, "{name}: {said}");
        }
        // Whatever is told of the first is told by then.
        match observe {
            true => drop(world.until_audited("deny", "other.txt")),
            false => {
                boxed.close();
                boxed.wait(SOON);
                until("the end to be recorded", SOON, || {
                    let ended = |entry: &srt_tests::Entry| entry.kind == "exit";
                    world.audit().iter().any(ended).then_some(())
                });
            }
        }
        let told: Vec<String> = world
            .audit()
            .iter()
            .filter(|entry| entry.kind == "deny")
            .map(|entry| entry.subject.clone())
            .collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        assert!(
            told.iter()
                .zip(expected)
                .all(|(told, name)| told.contains(name)),
            "{told:?}"
        );
    }
}

#[test]
fn the_ssh_key_cannot_be_read_by_another_name() {
    let world = World::start();
    world.policy(&network(&[], &[]));
    world.write("home/.ssh/id_rsa", "the key\n");
    let link = world.path("work/innocent");
    std::os::unix::fs::symlink(world.path("home/.ssh/id_rsa"), &link).unwrap();
    let (mut bare, mut boxed) = (bare(&world), Talk::start(&mut world.demo()));
    for path in [
        text(link),
        text(world.path("work/../home/.ssh/id_rsa")),
        format!("/proc/self/root{}", text(world.path("home/.ssh/id_rsa"))),
        format!("/proc/1/root{}", text(world.path("home/.ssh/id_rsa"))),
    ] {
        let arguments = json!({ "path": path });
        if !path.starts_with("/proc/1/") {
            let (said, failed) = bare.tool("read_file", arguments.clone());
            assert!(!failed, "bare: {said}");
        }
        let (said, failed) = boxed.tool("read_file", arguments);
        assert!(failed && !said.contains("the key"), "{path}: {said}");
    }
}

#[test]
fn nothing_is_written_outside() {
    let world = World::start();
    world.policy(&network(&[], &[]));
    let outside = world.write("home/diary.txt", "dear diary\n");
    let arguments = json!({ "path": text(outside.clone()), "content": "gone\n" });
    only_bare(
        &mut bare(&world),
        &mut Talk::start(&mut world.demo()),
        "write_file",
        &arguments,
    );
    world.until_audited("deny", "diary.txt");
    fs::write(&outside, "dear diary\n").unwrap();
    let mut boxed = Talk::start(&mut world.demo());
    let inside = text(world.path("work/allowed.txt"));
    let (said, failed) = boxed.tool("write_file", json!({ "path": inside, "content": "in" }));
    assert!(!failed, "allowWrite must hold: {said}");
    let (_, failed) = boxed.tool("write_file", arguments);
    assert!(failed);
    assert_eq!(fs::read_to_string(outside).unwrap(), "dear diary\n");
}

#[test]
fn without_a_policy_nothing_is_written_and_nothing_reached() {
    let world = World::start();
    let web = Web::on("127.0.0.1:0", "hello");
    let (mut bare, mut boxed) = (bare(&world), Talk::start(&mut world.demo()));
    let inside = text(world.path("work/x.txt"));
    only_bare(
        &mut bare,
        &mut boxed,
        "write_file",
        &json!({ "path": inside, "content": "x" }),
    );
    let url = format!("http://{}/", web.address());
    only_bare(&mut bare, &mut boxed, "fetch_url", &json!({ "url": url }));
    world.until_audited("deny", &web.address().to_string());
}

#[test]
fn the_daemons_own_files_are_out_of_reach() {
    let world = World::start();
    world.policy(&network(&[], &[]));
    let (mut bare, mut boxed) = (bare(&world), Talk::start(&mut world.demo()));
    let database = text(world.path("home/.local/state/srt/srt.db"));
    only_bare(
        &mut bare,
        &mut boxed,
        "read_file",
        &json!({ "path": database }),
    );
    let settings = text(world.path("home/.srt-settings.json"));
    let (_, failed) = boxed.tool("write_file", json!({ "path": settings, "content": "{}" }));
    assert!(failed, "the settings in force must not be writable");
}

/// Ways to give the daemon settings that were not there when the launch began, each in a subshell of its own: a
/// line for each that worked.
const SETTINGS_ATTEMPTS: &str = r#"
try() { ( eval "$2" ) >/dev/null 2>&1 && [ -e "$3" ] && echo "$1"; }
own=.config/srt/servers/X.json user=.srt-settings.json
cd "$HOME" || exit
echo free >free && echo free
try 'the file of one server' 'mkdir -p .config/srt/servers && echo {} >$own' $own
try 'the file of every server' 'echo {} >$user' $user
try 'a link to a file' 'echo {} >elsewhere; rm -f $user; ln -s elsewhere $user' $user
try 'a file moved into place' 'echo {} >new; mv -fT new $user' $user
try 'a folder moved into place' 'mkdir -p new/srt/servers; echo {} >new/srt/servers/X.json; mv -T .config old; mv -T new .config' $own
try 'a folder moved into it' 'mkdir -p .config other/servers; echo {} >other/servers/X.json; mv -T .config/srt old2; mv -T other .config/srt' $own
"#;

#[test]
fn a_server_cannot_write_settings_that_do_not_exist_yet() {
    for configured in [false, true] {
        let world = World::start();
        if configured {
            world.write("home/.config/other/its.json", "{}");
        }
        let settings = world.write(
            "work/settings.json",
            &json!({
                "filesystem": { "denyRead": [], "allowWrite": ["~"], "denyWrite": [] },
                "network": { "allowedDomains": [], "deniedDomains": [] },
            })
            .to_string(),
        );
        let run = |mut command: std::process::Command| {
            let output = command
                .args(["sh", "-c", SETTINGS_ATTEMPTS])
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let settings = text(settings);
        let boxed = run(world.srt(&["--name", "X", "--settings", &settings, "--"]));
        assert_eq!(boxed, ["free"], "{configured}: what worked in the sandbox");
        for path in [".config/srt/servers/X.json", ".srt-settings.json"] {
            let path = world.home().join(path);
            assert!(!path.exists(), "{configured}: {} is there", path.display());
        }
        // The next launch, which is told of no settings, finds none, nor what may hold their place meanwhile.
        let mut other = Talk::start(&mut world.srt(&["--settings", &settings, "--", "cat"]));
        other.send("x");
        assert!(other.line(SOON).is_some(), "{}", other.stderr());
        let next = world.srt(&["--name", "X", "--", "true"]).output().unwrap();
        assert!(next.status.success(), "{next:?}");
        assert_eq!(world.status("X").unwrap()["policy"]["source"], "built-in");

        let bare = run(World::new().command("env"));
        assert_eq!(bare.len(), 7, "each works without the sandbox: {bare:?}");
    }
}

/// A world with two hosts: `allowed.test` is what its policy allows, `denied.test` what no rule names. Both answer
/// on port 8080.
struct Two {
    world: World,
    allowed: Web,
    denied: Web,
}

fn two() -> Two {
    let world = World::with_network(&[
        ("203.0.113.7", "allowed.test"),
        ("203.0.113.8", "denied.test"),
    ]);
    let allowed = Web::in_world(&world, "203.0.113.7:8080", "hello from the allowed host");
    let denied = Web::in_world(&world, "203.0.113.8:8080", "never to be seen");
    world.policy(&network(&["allowed.test:8080".to_owned()], &[]));
    world.start_daemon();
    Two {
        world,
        allowed,
        denied,
    }
}

fn url(host: &str) -> Value {
    json!({ "url": format!("http://{host}:8080/") })
}

fn to(host: &str) -> Value {
    json!({ "host": host, "port": 8080 })
}

#[test]
fn a_denied_host_is_refused_by_the_proxy() {
    let two = two();
    let (mut bare, mut boxed) = (bare(&two.world), Talk::start(&mut two.world.demo()));
    let (said, failed) = boxed.tool("fetch_url", url("allowed.test"));
    assert!(!failed && said.contains("hello"), "allowed: {said}");
    let said = only_bare(&mut bare, &mut boxed, "fetch_url", &url("denied.test"));
    assert!(said.contains("403"), "{said}");
    assert!(said.contains("X-Proxy-Error: blocked-by-srt"), "{said}");
    // The body names what would allow it.
    assert!(said.contains("allowedDomains"), "{said}");
    assert_eq!(two.denied.came(1), 1, "only the bare one came");
    two.world.until_audited("deny", "denied.test:8080");
    two.world.until_audited("allow", "allowed.test:8080");
}

#[test]
fn a_denied_host_is_refused_by_raw_socket() {
    let two = two();
    let (mut bare, mut boxed) = (bare(&two.world), Talk::start(&mut two.world.demo()));
    let (said, failed) = boxed.tool("connect", to("allowed.test"));
    assert!(!failed, "allowed: {said}");
    // By its address, as a program has it that resolved the name elsewhere.
    only_bare(&mut bare, &mut boxed, "connect", &to("203.0.113.8"));
    assert_eq!(two.denied.came(1), 1, "only the bare one came");
    two.world.until_audited("deny", "203.0.113.8:8080");
    let entry = two.world.until_audited("allow", "allowed.test:8080");
    assert_eq!(entry.json["detail"]["front_end"], "tcp", "{}", entry.json);
}

#[test]
fn an_address_literal_is_refused_even_of_an_allowed_name() {
    let two = two();
    let (mut bare, mut boxed) = (bare(&two.world), Talk::start(&mut two.world.demo()));
    only_bare(&mut bare, &mut boxed, "connect", &to("203.0.113.7"));
    only_bare(&mut bare, &mut boxed, "fetch_url", &url("203.0.113.7"));
    only_bare(&mut bare, &mut boxed, "fetch_url", &url("203.0.113.8"));
    assert_eq!((two.allowed.came(2), two.denied.came(1)), (2, 1));
    two.world.until_audited("deny", "203.0.113.7:8080");
    two.world.until_audited("deny", "203.0.113.8:8080");
}

#[test]
fn a_denied_name_does_not_resolve() {
    let two = two();
    let (mut bare, mut boxed) = (bare(&two.world), Talk::start(&mut two.world.demo()));
    // The name of the decision is the name that was asked for, not an address out of the host's /etc/hosts.
    let (said, failed) = boxed.tool("connect", to("allowed.test"));
    assert!(!failed, "allowed by name: {said}");
    let said = only_bare(&mut bare, &mut boxed, "connect", &to("denied.test"));
    assert!(said.contains("cannot resolve"), "{said}");
    assert_eq!(two.denied.came(1), 1, "only the bare one came");
    let entry = two.world.until_audited("deny", "denied.test");
    assert_eq!(entry.json["detail"]["front_end"], "dns", "{}", entry.json);
}

#[test]
fn an_allowed_name_does_not_open_a_loopback_address() {
    // A name that somebody else's DNS points to the person's own machine.
    let world = World::with_network(&[("127.0.0.1", "rebound.test")]);
    let web = Web::in_world(&world, "127.0.0.1:8080", "private");
    world.policy(&network(&["rebound.test".to_owned()], &[]));
    world.start_daemon();
    let (mut bare, mut boxed) = (bare(&world), Talk::start(&mut world.demo()));
    for (tool, arguments) in [
        ("fetch_url", url("rebound.test")),
        ("connect", to("rebound.test")),
    ] {
        let said = only_bare(&mut bare, &mut boxed, tool, &arguments);
        assert!(!said.contains("private"), "{said}");
    }
    assert_eq!(web.came(2), 2, "only the bare ones came");
    world.until_audited("deny", "rebound.test");
}

#[test]
fn loopback_is_the_sandboxs_own_but_for_what_is_allowed() {
    let world = World::start();
    let (yes, no, six) = (
        Web::on("127.0.0.1:0", "yes"),
        Web::on("127.0.0.1:0", "never"),
        Web::on("[::1]:0", "never"),
    );
    world.policy(&network(&[yes.address().to_string()], &[]));
    let (mut bare, mut boxed) = (bare(&world), Talk::start(&mut world.demo()));
    let fetch = |web: &Web| json!({ "url": format!("http://{}/", web.address()) });
    let raw = |web: &Web| json!({ "host": web.address().ip().to_string(), "port": web.port() });
    let (said, failed) = boxed.tool("connect", raw(&yes));
    assert!(!failed, "allowed: {said}");
    let (said, failed) = boxed.tool("fetch_url", fetch(&yes));
    assert!(!failed && said.contains("yes"), "allowed: {said}");
    for web in [&no, &six] {
        // Raw, nobody listens there inside: no byte leaves, so nothing is decided or recorded.
        only_bare(&mut bare, &mut boxed, "connect", &raw(web));
        only_bare(&mut bare, &mut boxed, "fetch_url", &fetch(web));
        assert_eq!(web.came(2), 2, "only the bare ones came");
        world.until_audited("deny", &web.address().to_string());
    }
}

#[test]
fn an_address_that_becomes_this_machines_own_is_refused_until_it_is_not() {
    let two = two();
    let (mut bare, mut boxed) = (bare(&two.world), Talk::start(&mut two.world.demo()));
    let interface = |change| {
        two.world
            .reshape(&format!("ip address {change} 203.0.113.7/32 dev lo"));
    };
    let (said, failed) = boxed.tool("connect", to("allowed.test"));
    assert!(!failed, "somebody else's: {said}");
    interface("add");
    only_bare(&mut bare, &mut boxed, "connect", &to("allowed.test"));
    let entry = two.world.until_audited("deny", "allowed.test:8080");
    let reason = entry.json["detail"]["reason"].as_str().unwrap();
    assert!(reason.contains("this host's own address"), "{reason}");
    interface("del");
    let (said, failed) = boxed.tool("connect", to("allowed.test"));
    assert!(!failed, "when it is gone: {said}");
}

#[test]
fn denied_wins_over_allowed() {
    let world = World::with_network(&[
        ("203.0.113.7", "a.site.test"),
        ("203.0.113.8", "b.site.test"),
    ]);
    let _hosts = [
        Web::in_world(&world, "203.0.113.7:8080", "hello"),
        Web::in_world(&world, "203.0.113.8:8080", "hello"),
    ];
    world.policy(&network(
        &["*.site.test".to_owned()],
        &["b.site.test".to_owned()],
    ));
    world.start_daemon();
    let (mut bare, mut boxed) = (bare(&world), Talk::start(&mut world.demo()));
    let (said, failed) = boxed.tool("fetch_url", url("a.site.test"));
    assert!(!failed, "{said}");
    let said = only_bare(&mut bare, &mut boxed, "fetch_url", &url("b.site.test"));
    assert!(said.contains("403"), "{said}");
    only_bare(&mut bare, &mut boxed, "connect", &to("b.site.test"));
}

#[test]
fn node_fetch_which_ignores_proxies_reaches_only_what_is_allowed() {
    let two = two();
    let script = text(two.world.write(
        "work/fetch.mjs",
        "for (const url of process.argv.slice(2)) {\n\
         \x20 try { console.log('got', await (await fetch(url)).text()); }\n\
         \x20 catch (error) { console.log('failed', error.cause?.code ?? error.message); }\n\
         }\n",
    ));
    let urls = [
        "http://allowed.test:8080/",
        "http://denied.test:8080/",
        "http://203.0.113.8:8080/",
    ];
    let run = |mut command: std::process::Command| {
        let output = command.arg(&script).args(urls).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let bare = run(two.world.bare("node"));
    assert!(
        bare.iter().all(|line| line.starts_with("got ")),
        "bare: {bare:?}"
    );
    let boxed = run(two.world.srt(&["--name", "fetch", "--", "node"]));
    assert_eq!(boxed[0], "got hello from the allowed host", "{boxed:?}");
    assert!(boxed[1].starts_with("failed"), "{boxed:?}");
    assert!(boxed[2].starts_with("failed"), "{boxed:?}");
    assert_eq!(two.denied.came(2), 2, "only the bare ones came");
    two.world.until_audited("allow", "allowed.test:8080");
    two.world.until_audited("deny", "denied.test");
    two.world.until_audited("deny", "203.0.113.8:8080");
}

#[test]
fn the_environment_is_what_policy_lets_through() {
    let mut world = World::new();
    world.set("SECRET_TOKEN", "do-not-tell");
    world.set("WANTED", "please");
    world.start_daemon();
    let (said, _) = bare(&world).tool("list_environment", json!({}));
    assert!(said.contains("SECRET_TOKEN=do-not-tell"), "bare: {said}");

    let mut command = world.srt(&["--name", "demo", "--env", "WANTED", "--"]);
    command.arg(world.program("demo-server"));
    let (said, _) = Talk::start(&mut command).tool("list_environment", json!({}));
    assert!(!said.contains("do-not-tell"), "{said}");
    assert!(said.contains("WANTED=please"), "{said}");
    for name in ["PATH=", "HOME=", "TMPDIR=", "HTTP_PROXY=http://127.0.0.1:"] {
        assert!(said.contains(name), "{name} is missing: {said}");
    }
    // Left out by name, never with the value.
    let log = until("the names in the log", SOON, || {
        let log = world.ctl(&["logs", "demo", "--stream", "daemon"]);
        Some(log).filter(|log| log.contains("SECRET_TOKEN"))
    });
    assert!(!log.contains("do-not-tell"), "{log}");
    assert!(!world.log().contains("do-not-tell"));
}

#[test]
fn nothing_secret_stands_in_an_argument_list() {
    let mut world = World::new();
    world.set("WANTED", "the-value-of-wanted");
    world.start_daemon();
    let mut command = world.srt(&["--name", "demo", "--env", "WANTED", "--"]);
    command.arg(world.program("demo-server"));
    let mut talk = Talk::start(&mut command);
    let (said, _) = talk.tool("list_environment", json!({}));
    assert!(said.contains("the-value-of-wanted"));
    for process in world.processes() {
        assert!(
            !process.arguments.contains("the-value-of-wanted"),
            "{process:?}"
        );
    }
}

#[test]
fn env_strip_takes_out_what_was_asked_for() {
    let mut world = World::new();
    world.set("WANTED", "please");
    world.start_daemon();
    let mut policy = network(&[], &[]);
    policy["runtime"] = json!({ "envStrip": ["WANTED"] });
    world.policy(&policy);
    let mut command = world.srt(&["--name", "demo", "--env", "WANTED", "--"]);
    command.arg(world.program("demo-server"));
    let (said, _) = Talk::start(&mut command).tool("list_environment", json!({}));
    assert!(!said.contains("WANTED="), "{said}");
}

#[test]
fn each_launch_has_a_temporary_folder_of_its_own_that_goes_with_it() {
    let world = World::start();
    let folder = |talk: &mut Talk| {
        let (said, _) = talk.tool("list_environment", json!({}));
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("TMPDIR="))
            .unwrap();
        line.to_owned()
    };
    let (mut one, mut two) = (
        Talk::start(&mut world.demo()),
        Talk::start(&mut world.demo()),
    );
    let (first, second) = (folder(&mut one), folder(&mut two));
    let note = format!("{first}/note");
    let (said, failed) = one.tool("write_file", json!({ "path": note, "content": "mine" }));
    assert!(!failed, "TMPDIR must be writable: {said}");
    let (said, failed) = two.tool("read_file", json!({ "path": note }));
    assert!(
        failed && !said.contains("mine"),
        "{first}, {second}: {said}"
    );
    // On the host each is in the folder of its launch, and nobody else can enter it.
    let folders = world.launches();
    assert_eq!(folders.len(), 2, "{folders:?}");
    let notes: Vec<_> = folders
        .iter()
        .filter_map(|folder| fs::read_to_string(folder.join("tmp/note")).ok())
        .collect();
    assert_eq!(notes, ["mine"]);
    for folder in &folders {
        for private in [folder.clone(), folder.join("tmp")] {
            let mode = fs::metadata(&private).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{}", private.display());
        }
    }
    for mut talk in [one, two] {
        talk.close();
        talk.wait(SOON);
    }
    let start = Instant::now();
    until("the temporary folders to go", SOON, || {
        let left = world.traces();
        assert!(start.elapsed() < SOON / 2, "left: {left:#?}");
        left.is_empty().then_some(())
    });
}

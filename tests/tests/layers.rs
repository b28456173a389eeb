//! Settings in layers, with the real daemon: a project's file tightens and never loosens, what a file extends counts, and
//! a profile chooses among files. All of it while servers run, too.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use srt_tests::{SOON, Shell, Talk, World, replace, until};

/// Whether policy would let the running server connect, by the daemon's word.
fn may(world: &World, name: &str, host: &str) -> bool {
    let answer = world.srtctl(&["policy", "why", name, "connect", &format!("{host}:7000")]);
    match answer.status.code() {
        Some(0) => true,
        Some(7) => false,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&answer.stderr)),
    }
}

#[track_caller]
fn until_may(world: &World, name: &str, host: &str, expected: bool) {
    until(&format!("{host} to be allowed: {expected}"), SOON, || {
        (may(world, name, host) == expected).then_some(())
    });
}

#[track_caller]
fn until_trouble(world: &World, name: &str, word: &str) -> String {
    until(&format!("trouble with {word:?}"), SOON, || {
        let status = world.status(name).unwrap();
        let why = status["policy_trouble"].as_str().unwrap().to_owned();
        why.contains(word).then_some(why)
    })
}

/// What a launch that must be refused says.
#[track_caller]
fn refused(world: &World, options: &[&str]) -> String {
    let arguments = [options, &["--", "cat"]].concat();
    let mut refused = Talk::start(&mut world.srt(&arguments));
    assert_eq!(refused.wait(SOON).code(), Some(6), "{}", refused.stderr());
    refused.stderr()
}

fn allowing(hosts: &[&str]) -> String {
    let domains: Vec<String> = hosts.iter().map(|host| format!("{host}:7000")).collect();
    json!({ "network": { "allowedDomains": domains } }).to_string()
}

#[test]
fn a_project_that_loosens_is_refused_with_its_line() {
    let world = World::with_network(&[]);
    world.write(
        "home/.srt-settings.json",
        "{\n  \"network\": {\"allowedDomains\": [\"a.test:7000\"]},\n  \"runtime\": {\"maxProcesses\": 50}\n}",
    );
    world.start_daemon();
    // Without it, it is launched.
    drop(Shell::start(&world, "s"));
    let project = world.write(
        "work/.srt.json",
        "{\n  \"network\": {\n    \"allowedDomains\": [\"a.test:7000\", \"evil.test:7000\"]\n  },\n  \"runtime\": {\"maxProcesses\": 51},\n  \"filesystem\": {\"allowWrite\": [\".\"]},\n  \"audit\": {\"retain\": \"1h\"},\n  \"network2\": 1\n}",
    );
    let said = refused(&world, &["--name", "s"]);
    let at = |place: &str| format!("{}:{place}", project.display());
    let user = world.path("home/.srt-settings.json");
    for expected in [
        format!(
            "{} \"evil.test:7000\" in network.allowedDomains is looser than what is in force",
            at("3:39: error:")
        ),
        format!(
            "{} runtime.maxProcesses: 51 is looser than what is in force: 50 ({}:3:31)",
            at("5:31: error:"),
            user.display()
        ),
        format!(
            "{} \".\" in filesystem.allowWrite is looser",
            at("6:33: error:")
        ),
        format!("{} audit.retain is about the daemon", at("7:23: error:")),
        format!("{} unknown key network2", at("8:3: error:")),
        "hint: a project's file may only tighten".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected}\nin: {said}");
    }
    // The same by the daemon's other doors: nothing is added, and why is said.
    let added = world.srtctl(&[
        "add",
        "t",
        "--cwd",
        world.work().to_str().unwrap(),
        "--",
        "cat",
    ]);
    assert_eq!(added.status.code(), Some(6));
    // In another folder it has no say.
    fs::create_dir(world.path("other")).unwrap();
    let other = world.path("other");
    drop(Shell::with(
        &world,
        &["--name", "s", "--cwd", other.to_str().unwrap()],
    ));
}

#[test]
fn a_project_tightens_while_the_server_runs_and_cannot_loosen_then() {
    let world = World::with_network(&[]);
    world.write("home/.srt-settings.json", &allowing(&["a.test", "b.test"]));
    world.start_daemon();
    let _shell = Shell::start(&world, "s");
    assert!(may(&world, "s", "a.test") && may(&world, "s", "b.test"));
    // It comes to be there, after the launch.
    let project = world.write(
        "work/.srt.json",
        r#"{"network": {"deniedDomains": ["b.test"]}}"#,
    );
    until_may(&world, "s", "b.test", false);
    assert!(may(&world, "s", "a.test"));
    let shown = world.ctl(&["policy", "show", "s", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let lines = shown["lines"].as_array().unwrap().clone();
    // `policy show` is about the next launch: of a server that is not registered, in the home folder.
    assert!(!lines.is_empty());
    let status = world.status("s").unwrap();
    let files = &status["policy"]["files"];
    assert_eq!(
        files,
        &json!([world.path("home/.srt-settings.json"), project])
    );

    replace(&project, &allowing(&["a.test", "evil.test"]));
    let why = until_trouble(&world, "s", "looser than what is in force");
    assert!(why.contains("work/.srt.json:1:"), "{why}");
    // What was in force stays.
    assert!(
        may(&world, "s", "a.test") && !may(&world, "s", "b.test") && !may(&world, "s", "evil.test")
    );

    replace(&project, &allowing(&["b.test"]));
    until_may(&world, "s", "a.test", false);
    assert!(may(&world, "s", "b.test"));
    // What tightens the rest comes at the next start.
    replace(&project, r#"{"runtime": {"maxProcesses": 64}}"#);
    until_may(&world, "s", "a.test", true);
    assert_eq!(
        world.status("s").unwrap()["next_start"],
        json!(["runtime.maxProcesses"])
    );
    fs::remove_file(&project).unwrap();
    until("nothing to be left of it", SOON, || {
        let status = world.status("s").unwrap();
        (status["next_start"] == json!([])).then_some(())
    });
    assert!(may(&world, "s", "a.test") && may(&world, "s", "b.test"));
}

#[test]
fn a_server_cannot_write_what_it_would_be_governed_by() {
    let world = World::with_network(&[]);
    let given = world.write(
        "work/given.json",
        r#"{"extends": ["./base.json"], "filesystem": {"allowWrite": ["."]}}"#,
    );
    world.write("work/base.json", "{}");
    fs::create_dir(world.path("work/sub")).unwrap();
    world.start_daemon();
    let given = given.to_str().unwrap();
    let mut shell = Shell::with(&world, &["--name", "s", "--settings", given]);
    // The folder is open, and a file of that name there would count.
    assert_eq!(shell.ask("write other.json"), "written");
    for name in [
        ".srt.json",
        ".SRT.json",
        ".srt.dev.json",
        "sub/.srt.json",
        "sub/.srt.prod.json",
        "given.json",
        "given.dev.json",
        "base.json",
    ] {
        assert_eq!(shell.ask(&format!("write {name}")), "refused", "{name}");
        assert_eq!(
            shell.ask(&format!("move other.json {name}")),
            "refused",
            "{name}"
        );
        assert_eq!(
            shell.ask(&format!("link other.json {name}")),
            "refused",
            "{name}"
        );
    }
    drop(shell);
    // One that is there is neither changed nor moved away, and can be read as the rest of the project can.
    let project = world.write("work/.srt.json", "{\"extends\": [\"./sub/base.json\"]}\n");
    let base = world.write(
        "work/sub/base.json",
        r#"{"network": {"deniedDomains": ["a.test"]}}"#,
    );
    let mut shell = Shell::with(&world, &["--name", "s", "--settings", given]);
    let before = fs::read_to_string(&project).unwrap();
    for name in [".srt.json", "sub/base.json"] {
        assert_eq!(shell.ask(&format!("write {name}")), "refused", "{name}");
        assert_eq!(
            shell.ask(&format!("move {name} gone.json")),
            "refused",
            "{name}"
        );
    }
    assert_eq!(
        shell.ask("move sub gone"),
        "refused",
        "nor the folder that it is in"
    );
    assert_eq!(
        shell.ask("read .srt.json"),
        format!("got {}", before.trim_end())
    );
    assert_eq!(fs::read_to_string(&project).unwrap(), before);
    assert!(base.exists());
}

#[test]
fn a_file_that_is_extended_takes_effect_when_it_changes() {
    let world = World::with_network(&[]);
    let base = world.write("home/team/base.json", &allowing(&["a.test"]));
    world.write(
        "home/.srt-settings.json",
        r#"{"extends": ["~/team/base.json"], "network": {"allowedDomains": ["c.test:7000"]}}"#,
    );
    world.start_daemon();
    let _shell = Shell::start(&world, "s");
    assert!(
        may(&world, "s", "a.test") && may(&world, "s", "c.test") && !may(&world, "s", "b.test")
    );
    let why = world.ctl(&["policy", "why", "s", "connect", "a.test:7000"]);
    assert!(why.contains("team/base.json:1"), "{why}");

    replace(&base, &allowing(&["b.test"]));
    until_may(&world, "s", "b.test", true);
    assert!(!may(&world, "s", "a.test") && may(&world, "s", "c.test"));
    // It comes to extend another one, which is followed from then on.
    let deeper = world.write("home/team/deeper.json", &allowing(&["d.test"]));
    replace(&base, r#"{"extends": ["./deeper.json"]}"#);
    until_may(&world, "s", "d.test", true);
    replace(&deeper, &allowing(&["e.test"]));
    until_may(&world, "s", "e.test", true);
    // Gone, nothing changes but what is told; and it may come back.
    fs::remove_file(&deeper).unwrap();
    let why = until_trouble(&world, "s", "there is no such file");
    assert!(
        why.contains("team/base.json:1:14: error: extends names"),
        "{why}"
    );
    assert!(may(&world, "s", "e.test"));
    fs::write(&deeper, allowing(&["f.test"])).unwrap();
    until_may(&world, "s", "f.test", true);
}

#[test]
fn the_users_settings_tighten_a_servers() {
    let world = World::with_network(&[]);
    let user = world.write(
        "home/.srt-settings.json",
        r#"{"network": {"allowedDomains": ["u.test:7000"], "deniedDomains": ["b.test"]}}"#,
    );
    world.write(
        "home/.config/srt/servers/s.json",
        &allowing(&["a.test", "b.test"]),
    );
    world.start_daemon();
    let _shell = Shell::start(&world, "s");
    assert!(may(&world, "s", "a.test"));
    assert!(!may(&world, "s", "b.test"), "denied by the user's");
    assert!(
        !may(&world, "s", "u.test"),
        "what the user's allows is for servers without a file"
    );
    replace(&user, r#"{"network": {"deniedDomains": ["a.test"]}}"#);
    until_may(&world, "s", "a.test", false);
    assert!(may(&world, "s", "b.test"));
    // A file that is given stands alone.
    let given = world.write("given.json", &allowing(&["a.test"]));
    let _given = Shell::with(
        &world,
        &["--name", "g", "--settings", given.to_str().unwrap()],
    );
    assert!(may(&world, "g", "a.test"));
}

#[test]
fn a_profile_chooses_among_files() {
    let mut world = World::with_network(&[]);
    world.write("home/.srt-settings.json", &allowing(&["all.test"]));
    let dev = world.write(
        "home/.srt-settings.dev.json",
        r#"{"extends": ["./.srt-settings.json"], "network": {"allowedDomains": ["dev.test:7000"]}}"#,
    );
    world.write(
        "work/.srt.prod.json",
        r#"{"network": {"deniedDomains": ["all.test"]}}"#,
    );
    world.start_daemon();
    let _plain = Shell::start(&world, "plain");
    assert!(may(&world, "plain", "all.test") && !may(&world, "plain", "dev.test"));
    let _dev = Shell::with(&world, &["--name", "dev", "--profile", "dev"]);
    assert!(may(&world, "dev", "all.test") && may(&world, "dev", "dev.test"));
    let status = world.status("dev").unwrap();
    assert_eq!(status["policy"]["profile"], "dev");
    assert_eq!(status["policy"]["source"], dev.to_str().unwrap());
    let _prod = Shell::with(&world, &["--name", "prod", "--profile", "prod"]);
    assert!(
        !may(&world, "prod", "all.test"),
        "the project's file for it"
    );

    // Named by a person and nowhere to be found, it is an error; in the environment it is told.
    let said = refused(&world, &["--name", "s", "--profile", "staging"]);
    assert!(
        said.contains("no settings file is for the profile staging"),
        "{said}"
    );
    assert!(
        said.contains(".srt-settings.staging.json") && said.contains(".srt.staging.json"),
        "{said}"
    );
    world.set("SRT_ENV", "dev");
    let _env = Shell::start(&world, "env");
    assert!(may(&world, "env", "dev.test"));
    let _over = Shell::with(&world, &["--name", "over", "--profile", "prod"]);
    assert!(!may(&world, "over", "dev.test"), "who names one means it");
    world.set("SRT_ENV", "staging");
    let _none = Shell::start(&world, "none");
    assert!(may(&world, "none", "all.test"));
    until("the log line", SOON, || {
        let told = "SRT_ENV is \"staging\", and no settings file is for that profile";
        world.ctl(&["logs", "none"]).contains(told).then_some(())
    });
    // A profile's file that comes to be there counts from then on.
    world.write(
        "home/.srt-settings.staging.json",
        &allowing(&["staging.test"]),
    );
    until_may(&world, "none", "staging.test", true);
    until_may(&world, "none", "all.test", false);

    // Registered with a server.
    let cwd = world.work();
    world.ctl(&[
        "add",
        "kept",
        "--cwd",
        cwd.to_str().unwrap(),
        "--profile",
        "dev",
        "--",
        "cat",
    ]);
    let shown = world.ctl(&["policy", "show", "kept"]);
    assert!(shown.contains("profile dev\n"), "{shown}");
    assert!(may(&world, "kept", "dev.test"));
    let wrong = world.srtctl(&["add", "x", "--profile", "a/b", "--", "cat"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_project_cannot_have_other_files_read_or_opened() {
    let world = World::with_network(&[]);
    world.policy(&json!({ "filesystem": { "allowWrite": ["."] } }));
    world.write("home/secret.json", r#"{"token": "hunter2"}"#);
    fs::create_dir(world.path("home/private")).unwrap();
    world.start_daemon();
    let project = world.path("work/.srt.json");
    // By a link in the project's place, by one that it extends, by its name.
    symlink(world.path("home/secret.json"), &project).unwrap();
    let said = refused(&world, &["--name", "s"]);
    assert!(said.contains("lead out of the project, to"), "{said}");
    assert!(
        !said.contains("token") && !said.contains("hunter2"),
        "{said}"
    );
    fs::remove_file(&project).unwrap();
    symlink(world.path("home/secret.json"), world.path("work/base.json")).unwrap();
    for entry in ["./base.json", "~/secret.json", "../home/secret.json"] {
        world.write("work/.srt.json", &json!({ "extends": [entry] }).to_string());
        let said = refused(&world, &["--name", "s"]);
        assert!(said.contains("out of the project"), "{said}");
        assert!(!said.contains("token"), "{said}");
    }
    // A folder of the project that is a link: what it leads to stays closed.
    symlink(world.path("home/private"), world.path("work/out")).unwrap();
    fs::create_dir(world.path("work/build")).unwrap();
    let narrowed = json!({ "filesystem": { "allowWrite": ["./out", "./build"] } });
    fs::remove_file(&project).unwrap();
    world.write("work/.srt.json", &narrowed.to_string());
    let mut shell = Shell::start(&world, "s");
    assert_eq!(shell.ask("write build/x"), "written");
    assert_eq!(shell.ask("write out/x"), "refused");
    assert!(!world.path("home/private/x").exists());
    assert_eq!(
        shell.ask("write x"),
        "refused",
        "the rest of the project is closed by its file"
    );
    until("the note", SOON, || {
        let told = "leads through a link to";
        world.ctl(&["logs", "s"]).contains(told).then_some(())
    });
}

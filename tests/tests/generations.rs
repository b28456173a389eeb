//! Policy generations: what a server had, since when and why; what changed, in words; and the way back.

#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::{Value, json};
#[cfg(target_os = "linux")]
use srt_tests::Pty;
use srt_tests::{SOON, Shell, Web, World, replace, until};

/// A world with a host that says back what it is told.
fn world() -> (World, Web) {
    let world = World::with_network(&[("203.0.113.7", "one.test")]);
    let one = Web::in_world(&world, "203.0.113.7:7000", "--echo");
    (world, one)
}

fn settings(hosts: &[&str], writes: &[&str]) -> String {
    json!({
        "network": { "allowedDomains": hosts },
        "filesystem": { "allowWrite": writes },
    })
    .to_string()
}

fn history(world: &World) -> Vec<Value> {
    let told = world.json(&["policy", "history", "s"]);
    told["history"].as_array().unwrap().clone()
}

/// Waits until so many generations were in force.
#[track_caller]
fn until_moments(world: &World, number: usize) -> Vec<Value> {
    until(&format!("{number} moments of history"), SOON, || {
        let told = history(world);
        (told.len() >= number).then_some(told)
    })
}

fn number(moment: &Value) -> u64 {
    moment["generation"].as_u64().unwrap()
}

#[test]
fn every_change_has_its_reason_and_every_decision_its_generation() {
    let (world, _one) = world();
    let file = world.write(
        "home/.srt-settings.json",
        &settings(&["one.test:7000"], &["."]),
    );
    world.start_daemon();
    let mut shell = Shell::start(&world, "s");
    assert!(shell.reaches("one.test", 7000));
    let first = until_moments(&world, 1);
    assert_eq!(first[0]["reason"], "first use");
    assert_eq!(first[0]["documents"], json!([file.to_str().unwrap()]));

    replace(&file, &settings(&[], &[".", "./build"]));
    assert_eq!(shell.ask("wait"), "closed");
    let both = until_moments(&world, 2);
    let reason = both[1]["reason"].as_str().unwrap();
    assert_eq!(reason, format!("{} has changed", file.display()));
    assert!(!shell.reaches("one.test", 7000));

    // Each decision names the generation that made it.
    let (one, two) = (number(&both[0]), number(&both[1]));
    let start = world.until_audited("start", "bash");
    assert_eq!(start.json["detail"]["generation"], one);
    let closed = world.until_audited("close", "one.test:7000");
    assert_eq!(closed.json["detail"]["generation"], two, "{closed:?}");
    let denied = world.until_audited("deny", "one.test");
    assert_eq!(denied.json["detail"]["generation"], two, "{denied:?}");
    // Files are what they were when the sandbox was built.
    assert_eq!(shell.ask("write /etc/x"), "refused");
    let file_denied = world.until_audited("deny", "/etc/x");
    assert_eq!(
        file_denied.json["detail"]["generation"], one,
        "{file_denied:?}"
    );

    // The same text again is the same generation, and a moment of its own.
    replace(&file, &settings(&["one.test:7000"], &["."]));
    let three = until_moments(&world, 3);
    assert_eq!(number(&three[2]), one);
    assert!(shell.reaches("one.test", 7000));
    drop(shell);
    let allowed = world.until_audited("allow", "one.test:7000");
    assert_eq!(allowed.json["detail"]["generation"], one, "{allowed:?}");
    let text = world.ctl(&["policy", "history", "s"]);
    assert!(text.contains("first use") && text.contains(" * "), "{text}");

    // In words, either way round; what loosens first.
    let (one, two) = (one.to_string(), two.to_string());
    let words = world.ctl(&["policy", "diff", "s", &two, &one]);
    assert!(words.contains("+ may now reach one.test:7000"), "{words}");
    let told = world.json(&["policy", "diff", "s", &one, &two]);
    let told = told["differences"].as_array().unwrap();
    assert_eq!(told[0]["effect"], "tightens");
    assert_eq!(told[0]["text"], "may no longer reach one.test:7000");
    assert_eq!(
        told[1]["effect"], "neutral",
        "./build is in . already: {told:?}"
    );
    // One number: against what is in force.
    let same = world.ctl(&["policy", "diff", "s", &one]);
    assert!(same.contains("nothing that it may do changes"), "{same}");

    let unknown = world.srtctl(&["policy", "diff", "s", "999"]);
    assert_eq!(unknown.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("srtctl policy history s"));
    assert_eq!(
        world.srtctl(&["policy", "history", "nobody"]).status.code(),
        Some(4)
    );
}

#[test]
fn a_server_that_does_not_run_has_a_history_and_another_of_its_name_has_none_of_it() {
    let world = World::start();
    world.ctl(&["add", "s", "--", "cat"]);
    let file = world.write(
        "home/.config/srt/servers/s.json",
        &settings(&["a.test"], &[]),
    );
    assert_eq!(history(&world)[0]["reason"], "first use");
    fs::write(&file, settings(&["b.test"], &[])).unwrap();
    world.ctl(&["reload", "s"]);
    fs::remove_file(&file).unwrap();
    let told = history(&world);
    let reasons: Vec<_> = told
        .iter()
        .map(|moment| moment["reason"].as_str().unwrap())
        .collect();
    let path = file.display();
    assert_eq!(
        reasons,
        [
            "first use".to_owned(),
            format!("{path} has changed"),
            format!("{path} no longer counts, the built-in policy holds"),
        ]
    );
    // A name that is taken takes nothing over.
    let taken = world.srtctl(&["add", "s", "--cwd", "/", "--", "cat"]);
    assert_eq!(taken.status.code(), Some(1));
    assert_eq!(history(&world).len(), 3);
    // What cannot be used is no moment, and said.
    fs::write(&file, "{").unwrap();
    let broken = world.srtctl(&["policy", "history", "s"]);
    assert_eq!(broken.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&broken.stdout).contains("first use"));
    assert!(
        String::from_utf8_lossy(&broken.stderr).contains("s.json:1:"),
        "{broken:?}"
    );
    fs::remove_file(&file).unwrap();

    world.ctl(&["remove", "s"]);
    world.ctl(&["add", "s", "--", "cat"]);
    let anew = history(&world);
    assert_eq!(anew.len(), 1, "{anew:?}");
    assert_eq!(anew[0]["reason"], "first use");
}

#[test]
fn a_rollback_restores_the_file_and_what_is_enforced() {
    let (world, _one) = world();
    let good = settings(&["one.test:7000"], &["."]);
    let file = world.write("home/.srt-settings.json", &good);
    world.start_daemon();
    let mut shell = Shell::start(&world, "s");
    assert!(shell.reaches("one.test", 7000), "it works");
    replace(&file, &settings(&[], &[]));
    assert_eq!(shell.ask("wait"), "closed");
    assert!(!shell.reaches("one.test", 7000), "it works no more");
    let before = until_moments(&world, 2);
    let one = before[0]["generation"].to_string();

    // Told first, and nothing done.
    let told = world.ctl(&["policy", "rollback", "s", &one, "--dry-run"]);
    assert!(told.contains("+ may now reach one.test:7000"), "{told}");
    assert!(
        told.contains(&format!("write {}", file.display())),
        "{told}"
    );
    assert_ne!(fs::read_to_string(&file).unwrap(), good);
    // Without a person to ask, and without --yes, neither.
    let unasked = world.srtctl(&["policy", "rollback", "s", &one]);
    assert_eq!(unasked.status.code(), Some(2));
    assert_ne!(fs::read_to_string(&file).unwrap(), good);

    let told = world.ctl(&["policy", "rollback", "s", &one, "--yes"]);
    assert!(
        told.contains(&format!("generation {one} is in force")),
        "{told}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), good);
    // It is in force when the command returns.
    assert!(shell.reaches("one.test", 7000), "it works again");
    let after = history(&world);
    assert_eq!(after.len(), 3, "{after:?}");
    assert_eq!(after[2]["generation"], before[0]["generation"]);
    let reason = after[2]["reason"].as_str().unwrap();
    let expected = format!("{} was rolled back to generation {one} by", file.display());
    assert!(reason.starts_with(&expected), "{reason}");
    let entry = world.until_audited("policy", "rollback_to");
    assert_eq!(entry.json["detail"]["rollback_to"], before[0]["generation"]);
    assert_eq!(entry.subject, file.to_str().unwrap());
    // No copy: what was there is a generation.
    let beside = fs::read_dir(world.home()).unwrap();
    let copies = beside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().contains("before-rollback")
    });
    assert_eq!(copies.count(), 0);
    // And back again there is nothing to do.
    let again = world.ctl(&["policy", "rollback", "s", &one, "--yes"]);
    assert!(again.contains("nothing to do"), "{again}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_rollback_asks_the_person_at_the_terminal_and_takes_no_silence_for_yes() {
    let world = World::start();
    let file = world.write("home/.srt-settings.json", &settings(&["a.test"], &[]));
    world.ctl(&["add", "s", "--", "cat"]);
    let one = history(&world)[0]["generation"].to_string();
    let now = settings(&["b.test"], &[]);
    fs::write(&file, &now).unwrap();
    until_moments(&world, 2);
    let mut command = world.command(world.program("srtctl"));
    command.args(["policy", "rollback", "s", &one]);
    for no in ["n\n", "\n", "\u{4}", "yesterday\n"] {
        let mut pty = Pty::start(&command, 120, 40);
        // What it is about comes first.
        pty.shows("may now reach a.test", SOON);
        pty.shows("roll back? [y/N]", SOON);
        pty.typed(no);
        pty.shows("nothing was changed", SOON);
        assert_eq!(pty.wait(SOON).code(), Some(1), "{no:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), now, "{no:?}");
    }
    let mut pty = Pty::start(&command, 120, 40);
    pty.shows("roll back? [y/N]", SOON);
    pty.typed("y\n");
    assert_eq!(pty.wait(SOON).code(), Some(0), "{}", pty.screen());
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, settings(&["a.test"], &[]));
}

#[test]
fn a_rollback_keeps_what_cannot_be_used_and_moves_away_what_did_not_count() {
    let world = World::start();
    let user = world.write("home/.srt-settings.json", &settings(&["a.test"], &[]));
    world.ctl(&["add", "s", "--", "cat"]);
    let one = history(&world)[0]["generation"].to_string();
    let own = world.write(
        "home/.config/srt/servers/s.json",
        &settings(&["b.test"], &[]),
    );
    let two = until_moments(&world, 2)[1]["generation"].to_string();
    assert_ne!(one, two);
    // A file that takes precedence goes out of the way.
    world.ctl(&["policy", "rollback", "s", &one, "--yes"]);
    assert!(!own.exists());
    let show = world.ctl(&["policy", "show", "s"]);
    assert!(
        show.contains("a.test") && !show.contains("b.test"),
        "{show}"
    );
    // And comes back; in between the user's is spoilt, and what was in it is kept.
    fs::write(&user, "{ spoilt").unwrap();
    let told = world.json(&["policy", "rollback", "s", &one, "--yes"]);
    assert_eq!(told["done"], true);
    let saved = told["files"][0]["saved_as"].as_str().unwrap().to_owned();
    assert_eq!(fs::read_to_string(saved).unwrap(), "{ spoilt");
    world.ctl(&["policy", "rollback", "s", &two, "--yes"]);
    assert_eq!(
        fs::read_to_string(&own).unwrap(),
        settings(&["b.test"], &[])
    );

    // What is not a file of its own is refused, with the reason.
    fs::rename(&own, world.path("elsewhere.json")).unwrap();
    std::os::unix::fs::symlink(world.path("elsewhere.json"), &own).unwrap();
    fs::write(world.path("elsewhere.json"), settings(&["c.test"], &[])).unwrap();
    let refused = world.srtctl(&["policy", "rollback", "s", &two, "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("it is a link to"), "{said}");
    assert_eq!(
        fs::read_to_string(world.path("elsewhere.json")).unwrap(),
        settings(&["c.test"], &[])
    );
}

/// The lines of a review, by what they are about.
fn about<'a>(review: &'a Value, about: &str) -> Vec<&'a Value> {
    let checks = review["checks"].as_array().unwrap();
    checks
        .iter()
        .filter(|check| check["about"] == about)
        .collect()
}

#[test]
fn a_review_finds_what_was_planted_and_says_so_by_its_exit_status() {
    let (world, _one) = world();
    let text = json!({
        "network": { "allowedDomains": ["one.test:7000", "never.test:7000"] },
        "filesystem": { "mode": "minimal", "allowWrite": ["./build"] },
        "runtime": { "memoryMax": "1G", "maxProcesses": 100, "limits": "best-effort" },
    });
    let file = world.write("home/.srt-settings.json", &text.to_string());
    fs::create_dir(world.path("work/build")).unwrap();
    world.start_daemon();
    let review = |arguments: &[&str]| {
        let mut all = vec!["policy", "review", "s", "--json"];
        all.extend(arguments);
        let output = world.srtctl(&all);
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap(), told)
    };
    let mut shell = Shell::start(&world, "s");
    assert!(shell.reaches("one.test", 7000));
    // The flow is told when it is over.
    assert_ne!(shell.ask("open one.test 7000"), "refused");
    world.until_audited("allow", "one.test:7000");

    // A month is more than there is of the log: nothing can be said of the rule that nothing came by.
    let (status, told) = review(&[]);
    assert_eq!(status, 0, "{told:#}");
    let unused = about(&told, "unused");
    assert_eq!(unused.len(), 1, "{told:#}");
    assert_eq!(unused[0]["severity"], "note");
    assert!(
        unused[0]["text"]
            .as_str()
            .unwrap()
            .contains("never.test:7000")
    );
    // What is true of the sandbox that runs.
    let sandbox = about(&told, "sandbox");
    assert_eq!(sandbox[0]["severity"], "good", "{told:#}");
    assert!(sandbox[0]["text"].as_str().unwrap().contains("net"));
    assert_eq!(about(&told, "temp")[0]["severity"], "good");
    assert_eq!(about(&told, "credentials")[0]["severity"], "good");

    // An unused rule, where the log goes back far enough: since before the use and after the beginning.
    let status = until("the log to be older than a second", SOON, || {
        let (status, told) = review(&["--since", "1s"]);
        let never = about(&told, "unused").into_iter().find(|check| {
            let text = check["text"].as_str().unwrap();
            check["severity"] == "warning" && text.contains("never.test:7000")
        });
        never.map(|_| status)
    });
    assert_eq!(status, 8, "warnings alone");

    // A wildcard below which anybody can have a name, and a store that is opened.
    let mut broad = text.clone();
    broad["network"]["allowedDomains"] = json!(["one.test:7000", "*.github.io"]);
    broad["filesystem"]["allowRead"] = json!(["~/.ssh"]);
    replace(&file, &broad.to_string());
    until_moments(&world, 2);
    let (status, told) = review(&[]);
    assert_eq!(status, 9, "{told:#}");
    let high: Vec<&Value> = about(&told, "egress")
        .into_iter()
        .filter(|check| check["severity"] == "high")
        .collect();
    assert_eq!(high.len(), 1, "{told:#}");
    assert!(high[0]["text"].as_str().unwrap().contains("*.github.io"));
    assert_eq!(high[0]["file"], file.to_str().unwrap());
    assert_eq!(
        about(&told, "credentials")[0]["severity"],
        "high",
        "{told:#}"
    );
    // Files are what they were when it started: said, too.
    let settings = about(&told, "settings");
    assert!(
        settings.iter().any(|check| check["severity"] == "warning"),
        "{told:#}"
    );

    // For people, and for a pull request.
    let markdown = world.srtctl(&["policy", "review", "s", "--format", "markdown"]);
    assert_eq!(markdown.status.code(), Some(9));
    let markdown = String::from_utf8_lossy(&markdown.stdout).into_owned();
    assert!(
        markdown.contains("- [ ] **high** egress: may reach \\*.github.io"),
        "{markdown}"
    );
    assert!(markdown.contains("- [x] **good** sandbox:"), "{markdown}");
    let shown = world.srtctl(&["policy", "review", "s"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("high     egress"), "{shown}");
}

#[test]
fn a_review_finds_a_token_in_a_registration() {
    let world = World::start();
    let review = |name: &str| {
        let output = world.srtctl(&["policy", "review", name, "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), told)
    };
    let token = format!("GITHUB_TOKEN=ghp_{}", "a1B2c3D4e5F6".repeat(3));
    world.ctl(&["add", "plain", "--env", "MODE=fast", "--", "cat"]);
    world.ctl(&["add", "token", "--env", &token, "--", "cat"]);
    world.ctl(&["add", "passed", "--env", "GITHUB_TOKEN", "--", "cat"]);
    world.ctl(&[
        "add",
        "argument",
        "--",
        "cat",
        "--api-key",
        "x7Qp2mZ9kL4v8Rt1",
    ]);
    let (status, told) = review("plain");
    assert_eq!(
        (status, about(&told, "environment")[0]["severity"].as_str()),
        (0, Some("good"))
    );
    let (status, told) = review("token");
    assert_eq!(status, 8, "{told:#}");
    let found = about(&told, "environment")[0].clone();
    assert!(
        found["text"].as_str().unwrap().contains("GITHUB_TOKEN"),
        "{found}"
    );
    assert!(
        !told.to_string().contains("ghp_"),
        "the token itself is nowhere"
    );
    let (status, told) = review("passed");
    assert_eq!(
        (status, about(&told, "environment")[0]["severity"].as_str()),
        (0, Some("note"))
    );
    let (status, told) = review("argument");
    assert_eq!(status, 8, "{told:#}");
    assert!(!told.to_string().contains("x7Qp2mZ9kL4v8Rt1"), "{told:#}");
    assert_eq!(
        world.srtctl(&["policy", "review", "nobody"]).status.code(),
        Some(4)
    );
}

#[test]
fn a_rollback_restores_what_is_extended_and_leaves_the_projects_file_alone() {
    let world = World::start();
    let base = |host: &str| json!({ "network": { "allowedDomains": [host] } }).to_string();
    let base_file = world.write("home/base.json", &base("a.test"));
    let user = world.write(
        "home/.srt-settings.json",
        r#"{ "extends": ["./base.json"] }"#,
    );
    let project = |denied: &str| json!({ "network": { "deniedDomains": [denied] } }).to_string();
    let project_file = world.write("work/.srt.json", &project("x.test"));
    let work = world.path("work");
    world.ctl(&["add", "s", "--cwd", work.to_str().unwrap(), "--", "cat"]);
    let first = history(&world);
    let paths = [&base_file, &user, &project_file].map(|path| path.to_str().unwrap());
    assert_eq!(first[0]["documents"], json!(paths));
    let one = first[0]["generation"].to_string();

    fs::write(&base_file, base("b.test")).unwrap();
    let second = until_moments(&world, 2);
    let reason = second[1]["reason"].as_str().unwrap();
    assert_eq!(reason, format!("{} has changed", base_file.display()));
    let words = world.ctl(&["policy", "diff", "s", &one]);
    assert!(words.contains("+ may now reach b.test"), "{words}");
    assert!(words.contains("- may no longer reach a.test"), "{words}");
    world.ctl(&["policy", "rollback", "s", &one, "--yes"]);
    assert_eq!(fs::read_to_string(&base_file).unwrap(), base("a.test"));
    assert_eq!(number(history(&world).last().unwrap()), number(&first[0]));

    // Whose the project is decides on its file.
    fs::write(&project_file, project("y.test")).unwrap();
    until_moments(&world, 4);
    let refused = world.srtctl(&["policy", "rollback", "s", &one, "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("the project's own file"), "{said}");
    assert_eq!(
        fs::read_to_string(&project_file).unwrap(),
        project("y.test")
    );
}

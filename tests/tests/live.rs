//! A settings file that changes while servers run by it: their network rules change at once, what they have open and
//! may have no longer is closed, and what cannot be used changes nothing.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use srt_tests::{SOON, Shell, Web, World, replace, until};

/// What a change may take: 100 ms of quiet, half a second for a file that has gone, a second to close; and a machine
/// that is busy with everything else.
const AT_ONCE: Duration = Duration::from_secs(3);

struct Two {
    world: World,
    one: Web,
}

/// A world with two hosts that say back what they are told.
fn two() -> Two {
    let world = World::with_network(&[("203.0.113.7", "one.test"), ("203.0.113.8", "two.test")]);
    let one = Web::in_world(&world, "203.0.113.7:7000", "--echo");
    Two { world, one }
}

fn allowing(hosts: &[&str]) -> String {
    let domains: Vec<String> = hosts.iter().map(|host| format!("{host}:7000")).collect();
    json!({ "network": { "allowedDomains": domains } }).to_string()
}

/// Whether policy would let the running server connect, by the daemon's word.
fn may(world: &World, name: &str, host: &str) -> bool {
    let target = format!("{host}:7000");
    let answer = world.srtctl(&["policy", "why", name, "connect", &target]);
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

fn trouble(world: &World, name: &str) -> String {
    let status = world.status(name).unwrap();
    status["policy_trouble"].as_str().unwrap().to_owned()
}

/// Entries about a policy that a running launch changed to.
fn changes(world: &World) -> Vec<Value> {
    let entries = world.audit().into_iter();
    entries
        .filter(|entry| entry.kind == "policy" && entry.json["detail"]["instead_of"].is_u64())
        .map(|entry| entry.json)
        .collect()
}

#[test]
fn what_is_no_longer_permitted_is_closed_within_a_second() {
    let Two { world, one } = two();
    let file = world.write(
        "home/.srt-settings.json",
        &allowing(&["one.test", "two.test"]),
    );
    world.start_daemon();
    let mut shell = Shell::start(&world, "s");
    assert!(shell.reaches("one.test", 7000));
    // What stays permitted stays open.
    replace(&file, &allowing(&["one.test"]));
    until_may(&world, "s", "two.test", false);
    assert_eq!(shell.ask("say again"), "got again");
    assert_eq!(one.connections(), 1);

    let began = Instant::now();
    replace(&file, &allowing(&["two.test"]));
    assert_eq!(shell.ask("wait"), "closed");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    println!("closed {:?} after the file was saved", began.elapsed());
    assert!(
        !shell.reaches("one.test", 7000),
        "nor is it let through anew"
    );
    assert_eq!(one.connections(), 1);

    let closed = world.until_audited("close", "one.test:7000");
    let detail = &closed.json["detail"];
    let reason = detail["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("no longer permitted: no rule"),
        "{reason}"
    );
    assert!(detail["bytes_out"].as_u64() > Some(5), "{closed:?}");
    // The rules are in force, and what they close is recorded, while the entry about them is on its way.
    let changes = until("both changes in the audit log", SOON, || {
        Some(changes(&world)).filter(|changes| changes.len() >= 2)
    });
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(
        changes[1]["detail"]["instead_of"],
        changes[0]["detail"]["generation"]
    );
    assert_eq!(changes[1]["launch"], closed.json["launch"]);
    let status = world.status("s").unwrap();
    assert_eq!(
        status["policy"]["generation"],
        changes[1]["detail"]["generation"]
    );
    // It comes back as it went.
    replace(&file, &allowing(&["one.test"]));
    until_may(&world, "s", "one.test", true);
    assert!(shell.reaches("one.test", 7000));
}

#[test]
fn however_a_file_is_saved() {
    let world = World::with_network(&[]);
    let text = |hosts: &[&str]| allowing(hosts);
    // As a folder that is mounted from elsewhere has it: the file is a link, and so is the folder that it leads to.
    let folder = world.path("mounted");
    for (generation, hosts) in [("..1", &["a.test"][..]), ("..2", &["b.test"])] {
        world.write(&format!("mounted/{generation}/s.json"), &text(hosts));
    }
    symlink("..1", folder.join("..data")).unwrap();
    symlink("..data/s.json", folder.join("s.json")).unwrap();
    let file = folder.join("s.json");
    world.start_daemon();
    let _shell = Shell::with(
        &world,
        &["--name", "s", "--settings", file.to_str().unwrap()],
    );
    assert!(may(&world, "s", "a.test"));

    symlink("..2", folder.join("..tmp")).unwrap();
    fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
    until_may(&world, "s", "b.test", true);
    assert!(!may(&world, "s", "a.test"));

    // Truncated and written.
    fs::write(folder.join("..2/s.json"), text(&["c.test"])).unwrap();
    until_may(&world, "s", "c.test", true);

    // Renamed over, by what leads there.
    replace(&folder.join("..2/s.json"), &text(&["d.test"]));
    until_may(&world, "s", "d.test", true);

    // Another link in the link's place.
    let other = world.write("other/s.json", &text(&["e.test"]));
    symlink(&other, folder.join("link")).unwrap();
    fs::rename(folder.join("link"), &file).unwrap();
    until_may(&world, "s", "e.test", true);

    // A file in the link's place.
    replace(&file, &text(&["f.test"]));
    until_may(&world, "s", "f.test", true);

    // The whole folder in its place.
    let new = world.write("mounted.new/s.json", &text(&["g.test"]));
    fs::rename(&folder, world.path("mounted.old")).unwrap();
    fs::rename(new.parent().unwrap(), &folder).unwrap();
    until_may(&world, "s", "g.test", true);

    // Away to be written anew, as some editors do it.
    fs::rename(&file, folder.join("s.json~")).unwrap();
    fs::write(&file, text(&["h.test"])).unwrap();
    until_may(&world, "s", "h.test", true);
    assert_eq!(trouble(&world, "s"), "");
}

#[test]
fn a_file_that_takes_precedence_is_in_force_when_it_appears() {
    let world = World::with_network(&[]);
    world.start_daemon();
    let _shell = Shell::start(&world, "s");
    assert_eq!(world.status("s").unwrap()["policy"]["source"], "built-in");
    assert!(!may(&world, "s", "a.test"));
    world.write("home/.srt-settings.json", &allowing(&["a.test"]));
    until_may(&world, "s", "a.test", true);
    let own = world.write("home/.config/srt/servers/s.json", &allowing(&["b.test"]));
    until_may(&world, "s", "b.test", true);
    assert!(!may(&world, "s", "a.test"));
    fs::remove_file(&own).unwrap();
    until_may(&world, "s", "a.test", true);
    assert!(!may(&world, "s", "b.test"));
    // A server of another name has none of it.
    let _other = Shell::start(&world, "other");
    replace(&own, &allowing(&["c.test"]));
    until_may(&world, "s", "c.test", true);
    assert!(!may(&world, "other", "c.test"));
}

#[test]
fn what_cannot_be_used_changes_nothing_and_is_told_once() {
    let Two { world, one } = two();
    let file = world.write("s.json", &allowing(&["one.test"]));
    world.start_daemon();
    let mut shell = Shell::with(
        &world,
        &["--name", "s", "--settings", file.to_str().unwrap()],
    );
    let _second = Shell::with(
        &world,
        &["--name", "s", "--settings", file.to_str().unwrap()],
    );
    assert!(shell.reaches("one.test", 7000));
    let spoil: [(&str, &dyn Fn()); 4] = [
        ("unknown key", &|| {
            fs::write(&file, r#"{"netwrok": {}}"#).unwrap()
        }),
        ("directory", &|| {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
        }),
        ("no such file", &|| fs::remove_dir(&file).unwrap()),
        ("", &|| fs::write(&file, [0xff, 0xfe, 0]).unwrap()),
    ];
    for (number, (word, spoil)) in spoil.iter().enumerate() {
        let before = trouble(&world, "s");
        spoil();
        let why = until(&format!("trouble with {word:?}"), SOON, || {
            let why = trouble(&world, "s");
            (!why.is_empty() && why != before).then_some(why)
        });
        assert!(why.to_lowercase().contains(word), "{why}");
        // Nothing of what is in force has changed, and nothing that is open is closed.
        assert_eq!(shell.ask("say still"), "got still");
        assert!(may(&world, "s", "one.test"));
        let told = || {
            let entries = world.audit().into_iter();
            let errors = entries.filter(|entry| entry.json["detail"]["error"].is_string());
            errors.count()
        };
        until("the entry", SOON, || (told() > number).then_some(()));
        assert_eq!(told(), number + 1, "once, for two launches");
        assert!(world.ctl(&["list"]).contains("cannot be used"), "{why}");
    }
    assert!(world.ctl(&["logs", "s"]).contains("so nothing changes"));
    assert!(world.log().contains("so nothing changes"));
    // Mended to what is in force: nothing is new but that it can be used again.
    fs::write(&file, allowing(&["one.test"])).unwrap();
    until("the trouble to be over", SOON, || {
        trouble(&world, "s").is_empty().then_some(())
    });
    assert!(changes(&world).is_empty());
    assert_eq!(shell.ask("say still"), "got still");
    assert_eq!(one.connections(), 1);
    // And mended to something else.
    fs::write(&file, "{").unwrap();
    until("trouble again", SOON, || {
        (!trouble(&world, "s").is_empty()).then_some(())
    });
    replace(&file, &allowing(&["two.test"]));
    assert_eq!(shell.ask("wait"), "closed");
    assert_eq!(trouble(&world, "s"), "");
}

#[test]
fn what_a_running_sandbox_keeps_is_named_and_comes_at_the_next_start() {
    let world = World::with_network(&[]);
    let file = world.policy(&json!({ "filesystem": { "allowWrite": ["./a"] } }));
    for folder in ["work/a", "work/b"] {
        fs::create_dir(world.path(folder)).unwrap();
    }
    world.start_daemon();
    let mut shell = Shell::start(&world, "s");
    assert_eq!(shell.ask("write a/x"), "written");
    assert_eq!(shell.ask("write b/x"), "refused");
    let text = json!({
        "filesystem": { "allowWrite": ["./b"] },
        "network": { "allowedDomains": ["one.test:7000"] },
    });
    replace(&file, &text.to_string());
    until_may(&world, "s", "one.test", true);
    let status = world.status("s").unwrap();
    assert_eq!(status["next_start"], json!(["filesystem.allowWrite"]));
    assert_eq!(shell.ask("write a/y"), "written");
    assert_eq!(shell.ask("write b/y"), "refused");
    // Rules are in force before they are told of: nobody waits for a log line.
    until("the log line", SOON, || {
        let log = world.ctl(&["logs", "s"]);
        let told = log.contains("at the next start: filesystem.allowWrite");
        told.then_some(())
    });
    let changes = until("the entry", SOON, || {
        Some(changes(&world)).filter(|changes| !changes.is_empty())
    });
    assert_eq!(
        changes[0]["detail"]["next_start"],
        json!(["filesystem.allowWrite"])
    );

    let mut next = Shell::start(&world, "s");
    assert_eq!(next.ask("write a/z"), "refused");
    assert_eq!(next.ask("write b/z"), "written");
}

#[test]
fn a_server_cannot_give_itself_settings_through_a_link_on_the_way() {
    let world = World::with_network(&[]);
    let settings = |host: &str| {
        json!({
            "filesystem": { "allowWrite": ["."] },
            "network": { "allowedDomains": [format!("{host}:7000")] },
        })
        .to_string()
    };
    world.write("work/..1/s.json", &settings("a.test"));
    world.write("work/evil/s.json", &settings("evil.test"));
    symlink("..1", world.path("work/..data")).unwrap();
    symlink("..data/s.json", world.path("work/s.json")).unwrap();
    world.start_daemon();
    let (linked, real) = (world.path("work/s.json"), world.path("work/..1/s.json"));
    let start = |path: &std::path::Path| {
        let path = path.to_str().unwrap();
        srt_tests::Talk::start(&mut world.srt(&["--name", "s", "--settings", path, "--", "cat"]))
    };
    let mut refused = start(&linked);
    assert_eq!(refused.wait(SOON).code(), Some(6), "{}", refused.stderr());
    let said = refused.stderr();
    assert!(
        said.contains("work/..data, and this server may replace that link"),
        "{said}"
    );
    // By its real path nothing can take its place, by whatever name.
    let mut shell = Shell::with(
        &world,
        &["--name", "s", "--settings", real.to_str().unwrap()],
    );
    let generation = || world.status("s").unwrap()["policy"]["generation"].clone();
    let before = generation();
    assert_eq!(shell.ask("write ..1/s.json"), "refused");
    assert_eq!(shell.ask("write ..data/s.json"), "refused");
    assert_eq!(
        shell.ask("write ..1/other"),
        "written",
        "the folder is open"
    );
    assert_eq!(generation(), before);
    drop(shell);

    // A link that comes to be loose while it runs is not followed.
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    symlink(world.path("work/..1/s.json"), outside.join("s.json")).unwrap();
    let path = outside.join("s.json");
    let _shell = Shell::with(
        &world,
        &["--name", "s", "--settings", path.to_str().unwrap()],
    );
    let before = generation();
    fs::remove_file(&path).unwrap();
    symlink(world.path("work/..data/s.json"), &path).unwrap();
    let why = until("trouble", SOON, || {
        let why = trouble(&world, "s");
        (!why.is_empty()).then_some(why)
    });
    assert!(why.contains("may replace that link"), "{why}");
    assert_eq!(generation(), before);
}

//! The audit log that can be believed, from outside: a real daemon and real launches write it, somebody changes the files
//! behind the daemon's back, and `srtctl audit verify` says what was done and where.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use srt_tests::{Beside, SOON, Talk, World, until};

/// Runs a server through the daemon to its end, and waits until the log has it.
#[track_caller]
fn launch(world: &World, name: &str) {
    let mut talk = Talk::start(&mut world.srt(&["--name", name, "--", "cat"]));
    talk.send("x");
    assert_eq!(talk.line(SOON).unwrap(), b"x\n");
    talk.close();
    talk.wait(SOON);
    world.until_audited("exit", name);
}

fn database(world: &World) -> PathBuf {
    world.state().join("srt.db")
}

/// Runs SQL on the database, as somebody does who has the user's files and not the key.
#[track_caller]
fn sql(world: &World, statements: &str) {
    let script = "import sqlite3, sys\n\
        base = sqlite3.connect(sys.argv[1])\n\
        base.executescript(sys.argv[2])\n\
        base.commit()";
    let output = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(database(world))
        .arg(statements)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{statements}: {said}");
}

/// What `srtctl audit verify` says: its exit status, and its JSON.
#[track_caller]
fn verify(world: &World, more: &[&str]) -> (Option<i32>, Value) {
    let mut arguments = vec!["audit", "verify", "--json"];
    arguments.extend(more);
    let output = world.srtctl(&arguments);
    let told = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code(), told)
}

#[track_caller]
fn intact(world: &World) -> Value {
    let (code, told) = verify(world, &[]);
    assert_eq!((code, &told["ok"]), (Some(0), &json!(true)), "{told:#}");
    told
}

/// The log is not what was written: the first finding has this kind, and this number.
#[track_caller]
fn broken(world: &World, kind: &str, seq: impl Into<Value>) -> Value {
    let (code, told) = verify(world, &[]);
    assert_eq!((code, &told["ok"]), (Some(1), &json!(false)), "{told:#}");
    let first = &told["findings"][0];
    assert_eq!(
        (&first["kind"], &first["seq"]),
        (&json!(kind), &seq.into()),
        "{told:#}"
    );
    let text = world.srtctl(&["audit", "verify"]);
    assert_eq!(text.status.code(), Some(1));
    let said = String::from_utf8_lossy(&text.stdout).into_owned();
    let place = first["seq"]
        .as_u64()
        .map(|seq| format!("entry {seq}: "))
        .unwrap_or_default();
    assert!(
        said.starts_with(&format!("{place}{kind}: ")) && said.contains(": not ok: "),
        "{said}"
    );
    told
}

const FILES: [&str; 2] = ["srt.db", "srt.db.anchor"];

/// Keeps the files of a daemon that has ended.
fn keep(world: &World, name: &str) {
    fs::create_dir_all(world.path(name)).unwrap();
    for file in FILES {
        fs::copy(world.state().join(file), world.path(name).join(file)).unwrap();
    }
}

/// Puts one of them back, without what SQLite has beside it.
fn put_back(world: &World, name: &str, file: &str) {
    let to = world.state().join(file);
    for more in ["-wal", "-shm"] {
        let _ = fs::remove_file(world.state().join(format!("{file}{more}")));
    }
    fs::copy(world.path(name).join(file), to).unwrap();
}

#[test]
fn what_is_done_to_a_log_of_real_launches_is_named() {
    let world = World::start();
    intact(&world);
    launch(&world, "one");
    // Beside the daemon that writes it, too, which says where it is.
    let told = intact(&world);
    let status = world.json(&["daemon", "status"]);
    let chain = &status["audit_chain"];
    assert_eq!(
        (&chain["key_kept"], &chain["key"], &chain["trouble"]),
        (&json!("file"), &told["key"], &Value::Null),
        "{status:#}"
    );
    assert!(
        chain["anchored"].as_u64() >= told["last"].as_u64(),
        "{chain}, {told:#}"
    );
    let text = world.ctl(&["daemon", "status"]);
    let key = told["key"].as_str().unwrap();
    assert!(
        text.contains("audit log      anchored at entry ")
            && text.contains(&format!(", key {key} in a file\n")),
        "{text}"
    );
    world.stop_daemon();
    let old = intact(&world);
    keep(&world, "old");

    world.start_daemon();
    launch(&world, "two");
    launch(&world, "three");
    world.stop_daemon();
    let new = intact(&world);
    keep(&world, "new");
    let (old, last) = (old["last"].as_u64().unwrap(), new["last"].as_u64().unwrap());
    assert!(old > 3 && last > old + 3, "{old}, {last}");
    assert_eq!(new["anchored"], last);
    let text = world.ctl(&["audit", "verify"]);
    assert!(text.contains(": ok: "), "{text}");

    let middle = old + 1;
    let next = middle + 1;
    let table = [
        (
            "edited",
            middle,
            format!("UPDATE audit SET subject = 'rm -rf' WHERE seq = {middle}"),
        ),
        (
            "edited",
            middle,
            format!("UPDATE audit SET at = at + 1 WHERE seq = {middle}"),
        ),
        (
            "deleted",
            middle,
            format!("DELETE FROM audit WHERE seq = {middle}"),
        ),
        // The numbers after it closed up, so that none is missing.
        (
            "deleted",
            middle,
            format!(
                "DELETE FROM audit WHERE seq = {middle}; \
                 UPDATE audit SET seq = -seq WHERE seq > {middle}; UPDATE audit SET seq = -seq - 1 WHERE seq < 0"
            ),
        ),
        (
            "truncated",
            last,
            format!("DELETE FROM audit WHERE seq = {last}"),
        ),
        (
            "truncated",
            next,
            format!(
                "DELETE FROM audit WHERE seq >= {next}; \
                 UPDATE sqlite_sequence SET seq = {middle} WHERE name = 'audit'"
            ),
        ),
        (
            "reordered",
            middle,
            format!(
                "UPDATE audit SET seq = -1 WHERE seq = {middle}; \
                 UPDATE audit SET seq = {middle} WHERE seq = {next}; UPDATE audit SET seq = {next} WHERE seq = -1"
            ),
        ),
        (
            "inserted",
            last + 1,
            "INSERT INTO audit (at, kind, subject, detail) SELECT at, kind, subject, detail FROM audit WHERE seq = 1"
                .to_owned(),
        ),
    ];
    for (kind, seq, statements) in &table {
        for file in FILES {
            put_back(&world, "new", file);
        }
        intact(&world);
        sql(&world, statements);
        println!("{kind} at {seq}: {statements}");
        broken(&world, kind, *seq);
    }

    // An older copy beside the newer anchor; and the older anchor, too, beside the newer database.
    put_back(&world, "old", "srt.db");
    put_back(&world, "new", "srt.db.anchor");
    broken(&world, "truncated", old + 1);
    // A daemon that goes on from there says so, and what it writes does not cover it up.
    world.start_daemon();
    let noticed = world.until_audited("daemon", "audit log broken");
    assert_eq!(noticed.json["detail"]["flaw"], "truncated", "{noticed:?}");
    assert!(noticed.json["seq"].as_u64().unwrap() > last, "{noticed:?}");
    launch(&world, "four");
    broken(&world, "deleted", old + 1);
    let status = world.json(&["daemon", "status"]);
    let trouble = status["audit_chain"]["trouble"].as_str().unwrap();
    assert!(
        trouble.contains("was written\nhint: srtctl audit verify"),
        "{trouble}"
    );
    world.stop_daemon();
    broken(&world, "deleted", old + 1);

    for file in FILES {
        put_back(&world, "new", file);
    }
    fs::remove_file(world.state().join("srt.db.anchor")).unwrap();
    broken(&world, "anchor", Value::Null);
}

#[test]
fn what_is_not_kept_any_more_is_said_and_the_rest_is_intact() {
    let world = World::new();
    world.policy(&json!({ "audit": { "retain": 40 } }));
    world.start_daemon();
    let pruned = (0..40)
        .find_map(|number| {
            launch(&world, &format!("s{number}"));
            world
                .audit()
                .into_iter()
                .find(|entry| entry.kind == "prune")
        })
        .expect("a log of forty launches has far more than 40 entries");
    assert_eq!(pruned.json["detail"]["retain"], "40", "{pruned:?}");
    assert!(pruned.subject.starts_with("entries 1 to "), "{pruned:?}");
    until("the oldest entries to be gone", SOON, || {
        let told = intact(&world);
        let first = told["first"].as_u64().unwrap();
        assert!(told["entries"].as_u64().unwrap() >= 40, "{told:#}");
        (first > 1 && told["pruned"] == first - 1).then_some(())
    });
    let told = intact(&world);
    assert!(told["segments"].as_u64().unwrap() > 1, "{told:#}");
    let status = world.json(&["daemon", "status"]);
    assert!(
        status["audit_chain"]["segments"].as_u64() >= told["segments"].as_u64(),
        "{status:#}"
    );
    world.stop_daemon();
    let told = intact(&world);
    let text = world.ctl(&["audit", "verify"]);
    let (first, last) = (told["first"].as_u64().unwrap(), &told["last"]);
    assert!(
        text.contains(&format!("{first} to {last}, "))
            && text.contains("were removed, as the settings ask (audit.retain)"),
        "{text}"
    );
    keep(&world, "kept");

    // More than was said that it goes; and a seal.
    sql(
        &world,
        &format!("DELETE FROM audit WHERE seq <= {}", first + 1),
    );
    broken(&world, "deleted", first);
    put_back(&world, "kept", "srt.db");
    intact(&world);
    sql(&world, "DELETE FROM audit_segments WHERE segment = 1");
    broken(&world, "seal", 1);
}

#[test]
fn a_line_that_syslog_has_shows_what_the_files_do_not() {
    let beside = Beside {
        logger: true,
        ..Beside::default()
    };
    let world = World::with_network_and(&[], &beside);
    let logger = world.logger();
    let told = || {
        let mut buffer = [0; 1024];
        let length = logger
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("no line for syslog: {error}\n{}", world.log()));
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    world.policy(&json!({ "audit": { "anchor": { "syslog": true } } }));
    world.start_daemon();
    let first = told();
    assert!(
        first.starts_with("<13>srtd[") && first.contains("]: srtd-audit-anchor-1 database="),
        "{first}"
    );
    world.stop_daemon();
    let last = || {
        logger.set_nonblocking(true).unwrap();
        let mut buffer = [0; 1024];
        let mut line = None;
        while let Ok(length) = logger.recv(&mut buffer) {
            line = Some(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        logger.set_nonblocking(false).unwrap();
        line.expect("the head at the daemon's end")
    };
    let early = last();
    let old = intact(&world);
    assert!(early.contains(&format!(" seq={} ", old["last"])), "{early}");
    keep(&world, "old");

    world.start_daemon();
    launch(&world, "one");
    world.stop_daemon();
    let late = last();
    let new = intact(&world);
    assert!(late.contains(&format!(" seq={} ", new["last"])), "{late}");
    for line in [&first, &early, &late] {
        let (code, told) = verify(&world, &["--anchor", line]);
        assert_eq!(code, Some(0), "{line}: {told:#}");
    }

    // Database and anchor together as they were: what is beside each other fits.
    for file in FILES {
        put_back(&world, "old", file);
    }
    intact(&world);
    let (code, told) = verify(&world, &["--anchor", &late]);
    assert_eq!(code, Some(1), "{told:#}");
    let finding = &told["findings"][0];
    let next = old["last"].as_u64().unwrap() + 1;
    assert_eq!(
        (&finding["kind"], &finding["seq"]),
        (&json!("truncated"), &json!(next)),
        "{told:#}"
    );
    // A line that somebody made up is told from one of the daemon's.
    let forged = late.replace(&format!(" seq={} ", new["last"]), " seq=1 ");
    let (code, _) = verify(&world, &["--anchor", &forged]);
    assert_eq!(code, Some(1));
}

#[test]
fn what_a_power_cut_leaves_is_no_tampering() {
    let world = World::start();
    launch(&world, "one");
    world.stop_daemon();
    keep(&world, "old");
    world.start_daemon();
    launch(&world, "two");
    world.stop_daemon();
    let new = intact(&world);
    let last = new["last"].as_u64().unwrap();
    keep(&world, "new");

    // The anchor is not waited for: an older one beside a log that went on.
    put_back(&world, "old", "srt.db.anchor");
    intact(&world);
    // The write that was under way when the power went is torn: of the two places one is left, of the commit before.
    let mut torn = fs::read(world.path("new").join("srt.db.anchor")).unwrap();
    let newest = format!(" seq={last} ");
    let (first, second) = torn.split_at(torn.len() / 2);
    assert_ne!(
        String::from_utf8_lossy(first).contains(&newest),
        String::from_utf8_lossy(second).contains(&newest),
        "one of the places is the newest"
    );
    let place = usize::from(String::from_utf8_lossy(second).contains(&newest)) * torn.len() / 2;
    torn[place + 80..place + 200].fill(0);
    fs::write(world.state().join("srt.db.anchor"), &torn).unwrap();
    intact(&world);
    // The next daemon goes on without a word about it, and mends it.
    world.start_daemon();
    launch(&world, "three");
    let noticed = world
        .audit()
        .into_iter()
        .find(|entry| entry.subject == "audit log broken");
    assert!(noticed.is_none(), "{noticed:?}");
    world.stop_daemon();
    let told = intact(&world);
    assert_eq!(told["anchored"], told["last"], "{told:#}");
}

#[test]
fn a_lost_key_is_renewed_and_what_it_was_for_is_never_called_intact() {
    let world = World::start();
    let renew = [
        "audit",
        "key",
        "renew",
        "--because",
        "the disk with it died",
    ];
    let fails = |arguments: &[&str], says: &str| {
        let output = world.srtctl(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(says), "{said}");
    };
    launch(&world, "one");
    fails(&renew, "srtctl daemon stop");
    world.stop_daemon();
    fails(&renew, "nothing is to be renewed");
    let shown = world.json(&["audit", "key"]);
    let old = shown["key"].as_str().unwrap().to_owned();
    assert_eq!(
        (&shown["kept"], &shown["made_with"]),
        (&json!("file"), &shown["key"]),
        "{shown}"
    );

    // Somebody changes the log, and takes the key away so that it cannot be seen.
    let told = intact(&world);
    let through = told["last"].as_u64().unwrap();
    sql(&world, "UPDATE audit SET subject = 'nothing' WHERE seq = 2");
    broken(&world, "edited", 2);
    let key = world.state().join("audit.key");
    let kept = world.path("audit.key");
    fs::rename(&key, &kept).unwrap();
    fails(&["audit", "verify"], "srtctl audit key renew --because WHY");
    let ended = world.command(world.program("srtd")).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        !ended.status.success() && said.contains("srtctl audit key renew"),
        "{said}"
    );
    let shown = world.srtctl(&["audit", "key"]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("kept      not to be had"),
        "{shown:?}"
    );

    let mut words = renew.to_vec();
    words.push("--json");
    let renewed: Value = serde_json::from_str(&world.ctl(&words)).unwrap();
    assert_eq!(
        (&renewed["lost"], &renewed["through"]),
        (&json!(old), &json!(through)),
        "{renewed}"
    );
    let told = broken(&world, "key-lost", 1);
    let message = told["findings"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with(&format!(
            "entries 1 to {through} cannot be verified: their key {old} was lost"
        )) && message.contains("because: the disk with it died"),
        "{message}"
    );
    assert_eq!(told["findings"].as_array().unwrap().len(), 1, "{told:#}");

    // It goes on, and says so wherever somebody looks.
    world.start_daemon();
    launch(&world, "two");
    let status = world.json(&["daemon", "status"]);
    let trouble = status["audit_chain"]["trouble"].as_str().unwrap();
    assert!(trouble.contains("the disk with it died"), "{trouble}");
    world.until_audited("daemon", "audit log key renewed");
    world.stop_daemon();
    broken(&world, "key-lost", 1);
    let from = (through + 1).to_string();
    let (code, told) = verify(&world, &["--from", &from]);
    assert_eq!(code, Some(0), "what came after is well: {told:#}");
    keep(&world, "renewed");

    // From then on the old part is held, too; and the entry that tells of it cannot be taken out or changed.
    for (kind, seq, statements) in [
        (
            "edited",
            3,
            "UPDATE audit SET subject = 'nothing' WHERE seq = 3".to_owned(),
        ),
        (
            "deleted",
            through + 1,
            format!("DELETE FROM audit WHERE seq = {}", through + 1),
        ),
        (
            "edited",
            through + 1,
            format!("UPDATE audit SET subject = 'x' WHERE seq = {}", through + 1),
        ),
        (
            "other-database",
            0,
            format!("UPDATE audit_chain SET adopted = {}", through + 1),
        ),
    ] {
        put_back(&world, "renewed", "srt.db");
        sql(&world, &statements);
        let (code, told) = verify(&world, &[]);
        assert_eq!(code, Some(1), "{statements}: {told:#}");
        let findings = told["findings"].as_array().unwrap();
        let seq = (seq > 0).then_some(seq);
        assert!(
            findings
                .iter()
                .any(|one| one["kind"] == kind && one["seq"] == json!(seq)),
            "{statements}: {told:#}"
        );
    }

    // The day on which the key turns up: the copy shows what was done to the log.
    let copy = renewed["copy"].as_str().unwrap();
    let (code, told) = verify(&world, &["--file", copy, "--key", kept.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{told:#}");
    assert_eq!(told["findings"][0]["kind"], "edited", "{told:#}");
    assert_eq!(told["findings"][0]["seq"], 2, "{told:#}");
}

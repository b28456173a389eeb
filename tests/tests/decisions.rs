//! Every decision in the audit log names the policy generation that it was made under: what policy decided by itself, and what
//! a person did.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use serde_json::json;
use srt_tests::mcp::{INITIALIZED, initialize, legacy};
use srt_tests::{SOON, Shell, Talk, Web, World, replace, until};

/// The kinds of entries that are decisions.
const DECISIONS: [&str; 16] = [
    "start",
    "refused",
    "allow",
    "deny",
    "would-deny",
    "close",
    "ask",
    "approve",
    "reject",
    "expire",
    "revoke",
    "call",
    "pin",
    "apply",
    "discard",
    "policy",
];

/// Waits for a question about a host, and answers it.
#[track_caller]
fn answer(world: &World, host: &str, words: &[&str]) {
    let id = until(&format!("a question about {host}"), SOON, || {
        let asked = world.json(&["approvals"]);
        let its = asked.as_array()?.iter();
        let mut its = its.filter(|question| question["target"] == format!("{host}:7000"));
        its.next_back()?["id"].as_str().map(str::to_owned)
    });
    let mut arguments = vec![words[0], &id];
    arguments.extend(&words[1..]);
    world.ctl(&arguments);
}

#[test]
fn every_decision_names_its_generation() {
    let names = [
        "one.test",
        "two.test",
        "three.test",
        "four.test",
        "bad.test",
    ];
    let addresses: Vec<_> = (7..12).map(|last| format!("203.0.113.{last}")).collect();
    let table: Vec<_> = addresses.iter().map(String::as_str).zip(names).collect();
    let world = World::with_network(&table);
    let _hosts: Vec<_> = addresses
        .iter()
        .map(|address| Web::in_world(&world, &format!("{address}:7000"), "--echo"))
        .collect();
    let file = world.policy(&json!({
        "network": { "ask": true, "allowedDomains": ["one.test"], "deniedDomains": ["bad.test"] },
        "filesystem": { "allowWrite": ["."] },
        "audit": { "mcp": "calls" },
    }));
    // Only messages pass there, which the shell's lines are not.
    world.write(
        "home/.config/srt/servers/demo.json",
        r#"{ "mcp": { "pinTools": true } }"#,
    );
    world.start_daemon();

    let mut shell = Shell::start(&world, "s");
    assert!(shell.reaches("one.test", 7000));
    assert!(!shell.reaches("bad.test", 7000));
    assert_eq!(shell.ask("write /etc/x"), "refused");
    for (host, words, end) in [
        (
            "two.test",
            &["approve", "--for", "always"][..],
            "got two.test",
        ),
        ("three.test", &["deny"], "closed"),
        (
            "four.test",
            &["approve", "--for", "session"],
            "got four.test",
        ),
    ] {
        shell.0.send(&format!("later {host} 7000 {host}"));
        answer(&world, host, words);
        assert_eq!(shell.next(SOON), format!("{host}: {end}"));
    }
    world.ctl(&["grants", "revoke", "g1"]);

    // A tool is listed for the first time, and called.
    let mut demo = Talk::start(&mut world.demo());
    demo.ask(&initialize(&json!(0)), SOON);
    demo.send(INITIALIZED);
    demo.ask(&legacy(&json!(1), "tools/list", json!({})), SOON);
    drop(demo);

    // Neither does a program that is not there begin, nor a launch whose settings cannot be used.
    let missing = world
        .srt(&["--name", "missing", "--", "/no/such/program"])
        .output()
        .unwrap();
    assert!(!missing.status.success());

    // What was permitted is no longer, for what is open and for what comes.
    assert_eq!(shell.ask("open one.test 7000"), "open");
    assert_eq!(shell.ask("say word"), "got word");
    replace(
        &file,
        &json!({ "filesystem": { "overlay": ["."] } }).to_string(),
    );
    assert_eq!(shell.ask("wait"), "closed");
    drop(shell);

    // What a server left in an overlay, taken and thrown away.
    let script = "echo a >a; echo b >b";
    let wrote = world
        .srt(&["--name", "edit", "--", "sh", "-c", script])
        .output()
        .unwrap();
    assert!(wrote.status.success(), "{wrote:?}");
    world.ctl(&["apply", "edit", "a"]);
    world.ctl(&["discard", "edit"]);

    replace(
        &file,
        &json!({ "network": { "enforceAllowlist": false } }).to_string(),
    );
    let mut observed = Shell::start(&world, "observed");
    assert!(observed.reaches("two.test", 7000));
    drop(observed);

    let entries = until("every kind of decision in the audit log", SOON, || {
        let entries = world.audit();
        let has = |kind: &str| entries.iter().any(|entry| entry.kind == kind);
        DECISIONS.iter().all(|kind| has(kind)).then_some(entries)
    });
    for entry in entries
        .iter()
        .filter(|entry| DECISIONS.contains(&entry.kind.as_str()))
    {
        let generation = entry.json["detail"]["generation"].as_u64();
        assert!(generation.is_some_and(|number| number > 0), "{entry:#?}");
    }
    // The one that was in force, and no other: the settings changed in between.
    let generation = |kind: &str, server: &str| {
        let mut its = entries
            .iter()
            .filter(|entry| entry.kind == kind && entry.server == server);
        its.next().unwrap().json["detail"]["generation"].clone()
    };
    let first = generation("start", "s");
    for (kind, server) in [
        ("approve", "s"),
        ("reject", "s"),
        ("revoke", "s"),
        ("refused", "missing"),
    ] {
        assert_eq!(generation(kind, server), first, "{kind}");
    }
    assert_eq!(generation("pin", "demo"), generation("start", "demo"));
    assert_ne!(generation("apply", "edit"), first);
    assert_eq!(generation("apply", "edit"), generation("start", "edit"));
    assert_eq!(generation("discard", "edit"), generation("start", "edit"));

    // Settings that cannot be used are no generation: what is refused for them names none, and says why.
    replace(&file, "{");
    let refused = world
        .srt(&["--name", "unusable", "--", "cat"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(6));
    let entry = world.until_audited("refused", "unusable");
    assert_eq!(entry.json["detail"]["step"], "policy", "{entry:#?}");
    assert!(
        entry.json["detail"].get("generation").is_none(),
        "{entry:#?}"
    );
}

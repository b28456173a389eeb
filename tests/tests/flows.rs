//! What leaves a sandbox, as a person sees it: live and afterwards, allowed, refused and only observed; and why.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use srt_tests::{SOON, Shell, Talk, Web, World, until};

fn world() -> (World, Web) {
    let world = World::with_network(&[
        ("203.0.113.7", "one.test"),
        ("203.0.113.8", "two.test"),
        ("127.0.0.1", "inner.test"),
    ]);
    let one = Web::in_world(&world, "203.0.113.7:7000", "--echo");
    (world, one)
}

#[test]
fn a_connection_is_listed_while_it_is_open_and_recorded_when_it_ends() {
    let (world, _one) = world();
    let file = world.policy(&json!({ "network": { "allowedDomains": ["one.test:7000"] } }));
    world.start_daemon();
    let mut shell = Shell::start(&world, "s");
    let _other = Shell::start(&world, "other");
    assert_eq!(world.ctl(&["flows"]), "no connection is open\n");
    assert!(shell.reaches("one.test", 7000));
    let flows = world.json(&["flows"]);
    let flow = &flows[0];
    assert_eq!(flows.as_array().unwrap().len(), 1, "{flows}");
    let expected = json!({
        "server": "s", "front_end": "tcp", "target": "one.test:7000", "address": "203.0.113.7:7000",
        "bytes_out": 6, "bytes_in": 6,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(flow[key], *value, "{flow}");
    }
    let rule = flow["rule"].as_str().unwrap();
    assert!(
        rule.starts_with("network.allowedDomains: one.test:7000 ("),
        "{rule}"
    );
    assert!(rule.contains(&*file.to_string_lossy()), "{rule}");
    assert_eq!(world.json(&["flows", "other"]), json!([]));
    assert_eq!(world.srtctl(&["flows", "nobody"]).status.code(), Some(4));

    // Somebody who looks on sees how fast it is.
    let mut follower = Talk::start(
        world
            .command(world.program("srtctl"))
            .args(["flows", "s", "-f", "--json"]),
    );
    let began = std::time::Instant::now();
    let rated = loop {
        assert_eq!(shell.ask(&format!("say {}", "x".repeat(1000))).len(), 1004);
        let line = follower.line(SOON).unwrap();
        let flows: Value = serde_json::from_slice(&line).unwrap();
        if flows[0]["in_per_second"].as_f64() > Some(500.0) {
            break flows[0].clone();
        }
        assert!(began.elapsed() < SOON, "{flows}");
    };
    assert!(rated["out_per_second"].as_f64() < Some(1e6), "{rated}");
    let mut lines = Talk::start(world.command(world.program("srtctl")).args(["flows", "-f"]));
    let heading = String::from_utf8(lines.line(SOON).unwrap()).unwrap();
    assert!(heading.starts_with("TIME  "), "{heading}");
    let line = String::from_utf8(lines.line(SOON).unwrap()).unwrap();
    assert!(line.contains("  one.test:7000  "), "{line}");

    assert_eq!(shell.ask("open one.test 7000"), "open");
    let entry = world.until_audited("allow", "one.test:7000");
    let detail = &entry.json["detail"];
    for key in ["bytes_in", "bytes_out", "duration_ms"] {
        assert!(detail[key].as_u64() > Some(0), "{key}: {detail}");
    }
    assert_eq!(detail["front_end"], "tcp");
    assert_eq!(detail["address"], "203.0.113.7:7000");
    assert_eq!(detail["rule"], rule);
    assert_eq!(entry.server, "s");
    assert_eq!(entry.json["launch"], flow["launch"]);
    assert!(entry.json["at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_refusal_is_told_to_the_host_once_with_what_would_lift_it() {
    let (world, one) = world();
    let file = world.policy(&json!({ "network": { "allowedDomains": ["one.test:80"] } }));
    world.start_daemon();
    let mut shell = Shell::start(&world, "s");
    for _ in 0..12 {
        let said = shell.ask("http one.test 7000");
        assert!(
            said.contains("403") && said.contains("allowedDomains"),
            "{said}"
        );
    }
    let line = "srt: blocked connection to one.test:7000: ";
    let stderr = until("the tenth to be told", SOON, || {
        let stderr = shell.0.stderr();
        stderr
            .contains("one.test:7000 10 times by now\n")
            .then_some(stderr)
    });
    assert_eq!(stderr.matches(line).count(), 1, "{stderr}");
    let remedy = format!(
        "; to allow it, add to {}: \"network\": {{ \"allowedDomains\": [\"one.test:7000\"] }}\n",
        file.display()
    );
    assert!(stderr.contains(&remedy), "{stderr}");
    // The server's own words are between them as they were.
    assert_eq!(shell.ask("complain ouch"), "done");
    until("the server's words", SOON, || {
        shell.0.stderr().ends_with("\nouch\n").then_some(())
    });
    let denied = world.until_audited("deny", "one.test:7000");
    assert!(
        denied.json["detail"]["remedy"]
            .as_str()
            .unwrap()
            .contains("allowedDomains")
    );
    assert_eq!(one.connections(), 0);
    assert!(
        world
            .ctl(&["audit", "--kind", "deny"])
            .contains("hint: \"network\":")
    );
}

#[test]
fn a_refusal_is_told_of_a_server_that_ends_with_it_or_has_no_standard_error_left() {
    let world = World::start();
    world.policy(&json!({}));
    // Until it is closed, and so refused. Who ends before the proxy has taken it from the kernel has reached nothing.
    let connect = "exec 3<>/dev/tcp/203.0.113.9/81; read -r -u 3";
    for script in [
        connect.to_owned(),
        // Its standard error ends long before.
        format!("exec 2>&-; sleep 0.2; {connect}"),
    ] {
        let mut talk = Talk::start(&mut world.srt(&["--name", "s", "--", "bash", "-c", &script]));
        talk.wait(SOON);
        let said = talk.stderr();
        let line = "srt: blocked connection to 203.0.113.9:81: ";
        assert!(said.contains(line), "{script}: {said}");
    }
}

#[test]
fn what_is_only_observed_has_a_word_of_its_own() {
    let (world, one) = world();
    world.policy(
        &json!({ "network": { "enforceAllowlist": false, "deniedDomains": ["two.test"] } }),
    );
    world.start_daemon();
    let mut shell = Shell::start(&world, "s");
    assert!(shell.reaches("one.test", 7000));
    assert!(!shell.reaches("two.test", 7000), "what is denied is denied");
    let entry = world.until_audited("would-deny", "one.test:7000");
    let detail = &entry.json["detail"];
    assert!(
        detail["reason"]
            .as_str()
            .unwrap()
            .contains("allowedDomains"),
        "{detail}"
    );
    assert!(
        detail["remedy"].as_str().unwrap().contains("one.test:7000"),
        "{detail}"
    );
    assert_eq!(one.connections(), 1);
    let table = world.ctl(&["audit", "--kind", "would-deny"]);
    assert!(table.contains(" would-deny "), "{table}");
}

/// The decision, and all that was said.
fn why(world: &World, words: &[&str]) -> (i32, Value) {
    let arguments = [&["policy", "why"], words, &["--json"]].concat();
    let output = world.srtctl(&arguments);
    let code = output.status.code().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (code, value)
}

#[test]
fn why_says_what_the_real_thing_would() {
    let (world, _one) = world();
    let text = "{\n  \"network\": {\n    \"allowedDomains\": [\"one.test:7000\",\n      \"inner.test\", \"none.test\"],\n    \
                \"deniedDomains\": [\"two.test\"]\n  },\n  \"filesystem\": {\n    \"denyRead\": [\"closed\"],\n    \
                \"allowWrite\": [\"open\"]\n  }\n}\n";
    let file = world.write("home/.srt-settings.json", text);
    for name in ["work/closed/x", "work/open/x"] {
        world.write(name, "text");
    }
    std::os::unix::fs::symlink(world.path("work/closed/x"), world.path("work/link")).unwrap();
    world.start_daemon();
    world.ctl(&[
        "add",
        "r",
        "--cwd",
        world.work().to_str().unwrap(),
        "--",
        "cat",
    ]);
    let mut shell = Shell::start(&world, "s");
    // (words, exit status, decision, line of the rule, what is said)
    let table: [(&[&str], i32, &str, u64, &str); 11] = [
        (&["connect", "One.test.:7000"], 0, "allow", 3, "203.0.113.7"),
        (
            &["connect", "one.test"],
            7,
            "deny",
            0,
            "is for another port",
        ),
        (
            &["connect", "two.test:80"],
            7,
            "deny",
            5,
            "deniedDomains has",
        ),
        (&["connect", "inner.test:80"], 7, "deny", 0, "127.0.0.1"),
        (
            &["connect", "none.test:80"],
            0,
            "allow",
            4,
            "cannot resolve none.test",
        ),
        (
            &["connect", "three.test:80"],
            7,
            "deny",
            0,
            "\\\"allowedDomains\\\": [\\\"three.test:80\\\"]",
        ),
        (&["read", "closed/x"], 7, "deny", 8, "closed"),
        (&["read", "link"], 7, "deny", 8, "without links"),
        (&["read", "open/x"], 0, "allow", 0, "no rule closes it"),
        (&["write", "open/new"], 0, "allow", 9, ""),
        (&["write", "new"], 7, "deny", 0, "allowWrite"),
    ];
    for name in ["s", "r"] {
        for (words, code, decision, line, said) in &table {
            let (status, answer) = why(&world, &[&[name], *words].concat());
            let what = format!("{name} {words:?}: {answer}");
            assert_eq!(status, *code, "{what}");
            assert_eq!(answer["decision"], *decision, "{what}");
            assert_eq!(
                answer["rule"]["line"].as_u64().unwrap_or(0),
                *line,
                "{what}"
            );
            if *line > 0 {
                assert_eq!(
                    answer["rule"]["file"],
                    file.to_string_lossy().as_ref(),
                    "{what}"
                );
            }
            assert!(answer.to_string().contains(said), "{said}: {what}");
            assert_eq!(answer["running"], name == "s", "{what}");
        }
    }
    // The real thing agrees.
    assert!(shell.reaches("one.test", 7000));
    assert!(!shell.reaches("two.test", 80));
    assert!(!shell.reaches("inner.test", 80));
    assert_eq!(shell.ask("write open/new"), "written");
    assert_eq!(shell.ask("write new"), "refused");
    for (words, code) in [
        (&["nobody", "connect", "x"][..], 4),
        (&["s", "connect", "https://x"], 2),
        (&["s", "ping", "x"], 2),
    ] {
        assert_eq!(why(&world, words).0, code, "{words:?}");
    }
    let said = String::from_utf8(
        world
            .srtctl(&["policy", "why", "s", "connect", "three.test:80"])
            .stdout,
    )
    .unwrap();
    assert!(
        said.starts_with("denied: three.test:80\n  reason: no rule"),
        "{said}"
    );
    assert!(said.contains("hint: to allow it, add to "), "{said}");
}

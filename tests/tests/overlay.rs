//! `filesystem.overlay`: a server writes, the host's copy stays; `srtctl changes`, `apply` and `discard` settle it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use srt_tests::mcp::{INITIALIZED, initialize, legacy};
use srt_tests::{SOON, Talk, World, servers, until};

/// A world whose project is overlaid, with a few files in it.
fn world() -> World {
    with(json!({ "overlay": ["."] }))
}

fn with(filesystem: Value) -> World {
    let world = World::new();
    world.policy(&json!({ "filesystem": filesystem }));
    for (path, text) in [
        ("kept", "kept\n"),
        ("edited", "one\ntwo\nthree\n"),
        ("gone", "gone\n"),
        ("old/a", "a\n"),
        ("old/b/c", "cc\n"),
        ("remade/x", "x\n"),
        ("remade/y", "y\n"),
    ] {
        world.write(&format!("work/{path}"), text);
    }
    world.start_daemon();
    world
}

/// Runs a shell script as the server `edit`.
fn run(world: &World, script: &str) -> Output {
    let mut command = world.srt(&["--name", "edit", "--", "sh", "-c", script]);
    command.output().unwrap()
}

#[track_caller]
fn edit(world: &World, script: &str) -> String {
    let output = run(world, &format!("set -e\n{script}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}{complaints}");
    said
}

/// Every path of the project with its mode and text, links as links.
fn tree(folder: &Path) -> BTreeMap<String, (u32, String)> {
    let mut found = srt_tests::tree(folder);
    found.remove("");
    (found.into_iter())
        .map(|(path, standing)| (path, (standing.mode & 0o7777, standing.text)))
        .collect()
}

/// `kind path` of each change.
#[track_caller]
fn changes(world: &World) -> Vec<String> {
    let listed = world.json(&["changes", "edit"]);
    let mut lines = Vec::new();
    for change in listed.as_array().unwrap() {
        let text = |name: &str| change[name].as_str().unwrap().to_owned();
        lines.push(format!("{} {}", text("kind"), text("path")));
    }
    lines
}

#[track_caller]
fn change(world: &World, path: &str) -> Value {
    let listed = world.json(&["changes", "edit", path]);
    let found = listed.as_array().unwrap();
    assert_eq!(found.len(), 1, "{path}: {listed}");
    found[0].clone()
}

#[track_caller]
fn fails(output: &Output, code: i32, about: &str) {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(about), "{about:?} in: {said}");
}

fn layers(world: &World) -> usize {
    let folder = world.path("home/.local/state/srt/layers/edit");
    fs::read_dir(folder).map_or(0, |entries| entries.count())
}

const EDITS: &str = "
    echo TWO >> edited; rm gone; rm -r old; rm -r remade
    mkdir remade; echo z > remade/z; echo x > remade/x
    mkdir -p new/deep; echo fresh > new/deep/file; chmod 750 new/deep/file
    ln -s kept link; mv kept moved; ln -s /etc/passwd out
";

#[test]
fn the_hosts_copy_stays_until_it_is_applied() {
    let world = world();
    let before = tree(&world.work());
    edit(&world, EDITS);
    assert_eq!(tree(&world.work()), before);
    assert_eq!(
        changes(&world),
        [
            "changed edited",
            "deleted gone",
            "deleted kept",
            "added link",
            "added moved",
            "added new",
            "added new/deep",
            "added new/deep/file",
            "deleted old",
            "added out",
            "added remade/z",
            "deleted remade/y",
        ]
    );
    let edited = change(&world, "edited");
    assert_eq!(edited["was"], 14);
    assert_eq!(edited["size"], 18);
    let old = change(&world, "old");
    assert_eq!((&old["files"], &old["size"]), (&json!(2), &json!(5)));
    assert_eq!(change(&world, "out")["outside"], true);
    assert_eq!(change(&world, "link")["outside"], false);
    let shown = world.ctl(&["changes", "edit", "--diff", "edited"]);
    assert!(
        shown.contains("@@ -1,3 +1,4 @@\n one\n two\n three\n+TWO\n"),
        "{shown}"
    );
    // What the server sees is what the host will have.
    let seen = edit(&world, "find . -type f | sort; cat edited new/deep/file");

    let said = world.ctl(&["apply", "edit"]);
    assert_eq!(said, "applied 12 changes\n");
    let after = tree(&world.work());
    let text = |path: &str| after[path].clone();
    assert_eq!(text("edited").1, "one\ntwo\nthree\nTWO\n");
    assert_eq!(text("new/deep/file"), (0o750, "fresh\n".into()));
    assert_eq!(text("out").1, "-> /etc/passwd");
    assert_eq!(text("moved").1, "kept\n");
    assert_eq!(text("remade/x").1, "x\n");
    for gone in ["gone", "kept", "old", "remade/y"] {
        assert!(!after.contains_key(gone), "{gone}");
    }
    assert_eq!(changes(&world), [] as [&str; 0]);
    assert_eq!(layers(&world), 0, "nothing is left of the layer");
    let again = edit(&world, "find . -type f | sort; cat edited new/deep/file");
    assert_eq!(seen, again);
    let entry = world.until_audited("apply", "work");
    assert_eq!(entry.json["detail"]["settled"], 12);
    assert!(entry.json["detail"]["client_pid"].is_u64());
}

#[test]
fn a_layer_outlives_launches_and_daemons() {
    let world = world();
    edit(&world, "echo 1 > a");
    edit(&world, "cat a; echo 2 >> a");
    world.stop_daemon();
    world.start_daemon();
    assert_eq!(edit(&world, "cat a; rm gone"), "1\n2\n");
    world.kill_daemon();
    world.start_daemon();
    assert_eq!(edit(&world, "cat a; test ! -e gone"), "1\n2\n");
    assert_eq!(changes(&world), ["added a", "deleted gone"]);
    assert_eq!(layers(&world), 1);
}

#[test]
fn what_the_host_changed_meanwhile_is_not_overwritten() {
    let world = world();
    edit(
        &world,
        "echo mine >> edited; rm gone; echo mine > both; rm -r old; echo x > kept",
    );
    let listed = changes(&world);
    assert_eq!(listed.len(), 5, "{listed:?}");
    world.write("work/edited", "host's\n");
    world.write("work/gone", "back\n");
    world.write("work/both", "host's\n");
    world.write("work/old/b/c", "changed\n");
    fs::remove_file(world.path("work/kept")).unwrap();
    // Seen on the layer's next launch as well, which goes on with the same notes.
    edit(&world, "cp edited t; echo more >> t; mv t edited");
    let before = tree(&world.work());
    let output = world.srtctl(&["apply", "edit"]);
    fails(&output, 1, "5 changes were not applied");
    assert_eq!(tree(&world.work()), before);
    for (path, why) in [
        ("edited", "changed meanwhile"),
        ("gone", "changed meanwhile"),
        ("both", "made one of its own"),
        ("old", "changed meanwhile"),
        ("kept", "was deleted meanwhile"),
    ] {
        let conflict = change(&world, path)["conflict"].clone();
        assert!(
            conflict.as_str().unwrap().contains(why),
            "{path}: {conflict}"
        );
    }
    world.ctl(&["apply", "edit", "edited", "both", "--force"]);
    let after = tree(&world.work());
    assert!(after["edited"].1.ends_with("mine\nmore\n"));
    assert_eq!(after["both"].1, "mine\n");
    assert_eq!(after["gone"].1, "back\n");
    assert_eq!(
        changes(&world),
        ["deleted gone", "added kept", "deleted old"]
    );
}

#[test]
fn a_host_that_changed_a_file_before_is_no_conflict() {
    let world = world();
    edit(&world, "echo 1 > a");
    world.write("work/edited", "new on the host\n");
    edit(&world, "echo and mine >> edited");
    assert_eq!(change(&world, "edited")["conflict"], "");
    world.ctl(&["apply", "edit"]);
    let text = fs::read_to_string(world.path("work/edited")).unwrap();
    assert_eq!(text, "new on the host\nand mine\n");
}

#[test]
fn paths_are_settled_one_by_one() {
    let world = world();
    edit(&world, EDITS);
    let absolute = world.path("work/edited").display().to_string();
    assert_eq!(
        world.ctl(&["apply", "edit", &absolute, "new/"]),
        "applied 4 changes\n"
    );
    world.ctl(&["discard", "edit", "gone", "old", "./out"]);
    let left = [
        "deleted kept",
        "added link",
        "added moved",
        "added remade/z",
        "deleted remade/y",
    ];
    assert_eq!(changes(&world), left);
    // Below a folder that was made anew there is nothing to go back to.
    let output = world.srtctl(&["discard", "edit", "remade/z"]);
    fails(&output, 1, "discarded as a whole");
    fails(&world.srtctl(&["discard", "edit", "kept/x"]), 1, "kept");
    fails(
        &world.srtctl(&["discard", "edit", "never"]),
        1,
        "nothing changed",
    );
    fails(&world.srtctl(&["apply", "edit", "../x"]), 2, "no folder");
    fails(
        &world.srtctl(&["changes", "edit", "--layer", "7"]),
        4,
        "layer 7",
    );
    fails(&world.srtctl(&["changes", "nobody"]), 4, "nobody");
    assert_eq!(changes(&world), left);
    world.ctl(&["discard", "edit", "remade"]);
    assert_eq!(
        edit(&world, "cat gone old/b/c remade/*; test ! -e out"),
        "gone\ncc\nx\ny\n"
    );
    world.ctl(&["discard", "edit"]);
    assert_eq!(changes(&world), [] as [&str; 0]);
    assert_eq!(layers(&world), 0);
    assert!(world.path("work/kept").exists());
    world.until_audited("discard", "remade");
}

#[test]
fn what_a_rule_protects_is_applied_by_name_and_force_alone() {
    let world = with(json!({ "overlay": ["."], "denyWrite": ["old"] }));
    world.write("work/.git/hooks/sample", "#!/bin/sh\n");
    edit(
        &world,
        "echo {} > .mcp.json; echo evil > .git/hooks/pre-commit; echo b > old/new; echo ok > fine",
    );
    let guard = |path| change(&world, path)["guard"].as_str().unwrap().to_owned();
    for (path, rule) in [
        (".mcp.json", ".mcp.json"),
        (".git/hooks/pre-commit", ".git/hooks"),
        ("old/new", "denyWrite: old"),
        ("fine", ""),
    ] {
        assert!(guard(path).contains(rule), "{path}: {}", guard(path));
        assert_eq!(guard(path).is_empty(), rule.is_empty(), "{path}");
    }
    fails(&world.srtctl(&["apply", "edit"]), 7, "write-protected by");
    fails(
        &world.srtctl(&["apply", "edit", "--force"]),
        7,
        "3 changes were not",
    );
    fails(
        &world.srtctl(&["apply", "edit", ".mcp.json"]),
        7,
        ".mcp.json",
    );
    assert!(world.path("work/fine").exists());
    for path in [".mcp.json", ".git/hooks/pre-commit", "old/new"] {
        assert!(!world.path(&format!("work/{path}")).exists(), "{path}");
    }
    world.ctl(&["apply", "edit", ".mcp.json", "--force"]);
    assert!(world.path("work/.mcp.json").exists());
    let entry = world.until_audited("apply", "overridden");
    assert!(entry.json.to_string().contains(".mcp.json"));
    // Deleting the folder around what is protected is no way around.
    edit(&world, "rm -r .git");
    fails(
        &world.srtctl(&["apply", "edit", ".git"]),
        7,
        "write-protected",
    );
    assert!(world.path("work/.git/hooks/sample").exists());
}

#[test]
fn what_may_not_be_read_stays_hidden_in_an_overlay() {
    let world = with(json!({ "overlay": ["."], "denyRead": [".env", "old"] }));
    world.write("work/.env", "SECRET=1\n");
    let output = run(
        &world,
        "cat .env; cat old/a; ls old; cp .env copy; mv .env moved; rm -f .env; mv old older; cat older/a; true",
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!said.contains("SECRET") && !said.contains('a'), "{said}");
    let listed = world.ctl(&["changes", "edit", "--diff"]);
    assert!(!listed.contains("SECRET"), "{listed}");
    assert_eq!(
        fs::read_to_string(world.path("work/.env")).unwrap(),
        "SECRET=1\n"
    );
}

/// A folder or file that is opened for nothing but its name, as mv does to look at where things go.
#[test]
fn what_is_opened_by_name_alone_is_opened() {
    for filesystem in [
        json!({ "overlay": ["."], "denyRead": ["**/*.key"] }),
        json!({ "allowWrite": ["."], "denyRead": ["**/*.key"] }),
    ] {
        let world = with(filesystem);
        world.write("work/a.key", "SECRET\n");
        let script = "mv gone old/ && cat old/gone && exec 7<old && cat /proc/self/fd/7/gone";
        assert_eq!(edit(&world, script), "gone\ngone\n");
        // Such a descriptor opens nothing that is not opened by its path.
        let script = "python3 -c 'import os, sys
f = os.open(\"a.key\" if len(sys.argv) > 1 else \"edited\", os.O_PATH)
print(open(\"/proc/self/fd/%d\" % f).read())'";
        if !run(&world, "python3 -c 1").status.success() {
            continue;
        }
        assert!(edit(&world, script).contains("one"));
        let output = run(&world, &format!("{script} key"));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            !output.status.success() && !said.contains("SECRET"),
            "{said}"
        );
    }
}

/// overlayfs copies a file to rename or link it, and asks nobody whether it may be read.
#[test]
fn what_may_not_be_read_gets_no_other_name() {
    let attempts = "
        mv old/a.key x; mv old/a.key new/x; ln old/a.key y; cp old/a.key z; mv -T old/a.key edited
        ln new.key w; mv new.key v; mv twin u; ln twin t; cat twin
        for f in $(find . -type f); do cat \"$f\"; done 2>/dev/null
        mv kept moved && ln gone also && mkdir d && mv d e && mv moved e/ && cat e/moved also";
    let deny = json!({ "overlay": ["."], "denyRead": ["**/*.key", "~/store"] });
    let world = with(deny);
    world.write("work/old/a.key", "SECRET\n");
    world.write("home/store", "SECRET\n");
    fs::hard_link(world.path("home/store"), world.path("work/twin")).unwrap();
    let script = format!("mkdir new; while ! test -e new.key; do sleep 0.05; done; {attempts}");
    let mut talk = Talk::start(&mut world.srt(&["--name", "edit", "--", "sh", "-c", &script]));
    // What comes later is judged as well.
    until("the launch", SOON, || (layers(&world) > 0).then_some(()));
    world.write("work/new.key", "SECRET\n");
    let mut said = String::new();
    while let Some(line) = talk.line(SOON) {
        said += &String::from_utf8_lossy(&line);
    }
    assert!(!said.contains("SECRET"), "{said}{}", talk.stderr());
    assert!(
        said.ends_with("kept\ngone\n"),
        "names are given all the same: {said}{}",
        talk.stderr()
    );
    assert_eq!(talk.wait(SOON).code(), Some(0));
    // It was not for want of something to read.
    let open = with(json!({ "overlay": ["."] }));
    open.write("work/old/a.key", "SECRET\n");
    assert_eq!(edit(&open, "mv old/a.key x; cat x"), "SECRET\n");
}

#[test]
fn what_a_hostile_server_leaves_is_told_and_never_followed() {
    let world = world();
    world.write("home/diary", "dear diary\n");
    edit(
        &world,
        "mkfifo fifo; cp edited suid; chmod 6755 suid; mkdir shut; echo in > shut/in; chmod 0 shut/in shut
         touch \"$(printf 'esc\\033[2J')\"; ln gone twin; rm -r remade; ln -s ../home remade; rm -r old; ln -s / old",
    );
    let shown = world.ctl(&["changes", "edit"]);
    assert!(
        shown.contains("esc\\u{1b}[2J") && !shown.contains('\u{1b}'),
        "{shown}"
    );
    assert!(shown.contains("fifo (FIFO, never applied)"), "{shown}");
    assert!(
        shown.contains("remade (link to ../home, outside"),
        "{shown}"
    );
    // A folder of the host's becomes a link to somewhere else while nobody looks.
    edit(&world, "mkdir -p there; echo planted > there/diary");
    symlink(world.home(), world.path("work/there")).unwrap();
    let output = world.srtctl(&["apply", "edit", "--force"]);
    fails(&output, 1, "fifo");
    let set = |path: &str, mode| {
        let path = world.path(&format!("work/{path}"));
        let was = fs::metadata(&path).unwrap().mode() & 0o777;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        was
    };
    assert_eq!((set("shut", 0o700), set("shut/in", 0o600)), (0, 0));
    let after = tree(&world.work());
    assert_eq!(after["shut/in"].1, "in\n");
    assert_eq!(after["suid"].0, 0o755, "no setuid bit");
    assert!(!after.contains_key("fifo"));
    assert_eq!(after["old"].1, "-> /");
    let mode = fs::symlink_metadata(world.path("work/there")).unwrap();
    assert!(!mode.is_symlink(), "the link itself was replaced");
    assert_eq!(
        fs::read_to_string(world.path("home/diary")).unwrap(),
        "dear diary\n"
    );
    for entry in fs::read_dir(world.work()).unwrap().flatten() {
        let name = entry.file_name().display().to_string();
        assert!(!name.starts_with(".srt-apply"), "{name}");
    }
}

#[test]
fn a_layer_that_outgrows_its_bound_ends_its_server() {
    let world = with(json!({ "overlay": ["."], "overlayMax": "8M" }));
    let output = run(
        &world,
        "dd if=/dev/zero of=big bs=64k count=1000000 2>/dev/null; echo survived",
    );
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        !said.contains("survived") && !output.status.success(),
        "{said}"
    );
    world.until_audited("exit", "filesystem.overlayMax");
    let size = change(&world, "big")["size"].as_u64().unwrap();
    // What the disk takes in a few tenths of a second, on any machine.
    assert!(size > 8 << 20 && size < 4 << 30, "{size}");
    // It does not go on from there, until there is room.
    fails(&run(&world, "true"), 7, "may hold 8388608");
    world.ctl(&["discard", "edit", "big"]);
    edit(&world, "echo small > small");
    // Empty files are not free, and a folder that hides what is in it is measured all the same.
    let script =
        "mkdir many; chmod 300 many; cd many; i=0; while true; do i=$((i+1)); : > $i; done";
    assert!(!run(&world, script).status.success());
    world.until_audited("exit", "filesystem.overlayMax");
    // A folder as deep as a path is long.
    world.ctl(&["discard", "edit"]);
    let script = "i=0; while test $i -lt 400; do mkdir d; cd d; i=$((i+1)); done; sleep 60";
    assert!(!run(&world, script).status.success());
    world.until_audited("exit", "nested folders too deep");
    world.ctl(&["discard", "edit"]);
    assert_eq!(layers(&world), 0);
}

#[test]
fn two_launches_at_once_have_a_layer_each() {
    let world = world();
    let command = [
        "--name",
        "edit",
        "--",
        "sh",
        "-c",
        "echo $0 > \"$0\"; echo done; cat > /dev/null",
    ];
    let start = |name: &str| {
        let mut talk = Talk::start(&mut world.srt(&[&command[..], &[name]].concat()));
        assert_eq!(talk.line(SOON).unwrap(), b"done\n");
        talk
    };
    let (mut one, mut two) = (start("one"), start("two"));
    let listed = world.json(&["changes", "edit"]);
    let found: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (
                change["layer"].as_u64().unwrap(),
                change["path"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, [(1, "one"), (2, "two")]);
    for verb in ["apply", "discard"] {
        fails(&world.srtctl(&[verb, "edit"]), 1, "srtctl stop edit");
    }
    two.close();
    two.wait(SOON);
    // The second's is settled while the first runs.
    until("the second layer to be free", SOON, || {
        let output = world.srtctl(&["apply", "edit", "--layer", "2", "two"]);
        output.status.success().then_some(())
    });
    assert!(world.path("work/two").exists());
    assert_eq!(layers(&world), 1);
    one.close();
    one.wait(SOON);
}

#[test]
fn a_running_servers_changes_are_applied_live_and_stay() {
    let world = world();
    let mut talk = Talk::start(&mut world.demo());
    let path = world.path("work/edited").display().to_string();
    let mut write = |text: &str| {
        let (said, failed) = talk.tool("write_file", json!({ "path": path, "content": text }));
        assert!(!failed, "{said}");
    };
    let host = || fs::read_to_string(world.path("work/edited")).unwrap();
    let conflict = || world.json(&["changes", "demo"])[0]["conflict"].clone();
    write("first\n");
    assert_eq!(host(), "one\ntwo\nthree\n");
    // The watch sees it within two seconds; until then it is in doubt.
    until("the watch to see the change", SOON, || {
        (conflict() == "").then_some(())
    });
    fails(&world.srtctl(&["apply", "demo"]), 1, "--live");
    world.ctl(&["apply", "demo", "--live"]);
    assert_eq!(host(), "first\n");
    assert_eq!(world.json(&["changes", "demo"]), json!([]));
    // It goes on from there; what the host has is what was applied.
    write("second\n");
    assert_eq!(conflict(), "");
    world.ctl(&["apply", "demo", "--live"]);
    assert_eq!(host(), "second\n");
    fs::write(world.path("work/edited"), "host's\n").unwrap();
    write("third\n");
    fails(
        &world.srtctl(&["apply", "demo", "--live"]),
        1,
        "changed meanwhile",
    );
    assert_eq!(host(), "host's\n");
}

#[test]
fn a_server_is_not_forgotten_with_its_changes() {
    let world = world();
    edit(&world, "echo 1 > a");
    fails(&world.srtctl(&["remove", "edit"]), 1, "--force");
    assert_eq!(changes(&world), ["added a"]);
    world.ctl(&["remove", "edit", "--force"]);
    assert_eq!(layers(&world), 0);
    assert!(!world.path("work/a").exists());
}

#[test]
fn a_folder_that_cannot_be_overlaid_is_an_error() {
    for (overlay, about) in [
        (json!(["nowhere"]), "is not a folder"),
        (json!(["~"]), "contains the daemon's state folder"),
        (json!(["~/.ssh"]), "hides"),
    ] {
        let world = with(json!({ "overlay": overlay }));
        world.write("home/.ssh/id_rsa", "the key\n");
        fails(&run(&world, "true"), 7, about);
    }
}

#[test]
fn a_real_server_edits_in_its_layer() {
    let world = world();
    let program = servers().join("node/node_modules/.bin/mcp-server-filesystem");
    let work = world.work().display().to_string();
    let program = program.display().to_string();
    let mut talk = Talk::start(&mut world.srt(&["--name", "edit", "--", &program, &work]));
    talk.ask(&initialize(&json!(1)), SOON);
    talk.send(INITIALIZED);
    let path = world.path("work/edited").display().to_string();
    let arguments = json!({ "path": path, "edits": [{ "oldText": "two", "newText": "2" }] });
    let call = json!({ "name": "edit_file", "arguments": arguments });
    let answer = talk.ask(&legacy(&json!(2), "tools/call", call), SOON);
    assert!(!answer.contains("isError\":true"), "{answer}");
    drop(talk);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
    until("the launch to end", SOON, || {
        let output = world.srtctl(&["apply", "edit"]);
        output.status.success().then_some(())
    });
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\n2\nthree\n");
}

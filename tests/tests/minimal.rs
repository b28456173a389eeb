//! What a server sees without a settings file: its project, what it needs in order to run, and a home folder and
//! `/tmp` of its own. And the Unix sockets that a settings file opens.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::os::unix::net::UnixListener;

use serde_json::json;
use srt_tests::{SOON, Talk, World};

/// What a command says until it ends.
fn said(world: &World, command: &[&str]) -> String {
    let mut arguments = vec!["--name", "looks", "--"];
    arguments.extend(command);
    let mut talk = Talk::start(&mut world.srt(&arguments));
    talk.close();
    let mut text = String::new();
    while let Some(line) = talk.line(SOON) {
        text.push_str(&String::from_utf8_lossy(&line));
    }
    talk.wait(SOON);
    text
}

/// What the log has as refused, in order.
fn refused(world: &World) -> Vec<String> {
    let entries = world.audit().into_iter();
    entries
        .filter(|entry| entry.kind == "deny")
        .map(|entry| entry.subject)
        .collect()
}

#[test]
fn a_server_without_settings_sees_its_project_and_has_a_home_of_its_own() {
    let world = World::new();
    world.write("work/notes.txt", "project\n");
    world.write("home/secret.txt", "secret\n");
    world.write("elsewhere/other.txt", "other\n");
    let script = format!(
        "cat notes.txt; cat ~/secret.txt {other} /etc/shadow /etc/ssh/* /root/* 2>/dev/null && echo leaked; \
         (echo x > notes.txt) 2>/dev/null && echo written; \
         echo mine > ~/made && mkdir -p ~/.cache/x && cat ~/made; echo tmp > /tmp/t && cat /tmp/t; ls -A ~ | sort; \
         cut -d: -f1 /etc/passwd; ls -A /var /home /root /boot /opt 2>/dev/null; id -un",
        other = world.path("elsewhere/other.txt").display()
    );
    let bare = world.bare("sh").args(["-c", &script]).output().unwrap();
    let bare = String::from_utf8_lossy(&bare.stdout).into_owned();
    assert!(
        bare.contains("secret") && bare.contains("other") && bare.contains("written"),
        "{bare}"
    );
    std::fs::remove_dir_all(world.home()).unwrap();
    world.write("home/secret.txt", "secret\n");
    world.write("work/notes.txt", "project\n");

    // Its state is in that home.
    world.start_daemon();
    let text = said(&world, &["sh", "-c", &script]);
    let user = text.lines().last().unwrap();
    // Nothing of /var but the way to the project is there.
    let expected = format!("project\nmine\ntmp\n.cache\nmade\n{user}\nnobody\n");
    assert!(text.starts_with(&expected), "{text}");
    assert!(
        !world.path("home/made").exists(),
        "it went to the private home"
    );
    let text = said(&world, &["sh", "-c", "ls -A ~; ls -A /tmp; echo end"]);
    assert_eq!(text, "end\n", "nothing is left for the next launch");
}

/// `/lib` is a link to `/usr/lib`: what is read through it is not told as refused. What is refused is.
#[test]
fn what_a_program_needs_is_not_recorded_as_refused() {
    let world = World::start();
    let closed = "/var/lib/dpkg/status";
    let bare = world.bare("cat").arg(closed).output().unwrap();
    assert!(bare.status.success(), "{bare:?}");
    // Runtimes look for their limits and for each other.
    let script = format!(
        "ls -l /lib/ >/dev/null && node -e 0 && python3 -c 0 && cat {closed} 2>/dev/null || echo done"
    );
    assert_eq!(said(&world, &["sh", "-c", &script]), "done\n");
    world.until_audited("deny", closed);
    world.until_audited("exit", "status 0");
    assert_eq!(refused(&world), [closed]);
}

/// The private home has nothing of the host's, so that reading there just fails: it is a refusal all the same.
#[test]
fn what_a_private_home_withholds_is_recorded_and_what_is_missing_anyway_is_not() {
    let script = "echo mine > ~/made; cat ~/made ~/never ~/.ssh/id_rsa ~/docs/a.txt /opt/never 2>/dev/null; echo end";
    // By its mounts alone, and where every opening is judged.
    for settings in [None, Some(json!(["**/.env"]))] {
        let world = World::new();
        world.write("home/.ssh/id_rsa", "key\n");
        world.write("home/docs/a.txt", "text\n");
        if let Some(patterns) = &settings {
            world.policy(&json!({ "filesystem": { "mode": "minimal", "denyRead": patterns } }));
        }
        let bare = world.bare("sh").args(["-c", script]).output().unwrap();
        assert_eq!(bare.stdout, b"mine\nkey\ntext\nend\n", "{bare:?}");
        std::fs::remove_file(world.path("home/made")).unwrap();

        world.start_daemon();
        assert_eq!(said(&world, &["sh", "-c", script]), "mine\nend\n");
        world.until_audited("exit", "status 0");
        let key = world.until_audited("deny", "id_rsa");
        let rule = key.json["detail"]["rule"].as_str().unwrap();
        assert!(rule.contains("~/.ssh"), "{rule}");
        let text = world.until_audited("deny", "a.txt");
        let remedy = text.json["detail"]["remedy"].as_str().unwrap();
        assert!(remedy.contains("allowRead"), "{remedy}");
        let refused = refused(&world);
        let expected = ["home/.ssh/id_rsa", "home/docs/a.txt"].map(|name| world.path(name));
        assert_eq!(refused.len(), 2, "{refused:?}");
        for (path, expected) in refused.iter().zip(expected) {
            assert_eq!(std::path::Path::new(path), expected);
        }
    }
}

#[test]
fn a_script_elsewhere_runs_with_its_package_and_shows_nothing_beside_it() {
    let world = World::start();
    world.write("home/private.txt", "private\n");
    world.write("home/tools/server/pyproject.toml", "");
    world.write("home/tools/server/lib/data.txt", "data\n");
    world.write("home/tools/beside.txt", "beside\n");
    let script = world.write(
        "home/tools/server/src/main.py",
        "import os, pathlib\n\
         top = pathlib.Path(__file__).parent.parent\n\
         print((top / 'lib/data.txt').read_text(), end='')\n\
         for other in (top.parent / 'beside.txt', top.parent.parent / 'private.txt'):\n    \
             print(other.exists())\n",
    );
    let script = script.to_str().unwrap();
    let bare = world.bare("/usr/bin/python3").arg(script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&bare.stdout), "data\nTrue\nTrue\n");
    let text = said(&world, &["/usr/bin/python3", script]);
    assert_eq!(text, "data\nFalse\nFalse\n");
}

const CONNECT: &str = r#"
import os, socket, sys
for path in sys.argv[1:]:
    try:
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        print(s.recv(9).decode() if "srtd" not in path else "connected")
    except OSError as error:
        print(os.strerror(error.errno))
"#;

/// A socket of the host that greets.
fn greets(world: &World, name: &str) -> String {
    let path = world.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(b"hello");
        }
    });
    path.to_str().unwrap().to_owned()
}

#[test]
fn listed_sockets_are_reached_and_the_daemons_never() {
    let world = World::start();
    let listed = greets(&world, "sockets/listed.sock");
    let other = greets(&world, "sockets/other.sock");
    let ours = world.socket().to_str().unwrap().to_owned();
    let command = ["/usr/bin/python3", "-c", CONNECT, &listed, &other, &ours];
    let bare = world.bare(command[0]).args(&command[1..]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&bare.stdout),
        "hello\nhello\nconnected\n"
    );

    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        lines(said(&world, &command)),
        ["Operation not permitted"; 3]
    );
    for mode in ["shared", "minimal"] {
        world.policy(&json!({
            "network": { "allowUnixSockets": [listed, ours] },
            "filesystem": { "mode": mode },
        }));
        assert_eq!(
            lines(said(&world, &command)),
            ["hello", "Permission denied", "Permission denied"],
            "{mode}"
        );
    }
    world.policy(&json!({ "network": { "allowAllUnixSockets": true } }));
    let all = lines(said(&world, &command));
    assert_eq!(all[..2], ["hello", "hello"]);
    assert_ne!(
        all[2], "connected",
        "the daemon's own socket is hidden under every policy"
    );
}

#[test]
fn user_namespaces_are_no_projects_to_allow() {
    let world = World::start();
    let document = json!({ "allowNestedUserNamespaces": true });
    let try_it = [
        "sh",
        "-c",
        "unshare -U true 2>/dev/null && echo made; echo end",
    ];
    assert_eq!(said(&world, &try_it), "end\n");
    world.policy(&document);
    assert_eq!(said(&world, &try_it), "made\nend\n");
    // The same in a file that the server could have written.
    let inside = world.write("work/srt.json", &document.to_string());
    let refused = world
        .srt(&[
            "--settings",
            inside.to_str().unwrap(),
            "--name",
            "x",
            "--",
            "true",
        ])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("inside the working directory"), "{stderr}");
}

/// What a browser's own sandbox does: user and pid namespaces with their maps, and a root without files. With its mounts
/// alone, and where every opening is judged: then it is not the kernel that opens.
#[test]
fn namespaces_of_its_own_have_their_maps_and_their_roots() {
    let makes = "unshare -Urpf sh -c 'echo $$ $(id -u)'";
    let leaves = format!(
        "import ctypes, os\n\
         uid = os.getuid()\n\
         assert ctypes.CDLL(None).unshare({new_user}) == 0\n\
         def put(name, text): os.write(os.open('/proc/self/' + name, os.O_WRONLY), text.encode())\n\
         put('setgroups', 'deny')\n\
         put('uid_map', f'0 {{uid}} 1')\n\
         try: put('uid_map', '0 0 1'); print('twice')\n\
         except OSError: pass\n\
         def tries(*how):\n\
         \x20try: open(*how).close(); return 'opened'\n\
         \x20except OSError as error: return error.strerror\n\
         print(tries('/etc/passwd'), tries('/tmp/x', 'w'))\n\
         held = os.open('/usr', os.O_PATH)\n\
         os.chroot('/proc/self/fdinfo'); os.chdir('/')\n\
         print(tries('/etc/passwd'), tries('/tmp/x', 'w'), tries('../../../etc/passwd'), tries('../../../tmp/x', 'w'))\n\
         os.open('bin/env', os.O_RDONLY, dir_fd=held)\n\
         print('held')\n",
        new_user = 0x1000_0000,
    );
    for patterns in [json!([]), json!(["**/.env"])] {
        let world = World::new();
        world.policy(&json!({
            "allowNestedUserNamespaces": true,
            "filesystem": { "mode": "minimal", "denyRead": patterns },
        }));
        world.start_daemon();
        assert_eq!(said(&world, &["sh", "-c", makes]), "1 0\n");
        let text = said(&world, &["/usr/bin/python3", "-c", &leaves]);
        let lines: Vec<&str> = text.lines().collect();
        let [before, after, held] = lines[..] else {
            panic!("{text}");
        };
        assert_eq!((before, held), ("opened opened", "held"));
        assert!(!after.contains("opened"), "{after}");
    }
}

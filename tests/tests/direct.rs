//! Direct mode: a person's terminal and a host's own descriptors, with all walls standing.

// Where there is a terminal in a sandbox.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use srt_tests::mcp::initialize;
use srt_tests::{Pty, Random, SOON, Talk, World, process, until};

const MIB: usize = 1024 * 1024;

/// A shell of a person at a terminal, through srt.
fn shell(world: &World) -> Pty {
    let pty = Pty::start(
        &world.srt(&["--name", "sh", "--", "bash", "--norc", "-i"]),
        101,
        33,
    );
    // The prompt is written in two parts, so that what is typed is not what is waited for.
    pty.typed("PS1='re''ady> '\n");
    pty.shows("ready> ", SOON);
    pty
}

/// Waits for `sleep 1000` in a launch, and gives its process id.
fn sleeping(world: &World) -> u32 {
    until("sleep to run", SOON, || {
        let mut launched = world.of_launches().into_iter();
        let found = launched.find(|process| process.arguments == "sleep 1000")?;
        Some(found.pid)
    })
}

fn direct<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["--direct", "--name", "sh", "--"], words].concat()
}

#[test]
fn a_shell_has_a_real_terminal() {
    let world = World::start();
    let mut pty = shell(&world);
    let raw = pty.modes();
    pty.typed("test -t 0 -a -t 1 -a -t 2 && echo all th''ree; tty; tput cols; stty size\n");
    pty.shows("all three\r\n/dev/pts/0\r\n101\r\n33 101\r\n", SOON);
    pty.typed("echo by its na''me > /dev/tty; echo and by the o''ther > \"$(tty)\"\n");
    pty.shows("by its name\r\n", SOON);
    pty.shows("and by the other\r\n", SOON);
    // One of its own, and not ours: it is the leader of the session that it controls.
    pty.typed("ps -o sid=,tty= -p $$ | tr -s ' '; echo me $$\n");
    pty.shows(" 2 pts/0\r\nme 2\r\n", SOON);

    pty.resize(64, 20);
    pty.typed("until [ \"$(stty size)\" = '20 64' ]; do :; done; tput co''ls\n");
    pty.shows("\r64\r\n", SOON);

    pty.typed("sleep 1000\n");
    let pid = sleeping(&world);
    pty.typed("\x03");
    pty.shows("^C", SOON);
    pty.shows("ready> ", SOON);
    assert!(!process::lives(pid));
    pty.typed("echo ended by $?\n");
    pty.shows("ended by 130", SOON);
    assert_eq!(
        pty.modes(),
        raw,
        "the person's terminal stays as it was taken"
    );

    pty.typed("exit 9\n");
    assert_eq!(pty.wait(SOON).code(), Some(9));
}

#[test]
fn jobs_are_stopped_and_continued() {
    let world = World::start();
    let mut pty = shell(&world);
    pty.typed("sh -c 'echo be''gun; sleep 1000; echo never'\n");
    pty.shows("begun\r\n", SOON);
    // Not while it is being started: vfork(2) cannot be stopped half-way.
    sleeping(&world);
    pty.typed("\x1a");
    pty.shows("Stopped", SOON);
    pty.shows("ready> ", SOON);
    pty.typed("jobs; bg; echo in the back''ground\n");
    pty.shows("in the background\r\n", SOON);
    pty.typed("fg\n");
    pty.shows("sleep 1000", SOON);
    pty.typed("\x03");
    pty.shows("^C", SOON);
    pty.shows("ready> ", SOON);
    // A full-screen program's keys come one by one, unechoed.
    pty.typed("stty raw -echo; echo now r''aw; head -c 3 | od -An -tx1; stty sane\n");
    pty.shows("now raw", SOON);
    pty.typed("\x03\x1a\x04");
    pty.shows("03 1a 04", SOON);
    pty.typed("exit\n");
    pty.wait(SOON);
}

#[test]
fn the_terminal_is_as_before_whichever_way_it_ends() {
    type Way = fn(&World, &Pty);
    let ways: [(&str, Way, Option<i32>); 6] = [
        ("exit", |_, pty| pty.typed("exit 3\n"), Some(3)),
        ("the end of input", |_, pty| pty.typed("\x04"), Some(0)),
        (
            "a hang-up",
            |_, pty| process::signal(pty.pid(), Signal::HUP),
            Some(129),
        ),
        (
            "srtctl stop",
            |world, _| drop(world.ctl(&["stop", "sh"])),
            Some(129),
        ),
        (
            "the server's death",
            |world, _| {
                let status = world.status("sh").unwrap();
                let pid = status["pid"].as_u64().unwrap();
                process::signal(u32::try_from(pid).unwrap(), Signal::KILL);
            },
            Some(137),
        ),
        (
            "the daemon's death",
            |world, _| world.kill_daemon(),
            Some(5),
        ),
    ];
    let world = World::start();
    for (what, way, code) in ways {
        let before = Pty::start(&world.command("true"), 80, 24).modes();
        let mut pty = shell(&world);
        assert_ne!(pty.modes(), before, "it is raw meanwhile");
        way(&world, &pty);
        let status = pty.wait(SOON);
        assert_eq!(status.code(), code, "{what}: {}", pty.screen());
        assert_eq!(pty.modes(), before, "{what}");
        until(&format!("{what}: the launch to go"), SOON, || {
            world.of_launches().is_empty().then_some(())
        });
    }
    let screen = {
        let mut pty = Pty::start(&world.srt(&["--name", "sh", "--", "true"]), 80, 24);
        assert_eq!(pty.wait(SOON).code(), Some(0));
        pty.screen()
    };
    assert_eq!(screen, "", "a daemon was started without a word");
}

#[test]
fn nothing_is_typed_into_the_persons_terminal() {
    let world = World::start();
    // ioctl(2) by its number; perl's own shell has no name for it.
    let attack = "open my $tty, '+<', '/dev/tty' or die $!; my $all = 1; \
        for my $c (split //, \"owned\\n\") { ioctl($tty, 0x5412, $c) or $all = 0 } \
        print $all ? \"typed it\\n\" : \"refused\\n\"";
    let mut bare = Pty::start(world.command("perl").args(["-e", attack]), 80, 24);
    bare.wait(SOON);
    if bare.screen().contains("refused") {
        println!("this kernel refuses TIOCSTI to everybody (dev.tty.legacy_tiocsti)");
    } else {
        assert!(bare.unread().contains("owned"), "the attack works bare");
    }
    let mut boxed = Pty::start(
        &world.srt(&["--name", "perl", "--", "perl", "-e", attack]),
        80,
        24,
    );
    assert_eq!(boxed.wait(SOON).code(), Some(0), "{}", boxed.screen());
    assert!(boxed.screen().contains("refused"), "{}", boxed.screen());
    assert_eq!(boxed.unread(), "");
}

#[test]
fn a_pipe_goes_in_itself_and_a_file_by_its_bytes() {
    let world = World::start();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let inode = |fd: OwnedFd| fs::File::from(fd).metadata().unwrap().ino();
    let ours = inode(reader.try_clone().unwrap().into());
    let out = world.write("work/out", "what was there\n");
    let status = world
        .srt(&direct(&[
            "sh",
            "-c",
            "readlink /proc/self/fd/0; cat; exit 7",
        ]))
        .stdin(reader)
        .stdout(
            fs::File::options()
                .create(true)
                .append(true)
                .open(&out)
                .unwrap(),
        )
        .spawn()
        .unwrap();
    let mut random = Random::new(7);
    let bytes: Vec<u8> = (0..8 * MIB).map(|_| random.below(256) as u8).collect();
    writer.write_all(&bytes).unwrap();
    drop(writer);
    let output = status.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let written = fs::read(&out).unwrap();
    let first = format!("what was there\npipe:[{ours}]\n");
    assert!(written.starts_with(first.as_bytes()), "the very pipe");
    assert!(written[first.len()..] == bytes, "every byte");
}

#[test]
fn a_host_with_sockets_in_place_of_pipes_is_served() {
    let world = World::start();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let both = || Stdio::from(OwnedFd::from(theirs.try_clone().unwrap()));
    let mut shim = world
        .srt(&direct(&[
            "sh",
            "-c",
            "readlink /proc/self/fd/0 | cut -c1-5; cat; exit 4",
        ]))
        .stdin(both())
        .stdout(both())
        .spawn()
        .unwrap();
    drop(theirs);
    ours.write_all(b"hello").unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert_eq!(said, "pipe:\nhello");
    assert_eq!(shim.wait().unwrap().code(), Some(4));
}

#[test]
fn a_folder_is_refused_by_name() {
    let world = World::start();
    let secret = world.write("secret/key", "the secret");
    let folder = secret.parent().unwrap();
    let script = "cat /proc/self/fd/0/key";
    // What an inherited folder does to a sandbox that hides it: it opens what is hidden.
    let mut plain = Command::new("bwrap");
    plain.args([
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
    ]);
    plain.arg(folder).args(["sh", "-c"]);
    let open = || fs::File::open(folder).unwrap();
    let hidden = plain
        .arg(format!("[ ! -e '{}' ] && {script}", secret.display()))
        .stdin(open())
        .output()
        .unwrap();
    assert_eq!(hidden.stdout, b"the secret", "the attack works: {hidden:?}");

    for (place, name) in [(0, "stdin"), (2, "stderr")] {
        let mut command = world.srt(&direct(&["sh", "-c", script]));
        command.stdin(Stdio::null());
        let output = match place {
            0 => command.stdin(open()).output().unwrap(),
            _ => command.stderr(open()).output().unwrap(),
        };
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert_eq!(output.stdout, b"");
        let refused = world.until_audited("refused", script);
        let reason = refused.json["detail"]["reason"].as_str().unwrap();
        if place == 0 {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let expected = format!("stdin is the folder {}", folder.display());
            assert!(said.contains(&expected), "{said}");
            assert!(said.contains("hint: give the program a pipe"), "{said}");
            assert!(reason.contains(&expected), "{reason}");
        } else {
            until("the other refusal to be recorded", SOON, || {
                world.audit().iter().find_map(|entry| {
                    let reason = entry.json["detail"]["reason"].as_str()?;
                    reason.starts_with(name).then_some(())
                })
            });
        }
    }
}

#[test]
fn a_file_that_is_read_or_written_is_not_changed_otherwise() {
    let world = World::start();
    let file = world.write("elsewhere/data", "before\n");
    let script = "cat; echo owned > /dev/stdin; echo owned > /proc/self/fd/0; chmod 0777 /dev/stdin; \
        perl -e 'chmod 0777, *STDIN; utime 1, 1, *STDIN'; true";
    let before = fs::metadata(&file).unwrap();
    let run = |command: &mut Command| {
        let output = command
            .stdin(fs::File::open(&file).unwrap())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"before\n", "{output:?}");
    };
    for policy in [
        None,
        Some(json!({})),
        Some(json!({"filesystem": {"allowWrite": ["."]}})),
    ] {
        if let Some(policy) = &policy {
            world.policy(policy);
        }
        run(&mut world.srt(&direct(&["sh", "-c", script])));
        assert_eq!(fs::read_to_string(&file).unwrap(), "before\n", "{policy:?}");
        let after = fs::metadata(&file).unwrap();
        assert_eq!(
            (after.mode(), after.mtime()),
            (before.mode(), before.mtime()),
            "{policy:?}"
        );
    }
    // It can be, bare.
    run(world.command("sh").args(["-c", script]));
    assert_eq!(fs::read_to_string(&file).unwrap(), "owned\n");
    assert_ne!(fs::metadata(&file).unwrap().mode(), before.mode());
}

#[test]
fn the_walls_stand_and_what_happens_is_told() {
    let world = World::start();
    world.policy(&json!({}));
    let outside = world.path("outside");
    let script = format!(
        "echo up; read line; (echo x > '{}') 2>/dev/null || echo refused; (exec 3<>/dev/tcp/203.0.113.9/80; read -r line <&3) || echo no way; \
         echo complaint >&2; read line",
        outside.display()
    );
    let mut talk = Talk::start(&mut world.srt(&direct(&["bash", "-c", &script])));
    assert_eq!(talk.line(SOON).unwrap(), b"up\n");
    let status = world.until_state("sh", "running");
    assert_eq!(status["attached"][0]["mode"], "direct");
    assert_eq!(status["attached"][0]["client_pid"], talk.pid());
    assert_eq!(status["sessions"], 1);
    let shown = world.ctl(&["status", "sh"]);
    assert!(shown.contains("direct"), "{shown}");
    talk.send("go");
    assert_eq!(talk.line(SOON).unwrap(), b"refused\n");
    assert_eq!(talk.line(SOON).unwrap(), b"no way\n");
    assert!(!outside.exists());
    let started = world.until_audited("start", &script);
    assert_eq!(
        started.json["detail"]["stdio"],
        json!(["pipe", "pipe", "pipe"])
    );
    world.until_audited("deny", &outside.display().to_string());
    world.until_audited("deny", "203.0.113.9:80");
    until("the complaint to be the host's", SOON, || {
        talk.stderr().contains("complaint").then_some(())
    });
    world.ctl(&["stop", "sh"]);
    talk.wait(SOON);
    world.until_audited("exit", "stopped by srtctl");
    let log = world.ctl(&["logs", "sh"]);
    assert!(
        !log.contains("complaint"),
        "what is not ours is not logged: {log}"
    );
    assert_eq!(world.status("sh").unwrap()["attached"], json!([]));
}

#[test]
fn signals_are_the_programs_and_its_end_is_ours() {
    let world = World::start();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
    ] {
        let script =
            format!("trap 'echo got it; exit 9' {name}; echo ready; while :; do sleep 0.05; done");
        let mut talk = Talk::start(&mut world.srt(&direct(&["sh", "-c", &script])));
        assert_eq!(talk.line(SOON).unwrap(), b"ready\n");
        process::signal(talk.pid(), signal);
        assert_eq!(talk.line(SOON).unwrap(), b"got it\n", "{name}");
        assert_eq!(talk.wait(SOON).code(), Some(9), "{name}");
    }
    for (script, code) in [("exit 255", 255), ("kill -KILL $$", 128 + 9)] {
        let status = world.srt(&direct(&["sh", "-c", script])).status().unwrap();
        assert_eq!(status.code(), Some(code));
    }
}

#[test]
fn a_killed_shim_and_a_killed_daemon_end_the_launch() {
    let world = World::start();
    let start = || {
        let mut talk = Talk::start(&mut world.srt(&direct(&[
            "sh",
            "-c",
            "trap '' TERM HUP INT; echo ready; while :; do sleep 1000; done",
        ])));
        assert_eq!(talk.line(SOON).unwrap(), b"ready\n");
        talk
    };
    let gone = || {
        until("the launch to go", SOON, || {
            world.of_launches().is_empty().then_some(())
        })
    };
    let mut talk = start();
    process::signal(talk.pid(), Signal::KILL);
    talk.wait(SOON);
    gone();
    world.until_audited("exit", "the host went away");

    let mut talk = start();
    world.kill_daemon();
    gone();
    assert_eq!(talk.wait(SOON).code(), Some(5));
    assert!(
        talk.stderr().contains("the daemon srtd"),
        "{}",
        talk.stderr()
    );
    // Another is started, by direct mode as well.
    let status = world.srt(&direct(&["true"])).stdin(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(0));
    world.ctl(&["daemon", "stop"]);
}

#[test]
fn a_host_whose_server_is_refused_reads_why() {
    let world = World::start();
    let settings = world.write("work/bad.json", "{ \"netwrok\": {} }\n");
    let settings = settings.to_string_lossy().into_owned();
    let arguments = ["--direct", "--settings", &settings, "--", "cat"];
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut shim = world
        .srt(&arguments)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    ours.write_all(format!("{}\n", initialize(&json!("first"))).as_bytes())
        .unwrap();
    let mut answer = String::new();
    shim.stdout
        .take()
        .unwrap()
        .read_to_string(&mut answer)
        .unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["id"], "first");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("bad.json:1"), "{message}");
    assert_eq!(shim.wait().unwrap().code(), Some(6));
}

#[test]
fn a_registered_server_and_a_limit_hold_as_they_do_otherwise() {
    let world = World::start();
    world.policy(&json!({"runtime": {"maxFileSize": 4096}}));
    let script = "head -c 10000 /dev/zero > \"$TMPDIR/x\"; wc -c < \"$TMPDIR/x\"; exit 6";
    world.ctl(&["add", "limited", "--", "sh", "-c", script]);
    let output = world
        .srt(&["--direct", "--name", "limited"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert_eq!(output.stdout, b"4096\n");
    let unknown = world
        .srt(&["--direct", "--name", "nobody"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");
}

//! A sandbox stands, holds, and goes: the real helper, the real bubblewrap, the real kernel.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{Read as _, Write as _};

use common::{Room, command, observed, pipes, prepare, tools};
use srt_sandbox::{Access, LaunchError, Overlay, SandboxSpec, Step, Tools};

#[tokio::test]
async fn a_command_runs_and_its_status_comes_back() {
    let room = Room::new();
    let (exit, text) = room.run("echo out; echo err >&2; exit 7").await;
    assert_eq!((exit.code, exit.signal), (7, None));
    assert_eq!(text, "out\nerr\n");
    let (exit, _) = room.run("kill -KILL $$").await;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

#[tokio::test]
async fn files_are_as_the_rules_say() {
    let mut room = Room::new();
    for name in ["open", "shut", "shut/again"] {
        std::fs::create_dir(room.path(name)).unwrap();
    }
    for name in ["open/a", "open/fixed", "shut/b", "shut/again/c", "secret"] {
        std::fs::write(room.path(name), "contents").unwrap();
    }
    room.rule("open", Access::ReadWrite);
    room.rule("open/fixed", Access::Read);
    room.rule("secret", Access::None);
    room.rule("shut", Access::None);
    room.rule("shut/again", Access::Read);
    let top = room.path("");
    let try_all = format!(
        "cd {}; for f in open/a open/fixed shut/b shut/again/c secret; do cat $f >/dev/null 2>&1 && echo r $f; \
         (echo >> $f) 2>/dev/null && echo w $f; done; ls shut 2>/dev/null; chmod 777 shut 2>/dev/null && echo opened; \
         touch new 2>/dev/null && echo w new; touch $TMPDIR/run/srt/tmp/t && echo w tmp",
        top.display()
    );
    // Outside, all of it works: what is refused below is refused by the sandbox.
    let bare = std::process::Command::new("sh")
        .args(["-c", &try_all])
        .output()
        .unwrap();
    let bare = String::from_utf8(bare.stdout).unwrap();
    for attack in [
        "w open/fixed",
        "r shut/b",
        "w shut/b",
        "r secret",
        "w secret",
        "opened",
        "w new",
    ] {
        assert!(
            bare.lines().any(|line| line == attack),
            "bare: {attack} missing in {bare}"
        );
    }
    let (_, text) = room.run(&try_all).await;
    assert_eq!(
        text,
        "r open/a\nw open/a\nr open/fixed\nr shut/again/c\nw tmp\n"
    );
}

#[tokio::test]
async fn a_process_has_nothing_of_the_host() {
    // As nohup(1) and a shell's `&` do.
    for number in [libc::SIGHUP, libc::SIGQUIT, libc::SIGRTMIN()] {
        // SAFETY: SIG_IGN is no handler, so no code runs in a signal's context.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
    let room = Room::new();
    let (_, text) = room
        .run("ls /proc/self/fd | wc -l; ls -d /proc/[0-9]* | wc -l; grep -E '^(SigBlk|SigIgn|CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'; \
              cat /proc/sys/kernel/hostname >/dev/null && (echo x > /proc/sys/kernel/hostname) 2>/dev/null && echo wrote; \
              unshare -U true 2>/dev/null && echo namespace; umask; env | sort; ls /run 2>/dev/null")
        .await;
    let lines = text.lines().collect::<Vec<_>>();
    // 0, 1, 2 and ls's own; init, sh, ls, wc.
    assert_eq!(&lines[..2], ["4", "4"], "{text}");
    assert_eq!(
        lines[2..7],
        [
            "SigBlk:0000000000000000",
            "SigIgn:0000000000000000",
            "CapEff:0000000000000000",
            "NoNewPrivs:1",
            "Seccomp:2"
        ]
    );
    assert_eq!(lines[7..].join(" "), "0027 PATH=/usr/bin:/bin PWD=/");
}

#[tokio::test]
async fn connections_end_at_the_listeners_and_nowhere_else() {
    let room = Room::new();
    let mut prepared = prepare(room.spec(), &tools()).await.unwrap();
    let sockets = prepared.take_sockets().unwrap();
    assert!(sockets.captures_every_port);
    let (stdio, input, mut output) = pipes();
    drop(input);
    let script = "exec 3<>/dev/tcp/203.0.113.9/4242; read -r line <&3; echo \"$line\"; \
                  exec 4<>/dev/tcp/2001:db8::7/77; read -r line <&4; echo \"$line\"; \
                  exec 2>/dev/null; exec 5<>/dev/tcp/127.0.0.1/9 && echo local; echo x > /dev/udp/203.0.113.9/99; echo end";
    let command = command(&["bash", "-c", script]);
    let mut sandbox = prepared.start(command, stdio, |_| {}).await.unwrap();
    let text = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        for wanted in ["127.0.0.1", "::1"] {
            let listener = sockets
                .transparent
                .iter()
                .find(|listener| listener.local_addr().unwrap().ip().to_string() == wanted)
                .unwrap();
            listener.set_nonblocking(false).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let destination: std::net::SocketAddr = if wanted == "::1" {
                let raw = nix::sys::socket::getsockopt(
                    &stream,
                    nix::sys::socket::sockopt::Ip6tOriginalDst,
                )
                .unwrap();
                let ip = std::net::Ipv6Addr::from(raw.sin6_addr.s6_addr);
                (ip, u16::from_be(raw.sin6_port)).into()
            } else {
                let raw =
                    nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::OriginalDst)
                        .unwrap();
                (
                    std::net::Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr)),
                    u16::from_be(raw.sin_port),
                )
                    .into()
            };
            seen.push(destination.to_string());
            stream.write_all(b"hello\n").unwrap();
        }
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        (seen, text)
    })
    .await
    .unwrap();
    sandbox.wait().await;
    assert_eq!(text.0, ["203.0.113.9:4242", "[2001:db8::7]:77"]);
    assert_eq!(text.1, "hello\nhello\nend\n");
}

#[tokio::test]
async fn refused_uses_of_files_are_observed_and_allowed_ones_are_not() {
    let mut room = Room::new();
    std::fs::create_dir(room.path("open")).unwrap();
    std::fs::create_dir(room.path("shut")).unwrap();
    std::fs::write(room.path("shut/key"), "secret").unwrap();
    std::fs::write(room.path("plain"), "text").unwrap();
    std::os::unix::fs::symlink("shut/key", room.path("alias")).unwrap();
    room.rule("open", Access::ReadWrite);
    room.rule("shut", Access::None);
    let script = "cat plain >/dev/null; echo x > open/a; mkdir open/b; mv open/a open/c; rm open/c; cat open/nothing; \
                  cat shut/key; cat alias; ls shut; cd open; cat ../shut/./key; cd ..; \
                  touch plain; mkdir made; ln -s x made2; rm plain; mv plain moved; mkdir -p open/b";
    let (_, seen) = observed(&room, room.spec(), script).await;
    let first: Vec<(String, bool, String)> = seen
        .iter()
        .filter(|violation| !violation.again)
        .map(|violation| {
            let path = violation.path.strip_prefix(room.path("")).unwrap();
            (
                path.display().to_string(),
                violation.write,
                violation.program.clone(),
            )
        })
        .collect();
    let expected = [
        ("shut/key", false, "cat"),
        ("shut", false, "ls"),
        ("plain", true, "touch"),
        ("made", true, "mkdir"),
        ("made2", true, "ln"),
    ]
    .map(|(path, write, program)| (path.to_owned(), write, program.to_owned()));
    assert_eq!(first, expected);
    let again = seen
        .iter()
        .find(|violation| violation.again && !violation.write)
        .unwrap();
    assert_eq!(
        (again.path.clone(), again.times),
        (room.path("shut/key"), 2)
    );
}

#[tokio::test]
async fn what_is_written_in_a_private_layer_stays_there() {
    let room = Room::new();
    for name in [
        "cache",
        "cache/deep",
        "layer",
        "layer/upper",
        "layer/work",
        "layer/merged",
    ] {
        std::fs::create_dir(room.path(name)).unwrap();
    }
    for name in ["cache/kept", "cache/deep/changed", "cache/deleted"] {
        std::fs::write(room.path(name), "old").unwrap();
    }
    let mut spec = room.spec();
    spec.overlays.push(Overlay {
        path: room.path("cache"),
        upper: room.path("layer/upper"),
        work: room.path("layer/work"),
        merged: room.path("layer/merged"),
    });
    let script = "cd cache; echo new > deep/changed; echo new > added; rm deleted; ls; cat kept deep/changed; touch ../x";
    let (text, seen) = observed(&room, spec, script).await;
    assert!(text.starts_with("added\ndeep\nkept\noldnew\n"), "{text}");
    assert_eq!(seen.len(), 1, "{seen:?}");
    let read = |name: &str| std::fs::read_to_string(room.path(name)).unwrap();
    assert_eq!(read("cache/deep/changed"), "old");
    assert_eq!(read("cache/deleted"), "old");
    assert!(!room.path("cache/added").exists());
}

#[tokio::test]
async fn nothing_survives_the_kill() {
    let room = Room::new();
    let (mut sandbox, _input, mut output) = room
        .start("setsid sleep 1234567 & echo on; wait")
        .await
        .unwrap();
    tokio::task::spawn_blocking(move || output.read_exact(&mut [0; 3]).unwrap())
        .await
        .unwrap();
    let processes = sandbox.processes().clone();
    // The shell and what it left running.
    let used = srt_sandbox::process::usage([&processes])[0];
    assert!(used.memory > 0 && used.processes == 2, "{used:?}");
    processes.kill();
    assert_eq!(sandbox.wait().await.signal, Some(9));
    let left = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| line.windows(7).any(|part| part == b"1234567"))
    });
    assert!(!left);
}

#[tokio::test]
async fn a_step_that_fails_is_named() {
    async fn failure(spec: SandboxSpec, tools: &Tools, program: &str) -> LaunchError {
        let prepared = prepare(spec, tools).await.unwrap();
        let (stdio, _input, _output) = pipes();
        prepared
            .start(command(&[program]), stdio, |_| {})
            .await
            .unwrap_err()
    }
    let room = Room::new();
    let error = failure(room.spec(), &tools(), "no-such-program").await;
    assert_eq!(error.step(), Some(Step::Exec));
    assert!(
        error.to_string().contains("no-such-program") && error.to_string().contains("hint: "),
        "{error}"
    );

    let missing = Tools {
        bwrap: "/nowhere/bwrap".into(),
        ..tools()
    };
    let error = failure(room.spec(), &missing, "true").await;
    assert_eq!(error.step(), Some(Step::Bubblewrap), "{error}");

    let mut spec = room.spec();
    spec.temp.host = room.path("gone");
    let error = failure(spec, &tools(), "true").await;
    assert_eq!(error.step(), Some(Step::Mounts), "{error}");
    assert!(error.to_string().contains("gone"), "{error}");
}

//! What a process in a sandbox has of its own, and how much of everything: the real helper, the real kernel.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::Write as _;

use common::{Room, prepare, tools};
use srt_sandbox::{
    Access, Limits, Link, OwnFile, OwnPlaces, SandboxSpec, Step, TempFolder, UnixSockets,
};

const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"];

#[tokio::test]
async fn every_namespace_is_the_sandboxes_own() {
    let room = Room::new();
    let script = format!(
        "cd /proc/self/ns; for ns in {}; do readlink $ns; done",
        NAMESPACES.join(" ")
    );
    let (_, text) = room.run(&script).await;
    let inside: Vec<&str> = text.lines().collect();
    assert_eq!(inside.len(), NAMESPACES.len(), "{text}");
    for (name, inside) in NAMESPACES.iter().zip(inside) {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(inside.starts_with(&format!("{name}:")), "{inside}");
        assert_ne!(host.to_str().unwrap(), inside, "{name} is shared");
    }
}

/// A spec that shows nothing of the host but its programs, the project and one hidden file in it.
fn minimal(room: &mut Room) -> SandboxSpec {
    for name in [
        "home",
        "home/way",
        "home/way/deep",
        "home/way/deep/project",
        "own",
        "own/way",
        "own/way/deep",
        "own-tmp",
    ] {
        std::fs::create_dir(room.path(name)).unwrap();
    }
    for name in [
        "home/private",
        "home/way/private",
        "home/way/deep/project/file",
    ] {
        std::fs::write(room.path(name), "the host's").unwrap();
    }
    room.files = vec![("/".into(), Access::None)];
    room.rule("home/way/deep/project", Access::Read);
    // Links (lib64 -> usr/lib64) become links; where they are folders, they are shown.
    let mut links = Vec::new();
    for name in ["bin", "lib", "lib64", "usr"] {
        let path = std::path::Path::new("/").join(name);
        match std::fs::read_link(&path) {
            Ok(target) => links.push(Link { path, target }),
            Err(_) if path.is_dir() => room.files.push((path, Access::Read)),
            Err(_) => {}
        }
    }
    room.files.sort();
    let mut spec = room.spec();
    let own = |name: &str, inside: std::path::PathBuf| TempFolder {
        host: room.path(name),
        inside,
    };
    spec.own = OwnPlaces {
        folders: vec![own("own", room.path("home")), own("own-tmp", "/tmp".into())],
        links,
        files: vec![OwnFile {
            path: "/etc/passwd".into(),
            contents: b"me:x:1:1::/:/bin/sh\n".to_vec(),
        }],
    };
    spec
}

#[tokio::test]
async fn home_and_tmp_are_private_and_what_is_named_inside_lies_over_them() {
    let mut room = Room::new();
    let spec = minimal(&mut room);
    let ways: Vec<_> = spec.ways();
    assert_eq!(ways, [room.path("home/way"), room.path("home/way/deep")]);
    let home = room.path("home");
    let script = format!(
        "cd {home}; cat way/deep/project/file; echo; cat private way/private 2>/dev/null && echo read; \
         echo mine > new && cat new; mkdir -p .cache/x && echo cache; echo t > /tmp/t && ls /tmp; \
         mv way elsewhere 2>/dev/null && echo renamed; mv way/deep way/other 2>/dev/null && echo renamed; \
         rmdir way/deep 2>/dev/null && echo removed; \
         (echo x > way/deep/project/file) 2>/dev/null && echo overwritten; \
         cat /etc/passwd; ls /etc; ls / | tr '\\n' ' '; ls -d /sys /var /root /home/* 2>/dev/null; mkdir /new 2>/dev/null && echo made",
        home = home.display()
    );
    let (_, text) = room.run_spec(spec, &script).await;
    let mut lines = text.lines();
    let got: Vec<_> = lines.by_ref().take(8).collect();
    assert_eq!(
        got,
        [
            "the host's",
            "mine",
            "cache",
            "t",
            "me:x:1:1::/:/bin/sh",
            "hosts",
            "passwd",
            "resolv.conf"
        ],
        "{text}"
    );
    let root = lines.next().unwrap();
    for shown in ["bin", "dev", "etc", "proc", "run", "tmp", "usr"] {
        assert!(root.split(' ').any(|name| name == shown), "{root}");
    }
    assert!(!root.contains("boot"), "{root}");
    assert_eq!(lines.collect::<Vec<_>>(), [] as [&str; 0], "{text}");
    // What was written went to the private folder, and nothing to the host's home.
    let read = |name: &str| std::fs::read_to_string(room.path(name)).unwrap();
    assert_eq!(read("own/new"), "mine\n");
    assert_eq!(read("own-tmp/t"), "t\n");
    assert_eq!(read("home/way/deep/project/file"), "the host's");
    assert!(!room.path("home/new").exists());
}

/// A spec with limits.
fn limited(room: &Room, change: impl FnOnce(&mut Limits)) -> SandboxSpec {
    let mut spec = room.spec();
    change(&mut spec.limits);
    spec
}

#[tokio::test]
async fn no_more_processes_than_the_limit_and_exactly_as_many() {
    // Python counts for one; each thread of it counts as a process does.
    let script = r#"exec /usr/bin/python3 -c '
import os, time
started = 0
try:
    while started < 60:
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
        started += 1
except OSError as error:
    print(error.strerror, flush=True)
print(started, flush=True)
os._exit(0)'"#;
    let room = Room::new();
    let (_, bare) = room.run(script).await;
    assert_eq!(bare, "60\n", "without a limit");
    let spec = limited(&room, |limits| limits.processes = Some(7));
    // What else this user runs does not count: there is plenty.
    let mut others: Vec<_> = (0..10)
        .map(|_| {
            std::process::Command::new("sleep")
                .arg("30")
                .spawn()
                .unwrap()
        })
        .collect();
    let result = if nix::unistd::geteuid().is_root() {
        let error = room.start_spec(spec, script).await.unwrap_err();
        Err(error.to_string())
    } else {
        Ok(room.run_spec(spec, script).await.1)
    };
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    match result {
        Ok(text) => assert_eq!(text, "Resource temporarily unavailable\n6\n"),
        // RLIMIT_NPROC does not bind root, and there is no cgroup for it here.
        Err(error) => assert!(
            error.contains("runtime.maxProcesses cannot be enforced") && error.contains("hint: "),
            "{error}"
        ),
    }
}

#[tokio::test]
async fn a_file_grows_to_the_limit_and_not_beyond() {
    let room = Room::new();
    let script = "cd $TMPDIR/run/srt/tmp; head -c 300000 /dev/zero > big; echo $?; stat -c %s big";
    let (_, bare) = room.run(script).await;
    assert_eq!(bare, "0\n300000\n");
    let spec = limited(&room, |limits| limits.file_size = Some(100_000));
    let (exit, text) = room.run_spec(spec, script).await;
    assert_eq!(exit.signal, None, "the write fails, nobody is killed");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("File too large"), "{text}");
    assert_eq!(lines[1..], ["1", "100000"], "{text}");
    // Nor can it be raised again.
    let spec = limited(&room, |limits| limits.file_size = Some(100_000));
    let raise = "ulimit -f unlimited 2>/dev/null && echo raised; ulimit -f";
    let (_, text) = room.run_spec(spec, raise).await;
    assert!(!text.contains("raised"), "{text}");
}

#[tokio::test]
async fn a_limit_of_memory_without_a_cgroup_is_refused_by_name_or_told() {
    let room = Room::new();
    let ask = |best_effort| {
        limited(&room, |limits| {
            limits.memory = Some(64 << 20);
            limits.cpu_percent = Some(50);
            limits.best_effort = best_effort;
        })
    };
    let prepared = prepare(ask(true), &tools()).await.unwrap();
    if prepared.notes().is_empty() {
        // Here a cgroup is delegated to us: then the limits hold, and the tests of them are elsewhere.
        return;
    }
    let notes = prepared.notes().join("\n");
    for key in [
        "runtime.memoryMax is not enforced: ",
        "runtime.cpuQuota is not enforced: ",
    ] {
        assert!(notes.contains(key), "{notes}");
    }
    let error = prepare(ask(false), &tools()).await.unwrap_err();
    assert_eq!(error.step(), Some(Step::Limits));
    let error = error.to_string();
    for part in [
        "runtime.memoryMax cannot be enforced: ",
        "hint: ",
        "best-effort",
        "systemctl --user",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_pair_of_sockets_leads_to_no_socket_of_the_host() {
    let room = Room::new();
    let path = room.path("host.sock");
    let host = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    host.set_nonblocking(true).unwrap();
    let script = format!(
        r#"exec /usr/bin/python3 -c '
import socket
for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
    for act in ("send", "connect"):
        try:
            one, two = socket.socketpair(socket.AF_UNIX, kind)
            if act == "send":
                one.sendto(b"out", "{path}")
            else:
                one.connect("{path}")
                one.send(b"out")
            print("sent")
        except OSError as error:
            print(type(error).__name__)
one, two = socket.socketpair()
one.send(b"in")
print(two.recv(2).decode())
'"#,
        path = path.display()
    );
    let drain = || {
        let mut got = 0;
        while host.recv(&mut [0; 8]).is_ok() {
            got += 1;
        }
        got
    };
    let bare = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    let bare = String::from_utf8(bare.stdout).unwrap();
    assert!(bare.starts_with("sent\nsent\nsent\nsent\n"), "{bare}");
    assert_eq!(drain(), 4, "outside, datagrams arrive");
    let (_, text) = room.run(&script).await;
    // The others send to their other end, whatever address they name.
    assert!(
        text.starts_with(&"PermissionError\n".repeat(4)) && text.ends_with("\nin\n"),
        "{text}"
    );
    assert_eq!(drain(), 0);
}

#[tokio::test]
async fn user_namespaces_are_made_where_that_is_allowed_and_nothing_is_mounted_in_them() {
    let script = "for flags in -U -Ur -Upf -Uni '-Um --propagation unchanged'; do unshare $flags true 2>/dev/null && echo $flags; done; \
                  unshare -U --cgroup true 2>/dev/null && echo cgroup; unshare -UT true 2>/dev/null && echo time; \
                  unshare -Ur /usr/sbin/chroot / true 2>/dev/null && echo chroot; \
                  unshare -Urm --propagation unchanged sh -c 'mount -t tmpfs x /mnt || umount /proc || mount -o remount,rw /' 2>/dev/null && echo mounted; \
                  unshare -Urm --propagation unchanged sh -c 'touch /usr/x' 2>/dev/null && echo written; \
                  echo end";
    let room = Room::new();
    let (_, text) = room.run(script).await;
    assert_eq!(text, "end\n");
    let mut spec = room.spec();
    spec.nested_user_namespaces = true;
    let (_, text) = room.run_spec(spec, script).await;
    let mut expected = "-U\n-Ur\n-Upf\n-Uni\n-Um --propagation unchanged\nchroot\nend\n".to_owned();
    if nix::unistd::geteuid().is_root() {
        // Root may not map itself without a capability that it does not have here (user_namespaces(7), 5.12).
        expected = expected.replace("-Ur\n", "").replace("chroot\n", "");
    }
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_nested_user_namespace_is_no_way_around_the_limit_of_processes() {
    if nix::unistd::geteuid().is_root() {
        // For root the limit is refused without a cgroup, which another test shows.
        return;
    }
    let room = Room::new();
    let spec = || {
        let mut spec = limited(&room, |limits| limits.processes = Some(7));
        spec.nested_user_namespaces = true;
        spec
    };
    let count = r#"/usr/bin/python3 -c '
import os, time
started = 0
try:
    while started < 60:
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
        started += 1
except OSError:
    pass
print(started, flush=True)
os._exit(0)'"#;
    let (_, text) = room
        .run_spec(spec(), &format!("exec unshare -U {count}"))
        .await;
    assert_eq!(text, "6\n");
    let (_, text) = room
        .run_spec(spec(), &format!("exec unshare -Ur {count}"))
        .await;
    assert_eq!(text, "6\n", "as root of it");
}

#[tokio::test]
async fn listed_sockets_are_reached_and_no_others() {
    let room = Room::new();
    std::fs::create_dir(room.path("listed")).unwrap();
    let listen = |name: &str| {
        let path = room.path(name);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = (&stream).write_all(b"host");
            }
        });
    };
    listen("one.sock");
    listen("listed/two.sock");
    listen("other.sock");
    std::os::unix::fs::symlink("one.sock", room.path("alias")).unwrap();
    std::os::unix::fs::symlink("../other.sock", room.path("listed/trap")).unwrap();
    let script = format!(
        r#"cd {top}; exec /usr/bin/python3 -c '
import ctypes, os, socket, struct, threading
def attempt(name, address, kind=socket.SOCK_STREAM, family=socket.AF_UNIX):
    try:
        s = socket.socket(family, kind)
        s.settimeout(5)
        s.connect(address)
        print(name, s.recv(4).decode() if kind == socket.SOCK_STREAM else "connected", flush=True)
    except OSError as error:
        print(name, os.strerror(error.errno), flush=True)
attempt("absolute", "{top}/one.sock")
attempt("relative", "one.sock")
attempt("alias", "alias")
attempt("below", "listed/two.sock")
attempt("root", "/proc/self/root{top}/one.sock")
attempt("other", "{top}/other.sock")
attempt("dots", "listed/../other.sock")
attempt("trap", "listed/trap")
attempt("missing", "{top}/listed/none")
attempt("file", "/etc/passwd")
attempt("abstract", b"\0one")
attempt("datagram", "{top}/one.sock", socket.SOCK_DGRAM)
attempt("tcp", ("127.0.0.1", 1), family=socket.AF_INET)
attempt("udp", ("127.0.0.1", 9), socket.SOCK_DGRAM, socket.AF_INET)
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
def accept():
    c, _ = server.accept()
    c.send(b"mine")
threading.Thread(target=accept).start()
attempt("loopback", server.getsockname(), family=socket.AF_INET)
def netlink(name, padding, peer, groups, more=b""):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    address = struct.pack("=HHII", socket.AF_NETLINK, padding, peer, groups) + more
    failed = libc.connect(s.fileno(), address, len(address))
    print(name, os.strerror(ctypes.get_errno()) if failed else "kernel", flush=True)
libc = ctypes.CDLL(None, use_errno=True)
netlink("netlink", 0, 0, 0)
netlink("padding", 0xffff, 0, 0)
netlink("longer", 0, 0, 0, b"more")
netlink("peer", 0, 7, 0)
netlink("high", 0, 0x7000000, 0)
netlink("groups", 0, 0, 1)
s = socket.socket(socket.AF_UNIX)
s.bind(os.environ.get("TMPDIR", "/run/srt/tmp") + "/own" + str(os.getpid()))
s.listen()
print("listens")
'"#,
        top = room.path("").display().to_string().trim_end_matches('/')
    );
    let bare = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("TMPDIR", room.path("tmp"))
        .output()
        .unwrap();
    let bare = String::from_utf8(bare.stdout).unwrap();
    for works in [
        "absolute host",
        "other host",
        "dots host",
        "trap host",
        "alias host",
    ] {
        assert!(
            bare.lines().any(|line| line == works),
            "bare: {works}: {bare}"
        );
    }
    let mut spec = room.spec();
    spec.unix_sockets = UnixSockets::Listed(vec![room.path("one.sock"), room.path("listed")]);
    let (_, text) = room.run_spec(spec, &script).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "absolute host",
            "relative host",
            "alias host",
            "below host",
            "root host",
            "other Permission denied",
            "dots Permission denied",
            "trap Permission denied",
            "missing Permission denied",
            "file Permission denied",
            "abstract Permission denied",
            "datagram Operation not permitted",
            "tcp Connection refused",
            "udp connected",
            "loopback mine",
            "netlink kernel",
            "padding kernel",
            "longer kernel",
            "peer Operation not permitted",
            "high Operation not permitted",
            "groups Operation not permitted",
            "listens",
        ],
        "{text}"
    );
    // Without a list there is no Unix socket at all.
    let (_, text) = room.run(&script).await;
    assert!(
        !text.contains("host") && text.contains("absolute Operation not permitted"),
        "{text}"
    );
}

/// What was looked at is what is connected, however fast a server swaps the descriptor and the address meanwhile.
#[tokio::test]
async fn a_swapped_descriptor_or_address_reaches_nothing_else() {
    let room = Room::new();
    let secret = std::os::unix::net::UnixListener::bind(room.path("secret.sock")).unwrap();
    secret.set_nonblocking(true).unwrap();
    let open = std::os::unix::net::UnixListener::bind(room.path("open.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in open.incoming() {
            drop(stream);
        }
    });
    let script = format!(
        r#"exec /usr/bin/python3 -c '
import ctypes, os, socket, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def address(path):
    return (socket.AF_UNIX).to_bytes(2, "little") + path.encode() + bytes(1)
good, bad = address("{top}/open.sock"), address("{top}/secret.sock")
size = max(len(good), len(bad))
good, bad = good.ljust(size, bytes(1)), bad.ljust(size, bytes(1))
memory = ctypes.create_string_buffer(size)
done = False
def swap():
    spare_unix = socket.socket(socket.AF_UNIX)
    spare_inet = socket.socket()
    while not done:
        ctypes.memmove(memory, good, size)
        os.dup2(spare_inet.fileno(), 50)
        ctypes.memmove(memory, bad, size)
        os.dup2(spare_unix.fileno(), 50)
threading.Thread(target=swap).start()
ends, until = 0, time.time() + 2
reached = 0
while time.time() < until:
    s = socket.socket(socket.AF_UNIX)
    os.dup2(s.fileno(), 50)
    if libc.connect(50, memory, size) == 0:
        reached += 1
    ends += 1
done = True
print(ends > 500, reached > 0, flush=True)
'"#,
        top = room.path("").display().to_string().trim_end_matches('/')
    );
    let mut spec = room.spec();
    spec.unix_sockets = UnixSockets::Listed(vec![room.path("open.sock")]);
    let (_, text) = room.run_spec(spec, &script).await;
    assert_eq!(
        text, "True True\n",
        "it was tried often, and the listed one is reached"
    );
    assert!(secret.accept().is_err(), "the other one never");
}

/// Lets what is shown be read and nothing of the host be written.
#[derive(Debug)]
struct ReadOnly;

impl srt_sandbox::Judge for ReadOnly {
    fn is_opened(&self, _: &std::path::Path) -> bool {
        false
    }
    fn access(&self, _: &std::path::Path) -> Access {
        Access::Read
    }
    fn may_be_file(&self, _: &std::path::Path) -> bool {
        true
    }
    fn may_move(&self, _: &std::path::Path, _: &std::path::Path, _: bool) -> bool {
        true
    }
}

/// A read-only mount does not stop writing into a FIFO, and Landlock lets what lies below the private home be written:
/// the project is mounted there.
#[tokio::test]
async fn a_fifo_of_the_host_inside_the_private_home_is_not_written() {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut room = Room::new();
    let mut spec = minimal(&mut room);
    let fifo = room.path("home/way/deep/project/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut host = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(&fifo)
        .unwrap();
    let script = format!(
        "cd {}; echo out > way/deep/project/fifo; \
         mkfifo mine && (cat mine &) && sleep 0.2 && echo through > mine && sleep 0.2; \
         python3 -c 'import tempfile; f = tempfile.NamedTemporaryFile(); f.write(b\"x\"); print(\"temporary\")'; \
         echo x > private && cat private; \
         end=$(($(date +%s) + 1)); ln -s mine swap; \
         (while [ $(date +%s) -le $end ]; do ln -sfn $PWD/way/deep/project/fifo swap; ln -sfn new swap; done) & \
         while [ $(date +%s) -le $end ]; do echo raced >> swap; done 2>/dev/null; wait; echo end",
        room.path("home").display()
    );
    let judged = srt_sandbox::Judged {
        judge: std::sync::Arc::new(ReadOnly),
        unwritable: Default::default(),
        unreadable: Default::default(),
        reads: false,
    };
    spec.judged = Some(judged);
    let (_, text) = room.run_spec(spec, &script).await;
    for works in ["through", "temporary", "x", "end"] {
        assert!(text.lines().any(|line| line == works), "{works}: {text}");
    }
    let mut got = [0; 64];
    let got = match host.read(&mut got) {
        Ok(length) => String::from_utf8_lossy(&got[..length]).into_owned(),
        Err(error) => error.kind().to_string(),
    };
    assert_eq!(got, std::io::ErrorKind::WouldBlock.to_string(), "{text}");
}

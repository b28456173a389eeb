//! What is decided when a file is used: by every name, for what appears later, and nothing else.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::PathBuf;

use common::{Room, command, observed, pipes, prepare, read_all, run_observed, tools};
use srt_sandbox::{Access, Command, SandboxSpec, Violation};

/// Lets everything in one folder be written but what is called `fixed`, and hides what is called `hidden`.
#[derive(Debug)]
struct Named {
    region: PathBuf,
}

impl srt_sandbox::Judge for Named {
    fn access(&self, path: &std::path::Path) -> Access {
        let has = |name: &str| path.iter().any(|part| part == name);
        if has("hidden") {
            Access::None
        } else if path.starts_with(&self.region) && !has("fixed") {
            Access::ReadWrite
        } else {
            Access::Read
        }
    }
    fn may_be_file(&self, path: &std::path::Path) -> bool {
        path.file_name().is_none_or(|name| name != "way")
    }
    fn is_opened(&self, path: &std::path::Path) -> bool {
        path == self.region
    }
    fn may_move(&self, from: &std::path::Path, to: &std::path::Path, is_folder: bool) -> bool {
        !is_folder || self.may_be_file(from) && self.may_be_file(to)
    }
}

fn judged(room: &Room, region: &str, reads: bool) -> SandboxSpec {
    let region = room.path(region);
    SandboxSpec {
        judged: Some(srt_sandbox::Judged {
            judge: std::sync::Arc::new(Named { region }),
            unwritable: Default::default(),
            unreadable: Default::default(),
            reads,
        }),
        ..room.spec()
    }
}

/// Each line in a subshell of its own; a line for each that worked.
fn attempts(lines: &[&str]) -> String {
    let mut script = String::new();
    for line in lines {
        script.push_str(&format!("( {line} ) >/dev/null 2>&1 && echo '{line}'\n"));
    }
    script
}

#[tokio::test]
async fn what_the_judge_allows_is_done_and_nothing_else() {
    for reads in [false, true] {
        let room = Room::new();
        std::fs::create_dir(room.path("w")).unwrap();
        std::fs::create_dir(room.path("w/sub")).unwrap();
        std::fs::write(room.path("outside"), "old").unwrap();
        std::fs::write(room.path("w/fixed"), "old").unwrap();
        std::fs::write(room.path("w/a"), "old").unwrap();
        // As `.git` is in a worktree: a file where a rule leads on.
        std::fs::create_dir(room.path("w/tree")).unwrap();
        std::fs::write(room.path("w/tree/way"), "old").unwrap();
        std::os::unix::fs::symlink("../outside", room.path("w/out")).unwrap();
        std::os::unix::fs::symlink("fixed", room.path("w/alias")).unwrap();
        std::os::unix::fs::symlink("sub/made-by-link", room.path("w/dangling")).unwrap();
        let works = [
            "echo new > w/a",
            "echo more >> w/a",
            "test -w w/a",
            "cd w/sub && echo x > ../b",
            "echo x > w/dangling && test -f w/sub/made-by-link",
            "mkdir w/d",
            "mkdir -p w/way/deep",
            "touch w/d/t",
            "chmod 600 w/d/t",
            "touch -d 2020-01-01 w/d/t",
            "mv w/d/t w/d/u",
            "ln w/d/u w/d/v",
            "ln -s u w/d/l",
            "rm w/d/l",
            "mv w/d w/e",
            "truncate -s 3 w/e/u",
            "mkfifo w/e/pipe",
            "cp w/a w/e/copy",
            "cp -a w/e w/f",
            "exec 5<>w/e/copy; echo hi >&5",
            "exec 5<w/e/copy; echo hi > /proc/self/fd/5",
            "test \"$(cat w/e/copy)\" = hi",
            "rm -r w/e",
            "sed -i s/new/newer/ w/a",
            "python3 -c \"import os,tempfile; tempfile.TemporaryFile(dir=\\\"w\\\").write(b\\\"x\\\")\"",
            "python3 -c \"import os; fd=os.open(\\\"w/a\\\",os.O_RDONLY); os.fchmod(fd,0o640); os.utime(fd)\"",
            "echo x > /run/srt/tmp/t",
            "cat < /dev/null > /dev/null",
            "cat w/a | cat /dev/stdin",
            "echo x > /dev/stdout",
            "echo x | tee /dev/stderr | cat",
            "echo x > /proc/thread-self/cwd/w/by-proc && rm w/by-proc",
            "cat /proc/self/status",
        ];
        let refused = [
            "echo x > outside",
            "echo x > w/out",
            "echo x > w/../outside",
            "echo x > w/fixed",
            "echo x > w/alias",
            "echo x > /proc/self/root$PWD/w/fixed",
            "echo x > /proc/self/cwd/w/fixed",
            "cd w && echo x > fixed",
            "exec 5<w/fixed; echo x > /proc/self/fd/5",
            "exec 5<w; echo x > /proc/self/fd/5/fixed",
            "rm w/fixed",
            "mv w/fixed w/moved",
            "mv w/a w/fixed",
            "ln w/fixed w/again",
            "ln outside w/again",
            "echo x > w/tree/way",
            "ln w/tree/way w/again",
            "chmod 777 w/fixed",
            "touch w/fixed",
            "truncate -s 0 w/fixed",
            "test -w w/fixed",
            "mkdir w/sub/fixed",
            "echo x > w/sub/fixed",
            "ln -s a w/sub/fixed",
            "echo x > w/sub/way",
            "ln -s . w/sub/way",
            "mkdir w/sub/x && mv w/sub/x w/sub/way",
            "mv w/way w/elsewhere",
            "python3 -c \"import os; fd=os.open(\\\"w/fixed\\\",os.O_RDONLY); os.fchmod(fd,0o777)\"",
        ];
        let script = attempts(&[&works[..], &refused[..]].concat());
        let (text, _) = observed(&room, judged(&room, "w", reads), &script).await;
        assert_eq!(text.lines().collect::<Vec<_>>(), works, "{reads}");
        let read = |name: &str| std::fs::read_to_string(room.path(name)).unwrap();
        assert_eq!(read("outside"), "old");
        assert_eq!(read("w/fixed"), "old");
    }
}

/// Programs that make a folder try the last part first, and those before it when that says ENOENT (Node's and Go's do).
/// Where two do so at once, each must hear what is true, and never that the file system is read-only.
#[tokio::test]
async fn two_that_make_the_same_folders_hear_nothing_of_a_read_only_file_system() {
    const SCRIPT: &str = r#"
import errno, os, sys
def make(path):
    for _ in range(100):
        try:
            return os.mkdir(path)
        except FileExistsError:
            return
        except FileNotFoundError:
            make(os.path.dirname(path))
try:
    if os.fork() == 0:
        os.setsid()
    for n in range(400):
        for step in range(1, 4):
            make(f"w/{n}/" + "/".join("abc"[:step]))
    print("made", flush=True)
except OSError as error:
    print(errno.errorcode[error.errno], error.filename, flush=True)
os._exit(0)
"#;
    let room = Room::new();
    std::fs::create_dir(room.path("w")).unwrap();
    std::fs::write(room.path("make.py"), SCRIPT).unwrap();
    // The first of a sandbox's processes takes the others along: it ends last.
    let script = "python3 make.py | cat";
    let (text, _) = observed(&room, judged(&room, "w", false), script).await;
    assert_eq!(text, "made\nmade\n");
}

#[tokio::test]
async fn what_the_judge_hides_is_hidden_by_every_name() {
    let room = Room::new();
    std::fs::create_dir_all(room.path("w/sub")).unwrap();
    for name in ["w/hidden", "w/sub/plain", "w/linked"] {
        std::fs::write(room.path(name), "contents").unwrap();
    }
    std::fs::hard_link(room.path("w/linked"), room.path("w/sub/other-name")).unwrap();
    std::os::unix::fs::symlink("../hidden", room.path("w/sub/alias")).unwrap();
    let works = [
        "cat w/sub/plain",
        "cat /proc/self/cwd/w/sub/../sub/plain",
        "ls w",
        "stat w/hidden",
        "cat /etc/passwd",
        "cat /proc/self/maps",
        "sleep 1 & cat /proc/$!/maps",
        "echo contents > /run/srt/tmp/x; cat /run/srt/tmp/x",
        "mkfifo /run/srt/tmp/p; (echo x > /run/srt/tmp/p) & cat /run/srt/tmp/p",
        "python3 -c \"import json, sqlite3, subprocess\"",
    ];
    let refused = [
        "cat w/hidden",
        "cat w/sub/alias",
        "cat w/./sub/../hidden",
        "cd w && cat hidden",
        "cat /proc/self/root$PWD/w/hidden",
        "cat /proc/self/cwd/w/hidden",
        "exec 5<w; cat /proc/self/fd/5/hidden",
        "cat w/linked",
        "cat w/sub/other-name",
        "cp w/hidden w/copy",
        "ln w/hidden w/again",
        "mkdir w/new; ln -s ../hidden w/new/link; cat w/new/link",
        "cat < w/hidden",
        "cat /proc/1/environ",
        "cat /proc/1/maps",
        "ls /proc/1/fd",
        "mv w/hidden w/moved",
    ];
    let all = attempts(&[&works[..], &refused[..]].concat());
    // Outside all of them work, but for what is another user's there.
    let bare = std::process::Command::new("sh")
        .args(["-c", &all.replace("/run/srt/tmp", "tmp")])
        .current_dir(room.path(""))
        .output()
        .unwrap();
    let bare = String::from_utf8(bare.stdout).unwrap();
    for attack in refused.iter().filter(|line| !line.contains("/proc/1/")) {
        assert!(bare.lines().any(|line| line == *attack), "bare: {attack}");
    }
    for name in ["w/hidden", "w/copy", "w/moved", "w/again", "w/new/link"] {
        let _ = std::fs::remove_file(room.path(name));
    }
    let _ = std::fs::remove_dir(room.path("w/new"));
    let mut spec = judged(&room, "w", true);
    let linked = std::fs::metadata(room.path("w/linked")).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    let judged = spec.judged.as_mut().unwrap();
    judged.unreadable.insert((linked.dev(), linked.ino()));
    // It comes only when the sandbox stands: no mount could have hidden it.
    let prepared = prepare(spec, &tools()).await.unwrap();
    std::fs::write(room.path("w/hidden"), "contents").unwrap();
    let (text, told) = run_observed(&room, prepared, &all).await;
    assert_eq!(text.lines().collect::<Vec<_>>(), works);
    let hidden = |violation: &&Violation| violation.path == room.path("w/hidden");
    assert!(
        told.iter()
            .any(|one| hidden(&one) && !one.write && one.program == "cat")
    );
}

#[tokio::test]
#[ignore = "a measurement, to be run by name"]
async fn what_a_call_costs() {
    let script = "import os,time,sys\n\
        def t(n, f):\n\
        \x20 best=9e9\n\
        \x20 for _ in range(5):\n\
        \x20  a=time.perf_counter()\n\
        \x20  for i in range(n): f(i)\n\
        \x20  best=min(best,(time.perf_counter()-a)/n*1e6)\n\
        \x20 return best\n\
        def opened(flags, name):\n\
        \x20 return lambda i: os.close(os.open(name, flags))\n\
        def made(i):\n\
        \x20 os.close(os.open('w/n%d'%i, os.O_WRONLY|os.O_CREAT)); os.unlink('w/n%d'%i)\n\
        def tried(i):\n\
        \x20 try: os.open('nothing', os.O_RDONLY)\n\
        \x20 except OSError: pass\n\
        def ran(words):\n\
        \x20 import subprocess\n\
        \x20 all=[]\n\
        \x20 for _ in range(31):\n\
        \x20  a=time.perf_counter(); subprocess.run(words, stdout=subprocess.DEVNULL); all.append((time.perf_counter()-a)*1e3)\n\
        \x20 return sorted(all)[15]\n\
        print('node %.1f ms python %.1f ms' % (ran(['node','-e','0']), ran(['python3','-c','import json'])), end=' ')\n\
        print('read %.1f missing %.1f write %.1f create+unlink %.1f' % (t(2000,opened(os.O_RDONLY,'plain')), t(2000,tried), t(2000,opened(os.O_WRONLY,'w/a')), t(2000,made)))\n";
    for (name, observe, reads) in [
        ("bare", None, false),
        ("nothing stops", Some(false), false),
        ("observed", Some(true), false),
        ("judged writes", Some(false), false),
        ("judged writes, observed", Some(true), false),
        ("judged reads", Some(true), true),
    ] {
        let mut room = Room::new();
        std::fs::create_dir(room.path("w")).unwrap();
        std::fs::write(room.path("w/a"), "").unwrap();
        std::fs::write(room.path("plain"), "").unwrap();
        let Some(observe) = observe else {
            let output = std::process::Command::new("python3")
                .args(["-c", script])
                .current_dir(room.path(""))
                .output()
                .unwrap();
            println!("{name}: {}", String::from_utf8_lossy(&output.stdout).trim());
            continue;
        };
        let mut spec = if name.starts_with("judged") {
            judged(&room, "w", reads)
        } else {
            room.rule("w", Access::ReadWrite);
            room.spec()
        };
        spec.observe = observe;
        let prepared = prepare(spec, &tools()).await.unwrap();
        let (stdio, input, output) = pipes();
        let command = Command {
            cwd: room.path(""),
            ..command(&["python3", "-c", script])
        };
        let mut sandbox = prepared.start(command, stdio, |_| {}).await.unwrap();
        drop(input);
        println!("{name}: {}", read_all(output).await.trim());
        sandbox.wait().await;
    }
}

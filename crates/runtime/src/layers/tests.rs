//! Layers as overlayfs leaves them, made by hand: what it puts in the place of what was deleted takes no privileges.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
use srt_policy::{Facts, FilesystemPolicy, Source, compile};

use super::*;

/// A folder and a layer over it.
struct Bench {
    _top: tempfile::TempDir,
    layers: Layers,
    folder: PathBuf,
    upper: PathBuf,
    /// As long as the launch lasts.
    layer: Option<Layer>,
}

impl Bench {
    fn new(host: &[(&str, &str)]) -> Self {
        let top = tempfile::tempdir().unwrap();
        let real = top.path().canonicalize().unwrap();
        let folder = real.join("p");
        fs::create_dir(&folder).unwrap();
        for (path, text) in host {
            write(&folder.join(path), text);
        }
        let layers = Layers::new(real.join("layers")).unwrap();
        let layer = layers.claim("s", &folder, None, &folder).unwrap();
        Self {
            upper: layer.overlay().upper,
            layer: Some(layer),
            _top: top,
            layers,
            folder,
        }
    }

    /// A name that the server deleted.
    fn whiteout(&self, path: &str) {
        let path = self.upper.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }

    /// A folder that the server made, in the place of whatever was there.
    fn opaque(&self, path: &str) {
        let path = self.upper.join(path);
        fs::create_dir_all(&path).unwrap();
        setxattr(&path, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    }

    fn put(&self, path: &str, text: &str) {
        write(&self.upper.join(path), text);
    }

    fn info(&self) -> LayerInfo {
        let mut infos = self.layers.of("s").unwrap();
        assert_eq!(infos.len(), 1);
        infos.remove(0)
    }

    fn changes(&mut self) -> Vec<String> {
        self.layer = None;
        let mut lines = Vec::new();
        if self.layers.of("s").unwrap().is_empty() {
            return lines;
        }
        let mut sink = |change: Change, _| {
            let what = match change.what {
                What::File => format!(" {}", change.size),
                What::Folder => "/".to_owned(),
                What::Link { target, .. } => format!(" -> {}", target.display()),
                What::Special(kind) => format!(" {kind}"),
            };
            let conflict = change.conflict.map_or(String::new(), |_| " !".to_owned());
            let path = change.path.display();
            lines.push(format!("{} {path}{what}{conflict}", change.kind.word()));
            Ok(())
        };
        self.layers
            .changes(&self.info(), &policy("{}"), &[], false, &mut sink)
            .unwrap();
        lines
    }

    /// Applies everything, `between` two paths something happens, and gives what was refused.
    fn apply(&mut self, order: &Settlement, mut between: impl FnMut(&Path)) -> Vec<String> {
        self.layer = None;
        let mut refused = Vec::new();
        let mut sink = |change: &Change, outcome: &Outcome| {
            if *outcome != Outcome::Done {
                refused.push(format!("{}: {outcome:?}", change.path.display()));
            }
            between(&change.path);
            Ok(())
        };
        self.layers
            .apply("s", &self.info(), &policy("{}"), order, &mut sink)
            .unwrap();
        refused
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn policy(document: &str) -> FilesystemPolicy {
    let facts = Facts {
        home: "/nobody".into(),
        cwd: "/nobody/p".into(),
        protected: vec![],
        program: vec![],
        macos: false,
    };
    let source = Source {
        path: "/s.json".into(),
        text: document.into(),
    };
    compile(Some(&source), &facts).unwrap().policy.filesystem
}

/// What came into the layer came later than what the host has: it is noted by ctime, which has ticks.
fn tick() {
    std::thread::sleep(std::time::Duration::from_millis(30));
}

#[test]
fn a_layer_is_told_by_what_is_different() {
    let mut bench = Bench::new(&[
        ("same", "same"),
        ("longer", "a"),
        ("same-length", "aaaa"),
        ("mode", "m"),
        ("gone", "12345"),
        ("whole/a", "1"),
        ("whole/b/c", "22"),
        ("anew/kept", "k"),
        ("anew/lost", "l"),
        ("anew/sub/lost", "l"),
        ("file-to-folder", "f"),
        ("folder-to-file/x", "x"),
        ("link-to-file", "t"),
        ("merged/x", "x"),
    ]);
    tick();
    bench.put("same", "same");
    bench.put("longer", "ab");
    bench.put("same-length", "aaab");
    bench.put("mode", "m");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.upper.join("mode"), executable).unwrap();
    bench.whiteout("gone");
    bench.whiteout("never-there");
    bench.whiteout("whole");
    bench.opaque("anew");
    bench.put("anew/kept", "k");
    bench.put("anew/sub/new", "n");
    bench.opaque("file-to-folder");
    bench.put("file-to-folder/y", "y");
    bench.put("folder-to-file", "file");
    symlink("same", bench.upper.join("link-to-file")).unwrap();
    bench.put("merged/new", "new");
    bench.opaque("new/deep");
    assert_eq!(
        bench.changes(),
        [
            "added anew/sub/new 1",
            "deleted anew/sub/lost 1",
            "deleted anew/lost 1",
            "changed file-to-folder/",
            "added file-to-folder/y 1",
            "changed folder-to-file 4",
            "deleted gone 5",
            "changed link-to-file -> same",
            "changed longer 2",
            "added merged/new 3",
            "changed mode 1",
            "added new/",
            "added new/deep/",
            "changed same-length 4",
            "deleted whole/",
        ]
    );
    let refused = bench.apply(&Settlement::default(), |_| {});
    assert_eq!(refused, [] as [&str; 0]);
    let read = |path: &str| fs::read_to_string(bench.folder.join(path)).unwrap();
    assert_eq!(read("longer") + &read("same-length"), "abaaab");
    assert_eq!(read("file-to-folder/y") + &read("folder-to-file"), "yfile");
    assert_eq!(read("anew/kept") + &read("anew/sub/new"), "kn");
    assert_eq!(read("link-to-file"), "same");
    for gone in ["gone", "whole", "anew/lost", "anew/sub/lost"] {
        assert!(!bench.folder.join(gone).exists(), "{gone}");
    }
    let mode = fs::metadata(bench.folder.join("mode")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o755);
    assert_eq!(bench.layers.of("s").unwrap(), [], "nothing is left of it");
}

#[test]
fn what_happens_on_the_host_during_an_apply_is_neither_lost_nor_followed() {
    let outside = tempfile::tempdir().unwrap();
    write(&outside.path().join("f"), "outside");
    let mut bench = Bench::new(&[
        ("a", "a"),
        ("b", "b"),
        ("c", "c"),
        ("dir/f", "f"),
        ("e/x", "x"),
    ]);
    tick();
    for path in ["a", "b", "c", "dir/f", "n"] {
        bench.put(path, "the server's");
    }
    bench.whiteout("e");
    let (folder, target) = (bench.folder.clone(), outside.path().to_owned());
    // Noted before anything changes.
    assert_eq!(bench.changes().len(), 6);
    let refused = bench.apply(&Settlement::default(), |path| {
        if path == Path::new("a") {
            write(&folder.join("b"), "changed");
            fs::remove_file(folder.join("c")).unwrap();
            fs::rename(folder.join("dir"), folder.join("moved")).unwrap();
            symlink(&target, folder.join("dir")).unwrap();
            write(&folder.join("e/new"), "in a folder that goes");
            write(&folder.join("n"), "the host's own");
        }
    });
    let refused = refused.join("\n");
    for path in [
        "b: Conflict",
        "c: Conflict",
        "dir",
        "e: Conflict",
        "n: Conflict",
    ] {
        assert!(refused.contains(path), "{path}: {refused}");
    }
    let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
    assert_eq!(read("a"), "the server's");
    assert_eq!(read("b"), "changed");
    assert_eq!(read("e/new"), "in a folder that goes");
    assert_eq!(read("n"), "the host's own");
    assert_eq!(fs::read_to_string(target.join("f")).unwrap(), "outside");
    let left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| name_of(&entry.unwrap().path()))
        .filter(|name| name.starts_with(".srt"))
        .collect();
    assert_eq!(left, [] as [&str; 0], "nothing is left under way");
}

#[test]
fn launches_at_one_time_have_layers_of_their_own_and_keep_them() {
    let mut bench = Bench::new(&[]);
    let claim = |bench: &Bench| bench.layers.claim("s", &bench.folder, None, &bench.folder);
    let second = claim(&bench).unwrap();
    assert_ne!(second.overlay(), bench.layer.as_ref().unwrap().overlay());
    bench.put("one", "1");
    write(&second.overlay().upper.join("two"), "2");
    let of = |bench: &Bench| {
        let infos = bench.layers.of("s").unwrap();
        infos
            .iter()
            .map(|info| (info.number, info.in_use))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&bench), [(1, true), (2, true)]);
    let upper = second.overlay().upper;
    bench.layer = None;
    drop(second);
    assert_eq!(of(&bench), [(1, false), (2, false)]);
    // The same again, the first first; another manager finds them, too.
    let again = Layers::new(bench.layers.top().to_owned()).unwrap();
    let claimed = again
        .claim("s", &bench.folder, None, &bench.folder)
        .unwrap();
    assert_eq!(claimed.overlay().upper, bench.upper);
    let other = again
        .claim("s", &bench.folder, None, &bench.folder)
        .unwrap();
    assert_eq!(other.overlay().upper, upper);
    // A layer with nothing in it is not kept; its number is free again.
    let third = again
        .claim("s", &bench.folder, None, &bench.folder)
        .unwrap();
    assert_eq!(third.record.number, 3);
    drop(third);
    assert_eq!(again.of("s").unwrap().len(), 2);
    // Nobody begins on what is being settled.
    drop((claimed, other));
    let info = &again.of("s").unwrap()[0];
    let held = again.hold("s", info, false, false).unwrap();
    let busy = again.claim("s", &bench.folder, None, &bench.folder);
    assert!(matches!(busy, Err(LayerError::Busy { .. })), "{busy:?}");
    drop(held);
    assert_eq!(again.discard("s", info, &[]).unwrap(), 1);
    assert_eq!(again.of("s").unwrap().len(), 1);
    assert_eq!(again.servers().unwrap(), ["s"]);
}

#[test]
fn a_layer_on_its_way_out_when_the_daemon_died_goes_with_the_next() {
    let bench = Bench::new(&[]);
    bench.put("deep/x", "x");
    let home = bench.upper.parent().unwrap().to_owned();
    let gone = home.with_file_name(".gone-1");
    fs::rename(&home, &gone).unwrap();
    assert_eq!(bench.layers.of("s").unwrap(), []);
    Layers::new(bench.layers.top().to_owned()).unwrap();
    assert!(!gone.exists());
}

#[test]
fn a_full_layer_is_measured_by_what_it_takes() {
    let bench = Bench::new(&[]);
    let sparse = fs::File::create(bench.upper.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    bench.put("dense", &"x".repeat(100_000));
    for empty in 0..100 {
        bench.put(&format!("many/{empty}"), "");
    }
    let amount = bench.layers.amount(&bench.info()).unwrap();
    assert_eq!(amount.entries, 103);
    let least = 100_000 + 103 * 1024;
    assert!(
        (least..least + 100_000).contains(&amount.bytes),
        "{amount:?}"
    );
}

#[test]
fn a_diff_shows_text_and_says_what_it_cannot_show() {
    let mut bench = Bench::new(&[("text", "a\nb\n"), ("binary", "a"), ("gone", "x\n")]);
    tick();
    bench.put("text", "a\nc\n");
    bench.put("binary", "a\0");
    bench.put("long", &"l\n".repeat(300_000));
    bench.whiteout("gone");
    symlink("/", bench.upper.join("link")).unwrap();
    bench.layer = None;
    let mut shown = Vec::new();
    let mut sink = |change: Change, diff: Option<Diff>| {
        shown.push((change.path.display().to_string(), diff.unwrap()));
        Ok(())
    };
    bench
        .layers
        .changes(&bench.info(), &policy("{}"), &[], true, &mut sink)
        .unwrap();
    let text = |text: &str| Diff::Text(text.to_owned());
    assert_eq!(
        shown,
        [
            ("binary".into(), Diff::Binary),
            (
                "gone".into(),
                text("--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n")
            ),
            ("link".into(), Diff::None),
            ("long".into(), Diff::TooLong),
            (
                "text".into(),
                text("--- a/text\n+++ b/text\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n")
            ),
        ]
    );
}

//! A spec's files as arguments of bubblewrap (bwrap(1)). Pure: what is a folder is an argument.

use std::path::{Path, PathBuf};

use super::handshake::Argument;
use crate::spec::NAME_FILES;
use crate::{Access, LaunchError, OwnFile, PathRule, SandboxSpec, Step};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    /// A file that we may not read ourselves.
    Closed,
    Absent,
}

/// How names are found inside (glibc, musl and c-ares agree on the two files): only through the sandbox's loopback,
/// where DNS is answered by us. The host's own table would turn a name into an address before we learn the name.
/// Where the host's `/etc` is shown, the files may be links (systemd-resolved's into `/run`, which a sandbox does not
/// see), and it is what they lead to that is replaced.
pub(crate) fn name_files(spec: &SandboxSpec) -> Vec<OwnFile> {
    let etc_is_shown = spec.mounted(Path::new("/etc")) != Access::None;
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    let resolver =
        "# srt: names are answered by the policy of this launch\nnameserver 127.0.0.1\n".to_owned();
    let hosts = format!(
        "# srt: other names are answered by the policy of this launch\n127.0.0.1 localhost {host}\n::1 localhost ip6-localhost ip6-loopback\n"
    );
    NAME_FILES
        .into_iter()
        .zip([resolver, hosts])
        .filter_map(|(path, text)| {
            Some(OwnFile {
                path: match etc_is_shown {
                    true => std::fs::canonicalize(path).ok()?,
                    false => path.into(),
                },
                contents: text.into_bytes(),
            })
        })
        .collect()
}

/// The arguments of bubblewrap, but for the command.
///
/// `kind` tells what stands at a path on the host; `system` are the entries of `/proc` that could be written.
pub(crate) fn arguments(
    spec: &SandboxSpec,
    kind: impl Fn(&Path) -> Kind,
    replaced: &[OwnFile],
    system: &[PathBuf],
) -> Result<Vec<Argument>, LaunchError> {
    let mut plan = Plan::default();
    plan.words(&[
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
    ]);
    plan.words(&["--unshare-cgroup-try", "--die-with-parent", "--new-session"]);
    // For a caller that is root bubblewrap would keep all capabilities of the namespace.
    plan.words(&["--cap-drop", "ALL"]);
    let root = spec.files.iter().find(|rule| rule.path == Path::new("/"));
    let mut hidden_folders = Vec::new();
    match root.map_or(Access::Read, |rule| mounted(spec, rule)) {
        Access::Read => plan.words(&["--ro-bind", "/", "/"]),
        Access::ReadWrite => plan.words(&["--bind", "/", "/"]),
        // bubblewrap begins with an empty root.
        Access::None => hidden_folders.push("/".to_owned()),
    }
    plan.words(&["--dev", "/dev", "--proc", "/proc"]);
    for entry in system {
        let entry = text(entry)?;
        plan.words(&["--ro-bind", entry, entry]);
    }

    // The user's keys are listed there, though no call may use them (keyrings(7)), and the files that all processes of
    // the machine have locked.
    for entry in ["/proc/keys", "/proc/key-users", "/proc/locks"] {
        if matches!(kind(Path::new(entry)), Kind::File | Kind::Closed) {
            plan.hide_file(entry);
        }
    }

    let mut private = Private::new(spec);
    for (index, rule) in spec.files.iter().enumerate() {
        let path = text(&rule.path)?;
        private.mount_up_to(Some(&rule.path), &mut plan)?;
        if path == "/" || rule.access != Access::None && is_own(&rule.path) {
            continue;
        }
        // An overlay takes its place.
        if spec
            .overlays
            .iter()
            .any(|overlay| overlay.path == rule.path)
        {
            continue;
        }
        let access = mounted(spec, rule);
        let around = spec.files[..index]
            .iter()
            .rev()
            .find(|above| rule.path.starts_with(&above.path));
        let inherited = around.map_or(Access::Read, |above| mounted(spec, above));
        // Around these an overlay is seen.
        let parent = rule.path.parent().unwrap_or(&rule.path);
        let in_overlay = spec.overlay_of(parent).is_some();
        // Around these stands the sandbox's own, whatever the rules say of the host's.
        let in_own = rule.path.starts_with("/dev") || rule.path.starts_with("/proc");
        if inherited == access && !in_own && !in_overlay {
            continue;
        }
        match (access, kind(&rule.path)) {
            // It was there a moment ago. When it comes back it is judged.
            (Access::None, Kind::Absent) if spec.judged.as_ref().is_some_and(|it| it.reads) => {}
            // Without it a rule would be lost.
            (_, Kind::Absent) => {
                return Err(LaunchError::Failed {
                    step: Step::Mounts,
                    errno: libc::ENOENT,
                    message: format!("{path} vanished while the sandbox was being built"),
                });
            }
            (Access::Read, Kind::File) if rule.path.starts_with("/etc") && is_bare(spec, path) => {
                // A copy costs a tenth of a mount, and dozens of these small files are shown.
                plan.words(&["--perms", "0444", "--file"]);
                plan.arguments.push(Argument::Host(rule.path.clone()));
                plan.words(&[path]);
            }
            (Access::Read, _) => plan.words(&["--ro-bind", path, path]),
            (Access::ReadWrite, _) => plan.words(&["--bind", path, path]),
            (Access::None, Kind::File | Kind::Closed) => plan.hide_file(path),
            (Access::None, Kind::Folder) => {
                // Something below is opened again: then the folder must let one pass, but still not list.
                let passed_through = spec.files[index + 1..].iter().any(|below| {
                    below.path.starts_with(&rule.path) && below.access != Access::None
                }) || spec.temp.inside.starts_with(&rule.path);
                plan.words(&["--perms", if passed_through { "0111" } else { "0000" }]);
                plan.words(&["--tmpfs", path]);
                hidden_folders.push(path.to_owned());
            }
        }
    }
    private.mount_up_to(None, &mut plan)?;
    for link in &spec.own.links {
        plan.words(&["--symlink", text(&link.target)?, text(&link.path)?]);
    }
    for file in replaced.iter().chain(&spec.own.files) {
        let path = text(&file.path)?;
        let how = match is_bare(spec, path) {
            true => "--file",
            false => "--ro-bind-data",
        };
        plan.words(&["--perms", "0444", how]);
        plan.arguments.push(Argument::Data(file.contents.clone()));
        plan.words(&[path]);
    }
    plan.words(&["--bind", text(&spec.temp.host)?, text(&spec.temp.inside)?]);
    // Last, because bubblewrap must still make mount points in them. The server owns these tmpfs in its user
    // namespace: while they are writable it could give itself the permission bits back.
    for folder in hidden_folders.iter().rev() {
        plan.words(&["--remount-ro", folder]);
    }
    Ok(plan.arguments)
}

/// The private folders, the ways through them, and the overlays, to be mounted between the rules: after what is around them, before
/// what is inside.
struct Private {
    /// Inside and on the host; the next one last.
    pending: Vec<(PathBuf, PathBuf)>,
}

impl Private {
    fn new(spec: &SandboxSpec) -> Self {
        let mut pending: Vec<_> = spec
            .own
            .folders
            .iter()
            .map(|folder| folder.inside.clone())
            .chain(spec.ways())
            .filter_map(|inside| spec.private_on_host(&inside).map(|host| (inside, host)))
            .collect();
        pending.extend(
            spec.overlays
                .iter()
                .map(|overlay| (overlay.path.clone(), overlay.merged.clone())),
        );
        pending.sort();
        pending.reverse();
        Self { pending }
    }

    /// Mounts what comes before `path`, or at it; without one, all that is left.
    fn mount_up_to(&mut self, path: Option<&Path>, plan: &mut Plan) -> Result<(), LaunchError> {
        while let Some((inside, host)) = self
            .pending
            .pop_if(|(inside, _)| path.is_none_or(|path| inside.as_path() <= path))
        {
            plan.words(&["--bind", text(&host)?, text(&inside)?]);
        }
        Ok(())
    }
}

/// The entries of `/proc` that are about the machine and not about a process. To root they are writable even without
/// a capability, because root owns them: `/proc/sys/kernel/core_pattern` would be a way out.
pub(crate) fn system_entries() -> Vec<PathBuf> {
    if !nix::unistd::geteuid().is_root() {
        return Vec::new();
    }
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let is_process = entry
                .file_name()
                .to_str()
                .is_none_or(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
            // `self` and the like are links.
            !is_process && entry.file_type().is_ok_and(|kind| !kind.is_symlink())
        })
        .map(|entry| entry.path())
        .collect()
}

/// Whether a path stands in the sandbox's own empty root, where a file can be made: nothing of the host's is mounted
/// around it. The root is read-only in the end.
fn is_bare(spec: &SandboxSpec, path: &str) -> bool {
    let is_root = |rule: &PathRule| rule.path == Path::new("/") && rule.access == Access::None;
    spec.files.iter().any(is_root)
        && !spec.files.iter().any(|rule| {
            rule.path != Path::new("/")
                && rule.path != Path::new(path)
                && Path::new(path).starts_with(&rule.path)
        })
        && spec.own.folder_of(Path::new(path)).is_none()
}

/// What a rule's mount lets be done: where writing is judged, the kernel itself lets nothing of the host's be written.
/// Devices are no files to judge.
fn mounted(spec: &SandboxSpec, rule: &PathRule) -> Access {
    match rule.access {
        Access::ReadWrite if spec.judged.is_some() && !rule.path.starts_with("/dev") => {
            Access::Read
        }
        access => access,
    }
}

/// Whether a sandbox has a path of its own, which no rule replaces by the host's: the host's processes are in its
/// `/proc`, its devices in its `/dev`. What is below `/dev` can be opened by name.
fn is_own(path: &Path) -> bool {
    path.starts_with("/proc") || path == Path::new("/dev")
}

/// What stands at a path of the host.
pub(crate) fn kind(path: &Path) -> Kind {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Kind::Folder,
        Ok(_) if rustix::fs::access(path, rustix::fs::Access::READ_OK).is_err() => Kind::Closed,
        Ok(_) => Kind::File,
        Err(_) => Kind::Absent,
    }
}

fn text(path: &Path) -> Result<&str, LaunchError> {
    path.to_str()
        .ok_or_else(|| LaunchError::NotUtf8 { path: path.into() })
}

#[derive(Default)]
struct Plan {
    arguments: Vec<Argument>,
}

impl Plan {
    fn words(&mut self, words: &[&str]) {
        self.arguments
            .extend(words.iter().map(|word| Argument::Text((*word).to_owned())));
    }

    /// An empty file that nobody may open: a reader gets EACCES, not an empty secret.
    fn hide_file(&mut self, path: &str) {
        self.words(&["--perms", "0000", "--ro-bind-data"]);
        self.arguments.push(Argument::Data(Vec::new()));
        self.words(&[path]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempFolder;

    fn spec(files: &[(&str, Access)]) -> SandboxSpec {
        let temp = TempFolder {
            host: "/h/tmp".into(),
            inside: "/run/srt/tmp".into(),
        };
        SandboxSpec::of(files, temp)
    }

    fn check(files: &[(&str, Access)], expected: &str) {
        check_spec(&spec(files), expected);
    }

    fn check_spec(spec: &SandboxSpec, expected: &str) {
        let kind = |path: &Path| match path.extension() {
            Some(_) => Kind::File,
            None => Kind::Folder,
        };
        let got = arguments(spec, kind, &[], &[])
            .unwrap()
            .iter()
            .map(|argument| match argument {
                Argument::Text(word) => word.clone(),
                Argument::Data(_) | Argument::Host(_) => "FD".into(),
            })
            .collect::<Vec<_>>()
            .join(" ");
        let (_, files) = got.split_once("--cap-drop ALL ").unwrap();
        let expected = match expected.split_once(" own ") {
            None => format!("--ro-bind / / --dev /dev --proc /proc {expected}"),
            Some((root, rest)) => format!("{root} --dev /dev --proc /proc {rest}"),
        };
        assert_eq!(files.trim(), expected.trim());
    }

    #[test]
    fn rules_become_mounts_in_order() {
        check(&[], "--bind /h/tmp /run/srt/tmp");
        check(
            &[
                ("/w", Access::ReadWrite),
                ("/w/a.env", Access::Read),
                ("/w/k.pem", Access::None),
            ],
            "--bind /w /w --ro-bind /w/a.env /w/a.env --perms 0000 --ro-bind-data FD /w/k.pem --bind /h/tmp /run/srt/tmp",
        );
        check(
            &[
                ("/home", Access::None),
                ("/home/u/p", Access::Read),
                ("/root", Access::None),
                ("/run", Access::None),
            ],
            "--perms 0111 --tmpfs /home --ro-bind /home/u/p /home/u/p --perms 0000 --tmpfs /root --perms 0111 --tmpfs /run \
             --bind /h/tmp /run/srt/tmp --remount-ro /run --remount-ro /root --remount-ro /home",
        );
    }

    #[test]
    fn whatever_a_rule_says_proc_and_dev_are_the_sandboxes_own() {
        check(
            &[
                ("/", Access::ReadWrite),
                ("/dev", Access::ReadWrite),
                ("/dev/dri", Access::ReadWrite),
                ("/proc/1", Access::Read),
            ],
            "--bind / / own --bind /dev/dri /dev/dri --bind /h/tmp /run/srt/tmp",
        );
        check(
            &[
                ("/", Access::None),
                ("/proc", Access::None),
                ("/usr", Access::Read),
            ],
            " own --perms 0000 --tmpfs /proc --ro-bind /usr /usr --bind /h/tmp /run/srt/tmp --remount-ro /proc --remount-ro /",
        );
    }

    #[test]
    fn what_is_the_sandboxes_own_lies_around_what_the_rules_show() {
        let mut spec = spec(&[
            ("/", Access::None),
            ("/home/u/a/b/project", Access::Read),
            ("/home/u/a/b/project/sub/x.env", Access::None),
            ("/usr", Access::Read),
        ]);
        let own = |host: &str, inside: &str| TempFolder {
            host: host.into(),
            inside: inside.into(),
        };
        spec.own = crate::OwnPlaces {
            folders: vec![own("/h/tmp1", "/tmp"), own("/h/home", "/home/u")],
            links: vec![crate::Link {
                path: "/bin".into(),
                target: "usr/bin".into(),
            }],
            files: vec![OwnFile {
                path: "/etc/passwd".into(),
                contents: b"me".to_vec(),
            }],
        };
        check_spec(
            &spec,
            " own --bind /h/home /home/u --bind /h/home/a /home/u/a --bind /h/home/a/b /home/u/a/b \
             --ro-bind /home/u/a/b/project /home/u/a/b/project \
             --perms 0000 --ro-bind-data FD /home/u/a/b/project/sub/x.env \
             --bind /h/tmp1 /tmp --ro-bind /usr /usr --symlink usr/bin /bin \
             --perms 0444 --file FD /etc/passwd --bind /h/tmp /run/srt/tmp --remount-ro /",
        );
        for (path, access) in [
            ("/home/u", Access::ReadWrite),
            ("/home/u/a/other", Access::ReadWrite),
            ("/home/u/a/b/project/src", Access::Read),
            ("/home/u/a/b/project/sub/x.env", Access::None),
            ("/home/other", Access::None),
            ("/tmp/x", Access::ReadWrite),
        ] {
            assert_eq!(spec.access(Path::new(path)), access, "{path}");
        }
        let names = name_files(&spec);
        assert_eq!(names[0].path, Path::new("/etc/resolv.conf"));
    }

    #[test]
    fn what_is_denied_in_an_overlay_lies_over_it() {
        let mut spec = spec(&[
            ("/p", Access::ReadWrite),
            ("/p/a.env", Access::None),
            ("/p/out", Access::Read),
            ("/q", Access::None),
            ("/q/in", Access::Read),
        ]);
        spec.overlays = ["/q/in", "/p"]
            .map(|path| crate::Overlay {
                path: path.into(),
                upper: "/l/u".into(),
                work: "/l/w".into(),
                merged: format!("/l{path}").into(),
            })
            .to_vec();
        check_spec(
            &spec,
            "--bind /l/p /p --perms 0000 --ro-bind-data FD /p/a.env --ro-bind /p/out /p/out \
             --perms 0111 --tmpfs /q --bind /l/q/in /q/in --bind /h/tmp /run/srt/tmp --remount-ro /q",
        );
        for (path, access) in [
            ("/p/x", Access::ReadWrite),
            ("/p/a.env", Access::None),
            ("/p/out/x", Access::Read),
            ("/q/x", Access::None),
            ("/q/in/x", Access::ReadWrite),
        ] {
            assert_eq!(spec.access(Path::new(path)), access, "{path}");
        }
    }

    #[test]
    fn a_rule_whose_path_vanished_is_not_forgotten() {
        let spec = spec(&[("/gone", Access::ReadWrite)]);
        let error = arguments(&spec, |_| Kind::Absent, &[], &[]).unwrap_err();
        assert!(error.to_string().contains("/gone vanished"), "{error}");
    }
}

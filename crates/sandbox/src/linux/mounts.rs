//! A spec's files as arguments of bubblewrap (bwrap(1)). Pure: what is a folder is an argument.

use std::path::{Path, PathBuf};

use super::handshake::Argument;
use crate::{Access, LaunchError, SandboxSpec, Step};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    Absent,
}

/// A file whose contents a sandbox has of its own.
pub(crate) struct Replaced {
    /// Where it really is: links followed.
    pub(crate) path: PathBuf,
    pub(crate) contents: Vec<u8>,
}

/// How names are found inside (glibc, musl and c-ares agree on the two files): only through the sandbox's loopback,
/// where DNS is answered by us. The host's own table would turn a name into an address before we learn the name.
/// The files may be links (systemd-resolved's into `/run`, which a sandbox does not see).
pub(crate) fn name_files() -> Vec<Replaced> {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    [
        (
            "/etc/resolv.conf",
            "# srt: names are answered by the policy of this launch\nnameserver 127.0.0.1\n".to_owned(),
        ),
        (
            "/etc/hosts",
            format!("# srt: other names are answered by the policy of this launch\n127.0.0.1 localhost {host}\n::1 localhost ip6-localhost ip6-loopback\n"),
        ),
    ]
    .into_iter()
    .filter_map(|(path, text)| {
        Some(Replaced {
            path: std::fs::canonicalize(path).ok()?,
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
    replaced: &[Replaced],
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
    match root.map_or(Access::Read, |rule| rule.access) {
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

    for (index, rule) in spec.files.iter().enumerate() {
        let path = text(&rule.path)?;
        if path == "/" || rule.access != Access::None && is_own(&rule.path) {
            continue;
        }
        match (rule.access, kind(&rule.path)) {
            // It was there a moment ago. Without it a rule would be lost, and when it comes back it is too late.
            (_, Kind::Absent) => {
                return Err(LaunchError::Failed {
                    step: Step::Mounts,
                    errno: libc::ENOENT,
                    message: format!("{path} vanished while the sandbox was being built"),
                });
            }
            (Access::Read, _) => plan.words(&["--ro-bind", path, path]),
            (Access::ReadWrite, _) => plan.words(&["--bind", path, path]),
            (Access::None, Kind::File) => {
                // An empty file that nobody may open: a reader gets EACCES, not an empty secret.
                plan.words(&["--perms", "0000", "--ro-bind-data"]);
                plan.arguments.push(Argument::Data(Vec::new()));
                plan.words(&[path]);
            }
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
    for file in replaced {
        plan.words(&["--perms", "0444", "--ro-bind-data"]);
        plan.arguments.push(Argument::Data(file.contents.clone()));
        plan.words(&[text(&file.path)?]);
    }
    for overlay in &spec.overlays {
        plan.words(&["--bind", text(&overlay.merged)?, text(&overlay.path)?]);
    }
    plan.words(&["--bind", text(&spec.temp.host)?, text(&spec.temp.inside)?]);
    // Last, because bubblewrap must still make mount points in them. The server owns these tmpfs in its user
    // namespace: while they are writable it could give itself the permission bits back.
    for folder in hidden_folders.iter().rev() {
        plan.words(&["--remount-ro", folder]);
    }
    Ok(plan.arguments)
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

/// Whether a sandbox has a path of its own, which no rule replaces by the host's: the host's processes are in its
/// `/proc`, its devices in its `/dev`. What is below `/dev` can be opened by name.
fn is_own(path: &Path) -> bool {
    path.starts_with("/proc") || path == Path::new("/dev")
}

/// What stands at a path of the host.
pub(crate) fn kind(path: &Path) -> Kind {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Kind::Folder,
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
        let spec = spec(files);
        let kind = |path: &Path| match path.extension() {
            Some(_) => Kind::File,
            None => Kind::Folder,
        };
        let got = arguments(&spec, kind, &[], &[])
            .unwrap()
            .iter()
            .map(|argument| match argument {
                Argument::Text(word) => word.clone(),
                Argument::Data(_) => "FD".into(),
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
    fn a_rule_whose_path_vanished_is_not_forgotten() {
        let spec = spec(&[("/gone", Access::Read)]);
        let error = arguments(&spec, |_| Kind::Absent, &[], &[]).unwrap_err();
        assert!(error.to_string().contains("/gone vanished"), "{error}");
    }
}

//! Minimal mode's own places: an empty private home folder and `/tmp`, a `passwd` with this user alone, and the links
//! that lead to what the rules show.
//!
//! What is shown of the host is said by rules, and `lower` makes mounts of them; this adds what a sandbox has of
//! its own around them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use srt_policy::FilesystemPolicy;
use srt_sandbox::{Access, Link, OwnFile, OwnPlaces, SandboxSpec, TempFolder};

/// Where programs write without asking TMPDIR.
const SHARED_TEMP: [&str; 2] = ["/tmp", "/var/tmp"];

/// Who the server runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The name of the first group.
    pub(crate) group: String,
    pub(crate) shell: String,
}

impl Account {
    /// This process's user, named as the system's own tables or the environment name it. Not through the system's
    /// name service: it may ask a directory over the network at each launch.
    pub(crate) fn own(environment: &BTreeMap<String, String>) -> Self {
        let table = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self::of(
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
            &table("/etc/passwd"),
            &table("/etc/group"),
            environment,
        )
    }

    fn of(
        uid: u32,
        gid: u32,
        passwd: &str,
        groups: &str,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        // name:password:id:… in both tables (passwd(5), group(5)).
        let line_of = |table: &str, id: u32| {
            table
                .lines()
                .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
                .find(|fields| fields.get(2).is_some_and(|field| *field == id.to_string()))
        };
        let fields = line_of(passwd, uid).unwrap_or_default();
        let offered = |name: &str| {
            environment
                .get(name)
                .cloned()
                .filter(|value| is_field(value))
        };
        let name = fields
            .first()
            .cloned()
            .or_else(|| offered("USER"))
            .unwrap_or_else(|| "user".to_owned());
        Self {
            group: line_of(groups, gid)
                .and_then(|fields| fields.first().cloned())
                .unwrap_or_else(|| name.clone()),
            shell: fields
                .get(6)
                .cloned()
                .or_else(|| offered("SHELL"))
                .unwrap_or_else(|| "/bin/sh".to_owned()),
            name,
            uid,
            gid,
        }
    }

    /// `/etc/passwd` and `/etc/group` with this user, and nobody, as whom the files of everybody else appear
    /// (user_namespaces(7): the overflow ids).
    fn files(&self, home: &Path) -> [OwnFile; 2] {
        let Self {
            name,
            uid,
            gid,
            group,
            shell,
        } = self;
        let mut passwd = format!("{name}:x:{uid}:{gid}::{}:{shell}\n", home.display());
        let mut groups = format!("{group}:x:{gid}:\n");
        if *uid != 65534 {
            passwd += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
        }
        if *gid != 65534 {
            groups += "nogroup:x:65534:\n";
        }
        [("/etc/passwd", passwd), ("/etc/group", groups)].map(|(path, text)| OwnFile {
            path: path.into(),
            contents: text.into_bytes(),
        })
    }
}

/// Whether a text can be a field of those tables.
fn is_field(text: &str) -> bool {
    !text.is_empty() && !text.contains([':', '\n'])
}

/// The own places of a launch.
///
/// `files` are the rules as written, `spec` what they became; `home` is the home folder without links; `beside` are
/// paths that are shown though no rule names them; `links` lists the links that a path leads through, with what each
/// says; `host` tells where a private folder of this number is on the host.
pub(crate) fn own_places(
    files: &FilesystemPolicy,
    spec: &SandboxSpec,
    home: &Path,
    beside: &[&Path],
    account: &Account,
    links: impl Fn(&Path) -> Vec<(PathBuf, PathBuf)>,
    host: impl Fn(usize) -> PathBuf,
) -> OwnPlaces {
    let mut own = OwnPlaces::default();
    let shared = SHARED_TEMP.map(PathBuf::from);
    // A home inside /tmp is inside a private folder already.
    let inside = shared
        .iter()
        .map(PathBuf::as_path)
        .chain((!shared.iter().any(|temp| home.starts_with(temp))).then_some(home));
    for (number, inside) in inside.enumerate() {
        // What the rules show there is the host's, and so is not private.
        if spec.mounted(inside) == Access::None {
            own.folders.push(TempFolder {
                host: host(number),
                inside: inside.to_owned(),
            });
        }
    }
    let mut found: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let shown = files
        .rules()
        .iter()
        .filter(|rule| rule.allows())
        .map(|rule| rule.path.as_path())
        .chain(beside.iter().copied());
    for path in shown {
        found.extend(links(path));
    }
    found.retain(|link, _| {
        // Where the host's folder is shown, the link is seen in it, even if a pattern keeps it from being opened.
        spec.mounted(link) == Access::None
            && !link.starts_with("/proc")
            && !link.starts_with("/dev")
    });
    own.links = found
        .into_iter()
        .map(|(path, target)| Link { path, target })
        .collect();
    own.files = account
        .files(home)
        .into_iter()
        .filter(|file| spec.mounted(&file.path) == Access::None)
        .collect();
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Facts, Source, compile};

    fn account(passwd: &str, user: &str) -> Account {
        let environment = BTreeMap::from([("USER".to_owned(), user.to_owned())]);
        Account::of(1000, 100, passwd, "users:x:100:a,b\n", &environment)
    }

    #[test]
    fn the_tables_hold_this_user_alone() {
        let host = "root:x:0:0::/root:/bin/sh\nann:x:1000:100:Ann,room 1:/home/ann:/bin/zsh\nbob:x:1001:100::/:\n";
        let files = account(host, "other").files(Path::new("/home/ann"));
        let texts = files.map(|file| String::from_utf8(file.contents).unwrap());
        assert_eq!(
            texts[0],
            "ann:x:1000:100::/home/ann:/bin/zsh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        );
        assert_eq!(texts[1], "users:x:100:\nnogroup:x:65534:\n");
        // A user of a directory server stands in no table.
        assert_eq!(account("", "eve").name, "eve");
        assert_eq!(account("", "eve:x:0:0").name, "user");
    }

    /// A disk of folders, with one link.
    struct Folders;

    impl crate::Look for Folders {
        fn place(&self, _: &Path) -> crate::Place {
            crate::Place::Folder
        }
        fn resolve(&self, path: &Path) -> PathBuf {
            match path.strip_prefix("/bin") {
                Ok(rest) => Path::new("/usr/bin").join(rest),
                Err(_) => path.to_owned(),
            }
        }
        fn several_names(&self, _: &Path) -> Vec<(u64, u64)> {
            Vec::new()
        }
    }

    /// The own places under these rules for a home of `/home/u`.
    fn places(document: &str, home: &str) -> (OwnPlaces, SandboxSpec) {
        let facts = Facts {
            home: home.into(),
            cwd: "/home/u/p".into(),
            protected: vec![],
            program: vec![],
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: document.into(),
        };
        let policy = compile(Some(&source), &facts).unwrap().policy;
        let spec = crate::lower(&policy, &facts.cwd, Path::new("/l/tmp"), &[], &Folders).spec;
        let own = own_places(
            &policy.filesystem,
            &spec,
            Path::new(home),
            &[&facts.cwd],
            &account("", "u"),
            |path| {
                let bin = || (PathBuf::from("/bin"), PathBuf::from("usr/bin"));
                path.starts_with("/bin").then(bin).into_iter().collect()
            },
            |number| format!("/l/own-{number}").into(),
        );
        (own, spec)
    }

    #[test]
    fn what_the_rules_do_not_show_is_the_sandboxes_own() {
        let (own, spec) = places(
            r#"{"filesystem": {"denyRead": ["/"], "allowRead": ["/usr", "/bin/sh", ".", "/var/tmp"]}}"#,
            "/home/u",
        );
        assert_eq!(spec.access(Path::new("/home/u/p")), Access::Read);
        let folders: Vec<_> = own
            .folders
            .iter()
            .map(|folder| {
                (
                    folder.host.to_str().unwrap(),
                    folder.inside.to_str().unwrap(),
                )
            })
            .collect();
        // /var/tmp is named, and so is the host's.
        assert_eq!(folders, [("/l/own-0", "/tmp"), ("/l/own-2", "/home/u")]);
        assert_eq!(own.links.len(), 1, "{:?}", own.links);
        assert_eq!(own.links[0].path, Path::new("/bin"));
        assert_eq!(own.files.len(), 2);
    }

    #[test]
    fn a_link_in_what_is_shown_is_not_made_again() {
        // `/bin` is a link of this disk, and stands in the host's root here.
        let (own, _) = places(
            r#"{"filesystem": {"denyRead": ["/", "/**/bin"], "allowRead": ["/", "/bin/sh"]}}"#,
            "/home/u",
        );
        assert_eq!(own.links, [], "a pattern hides it");
    }

    #[test]
    fn what_the_rules_show_is_the_hosts() {
        let (own, _) = places(
            r#"{"filesystem": {"denyRead": ["/"], "allowRead": ["/", "/bin/sh"]}}"#,
            "/home/u",
        );
        assert_eq!(own, OwnPlaces::default());
        let (own, _) = places(r#"{"filesystem": {"denyRead": ["/"]}}"#, "/tmp/home");
        assert_eq!(own.folders.len(), 2, "a home in /tmp is private with it");
    }
}

//! The caches of launchers such as npx and uvx: seen as they are, written in a private layer.
//!
//! A launcher writes into its cache even to read from it (npm compacts its index, uv takes locks), so that under a
//! policy that lets nothing be written a warm cache would be as good as none. With a layer it works, and the
//! user's own cache stays as it is.

use std::path::{Path, PathBuf};

use srt_policy::FilesystemPolicy;

/// Launchers, and their caches below the home folder.
const CACHES: &[(&[&str], &[&str])] = &[
    (&["npx", "npm"], &[".npm"]),
    (&["pnpm"], &[".local/share/pnpm", ".cache/pnpm"]),
    (&["yarn"], &[".cache/yarn", ".yarn"]),
    (&["bun", "bunx"], &[".bun"]),
    (&["uv", "uvx"], &[".cache/uv", ".local/share/uv"]),
    (
        &["pip", "pip3", "pipx"],
        &[".cache/pip", ".local/pipx", ".local/share/pipx"],
    ),
];

/// The program's name, without its folder.
pub(crate) fn launcher(command: &[String]) -> Option<&str> {
    command
        .first()
        .and_then(|program| program.rsplit('/').next())
}

/// The caches of a launcher of this name, below the home folder.
pub(crate) fn folders(launcher: &str) -> impl Iterator<Item = &'static str> {
    CACHES
        .iter()
        .filter(move |(launchers, _)| launchers.contains(&launcher))
        .flat_map(|(_, caches)| *caches)
        .copied()
}

/// The caches of a command's launcher that policy lets be read and not written.
///
/// `files` has the paths without links; `folder` tells where a path really is, if a folder is there.
pub(crate) fn of(
    command: &[String],
    home: &Path,
    files: &FilesystemPolicy,
    folder: impl Fn(&Path) -> Option<PathBuf>,
) -> Vec<PathBuf> {
    let Some(launcher) = launcher(command) else {
        return Vec::new();
    };
    folders(launcher)
        .filter_map(|cache| folder(&home.join(cache)))
        .filter(|cache| files.decide_read(cache).allowed && !files.decide_write(cache).allowed)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Facts, Source, compile};

    fn check(command: &str, document: &str, expected: &[&str]) {
        let facts = Facts {
            home: "/h".into(),
            cwd: "/h/p".into(),
            protected: vec![],
            program: Vec::new(),
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: document.into(),
        };
        let files = compile(Some(&source), &facts).unwrap().policy.filesystem;
        let got = of(&[command.to_owned()], &facts.home, &files, |path| {
            (path != Path::new("/h/.local/share/uv")).then(|| path.to_owned())
        });
        assert_eq!(
            got,
            expected.iter().map(PathBuf::from).collect::<Vec<_>>(),
            "{command}"
        );
    }

    #[test]
    fn a_launcher_gets_its_caches_and_nobody_else_does() {
        check("npx", "{}", &["/h/.npm"]);
        check("/usr/bin/npx", "{}", &["/h/.npm"]);
        check("uvx", "{}", &["/h/.cache/uv"]);
        check("node", "{}", &[]);
        check("npx", r#"{"filesystem": {"denyRead": ["~/.npm"]}}"#, &[]);
        check("npx", r#"{"filesystem": {"allowWrite": ["~/.npm"]}}"#, &[]);
    }
}

//! Where the daemon's socket is, by the same rules on both sides.
//!
//! A host may pass an MCP server as few as a dozen variables and no `XDG_RUNTIME_DIR`, so the client cannot
//! rely on the environment that the daemon had: it tries every place that a daemon of this user may have taken.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The variables that decide where the socket is, as a value so that the rules can be tested.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `SRT_SOCKET`: the socket itself.
    pub socket: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// The caller's user id.
    pub uid: u32,
}

impl Environment {
    /// Reads the process environment. Empty and relative values count as absent (XDG Base Directory
    /// Specification: "all paths must be absolute"), but for `SRT_SOCKET`, which is resolved against the
    /// working directory.
    pub fn from_process() -> Self {
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            socket: std::env::var_os("SRT_SOCKET")
                .filter(|value| !value.is_empty())
                .map(|value| std::path::absolute(&value).unwrap_or_else(|_| value.into())),
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
            state_home: absolute("XDG_STATE_HOME"),
            home: absolute("HOME"),
            uid: rustix::process::getuid().as_raw(),
        }
    }

    /// The state folder: `$XDG_STATE_HOME/srt`, by default `~/.local/state/srt`.
    pub fn state_dir(&self) -> Option<PathBuf> {
        match (&self.state_home, &self.home) {
            (Some(state), _) => Some(state.join("srt")),
            (None, Some(home)) => Some(home.join(".local/state/srt")),
            (None, None) => None,
        }
    }

    /// The places where a daemon of this user may listen, in the order in which a client tries them. The
    /// first is the one that a daemon started with this environment takes.
    ///
    /// `exists` tells whether a folder exists.
    pub fn candidates(&self, exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        if let Some(socket) = &self.socket {
            return vec![socket.clone()];
        }
        let mut places = Vec::new();
        if let Some(runtime) = &self.runtime_dir {
            places.push(runtime.join("srt/srtd.sock"));
        }
        let run_user = PathBuf::from(format!("/run/user/{}", self.uid));
        if exists(&run_user) {
            places.push(run_user.join("srt/srtd.sock"));
        }
        if let Some(state) = self.state_dir() {
            places.push(state.join("run/srtd.sock"));
        }
        places.dedup();
        places
    }
}

/// The lock that a daemon holds for as long as it has this socket (flock(2)).
pub fn lock_of(socket: &Path) -> PathBuf {
    socket.with_extension("lock")
}

/// The socket for direct mode, beside this one.
pub fn direct_of(socket: &Path) -> PathBuf {
    let mut name = socket.file_stem().unwrap_or_default().to_owned();
    name.push("-direct.sock");
    socket.with_file_name(name)
}

/// Why a socket's folder cannot be trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The folder could not be made or looked at.
    #[error("cannot use the socket folder {}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is a symbolic link or not a folder.
    #[error("the socket folder {} is not a folder\nhint: remove it, or point SRT_SOCKET elsewhere", path.display())]
    NotAFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else owns the folder.
    #[error("the socket folder {} belongs to uid {owner}, not to us (uid {us})\nhint: point SRT_SOCKET to a folder of your own", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Others may enter the folder.
    #[error("the socket folder {} has mode {mode:04o}, others may enter it\nhint: chmod 700 {}", path.display(), path.display())]
    TooOpen {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Checks that a socket's folder is a real folder of ours that nobody else may enter.
///
/// # Errors
/// One variant for each thing that can be wrong with it.
pub fn check_folder(path: &Path) -> Result<(), FolderError> {
    let meta = std::fs::symlink_metadata(path).map_err(|source| FolderError::Io {
        path: path.into(),
        source,
    })?;
    if !meta.is_dir() {
        return Err(FolderError::NotAFolder { path: path.into() });
    }
    let us = rustix::process::getuid().as_raw();
    if meta.uid() != us {
        return Err(FolderError::NotOurs {
            path: path.into(),
            owner: meta.uid(),
            us,
        });
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FolderError::TooOpen {
            path: path.into(),
            mode,
        });
    }
    Ok(())
}

/// Makes a socket's folder (0700, with its parents) unless it is there, then checks it.
///
/// # Errors
/// As [`check_folder`], and when the folder cannot be made.
pub fn prepare_folder(path: &Path) -> Result<(), FolderError> {
    let io = |source| FolderError::Io {
        path: path.into(),
        source,
    };
    if std::fs::symlink_metadata(path).is_err() {
        // The XDG Base Directory Specification: what is missing of these folders is made with mode 0700.
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder.create(path).map_err(io)?;
    }
    check_folder(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn candidates(environment: &Environment, run_user: bool) -> Vec<String> {
        environment
            .candidates(|_| run_user)
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn the_places_follow_the_order_of_the_rules() {
        let mut environment = Environment {
            socket: Some("/s/ock".into()),
            runtime_dir: Some("/run/user/7".into()),
            state_home: None,
            home: Some("/home/u".into()),
            uid: 7,
        };
        assert_eq!(candidates(&environment, true), ["/s/ock"]);
        environment.socket = None;
        let state = "/home/u/.local/state/srt/run/srtd.sock";
        assert_eq!(
            candidates(&environment, true),
            ["/run/user/7/srt/srtd.sock", state]
        );
        environment.runtime_dir = None;
        assert_eq!(
            candidates(&environment, true),
            ["/run/user/7/srt/srtd.sock", state]
        );
        assert_eq!(candidates(&environment, false), [state]);
        environment.state_home = Some("/st".into());
        assert_eq!(candidates(&environment, false), ["/st/srt/run/srtd.sock"]);
        environment.runtime_dir = Some("/elsewhere".into());
        assert_eq!(
            candidates(&environment, true),
            [
                "/elsewhere/srt/srtd.sock",
                "/run/user/7/srt/srtd.sock",
                "/st/srt/run/srtd.sock"
            ]
        );
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("a/b");
        prepare_folder(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            prepare_folder(&folder),
            Err(FolderError::TooOpen { mode: 0o755, .. })
        ));
    }

    #[test]
    fn a_link_is_refused_even_to_a_good_folder() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("good");
        prepare_folder(&folder).unwrap();
        let link = top.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(matches!(
            prepare_folder(&link),
            Err(FolderError::NotAFolder { .. })
        ));
    }
}

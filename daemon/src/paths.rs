//! Where the daemon keeps things.

use std::path::{Path, PathBuf};

use srt_proto::socket::Environment;

/// The daemon's places, decided once at start-up.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The socket.
    pub socket: PathBuf,
    /// State: database, launches, locks.
    pub state: PathBuf,
    /// Configuration: `servers/NAME.json`.
    pub config: PathBuf,
    /// The user's home.
    pub home: PathBuf,
}

/// A variable without which the places cannot be known.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is not set to an absolute path\nhint: srtd runs as a user with a home folder; set HOME"
)]
pub struct NoPlace(&'static str);

impl Paths {
    /// Decides from the environment.
    ///
    /// # Errors
    /// When there is no home folder.
    pub fn from_process() -> Result<Self, NoPlace> {
        let environment = Environment::from_process();
        let home = environment.home.clone().ok_or(NoPlace("HOME"))?;
        let config = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| home.join(".config"));
        Ok(Self {
            socket: environment
                .candidates(Path::exists)
                .into_iter()
                .next()
                .ok_or(NoPlace("HOME"))?,
            state: environment.state_dir().ok_or(NoPlace("HOME"))?,
            config: config.join("srt"),
            home,
        })
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.state.join("srt.db")
    }

    /// The audit log's key, or the note of where it is.
    pub fn audit_key(&self) -> PathBuf {
        self.state.join(crate::store::KEY_FILE)
    }

    /// Where launches have their folders.
    pub fn launches(&self) -> PathBuf {
        self.state.join("launches")
    }

    /// Where what servers change of overlaid folders is kept.
    pub fn layers(&self) -> PathBuf {
        self.state.join("layers")
    }

    /// The user's settings file, in sandbox-runtime's place.
    pub fn user_settings(&self) -> PathBuf {
        self.home.join(srt_policy::USER_SETTINGS)
    }

    /// The settings file of one server.
    pub fn server_settings(&self, name: &str) -> PathBuf {
        self.config.join("servers").join(format!("{name}.json"))
    }

    /// What no sandbox may read or write.
    pub fn protected(&self) -> Vec<PathBuf> {
        let mut all = vec![
            self.state.clone(),
            self.config.clone(),
            self.user_settings(),
        ];
        all.extend(self.socket.parent().map(Path::to_owned));
        all
    }
}

/// Whether a server may have this name: it becomes part of a file's name and is typed by people.
pub fn is_server_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        for good in ["a", "server-filesystem", "mcp_server.git", "9"] {
            assert!(is_server_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "-x",
            ".hidden",
            "a b",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(!is_server_name(bad), "{bad}");
        }
    }
}

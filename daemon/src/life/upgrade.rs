//! An upgrade that is asked for: whether the new program can take over is found out before anything ends.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{Access, access};

/// How long the new program may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Another program that is to take this one's place: it has shown that it can.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade {
    pub(crate) program: PathBuf,
    /// What it says it is.
    pub(crate) version: String,
}

/// How the daemon ends, decided once.
#[derive(Debug, Default)]
pub(crate) struct Ending(OnceLock<Upgrade>);

impl Ending {
    /// Makes the end, when it comes, an upgrade. False where one is under way.
    pub(crate) fn upgrade(&self, upgrade: Upgrade) -> bool {
        self.0.set(upgrade).is_ok()
    }

    /// The program that takes our place, where the end is not for good: sessions go on with it.
    pub(crate) fn successor(&self) -> Option<&Upgrade> {
        self.0.get()
    }

    /// Why launches end with it, for a person.
    pub(crate) fn reason(&self) -> &'static str {
        match self.successor() {
            Some(_) => "the daemon is being upgraded",
            None => "the daemon is stopping",
        }
    }
}

/// Why the program stays. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("the program {0:?} is not named by an absolute path")]
    Relative(PathBuf),
    #[error("{} cannot be executed: {source}\nhint: --program PATH names another", path.display())]
    NotExecutable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} does not run: {source}", path.display())]
    DoesNotRun {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} does not answer within {} s", path.display(), PATIENCE.as_secs())]
    TooSlow { path: PathBuf },
    #[error("{} is not srtd: asked for its version it said {said:?}", path.display())]
    NotSrtd { path: PathBuf, said: String },
    #[error("{} (version {version}) cannot take over: {said}\nhint: the daemon that runs is as it was", path.display())]
    Unfit {
        path: PathBuf,
        version: String,
        said: String,
    },
    #[error("the daemon is being upgraded or is stopping already\nhint: try again in a moment")]
    UnderWay,
}

impl Upgrade {
    /// Asks `program` what it is, and whether it could go on here.
    pub(crate) async fn to(program: &Path) -> Result<Self, UpgradeError> {
        let path = program.to_owned();
        if !path.is_absolute() {
            return Err(UpgradeError::Relative(path));
        }
        if let Err(error) = access(&path, Access::EXEC_OK) {
            let source = error.into();
            return Err(UpgradeError::NotExecutable { path, source });
        }
        let output = run(&path, "--version").await?;
        let said = text(&output.stdout);
        let version = match said.split_once(' ') {
            Some(("srtd", version)) if output.status.success() => version.to_owned(),
            _ => return Err(UpgradeError::NotSrtd { path, said }),
        };
        let output = run(&path, "preflight").await?;
        if !output.status.success() {
            let said = text(&output.stderr);
            let said = said.trim_start_matches("error: ").to_owned();
            return Err(UpgradeError::Unfit {
                path,
                version,
                said,
            });
        }
        Ok(Self {
            program: path,
            version,
        })
    }
}

async fn run(path: &Path, argument: &str) -> Result<Output, UpgradeError> {
    let mut command = tokio::process::Command::new(path);
    command
        .arg(argument)
        .stdin(Stdio::null())
        .current_dir("/")
        // It is not the service.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("LISTEN_FDS")
        .kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(source)) => Err(UpgradeError::DoesNotRun {
            path: path.to_owned(),
            source,
        }),
        Err(_elapsed) => Err(UpgradeError::TooSlow {
            path: path.to_owned(),
        }),
    }
}

/// What a program printed, as much as fits in a message.
fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).trim().to_owned();
    text.truncate(text.floor_char_boundary(1000));
    text
}

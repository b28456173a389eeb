//! The ways in which a helper is run: bare, in plain bubblewrap, through the shim, in direct mode, in
//! sandbox-runtime's sandbox.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// A way to run a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The program itself.
    Bare,
    /// As anybody could write it in a script: every namespace new, the whole file system read-only.
    Bwrap,
    /// Through `srt` and the daemon.
    Srt,
    /// In a sandbox of the daemon's, on the pipes themselves: `srt --direct`.
    Direct,
    /// Through sandbox-runtime's own `srt`.
    Peer,
}

impl How {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Bwrap => "plain bwrap",
            Self::Srt => "srt",
            Self::Direct => "srt --direct",
            Self::Peer => "sandbox-runtime",
        }
    }
}

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Programs {
    this: PathBuf,
    bin_dir: PathBuf,
    /// Home, state and configuration of the private daemon are below.
    home: PathBuf,
    /// Where sandbox-runtime and a Node that runs it are installed (`SRT_PEER_DIR`).
    peer: Option<PathBuf>,
    baseline: bool,
}

impl Programs {
    pub(crate) fn find(
        bin_dir: Option<&Path>,
        temp: &Path,
        baseline: bool,
    ) -> anyhow::Result<Self> {
        let this = std::env::current_exe().context("cannot tell where this program is")?;
        let bin_dir = match (bin_dir, this.parent()) {
            (Some(given), _) => std::path::absolute(given)?,
            (None, Some(beside)) => beside.into(),
            (None, None) => bail!("cannot tell where this program is\nhint: give --bin-dir"),
        };
        let home = temp.join("home");
        std::fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let programs = Self {
            this,
            bin_dir,
            home,
            peer: std::env::var_os("SRT_PEER_DIR").map(PathBuf::from),
            baseline,
        };
        if !baseline {
            for path in [programs.srt(), programs.srtd(), programs.srtctl()] {
                if !path.exists() {
                    bail!(
                        "{} is not there\nhint: cargo build --release --workspace, or give --bin-dir, or \
                         --baseline to measure only what srt is compared with",
                        path.display()
                    );
                }
            }
        }
        Ok(programs)
    }

    fn srt(&self) -> PathBuf {
        self.bin_dir.join("srt")
    }

    pub(crate) fn srtd(&self) -> PathBuf {
        self.bin_dir.join("srtd")
    }

    pub(crate) fn srtctl(&self) -> PathBuf {
        self.bin_dir.join("srtctl")
    }

    /// The shim with these arguments, and piped stdin and stdout.
    pub(crate) fn shim(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.srt());
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// The Node that was installed for sandbox-runtime.
    pub(crate) fn node(&self) -> Option<PathBuf> {
        Some(self.peer_bin()?.join("node"))
    }

    fn peer_bin(&self) -> Option<PathBuf> {
        Some(self.peer.as_ref()?.join("node_modules/.bin"))
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("run/srtd.sock")
    }

    /// `these`, without those that need what is not there.
    pub(crate) fn possible(&self, these: &[How]) -> Vec<How> {
        these
            .iter()
            .copied()
            .filter(|how| match how {
                How::Bare | How::Bwrap => true,
                How::Srt | How::Direct => !self.baseline,
                How::Peer => !self.baseline && self.peer.is_some(),
            })
            .collect()
    }

    /// The helper `arguments`, run in the way `how`, with piped stdin and stdout.
    pub(crate) fn helper(&self, how: How, settings: Option<&Path>, arguments: &[&str]) -> Command {
        let mut command = match how {
            How::Bare => self.command(&self.this),
            How::Bwrap => {
                let mut command = self.command(Path::new("bwrap"));
                command
                    .args([
                        "--unshare-all",
                        "--ro-bind",
                        "/",
                        "/",
                        "--dev",
                        "/dev",
                        "--proc",
                        "/proc",
                        "--",
                    ])
                    .arg(&self.this);
                command
            }
            How::Srt | How::Direct => {
                let mut command = self.command(&self.srt());
                if how == How::Direct {
                    command.arg("--direct");
                }
                command.args(["--name", "bench"]);
                if let Some(settings) = settings {
                    command.arg("--settings").arg(settings);
                }
                command.arg("--").arg(&self.this);
                command
            }
            How::Peer => {
                let bin = self.peer_bin().unwrap_or_default();
                let mut command = self.command(&bin.join("node"));
                command.arg(bin.join("srt"));
                if let Some(settings) = settings {
                    command.arg("--settings").arg(settings);
                }
                command.arg("--").arg(&self.this);
                command
            }
        };
        command
            .arg("--helper")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// A command in the private home: nothing of the caller's environment but the search path.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", &self.home)
            .env("XDG_STATE_HOME", self.home.join("state"))
            .env("XDG_CONFIG_HOME", self.home.join("config"))
            .env("SRT_SOCKET", self.socket())
            .current_dir(&self.home);
        for name in ["PATH", "RUST_LOG", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }
}

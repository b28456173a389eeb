//! The private home, the daemon in it, and the hosts that may and may not be reached.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// How long the daemon may take to answer, and to end.
const READY: Duration = Duration::from_secs(30);
/// What the sandbox must not show.
pub(crate) const SECRET: &str = "do-not-tell";

/// Everything the demonstration needs, below one folder.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    programs: PathBuf,
    daemon: Child,
    policy: String,
    /// The port of the allowed host, 127.0.0.1.
    pub(crate) allowed: u16,
    /// The port of a host that no rule names.
    pub(crate) other: u16,
}

impl Stage {
    pub(crate) async fn set(programs: &Path) -> anyhow::Result<Self> {
        // Not in /tmp, which a sandbox may replace by its own; and short, for a socket's path has a bound.
        let folder = tempfile::Builder::new()
            .prefix("srt-demo.")
            .tempdir_in("/var/tmp")
            .context("no temporary home in /var/tmp")?;
        for private in ["home", "home/.ssh", "run", "tmp", "home/project"] {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(folder.path().join(private))?;
        }
        let home = folder.path().join("home");
        fs::write(home.join(".ssh/id_rsa"), "-----BEGIN PRIVATE KEY-----\n")?;
        fs::write(home.join("project/notes.txt"), "buy milk\n")?;
        fs::write(home.join("diary.txt"), "dear diary\n")?;

        let allowed = host("127.0.0.1:0", "the allowed host says hello").await?;
        let other = host("127.0.0.1:0", "the other host says hello").await?;
        let policy = serde_json::json!({
            "filesystem": { "denyRead": [], "allowWrite": ["."], "denyWrite": [] },
            "network": { "allowedDomains": [format!("127.0.0.1:{allowed}")], "deniedDomains": [] },
        });
        let policy = format!("{policy:#}");
        let settings = home.join(".srt-settings.json");
        fs::write(&settings, &policy)?;

        let log = fs::File::create(folder.path().join("srtd.log"))?;
        let mut stage = Self {
            daemon: base(folder.path(), &programs.join("srtd"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .context("cannot start srtd")?,
            programs: programs.to_owned(),
            folder,
            policy,
            allowed,
            other,
        };
        if let Err(error) = stage.until_ready().await {
            eprintln!("--- the daemon's log:\n{}", stage.log());
            stage.clear().await?;
            return Err(error);
        }
        Ok(stage)
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.daemon.try_wait()? {
                bail!("srtd ended at once: {status}");
            }
            let answer = self.command("srtctl").args(["daemon", "status"]).output()?;
            if answer.status.success() {
                return Ok(());
            }
            if start.elapsed() > READY {
                bail!("srtd does not answer after {} s", READY.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.home().join("project")
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.home().join(".srt-settings.json")
    }

    /// A text with the temporary home written as a person writes a home, and what was built as seen from where it
    /// was built.
    pub(crate) fn shorten(&self, text: &str) -> String {
        let text = text.replace(&*self.home().to_string_lossy(), "~");
        // …/target/debug
        match self.programs.ancestors().nth(2) {
            Some(checkout) if checkout.parent().is_some() => {
                text.replace(&format!("{}/", checkout.display()), "")
            }
            _ => text,
        }
    }

    pub(crate) fn policy_text(&self) -> &str {
        &self.policy
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("srtd.log")).unwrap_or_default()
    }

    /// One of our programs, in this home, with what a host would pass, a secret included.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = base(self.folder.path(), &self.programs.join(program));
        command.env("SECRET_TOKEN", SECRET);
        command
    }

    /// Runs `srtctl`, which must succeed, and gives what it printed.
    pub(crate) fn ctl(&self, arguments: &[&str], more: &[&OsStr]) -> anyhow::Result<String> {
        let output = self
            .command("srtctl")
            .args(arguments)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .context("cannot start srtctl")?;
        if !output.status.success() {
            bail!(
                "srtctl {arguments:?}: {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `srtctl … --json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.ctl(arguments, &["--json".as_ref()])?;
        serde_json::from_str(&text).with_context(|| format!("srtctl {arguments:?} --json: {text}"))
    }

    /// Ends the daemon by its pid and removes the home.
    pub(crate) async fn clear(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.daemon.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("the daemon has no process id")?;
        let start = Instant::now();
        if self.daemon.try_wait()?.is_none() {
            kill_process(pid, Signal::TERM)?;
        }
        while self.daemon.try_wait()?.is_none() {
            if start.elapsed() > READY {
                self.daemon.kill()?;
                self.daemon.wait()?;
                bail!("the daemon did not end {} s after SIGTERM", READY.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.folder.close().context("the temporary home remains")
    }
}

fn base(folder: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "USER", "LOGNAME", "SHELL", "LANG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("HOME", folder.join("home"))
        .env("TMPDIR", folder.join("tmp"))
        .env("SRT_SOCKET", folder.join("run/srtd.sock"))
        .env("TERM", "dumb")
        .env("NO_COLOR", "1")
        .current_dir(folder.join("home/project"));
    command
}

/// Serves one text over HTTP to whoever comes, until the program ends.
async fn host(address: &str, text: &'static str) -> anyhow::Result<u16> {
    let listener = TcpListener::bind(address).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if let Ok(1..) = stream.read(&mut request).await {
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                        text.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    Ok(port)
}

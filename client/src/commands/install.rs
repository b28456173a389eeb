//! `srtctl daemon install` and `uninstall`: the service manager's files, and what it is asked to do with them.

use super::daemon::vacant;
use super::output;
use crate::errors::Failure;
use crate::programs;
use crate::service::{Found, Manager, ServiceFile};
use srt_proto::exit;
use srt_proto::socket::Environment;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Start (install) or stop (uninstall) the daemon too
    #[arg(long)]
    now: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace or remove files that somebody changed, too
    #[arg(long)]
    force: bool,
}

/// How long one request to the service manager may take: it waits until the daemon answers, or is gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// Puts the files in place and has the service manager know them.
pub(super) async fn install(environment: &Environment, args: Args) -> Result<i32, Failure> {
    let service = Service::find(environment)?;
    let answers = service.answers().await;
    let runs = answers && service.runs().await;
    if args.now && answers && !runs {
        // What runs already would keep the place, and the new one not begin.
        vacant(environment)?;
    }
    let found = service.look()?;
    refuse_changed(&found, &args, "replaced")?;
    for (file, found) in &found {
        match found {
            Found::Same => say(&format!("{} is in place", file.path.display()))?,
            _ => {
                if !args.dry_run {
                    write(file)?;
                }
                tell(
                    args.dry_run,
                    "write",
                    "wrote",
                    &file.path.display().to_string(),
                )?;
            }
        }
    }
    service
        .ask(&service.beginning(args.now, runs), &args, answers)
        .await
}

/// Takes the files away, and has the service manager forget them.
pub(super) async fn uninstall(environment: &Environment, args: Args) -> Result<i32, Failure> {
    let service = Service::find(environment)?;
    let answers = service.answers().await;
    let found = service.look()?;
    refuse_changed(&found, &args, "removed")?;
    if found.iter().all(|(_, found)| *found == Found::Nothing) {
        say("nothing is installed")?;
        return Ok(0);
    }
    // Before the files go: it knows the service by them.
    let runs = answers && service.runs().await;
    let code = service
        .ask(&service.end(args.now, runs), &args, answers)
        .await?;
    for (file, found) in &found {
        if *found == Found::Nothing {
            continue;
        }
        if !args.dry_run {
            std::fs::remove_file(&file.path).map_err(|error| failed("remove", file, &error))?;
        }
        tell(
            args.dry_run,
            "remove",
            "removed",
            &file.path.display().to_string(),
        )?;
    }
    if answers {
        service.ask(&service.afterwards(), &args, answers).await?;
    }
    Ok(code)
}

/// The service of this user.
struct Service {
    manager: Manager,
    files: Vec<ServiceFile>,
    /// launchd's name of this user's services.
    domain: String,
}

impl Service {
    fn find(environment: &Environment) -> Result<Self, Failure> {
        let home = environment.home.clone().ok_or_else(|| {
            Failure::new(
                exit::ERROR,
                "there is no place for a user's services: HOME is not set",
            )
        })?;
        let config = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| home.join(".config"));
        let programs = programs::srtd()?;
        let folder = programs.parent().unwrap_or(Path::new("/"));
        let manager = Manager::here();
        Ok(Self {
            manager,
            files: manager.files(&home, &config, folder),
            domain: format!("gui/{}", environment.uid),
        })
    }

    /// Each file with what stands in its place.
    fn look(&self) -> Result<Vec<(&ServiceFile, Found)>, Failure> {
        self.files
            .iter()
            .map(|file| {
                // A link is somebody's way of keeping the file elsewhere.
                if file.path.is_symlink() {
                    return Ok((file, Found::Changed));
                }
                match std::fs::read(&file.path) {
                    Ok(bytes) => Ok((file, file.compare(Some(&String::from_utf8_lossy(&bytes))))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        Ok((file, Found::Nothing))
                    }
                    Err(error) => Err(failed("read", file, &error)),
                }
            })
            .collect()
    }

    /// Whether the service manager is there for this user.
    async fn answers(&self) -> bool {
        let question = match self.manager {
            Manager::Systemd => words("systemctl --user show --property=Version"),
            Manager::Launchd => vec!["launchctl".into(), "print".into(), self.domain.clone()],
        };
        run(&question).await.is_ok()
    }

    /// Whether the manager's daemon runs already.
    async fn runs(&self) -> bool {
        let question = match self.manager {
            Manager::Systemd => words("systemctl --user --quiet is-active srtd.service"),
            Manager::Launchd => words(&format!("launchctl print {}/dev.srtd.srtd", self.domain)),
        };
        run(&question).await.is_ok()
    }

    fn beginning(&self, now: bool, runs: bool) -> Vec<Vec<String>> {
        match (self.manager, now && !runs) {
            (Manager::Systemd, _) => {
                let mut steps = vec![
                    words("systemctl --user daemon-reload"),
                    words("systemctl --user enable srtd.service srtd.socket"),
                ];
                if now {
                    steps.push(words("systemctl --user start srtd.socket srtd.service"));
                }
                steps
            }
            // It looks into the folder at the next login by itself.
            (Manager::Launchd, false) => Vec::new(),
            (Manager::Launchd, true) => {
                let mut step = words(&format!("launchctl bootstrap {}", self.domain));
                step.extend(
                    self.files
                        .iter()
                        .map(|file| file.path.display().to_string()),
                );
                vec![step]
            }
        }
    }

    fn end(&self, now: bool, runs: bool) -> Vec<Vec<String>> {
        match (self.manager, now) {
            (Manager::Systemd, false) => {
                vec![words("systemctl --user disable srtd.service srtd.socket")]
            }
            (Manager::Systemd, true) => {
                vec![words(
                    "systemctl --user disable --now srtd.socket srtd.service",
                )]
            }
            (Manager::Launchd, _) if !now || !runs => Vec::new(),
            (Manager::Launchd, _) => {
                vec![words(&format!(
                    "launchctl bootout {}/dev.srtd.srtd",
                    self.domain
                ))]
            }
        }
    }

    fn afterwards(&self) -> Vec<Vec<String>> {
        match self.manager {
            Manager::Systemd => vec![words("systemctl --user daemon-reload")],
            Manager::Launchd => Vec::new(),
        }
    }

    /// Has the service manager do it, or says what to do where none answers.
    async fn ask(&self, steps: &[Vec<String>], args: &Args, answers: bool) -> Result<i32, Failure> {
        if steps.is_empty() {
            return Ok(0);
        }
        if !answers {
            say(&format!(
                "no {} answers for this user; where one does:",
                self.manager.name()
            ))?;
            for step in steps {
                say(&format!("  {}", step.join(" ")))?;
            }
            return Ok(if args.now { exit::ERROR } else { 0 });
        }
        for step in steps {
            if !args.dry_run {
                run(step).await?;
            }
            tell(args.dry_run, "run", "ran", &step.join(" "))?;
        }
        Ok(0)
    }
}

/// Nothing is done where one file is not ours to change.
fn refuse_changed(found: &[(&ServiceFile, Found)], args: &Args, what: &str) -> Result<(), Failure> {
    let changed: Vec<_> = found
        .iter()
        .filter(|(_, found)| *found == Found::Changed)
        .map(|(file, _)| file.path.display().to_string())
        .collect();
    if changed.is_empty() || args.force {
        return Ok(());
    }
    Err(Failure::new(
        exit::ERROR,
        format!("not {what}, because somebody changed it: {}", changed.join(", ")),
    )
    .hint("--force does it all the same; changes of your own are safe in a drop-in: systemctl --user edit srtd"))
}

/// As a whole or not at all.
fn write(file: &ServiceFile) -> Result<(), Failure> {
    let place = |error: &io::Error| failed("write", file, error);
    let folder = file.path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(|error| place(&error))?;
    let fresh = file.path.with_extension("srtctl-new");
    std::fs::write(&fresh, &file.text)
        .and_then(|()| std::fs::rename(&fresh, &file.path))
        .map_err(|error| place(&error))
}

async fn run(step: &[String]) -> Result<(), Failure> {
    let said = step.join(" ");
    let trouble = |why: String| {
        Failure::new(exit::ERROR, format!("{said}: {why}"))
            .hint("what was done before it stays; the same command goes on from there")
    };
    let Some((program, arguments)) = step.split_first() else {
        return Ok(());
    };
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(trouble(error.to_string())),
        Err(_elapsed) => return Err(trouble(format!("no answer after {} s", PATIENCE.as_secs()))),
    };
    match output.status.success() {
        true => Ok(()),
        false => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(trouble(format!("{}: {}", output.status, stderr.trim())))
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn say(line: &str) -> Result<(), Failure> {
    output::print(&format!("{line}\n"))
}

fn tell(dry_run: bool, would: &str, did: &str, what: &str) -> Result<(), Failure> {
    match dry_run {
        true => say(&format!("would {would} {what}")),
        false => say(&format!("{did} {what}")),
    }
}

fn failed(what: &str, file: &ServiceFile, error: &io::Error) -> Failure {
    Failure::new(
        exit::ERROR,
        format!("cannot {what} {}: {error}", file.path.display()),
    )
}

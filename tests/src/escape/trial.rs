//! One case from its beginning to its verdict.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::case::{Case, Group};
use super::stage::{Arsenal, Stage, Where};

/// Longer than any attack tries by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was found of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeds where it may, was tried inside, and failed there.
    Held,
    /// It succeeded inside. With what it said.
    Escaped(String),
    /// Nothing was shown: it failed where it must succeed, or did not get to its decisive step.
    Broken(String),
    /// It cannot be shown on this machine. With the reason.
    NotApplicable(String),
    /// It is known to succeed, or cannot be tried, until a feature is there that this names.
    Awaits(String),
}

impl Verdict {
    /// The verdict, seen that a feature is awaited.
    pub(super) fn awaited(self, case: &Case) -> Self {
        match (&case.awaits, self) {
            (None, verdict) => verdict,
            // A race that was not won this time is none that cannot be.
            (Some(feature), Self::Held) => Self::Awaits(format!("{feature} (held this time)")),
            (Some(feature), Self::Escaped(_) | Self::Broken(_)) => Self::Awaits(feature.clone()),
            (Some(_), verdict @ (Self::NotApplicable(_) | Self::Awaits(_))) => verdict,
        }
    }
}

/// What an attack left.
struct Result {
    /// Its stdout and stderr, and those of the host's part.
    said: String,
    /// It came to its decisive step.
    tried: bool,
    succeeded: bool,
}

/// Shows that an attack succeeds, then tries it in the sandbox.
pub fn judge(group: &Group, case: &Case, arsenal: &Arsenal) -> Verdict {
    if let Some(reason) = missing(case) {
        return Verdict::NotApplicable(reason);
    }
    let shown_in = match case.allowed {
        Some(_) => Where::Allowed,
        None => Where::Bare,
    };
    let shown = match try_in(shown_in, group, case, arsenal) {
        Ok(shown) => shown,
        Err(error) => return Verdict::Broken(error),
    };
    if !shown.succeeded {
        let reason = shown
            .said
            .lines()
            .find_map(|line| line.strip_prefix("not applicable: "))
            // What ENOSYS says: the call is not in this kernel at all.
            .or(shown
                .said
                .contains("Function not implemented")
                .then_some("this kernel has no such call"));
        return match reason {
            Some(reason) => Verdict::NotApplicable(reason.to_owned()),
            None => Verdict::Broken(format!(
                "it must succeed {}, or nothing is shown; it said:\n{}",
                match shown_in {
                    Where::Allowed => "under the policy that allows it",
                    _ => "without a sandbox",
                },
                shown.said
            )),
        };
    }
    let boxed = match try_in(Where::Boxed, group, case, arsenal) {
        Ok(boxed) => boxed,
        Err(error) => return Verdict::Broken(error),
    };
    if boxed.succeeded {
        return Verdict::Escaped(boxed.said);
    }
    if !boxed.tried && !case.refused {
        return Verdict::Broken(format!("it was not tried inside; it said:\n{}", boxed.said));
    }
    if std::env::var_os("SRT_ESCAPE_VERBOSE").is_some() {
        println!("--- {}/{}\n{}", group.group, case.name, boxed.said);
    }
    Verdict::Held
}

fn missing(case: &Case) -> Option<String> {
    if let Some(arch) = &case.arch
        && arch != std::env::consts::ARCH
    {
        return Some(format!("for {arch} only"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &&String| {
        !std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    let program = case.needs.iter().find(found)?;
    Some(format!("there is no {program}"))
}

fn try_in(
    place: Where,
    group: &Group,
    case: &Case,
    arsenal: &Arsenal,
) -> std::result::Result<Result, String> {
    let stage = Stage::new(group, case, place, arsenal)?;
    for setup in stage.setups() {
        let mut running = Running::start(&mut stage.host(setup))?;
        let (said, status) = running.finish(PATIENCE)?;
        if said
            .lines()
            .any(|line| line.starts_with("not applicable: "))
        {
            return Ok(Result {
                said,
                tried: false,
                succeeded: false,
            });
        }
        if !status {
            return Err(format!("its setup failed: {said}"));
        }
    }
    let mut attack = Running::start(&mut stage.attack())?;
    let mut said = String::new();
    if let Some(beside) = &case.beside {
        attack.until("tried", PATIENCE)?;
        let (words, _) = Running::start(&mut stage.host(beside))?.finish(PATIENCE)?;
        said.push_str(&words);
    }
    let (words, _) = attack.finish(PATIENCE)?;
    said.insert_str(0, &words);
    let succeeded = match &case.succeeds {
        Some(check) => Running::start(&mut stage.host(check))?.finish(PATIENCE)?.1,
        None if case.worked => said.lines().any(|line| line == "IT WORKED"),
        None => said.contains(&stage.canary),
    };
    // Two streams of which each is in order: a line may begin in the middle of one of the other's.
    let control = case.control.as_ref().or(group.control.as_ref());
    if let (Where::Boxed, Some(control)) = (place, control) {
        let (words, held) = Running::start(&mut stage.host(control))?.finish(PATIENCE)?;
        if !held {
            return Err(format!(
                "what the policy allows was not possible inside; it said:\n{said}{words}"
            ));
        }
    }
    let tried = said.contains("tried\n") || said.contains("tried\r\n");
    Ok(Result {
        said,
        tried,
        succeeded,
    })
}

/// A process whose output is collected while it runs.
struct Running {
    child: std::process::Child,
    parts: Receiver<Vec<u8>>,
    said: Vec<u8>,
}

impl Running {
    fn start(command: &mut Command) -> std::result::Result<Self, String> {
        // One pipe for both, so that what is said stays in order.
        let fail = |error: std::io::Error| format!("cannot start {command:?}: {error}");
        let (mut reader, writer) = std::io::pipe().map_err(fail)?;
        let fail = |error: std::io::Error| format!("cannot start an attack: {error}");
        let errors = writer.try_clone().map_err(fail)?;
        let child = command
            .stdout(Stdio::from(writer))
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(fail)?;
        // The command holds the writing end: reading would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, parts) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            parts,
            said: Vec::new(),
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    /// Waits until a line is there, or the end.
    fn until(&mut self, line: &str, within: Duration) -> std::result::Result<(), String> {
        let start = Instant::now();
        while !self.text().lines().any(|said| said.trim_end() == line) {
            match self
                .parts
                .recv_timeout(within.saturating_sub(start.elapsed()))
            {
                Ok(part) => self.said.extend(part),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("nothing in {within:?}; it said:\n{}", self.text()));
                }
            }
        }
        Ok(())
    }

    /// Waits for its end: what it said, and whether its status was 0.
    fn finish(&mut self, within: Duration) -> std::result::Result<(String, bool), String> {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if start.elapsed() < within => {
                    let pause = Duration::from_millis(5);
                    if let Ok(part) = self.parts.recv_timeout(pause) {
                        self.said.extend(part);
                    } else {
                        // Also where both streams are closed and the process goes on.
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                Ok(None) => {
                    return Err(format!(
                        "it did not end in {within:?}; it said:\n{}",
                        self.text()
                    ));
                }
                Err(error) => return Err(format!("cannot be waited for: {error}")),
            }
        };
        // To the end of the pipe, unless something that was left behind holds it open and has nothing more to say.
        while let Ok(part) = self.parts.recv_timeout(Duration::from_millis(500)) {
            self.said.extend(part);
        }
        Ok((self.text(), status.success()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! What is to be said of a server before somebody agrees to it: what its policy tells, and what is seen of the server
//! itself: its sandbox, its variables, what the log says of its rules.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use srt_policy::{Check, Origin, Policy, Weight};

use crate::audit::{command_line, names_a_secret};
use crate::live::grant_name;
use crate::policies::{Loaded, shown};
use crate::store::{EnvVar, Generation, Grant, InForce, Server, Store, StoreError};
use crate::supervisor::cited;

/// Beside what is in force: what a review looks at.
pub(crate) struct Subject<'a> {
    pub(crate) server: &'a Server,
    pub(crate) policy: &'a Policy,
    /// The settings as they are now, where they can be used.
    pub(crate) loaded: Option<&'a Loaded>,
    /// Why they cannot.
    pub(crate) trouble: Option<String>,
    /// Keys that changed and need another launch.
    pub(crate) next_start: &'a [String],
    pub(crate) home: &'a Path,
    pub(crate) cwd: &'a Path,
    /// The newest launch that runs.
    pub(crate) running: Option<Launch>,
    pub(crate) grants: &'a [Grant],
}

/// A launch that runs.
pub(crate) struct Launch {
    /// Of its server, on the host.
    pub(crate) pid: u32,
    /// Its own folder on the host.
    pub(crate) folder: PathBuf,
}

/// All that is to be said, what weighs most first.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn review(
    subject: &Subject<'_>,
    store: &Store,
    since: Timestamp,
) -> Result<Vec<Check>, StoreError> {
    let mut checks = subject.policy.review(subject.home, subject.cwd);
    checks.push(sandbox(subject.running.as_ref()));
    checks.extend(subject.running.as_ref().map(temporary));
    checks.extend(settings(subject));
    checks.extend(environment(&subject.server.env, &subject.server.command));
    checks.extend(subject.grants.iter().map(granted));
    checks.extend(unused(subject, store, since).await?);
    checks.sort_by(|a, b| {
        let place = |check: &Check| check.origin.as_ref().map(ToString::to_string);
        (b.weight, a.about, place(a), &a.text).cmp(&(a.weight, b.about, place(b), &b.text))
    });
    Ok(checks)
}

/// Whether it is in namespaces of its own, by what the kernel says of its process.
#[cfg(target_os = "linux")]
fn sandbox(running: Option<&Launch>) -> Check {
    const ABOUT: &str = "sandbox";
    const OWN: [&str; 5] = ["user", "mnt", "net", "pid", "ipc"];
    let Some(launch) = running else {
        return not_running();
    };
    let namespace = |pid: &str, which: &str| std::fs::read_link(format!("/proc/{pid}/ns/{which}"));
    let pid = launch.pid.to_string();
    let (mut shared, mut unseen) = (Vec::new(), Vec::new());
    for which in OWN {
        match (namespace("self", which), namespace(&pid, which)) {
            (Ok(ours), Ok(its)) if ours == its => shared.push(which),
            (Ok(_), Ok(_)) => {}
            _ => unseen.push(which),
        }
    }
    if !shared.is_empty() {
        let text = format!("shares namespaces with the host: {}", shared.join(", "));
        return Check::new(ABOUT, Weight::High, text);
    }
    if !unseen.is_empty() {
        let text = format!("process {pid} cannot be looked at: {}", unseen.join(", "));
        return Check::new(ABOUT, Weight::Note, text);
    }
    let text = format!(
        "runs in a sandbox of its own (process {pid}: {})",
        OWN.join(", ")
    );
    Check::new(ABOUT, Weight::Good, text)
}

/// Seatbelt's sandboxes cannot be seen from outside.
#[cfg(not(target_os = "linux"))]
fn sandbox(running: Option<&Launch>) -> Check {
    match running {
        None => not_running(),
        Some(launch) => {
            let text = format!(
                "process {} was started by sandbox-exec; that cannot be looked at from outside",
                launch.pid
            );
            Check::new("sandbox", Weight::Note, text)
        }
    }
}

fn not_running() -> Check {
    let text = "does not run: its sandbox was not looked at";
    Check::new("sandbox", Weight::Note, text).hint("start it, and review it then")
}

/// Whether the folder that holds its temporary one is closed to others.
fn temporary(launch: &Launch) -> Check {
    use std::os::unix::fs::MetadataExt as _;
    const ABOUT: &str = "temp";
    match std::fs::symlink_metadata(&launch.folder) {
        Ok(meta) if meta.is_dir() && meta.mode() & 0o077 == 0 => {
            Check::new(ABOUT, Weight::Good, "has a temporary folder of its own")
        }
        Ok(meta) => {
            let text = format!(
                "its own folder {} is open to others (mode {:o})",
                launch.folder.display(),
                meta.mode() & 0o7777
            );
            Check::new(ABOUT, Weight::High, text)
        }
        Err(error) => {
            let text = format!(
                "its own folder {} cannot be looked at: {error}",
                launch.folder.display()
            );
            Check::new(ABOUT, Weight::Note, text)
        }
    }
}

fn settings(subject: &Subject<'_>) -> Vec<Check> {
    const ABOUT: &str = "settings";
    let mut checks = Vec::new();
    if let Some(trouble) = &subject.trouble {
        let text = format!(
            "its settings have changed and cannot be used: {}",
            trouble.replace('\n', " ")
        );
        checks.push(
            Check::new(ABOUT, Weight::Warning, text)
                .hint("put them right, or srtctl policy rollback"),
        );
    }
    if !subject.next_start.is_empty() {
        let text = format!(
            "runs by what its settings said at its start: {}",
            subject.next_start.join(", ")
        );
        checks.push(Check::new(ABOUT, Weight::Warning, text).hint("srtctl restart it"));
    }
    for warning in subject.loaded.iter().flat_map(|loaded| &loaded.warnings) {
        let mut check = Check::new(ABOUT, Weight::Warning, shown(warning));
        check.remedy.clone_from(&warning.hint);
        checks.push(check);
    }
    if checks.is_empty() {
        checks.push(Check::new(
            ABOUT,
            Weight::Good,
            "its settings are read without a complaint",
        ));
    }
    checks
}

/// Tokens in what was registered.
fn environment(variables: &[EnvVar], command: &[String]) -> Vec<Check> {
    const ABOUT: &str = "environment";
    const ELSEWHERE: &str = "name the variable alone (srtctl add --env NAME): its value is then the host's, and kept nowhere here";
    let mut checks = Vec::new();
    for variable in variables {
        let name = &variable.name;
        let secret = names_a_secret(name);
        match &variable.value {
            Some(value) if looks_secret(name, value) => {
                let text = format!(
                    "its registration holds what looks like a secret, in the variable {name}"
                );
                checks.push(Check::new(ABOUT, Weight::Warning, text).hint(ELSEWHERE));
            }
            None if secret => {
                let text =
                    format!("is given the variable {name}, whose name says that it is a secret");
                checks.push(Check::new(ABOUT, Weight::Note, text));
            }
            _ => {}
        }
    }
    if command_line(command) != command.join(" ") {
        let text = "its command line holds what looks like a secret, which every program of this user can read";
        checks.push(
            Check::new(ABOUT, Weight::Warning, text)
                .hint("hand it over in a variable, or in a file that it may read"),
        );
    }
    if checks.is_empty() {
        checks.push(Check::new(
            ABOUT,
            Weight::Good,
            "no token in its registered variables and its command",
        ));
    }
    checks
}

fn looks_secret(name: &str, value: &str) -> bool {
    let assignment = format!("{name}={value}");
    command_line(std::slice::from_ref(&assignment)) != assignment
}

fn granted(grant: &Grant) -> Check {
    let until = match grant.expires_at {
        Some(at) => format!("until {at:.0}"),
        None => grant.scope.as_str().to_owned(),
    };
    let name = grant_name(grant.id);
    let text = format!(
        "a person lets it reach {}:{} ({until})",
        grant.host, grant.port
    );
    Check::new("grants", Weight::Note, text)
        .hint(format!("srtctl grants revoke {name} takes it back"))
}

/// Rules that let it reach hosts and that nothing came by in a time.
async fn unused(
    subject: &Subject<'_>,
    store: &Store,
    since: Timestamp,
) -> Result<Vec<Check>, StoreError> {
    const ABOUT: &str = "unused";
    let server = &subject.server.name;
    let rules: Vec<_> = subject
        .policy
        .lines()
        .into_iter()
        .filter(|line| {
            let names_hosts = ["network.allowedDomains", "network.allowedUdp"].contains(&line.key);
            names_hosts && matches!(line.origin, Origin::File { .. })
        })
        .collect();
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let history = store.policy_history(server).await?;
    let first_launch = store.first_launch(server).await?;
    let mut checks = Vec::new();
    for rule in &rules {
        let last = store
            .rule_last_used(server, &cited(rule.key, &rule.value))
            .await?;
        if last.is_some_and(|last| last >= since) {
            continue;
        }
        let in_force = first_launch.map(|first| first.max(in_force_since(&history, &rule.value)));
        let (weight, when) = match (last, in_force) {
            (Some(last), _) => (Weight::Warning, format!("since {last:.0}")),
            (None, Some(from)) if from <= since => (Weight::Warning, format!("since {since:.0}")),
            // Too young to say.
            (None, Some(from)) => (Weight::Note, format!("since it came, {from:.0}")),
            (None, None) => (Weight::Note, "yet: the server never ran".to_owned()),
        };
        let text = format!("nothing came by {} {when}", rule.value);
        let check = Check::new(ABOUT, weight, text).at(&rule.origin);
        checks.push(match weight {
            Weight::Note => check,
            _ => check.hint("remove it, if it is not needed"),
        });
    }
    if checks.is_empty() {
        let text = format!("every rule that names a host was used since {since:.0}");
        checks.push(Check::new(ABOUT, Weight::Good, text));
    }
    Ok(checks)
}

/// Since when a text has stood in the server's settings without a gap.
fn in_force_since(history: &[(InForce, Generation)], text: &str) -> Timestamp {
    let has = |generation: &Generation| {
        let mut documents = generation.policy.documents.iter();
        documents.any(|document| document.text.contains(text))
    };
    history
        .iter()
        .rev()
        .take_while(|(_, generation)| has(generation))
        .last()
        .map_or_else(Timestamp::now, |(row, _)| row.at)
}

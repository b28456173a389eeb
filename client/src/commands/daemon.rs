//! `srtctl daemon`: `status`, `start` and `stop`; the others have files of their own.

use super::{install, output, upgrade};
use crate::connect::{self, Connection};
use crate::errors::Failure;
use crate::{start, table, time};
use serde_json::{Value, json};
use srt_proto::exit;
use srt_proto::socket::{self, Environment};
use srt_proto::v1::daemon_client::DaemonClient;
use srt_proto::v1::{AuditChain, DaemonStatus, DaemonStatusRequest, DaemonStopRequest, Shipping};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show the daemon; exits 3 if it is not running
    Status {
        /// Print a JSON object; {"running": false} alone where it is not
        #[arg(long)]
        json: bool,
    },
    /// Start the daemon unless it runs
    Start,
    /// Stop the daemon and the servers that it runs, and wait until it is gone
    Stop {
        /// How long to wait; afterwards exits 124
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u32,
    },
    /// Fail if a daemon has the socket or the state folder (for srtd.socket)
    #[command(hide = true)]
    Vacant,
    /// Put another program in the place of the daemon's: same process and socket; sessions go on with new launches
    Upgrade(upgrade::Args),
    /// Have systemd (on macOS: launchd) run the daemon from the next login on
    Install(install::Args),
    /// Undo that
    Uninstall(install::Args),
}

pub(super) async fn run(environment: &Environment, command: Command) -> Result<i32, Failure> {
    match command {
        Command::Start => start(environment).await,
        Command::Stop { timeout } => match running(environment).await? {
            Some(connection) => stop(&connection, timeout).await,
            None => Ok(0),
        },
        Command::Vacant => vacant(environment),
        Command::Install(args) => install::install(environment, args).await,
        Command::Uninstall(args) => install::uninstall(environment, args).await,
        Command::Upgrade(args) => upgrade::run(environment, args).await,
        Command::Status { json } => match running(environment).await? {
            Some(connection) => status(&connection, json).await,
            None => {
                match json {
                    true => output::print_json(json!({"running": false}))?,
                    false => output::print("not running\n")?,
                }
                Ok(exit::NOT_RUNNING)
            }
        },
    }
}

/// A connection to the daemon that runs. Where a service manager listens, connecting would start one: a place of which
/// nobody holds the lock is not asked.
async fn running(environment: &Environment) -> Result<Option<Connection>, Failure> {
    let free = |place: &PathBuf| {
        File::open(socket::lock_of(place)).is_ok_and(|file| file.try_lock_shared().is_ok())
    };
    if environment.candidates(Path::is_dir).iter().all(free) {
        return Ok(None);
    }
    connect::find(environment).await
}

/// What a service manager asks before it listens: it would take the place of a running daemon's socket without a word.
pub(super) fn vacant(environment: &Environment) -> Result<i32, Failure> {
    let sockets = environment.candidates(Path::is_dir);
    let state = environment.state_dir().map(|state| state.join("srtd.lock"));
    let locks = sockets.iter().map(|place| socket::lock_of(place));
    for lock in locks.chain(state) {
        if is_locked(&lock) {
            let pid = std::fs::read_to_string(&lock).unwrap_or_default();
            return Err(Failure::new(
                exit::TAKEN,
                format!(
                    "a daemon that was not started by the service manager runs already (pid {})",
                    pid.trim()
                ),
            )
            .hint("srtctl daemon stop; the service manager takes over then"));
        }
    }
    Ok(0)
}

/// A daemon listens before it has opened its state: only one that answers has started.
async fn start(environment: &Environment) -> Result<i32, Failure> {
    let mut tries = 2;
    loop {
        let connection = start::connect_or_start(environment).await?;
        let mut client = DaemonClient::new(connection.channel);
        tries -= 1;
        match client.status(DaemonStatusRequest {}).await {
            Ok(_) => return Ok(0),
            Err(status) if tries == 0 => return Err(status.into()),
            // It ended while it began; the next says why.
            Err(_) => {}
        }
    }
}

async fn status(connection: &Connection, json: bool) -> Result<i32, Failure> {
    let mut client = DaemonClient::new(connection.channel.clone());
    let status = client.status(DaemonStatusRequest {}).await?.into_inner();
    match json {
        true => output::print_json(to_json(&status))?,
        false => output::print(&render(&status))?,
    }
    Ok(0)
}

async fn stop(connection: &Connection, timeout: u32) -> Result<i32, Failure> {
    // What to say should the daemon stay: that it took too long, unless something else went wrong.
    let mut trouble = None;
    let gone = async {
        let mut client = DaemonClient::new(connection.channel.clone());
        if let Err(status) = client.stop(DaemonStopRequest {}).await {
            // A daemon that ends may be gone before its answer is out; then the request was heard.
            trouble = Some(lost(status.into())?);
        }
        // It takes no more calls long before the last server has ended: what it keeps to its end is the lock.
        while is_locked(&socket::lock_of(&connection.socket)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(0)
    };
    match tokio::time::timeout(Duration::from_secs(timeout.into()), gone).await {
        Ok(done) => done,
        Err(_) => Err(trouble.unwrap_or_else(|| {
            Failure::new(
                exit::TIMED_OUT,
                format!("the daemon is not gone after {timeout} s"),
            )
            .hint("it waits for its servers to end: srtctl list")
        })),
    }
}

/// A failure that an ending daemon causes; any other ends the wait.
fn lost(failure: Failure) -> Result<Failure, Failure> {
    if failure.code == exit::UNREACHABLE {
        Ok(failure)
    } else {
        Err(failure)
    }
}

/// Whether somebody has the lock. One that cannot be opened is nobody's.
fn is_locked(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn to_json(status: &DaemonStatus) -> Value {
    json!({
        "running": true,
        "version": status.version,
        "pid": status.pid,
        "socket": status.socket,
        "database": status.database,
        "config_dir": status.config_dir,
        "uptime_seconds": status.uptime_seconds,
        "servers": status.servers,
        "sessions": status.sessions,
        "launches": status.launches,
        "memory_bytes": status.memory_bytes,
        "program": status.program,
        "upgrades": status.upgrades,
        "shipping": status.shipping.as_ref().map(shipping_json),
        "audit_chain": status.audit_chain.as_ref().map(chain_json),
        "troubles": status.troubles,
        "damaged": status.damaged,
    })
}

fn shipping_json(shipping: &Shipping) -> Value {
    json!({
        "endpoint": shipping.endpoint,
        "shipped": shipping.shipped,
        "behind": shipping.behind,
        "rejected": shipping.rejected,
        "missed": shipping.missed,
        "last": (!shipping.last.is_empty()).then_some(&shipping.last),
        "trouble": (!shipping.trouble.is_empty()).then_some(&shipping.trouble),
    })
}

fn chain_json(chain: &AuditChain) -> Value {
    json!({
        "key_kept": chain.key_kept,
        "key": chain.key,
        "anchored": chain.anchored,
        "segments": chain.segments,
        "trouble": (!chain.trouble.is_empty()).then_some(&chain.trouble),
    })
}

/// "anchored at entry 7, key 0123456789abcdef in a file, 2 sealed segments".
fn chain(chain: &AuditChain) -> String {
    let place = match chain.key_kept.as_str() {
        "keyring" => "in the keyring",
        "file" => "in a file",
        other => other,
    };
    let segments = match chain.segments {
        0 => String::new(),
        1 => ", 1 sealed segment".to_owned(),
        count => format!(", {count} sealed segments"),
    };
    format!(
        "anchored at entry {}, key {} {place}{segments}",
        chain.anchored, chain.key
    )
}

/// "to https://x.example:4318: up to entry 7, 0 wait".
fn shipping(shipping: &Shipping) -> String {
    let mut text = format!(
        "to {}: up to entry {}, {} wait",
        shipping.endpoint, shipping.shipped, shipping.behind
    );
    for (count, what) in [
        (shipping.rejected, "not taken"),
        (shipping.missed, "pruned before they were shipped"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if !shipping.trouble.is_empty() {
        text += &format!("; it takes nothing at present: {}", shipping.trouble);
    }
    text
}

fn render(status: &DaemonStatus) -> String {
    let lines = [
        ("state", "running".to_owned()),
        ("version", status.version.clone()),
        ("pid", status.pid.to_string()),
        ("uptime", time::span(status.uptime_seconds)),
        ("memory", time::size(status.memory_bytes)),
        ("servers", status.servers.to_string()),
        ("sessions", status.sessions.to_string()),
        ("launches", status.launches.to_string()),
        ("socket", status.socket.clone()),
        ("database", status.database.clone()),
        ("configuration", status.config_dir.clone()),
        ("program", status.program.clone()),
    ];
    let line =
        |name: &str, value: &str| format!("{}{}\n", table::pad(name, 15), table::clean(value));
    let mut text: String = lines
        .iter()
        .map(|(name, value)| line(name, value))
        .collect();
    let mut told: Vec<String> = Vec::new();
    if let Some(known) = &status.audit_chain {
        told.push(chain(known));
        told.extend(known.trouble.lines().map(str::to_owned));
    }
    told.extend(status.shipping.as_ref().map(shipping));
    for (number, part) in told.iter().enumerate() {
        text += &line(if number == 0 { "audit log" } else { "" }, part);
    }
    for folder in &status.damaged {
        text += &line(
            "damaged",
            &format!("{folder} (a database that was moved aside)"),
        );
    }
    for trouble in &status.troubles {
        for (number, part) in trouble.lines().enumerate() {
            text += &line(if number == 0 { "trouble" } else { "" }, part);
        }
    }
    text
}

//! `srtctl daemon status`, `start` and `stop`.

use super::output;
use crate::connect::{self, Connection};
use crate::errors::Failure;
use crate::{start, table, time};
use serde_json::{Value, json};
use srt_proto::exit;
use srt_proto::socket::{self, Environment};
use srt_proto::v1::daemon_client::DaemonClient;
use srt_proto::v1::{DaemonStatus, DaemonStatusRequest, DaemonStopRequest};
use std::fs::{File, TryLockError};
use std::path::Path;
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
}

pub(super) async fn run(environment: &Environment, command: Command) -> Result<i32, Failure> {
    match command {
        Command::Start => start(environment).await,
        Command::Stop { timeout } => match connect::find(environment).await? {
            Some(connection) => stop(&connection, timeout).await,
            None => Ok(0),
        },
        Command::Status { json } => match connect::find(environment).await? {
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
    })
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
    ];
    lines
        .iter()
        .map(|(name, value)| format!("{}{}\n", table::pad(name, 15), table::clean(value)))
        .collect()
}

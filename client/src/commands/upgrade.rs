//! `srtctl daemon upgrade`.

use super::output;
use crate::connect::{self, Connection};
use crate::errors::Failure;
use srt_proto::exit;
use srt_proto::socket::Environment;
use srt_proto::v1::daemon_client::DaemonClient;
use srt_proto::v1::{
    DaemonStatus, DaemonStatusRequest, DaemonUpgradeRequest, DaemonUpgradeResponse,
};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The program to go on with; by default the file that the daemon was started from, as it is now
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// How long to wait for it to answer; afterwards exits 124
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u32,
}

const POLL: Duration = Duration::from_millis(20);

pub(super) async fn run(environment: &Environment, args: Args) -> Result<i32, Failure> {
    let program = match &args.program {
        // The daemon does not share our working directory.
        Some(path) => std::path::absolute(path)
            .map_err(|error| Failure::new(exit::USAGE, format!("{}: {error}", path.display())))?,
        None => PathBuf::new(),
    };
    let connection = connect::existing(environment).await?;
    let mut client = DaemonClient::new(connection.channel.clone());
    let before = client.status(DaemonStatusRequest {}).await?.into_inner();
    let request = DaemonUpgradeRequest {
        program: program.display().to_string(),
    };
    let begun = client.upgrade(request).await?.into_inner();
    let wait = Duration::from_secs(args.timeout.into());
    let after = tokio::time::timeout(wait, next(&connection, &begun))
        .await
        .map_err(|_elapsed| {
            Failure::new(
                exit::TIMED_OUT,
                format!("{} does not answer after {} s", begun.program, args.timeout),
            )
            .hint("srtctl daemon status; its log says what it is doing")
        })??;
    if !after.upgrade_error.is_empty() {
        return Err(Failure::new(
            exit::ERROR,
            format!("the daemon was not upgraded: {}", after.upgrade_error),
        )
        .hint("the program that was there before runs again"));
    }
    output::print(&format!(
        "upgraded from {} to {} (pid {})\n",
        before.version, after.version, after.pid
    ))?;
    Ok(0)
}

/// What the next program says of itself. Until it serves, connections wait in the socket's queue, or lead to the one that
/// is about to go.
async fn next(
    connection: &Connection,
    begun: &DaemonUpgradeResponse,
) -> Result<DaemonStatus, Failure> {
    loop {
        let Some(connection) = connect::connect(&connection.socket).await? else {
            return Err(Failure::new(
                exit::UNREACHABLE,
                format!("the daemon ended while {} was to begin", begun.program),
            )
            .hint("srtctl daemon start; the daemon's log says why"));
        };
        let mut client = DaemonClient::new(connection.channel);
        // The one that goes closes the connection, which is no answer.
        if let Ok(status) = client.status(DaemonStatusRequest {}).await {
            let status = status.into_inner();
            if status.upgrades > begun.upgrades {
                return Ok(status);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

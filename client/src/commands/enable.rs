//! `srtctl enable` and `disable`: whether registered servers start with the daemon.

use super::select;
use crate::connect::Connection;
use crate::errors::Failure;
use srt_proto::v1::EnableRequest;
use srt_proto::v1::operations_client::OperationsClient;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The servers
    #[arg(required = true)]
    names: Vec<String>,
    /// Start (or stop) them at once, too
    #[arg(long)]
    now: bool,
}

pub(super) async fn enable(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let code = set(connection, &args, true).await?;
    if code != 0 || !args.now {
        return Ok(code);
    }
    select::start(connection, select::Args::of(args.names)).await
}

pub(super) async fn disable(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let code = set(connection, &args, false).await?;
    if code != 0 || !args.now {
        return Ok(code);
    }
    select::stop(connection, select::Args::of(args.names)).await
}

async fn set(connection: &Connection, args: &Args, enabled: bool) -> Result<i32, Failure> {
    let mut client = OperationsClient::new(connection.channel.clone());
    let request = EnableRequest {
        names: args.names.clone(),
        enabled,
    };
    Ok(select::results(client.enable(request).await?.into_inner()))
}

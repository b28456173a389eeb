//! `srtctl remove`.

use crate::connect::Connection;
use crate::errors::Failure;
use srt_proto::v1::RemoveRequest;
use srt_proto::v1::servers_client::ServersClient;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    ServersClient::new(connection.channel.clone())
        .remove(RemoveRequest { name: args.name })
        .await?;
    Ok(0)
}

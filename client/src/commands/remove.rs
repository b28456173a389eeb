//! `srtctl remove`.

use crate::connect::Connection;
use crate::errors::Failure;
use srt_proto::v1::RemoveRequest;
use srt_proto::v1::servers_client::ServersClient;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// Throw away what it changed of overlaid folders and nobody applied
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    ServersClient::new(connection.channel.clone())
        .remove(RemoveRequest {
            name: args.name,
            force: args.force,
        })
        .await?;
    Ok(0)
}

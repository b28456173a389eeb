//! `srtctl reset-failed`: forgets that servers failed.

use super::output;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table;
use srt_proto::v1::ResetFailedRequest;
use srt_proto::v1::operations_client::OperationsClient;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these servers
    names: Vec<String>,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = OperationsClient::new(connection.channel.clone());
    let named = !args.names.is_empty();
    let request = ResetFailedRequest { names: args.names };
    let reset = client.reset_failed(request).await?.into_inner().names;
    // Who named one knows which; who did not, does not.
    if !named {
        match reset.is_empty() {
            true => output::print("no server had failed\n")?,
            false => output::print(&format!("reset {}\n", table::clean(&reset.join(", "))))?,
        }
    }
    Ok(0)
}

//! `srtctl discard`.

use super::output::{self, Entries};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::clean;
use serde_json::{Value, json};
use srt_proto::v1::changes_client::ChangesClient;
use srt_proto::v1::{Discarded, SettleRequest};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// Only these, relative to the overlaid folder or absolute
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Only this layer
    #[arg(long, value_name = "N")]
    layer: Option<u32>,
    /// Print a JSON array, an element a layer
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = SettleRequest {
        name: args.name,
        paths: args.paths,
        layer: args.layer.unwrap_or(0),
        force: false,
        live: false,
    };
    let mut client = ChangesClient::new(connection.channel.clone());
    let mut discarded = client.discard(request).await?.into_inner();
    let mut entries = Entries::new(false);
    let mut any = false;
    while let Some(layer) = discarded.message().await? {
        any = true;
        if args.json {
            entries.entry(json(&layer))?;
        } else {
            output::print(&render(&layer))?;
        }
    }
    if args.json {
        entries.end()?;
    } else if !any {
        output::print("nothing to discard\n")?;
    }
    Ok(0)
}

fn render(layer: &Discarded) -> String {
    let (folder, number) = (clean(&layer.folder), layer.layer);
    let entries = match layer.entries {
        1 => "1 entry".to_owned(),
        entries => format!("{entries} entries"),
    };
    format!("discarded {entries} of {folder} (layer {number})\n")
}

fn json(layer: &Discarded) -> Value {
    json!({
        "layer": layer.layer,
        "folder": layer.folder,
        "entries": layer.entries,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_is_said() {
        let layer = Discarded {
            layer: 2,
            folder: "/w\u{7}".into(),
            entries: 1,
        };
        assert_eq!(render(&layer), "discarded 1 entry of /w\\u{7} (layer 2)\n");
    }
}

//! `srtctl`: the person's tool.

use clap::Parser as _;
use srt_client::commands::Cli;
use srt_client::errors::Failure;
use srt_proto::exit;

fn main() {
    let cli = Cli::parse();
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::ERROR, format!("cannot start: {error}")))
        .and_then(|runtime| runtime.block_on(cli.run()));
    std::process::exit(ended.unwrap_or_else(|failure| {
        failure.report("");
        failure.code
    }));
}

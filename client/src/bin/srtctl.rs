//! `srtctl`: the person's tool.

use clap::Parser as _;
use srt_client::commands::Cli;
use srt_client::runtime::runtime;

fn main() {
    let cli = Cli::parse();
    let ended = runtime().and_then(|runtime| runtime.block_on(cli.run()));
    std::process::exit(ended.unwrap_or_else(|failure| {
        failure.report("");
        failure.code
    }));
}

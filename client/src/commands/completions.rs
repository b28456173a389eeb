//! `srtctl completions`.

use super::{Cli, output};
use crate::errors::Failure;
use clap::CommandFactory as _;
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<i32, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "srtctl", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

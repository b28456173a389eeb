//! `srtctl policy fmt`: settings files in one form, with their comments. Needs no running daemon.

use super::{output, rewrite};
use crate::errors::Failure;
use crate::table::clean;
use srt_proto::exit;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Settings files; a folder stands for the *.json files in it and below, - for stdin, which is printed
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write nothing: show what would change, and exit 1 if anything would
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &Args) -> Result<i32, Failure> {
    let stdin = rewrite::is_stdin(&args.files)?;
    let (report, code) = rewrite::ask("format", &args.files, !args.check)?;
    let mut text = String::new();
    let mut differs = false;
    for file in &report.files {
        eprint!("{}", file.wrong());
        differs |= file.differs();
        match (&file.after, args.check) {
            (Some(after), false) if stdin => text.push_str(after),
            (_, true) => text.push_str(&file.diff()),
            (_, false) if file.differs() => text.push_str(&format!("{}\n", clean(&file.path))),
            (_, false) => {}
        }
    }
    output::print(&text)?;
    Ok(match (code, differs && args.check) {
        (exit::OK, true) => exit::ERROR,
        (code, _) => code,
    })
}

//! `srtctl policy migrate`: settings files of an older version of the format as the newest. Needs no running daemon.

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
    /// Write the files; without it what would change is shown
    #[arg(long)]
    write: bool,
    /// Write nothing, and exit 1 if a file is of an older version
    #[arg(long, conflicts_with = "write")]
    check: bool,
}

pub(super) fn run(args: &Args) -> Result<i32, Failure> {
    let stdin = rewrite::is_stdin(&args.files)?;
    let (report, code) = rewrite::ask("migrate", &args.files, args.write)?;
    let mut text = String::new();
    let mut differs = false;
    for file in &report.files {
        eprint!("{}", file.wrong());
        differs |= file.differs();
        match &file.after {
            Some(after) if stdin && !args.check => text.push_str(after),
            Some(_) if !file.differs() => {}
            Some(_) => {
                let path = clean(&file.path);
                for change in &file.changes {
                    text.push_str(&format!("{path}: {}\n", clean(change)));
                }
                if !args.write && !args.check {
                    text.push_str(&file.diff());
                }
            }
            None => {}
        }
    }
    output::print(&text)?;
    if differs && !stdin && !args.write && !args.check {
        eprintln!("nothing is written yet: add --write");
    }
    Ok(match (code, differs && args.check) {
        (exit::OK, true) => exit::ERROR,
        (code, _) => code,
    })
}

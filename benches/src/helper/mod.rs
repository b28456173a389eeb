//! The programs that are run bare and sandboxed, each a mode of this binary.

mod client;
mod stdio;

use anyhow::bail;

pub(crate) use client::{Job, Outcome, Task};

/// Runs the helper that `arguments` name.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["hello"] => stdio::hello(),
        ["echo"] => stdio::echo(),
        ["sink", bytes] => stdio::sink(bytes.parse()?),
        ["source", lines] => stdio::source(lines.parse()?),
        ["client", job] => client::run(&Job::parse(job)?),
        other => bail!("no helper takes {other:?}"),
    }
}

//! The programs that are run bare and sandboxed, each a mode of this binary.

mod client;
mod mcp;
mod stdio;

use std::path::Path;

use anyhow::bail;

pub(crate) use client::{Job, Outcome, Task, Way};

/// Runs the helper that `arguments` name.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["hello"] => stdio::hello(),
        ["echo"] => stdio::echo(),
        ["sink", bytes] => stdio::sink(bytes.parse()?),
        ["source", lines] => stdio::source(lines.parse()?),
        ["mcp"] => mcp::stdio(),
        ["mcp-listen", socket] => mcp::listen(Path::new(socket)),
        ["relay", socket] => mcp::relay(Path::new(socket)),
        ["client", job] => client::run(&Job::parse(job)?),
        other => bail!("no helper takes {other:?}"),
    }
}

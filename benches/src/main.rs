//! Where the README's figures come from: every figure and what it is compared with, measured in one run.
//!
//! The programs that run inside sandboxes are this binary again, as `--helper NAME` ([`helper`]), so that the bare
//! run and the sandboxed one differ in nothing else.

mod daemon;
mod egress;
mod helper;
mod how;
mod launch;
mod machine;
mod query;
mod responder;
mod roundtrip;
mod session;
mod stats;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

use daemon::PrivateDaemon;
use how::Programs;

/// Measures launches, round trips, sessions, egress, the store and the log's questions, each against its baseline in the same run.
#[derive(Debug, Parser)]
#[command(name = "srt-benches", version)]
struct Options {
    /// What to measure; everything by default.
    what: Vec<What>,
    /// Where srt and srtd are; by default where this program is.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where the temporary home and the database of the store's bench are made; by default the system's temporary
    /// folder. The store's figures are worth something on a real disk only.
    #[arg(long, value_name = "DIR")]
    temp_dir: Option<PathBuf>,
    /// Launches of each kind.
    #[arg(long, default_value_t = 50, value_name = "N")]
    launches: usize,
    /// Repetitions of each other figure, of which the median is shown.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Size of a download, in MiB.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    download: usize,
    /// A hundredth of everything, once: shows that the benches run; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Only the baselines: needs neither srt nor srtd.
    #[arg(long)]
    baseline: bool,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    launches: usize,
    rounds: usize,
    download: usize,
    divisor: usize,
}

impl Effort {
    fn of(options: &Options) -> Self {
        match options.quick {
            true => Self {
                launches: 2,
                rounds: 1,
                download: 1024 * 1024,
                divisor: 100,
            },
            false => Self {
                launches: options.launches.max(1),
                rounds: options.rounds.max(1),
                download: options.download.max(1) * 1024 * 1024,
                divisor: 1,
            },
        }
    }

    /// `count`, or the part of it that is done in a hurry.
    fn scaled(&self, count: usize) -> usize {
        (count / self.divisor).max(1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// From starting the shim to the server's first byte.
    Launch,
    /// A line to the server and back.
    Roundtrip,
    /// Messages of MCP: attach, calls, notifications, memory, many sessions.
    Session,
    /// Requests and bytes through the proxy.
    Egress,
    /// Durable entries in the log.
    Store,
    /// What the log is asked, among a million entries.
    Query,
}

fn main() -> ExitCode {
    // Before anything else is looked at: a helper's start is part of what is measured.
    let mut arguments = std::env::args();
    let outcome = if arguments.nth(1).as_deref() == Some("--helper") {
        helper::run(&arguments.collect::<Vec<_>>())
    } else {
        run(&Options::parse())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("srt-benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    if rustix::process::getuid().is_root() {
        eprintln!(
            "warning: running as root, for whom the kernel takes other paths than for a person\n\
             hint: make bench runs this as an ordinary user"
        );
    }
    let effort = Effort::of(options);
    let wanted = |what| options.what.is_empty() || options.what.contains(&what);
    // The store is measured without a daemon.
    let baseline = options.baseline
        || ![What::Launch, What::Roundtrip, What::Session, What::Egress]
            .into_iter()
            .any(wanted);
    let top = options.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
    let temp = tempfile::Builder::new()
        .prefix("srt-bench-")
        .tempdir_in(&top)
        .with_context(|| format!("cannot make a temporary folder in {}", top.display()))?;
    let programs = Programs::find(options.bin_dir.as_deref(), temp.path(), baseline)?;

    println!("{}", machine::describe(temp.path()));
    if options.quick {
        println!("**Run with --quick: the figures mean nothing.**");
    }
    let daemon = match baseline {
        true => None,
        false => Some(PrivateDaemon::start(&programs)?),
    };
    let measured = || -> anyhow::Result<()> {
        if wanted(What::Launch) {
            launch::run(&programs, effort)?;
        }
        if wanted(What::Roundtrip) {
            roundtrip::run(&programs, effort)?;
        }
        if wanted(What::Session) {
            session::run(&programs, daemon.as_ref(), effort)?;
        }
        if wanted(What::Egress) {
            egress::run(&programs, daemon.as_ref(), effort)?;
        }
        Ok(())
    }();
    match daemon {
        Some(daemon) => daemon.end(measured)?,
        None => measured?,
    }
    if wanted(What::Store) {
        store::run(temp.path(), effort)?;
    }
    if wanted(What::Query) {
        query::run(temp.path(), effort)?;
    }
    Ok(())
}

//! `srtd`: the per-user daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use srtd::paths::Paths;
use tracing_subscriber::EnvFilter;

/// Launches MCP servers in sandboxes, decides on every way out, and records what happened.
///
/// Runs in the foreground and logs to stderr; RUST_LOG sets how much (error, warn, info, debug, trace).
#[derive(Debug, Parser)]
#[command(name = "srtd", version)]
struct Arguments {
    /// How the log is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    log_format: LogFormat,
    /// Leave the terminal's session (for who starts it in the background)
    #[arg(long, hide = true)]
    background: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check settings files (what "srtctl policy check" shows)
    #[command(hide = true)]
    Check {
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Try what this host can enforce (what "srtctl doctor" shows)
    #[command(hide = true)]
    Doctor {
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Check { files, .. }) => check(&files),
        Some(Command::Doctor { .. }) => {
            let (answer, ok) = srtd::check::examine(&srtd::tools::find());
            println!("{answer:#}");
            Ok(u8::from(!ok))
        }
        None => serve(&arguments),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref::<srtd::lock::Taken>() {
                Some(_) => ExitCode::from(u8::try_from(srt_proto::exit::TAKEN).unwrap_or(1)),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn check(files: &[PathBuf]) -> anyhow::Result<u8> {
    let paths = Paths::from_process()?;
    let cwd = std::env::current_dir().context("cannot tell the working directory")?;
    let (answer, ok) = srtd::check::check(files, &paths.home, &cwd);
    println!("{answer:#}");
    let code = if ok {
        srt_proto::exit::OK
    } else {
        srt_proto::exit::POLICY_INVALID
    };
    Ok(u8::try_from(code).unwrap_or(1))
}

fn serve(arguments: &Arguments) -> anyhow::Result<u8> {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match arguments.log_format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            let colour = std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            log.with_ansi(colour).with_target(false).init();
        }
    }
    if arguments.background {
        // Nothing is open yet but what the host that happened to start us forgot to close.
        srt_runtime::process::close_inherited();
        // Fails where we lead a process group already; then whoever started us has taken care of it.
        let _ = rustix::process::setsid();
    }
    // What we make is ours alone, whatever the umask of who started us.
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    // A launch takes about fifteen; the usual soft limit of 1024 would end at some sixty of them.
    if let Err(error) = srt_runtime::raise_descriptor_limit() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let paths = Paths::from_process()?;
    // The folder that we were started in may be one that somebody wants to unmount.
    std::env::set_current_dir("/").context("cannot enter /")?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(srtd::app::run(paths, srtd::tools::find()))?;
    Ok(0)
}

//! `srtd`: the per-user daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use srtd::life::Inherited;
use srtd::metrics::Place;
use srtd::paths::Paths;
use srtd::rewrite::Rewrite;
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
    /// Serve metrics for Prometheus at /metrics, and /health: at unix:PATH, for this user alone, or at a loopback address and
    /// port, for who has the token in metrics.token of the state folder
    #[arg(long, value_name = "unix:PATH|127.0.0.1:PORT")]
    metrics: Option<Place>,
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
        /// They are projects' files, held to this one
        #[arg(long)]
        against: Option<PathBuf>,
        /// The files, folders of them, patterns, or - for stdin
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of settings files (what "srtctl policy schema" shows)
    #[command(hide = true)]
    Schema,
    /// Rewrite settings files (what "srtctl policy fmt" and "srtctl policy migrate" show)
    #[command(hide = true)]
    Rewrite {
        /// What becomes of them
        #[arg(long, value_enum)]
        how: How,
        /// Write them, too
        #[arg(long)]
        write: bool,
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
        /// The files, folders of them, patterns, or - for stdin
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the built-in templates (what "srtctl policy templates" shows)
    #[command(hide = true)]
    Templates {
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
    },
    /// Look through the database, or copy it (what "srtctl store" shows)
    #[command(hide = true, subcommand)]
    Store(StoreCommand),
    /// Verify the audit log (what "srtctl audit verify" shows)
    #[command(hide = true)]
    Verify {
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
        /// A copy of a database, in place of the daemon's
        #[arg(long)]
        file: Option<PathBuf>,
        /// The key's file, in place of the daemon's
        #[arg(long)]
        key: Option<PathBuf>,
        /// An anchor that was kept elsewhere
        #[arg(long)]
        anchor: Option<String>,
        /// Findings about entries before this one do not count
        #[arg(long)]
        from: Option<u64>,
    },
    /// Say where the audit log's key is (what "srtctl audit key" shows)
    #[command(hide = true)]
    Key {
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
    },
    /// Give the audit log another key in the place of one that is lost (for "srtctl audit key renew")
    #[command(hide = true)]
    RenewKey {
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
        /// Why
        #[arg(long)]
        because: String,
    },
    /// Say whether this program could take the place of the daemon that runs (for "srtctl daemon upgrade")
    #[command(hide = true)]
    Preflight,
    /// Try what this host can enforce (what "srtctl doctor" shows)
    #[command(hide = true)]
    Doctor {
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    Format,
    Migrate,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Look through it
    Check {
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
    },
    /// Copy it to a new file
    Backup {
        /// Print JSON
        #[arg(long, required = true)]
        json: bool,
        /// The file
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    srt_runtime::process::learn_of_children();
    let result = match arguments.command {
        Some(Command::Check { files, against, .. }) => check(&files, against.as_deref()),
        Some(Command::Doctor { .. }) => {
            let (answer, ok) = srtd::check::examine(&srtd::tools::find());
            println!("{answer:#}");
            Ok(u8::from(!ok))
        }
        Some(Command::Rewrite {
            how, write, files, ..
        }) => {
            let how = match how {
                How::Format => Rewrite::Format,
                How::Migrate => Rewrite::Migrate,
            };
            let (answer, ok) = srtd::rewrite::rewrite(how, &files, write);
            println!("{answer:#}");
            Ok(valid(ok))
        }
        Some(Command::Templates { .. }) => {
            println!("{:#}", srtd::rewrite::templates());
            Ok(0)
        }
        Some(Command::Schema) => {
            println!("{:#}", srt_policy::schema());
            Ok(0)
        }
        Some(Command::Store(command)) => store(&command),
        Some(Command::Verify {
            file,
            key,
            anchor,
            from,
            ..
        }) => verify(file, key, anchor, from),
        Some(Command::Key { .. }) => key(None),
        Some(Command::RenewKey { because, .. }) => key(Some(&because)),
        Some(Command::Preflight) => preflight(),
        None => serve(&arguments),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {}", told(&error));
            match error.downcast_ref::<srtd::lock::Taken>() {
                Some(_) => ExitCode::from(u8::try_from(srt_proto::exit::TAKEN).unwrap_or(1)),
                None => ExitCode::FAILURE,
            }
        }
    }
}

/// An error with its causes, each once, and the remedy last.
fn told(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let (text, hint) = match text.split_once("\nhint: ") {
        Some((text, hint)) => (text, format!("\nhint: {hint}")),
        None => (&*text, String::new()),
    };
    let mut told = text.to_owned();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !told.contains(&cause) {
            told += &format!(": {cause}");
        }
    }
    told + &hint
}

fn check(files: &[PathBuf], against: Option<&Path>) -> anyhow::Result<u8> {
    let paths = Paths::from_process()?;
    let cwd = std::env::current_dir().context("cannot tell the working directory")?;
    let (answer, ok) = srtd::check::check(files, against, &paths.home, &cwd);
    println!("{answer:#}");
    Ok(valid(ok))
}

/// The exit status of a look at settings files.
fn valid(ok: bool) -> u8 {
    let code = if ok {
        srt_proto::exit::OK
    } else {
        srt_proto::exit::POLICY_INVALID
    };
    u8::try_from(code).unwrap_or(1)
}

fn verify(
    file: Option<PathBuf>,
    key: Option<PathBuf>,
    anchor: Option<String>,
    from: Option<u64>,
) -> anyhow::Result<u8> {
    let paths = Paths::from_process()?;
    let against = srtd::store::Against {
        // A copy's key is where the daemon has it; beside the daemon's own database there must be an anchor.
        key: key.or_else(|| file.as_ref().map(|_| paths.audit_key())),
        line: anchor,
        anchored: file.is_none(),
        from: from.unwrap_or_default(),
    };
    let database = file.unwrap_or_else(|| paths.database());
    let (answer, ok) = runtime()?.block_on(srtd::database::verify(&database, &against));
    println!("{answer:#}");
    Ok(u8::from(!ok))
}

/// The audit log's key; a new one in the place of a lost one, where it is said why.
fn key(renewed_because: Option<&str>) -> anyhow::Result<u8> {
    let paths = Paths::from_process()?;
    let (answer, ok) = runtime()?.block_on(async {
        match renewed_because {
            None => srtd::database::key(&paths.database()).await,
            Some(because) => srtd::database::renew_key(&paths, because).await,
        }
    });
    println!("{answer:#}");
    Ok(u8::from(!ok))
}

/// What would keep a daemon of this program from working is found while the one before it still does.
fn preflight() -> anyhow::Result<u8> {
    let paths = Paths::from_process()?;
    let tools = srtd::tools::find();
    for program in [&tools.jail, &tools.bwrap] {
        rustix::fs::access(program, rustix::fs::Access::EXEC_OK)
            .with_context(|| format!("cannot execute {}", program.display()))?;
    }
    let database = paths.database();
    runtime()?.block_on(srtd::store::Store::check(&database))?;
    srtd::life::has_room(database.parent().unwrap_or(&database))?;
    Ok(0)
}

fn store(command: &StoreCommand) -> anyhow::Result<u8> {
    let database = Paths::from_process()?.database();
    let (answer, ok) = runtime()?.block_on(async {
        match command {
            StoreCommand::Check { .. } => srtd::database::check(&database).await,
            StoreCommand::Backup { file, .. } => srtd::database::backup(&database, file).await,
        }
    });
    println!("{answer:#}");
    Ok(u8::from(!ok))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn serve(arguments: &Arguments) -> anyhow::Result<u8> {
    // Nothing is open yet but what whoever executed us left: what is meant for us, and what they forgot to close.
    let inherited = Inherited::take()?;
    if arguments.background && matches!(inherited, Inherited::Nothing) {
        srt_runtime::process::close_inherited();
    }
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
        // Fails where we lead a process group already; then whoever started us has taken care of it.
        let _ = rustix::process::setsid();
        srtd::life::take_back_readiness_to_be_killed();
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
    let runtime = runtime()?;
    let successor = runtime.block_on(srtd::app::run(
        paths,
        srtd::tools::find(),
        inherited,
        arguments.metrics.as_ref(),
    ))?;
    // Its threads end before another program takes our place.
    drop(runtime);
    match successor {
        None => Ok(0),
        Some(successor) => Err(successor.execute()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once_and_the_remedy_last() {
        let full = anyhow::anyhow!("no space left");
        let error = full.context("cannot write: no space left\nhint: free some");
        assert_eq!(told(&error), "cannot write: no space left\nhint: free some");
        let error = anyhow::anyhow!("no such file").context("cannot open x\nhint: make it");
        assert_eq!(told(&error), "cannot open x: no such file\nhint: make it");
        let hinted = anyhow::anyhow!("full\nhint: free some").context("cannot begin");
        assert_eq!(told(&hinted), "cannot begin: full\nhint: free some");
    }
}

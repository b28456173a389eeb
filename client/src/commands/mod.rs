//! `srtctl`: one file per request, each with its arguments and its rendering.
//!
//! Reading commands take `--json`: keys sorted, arrays never null, and stable names; what may be null is said where
//! it is written. A command prints to stdout what was asked for and nothing else; failures are [`Failure`]s.

mod add;
mod audit;
mod check;
mod completions;
mod daemon;
mod doctor;
mod list;
mod logs;
mod output;
mod remove;
mod select;
mod show;

use crate::connect::{self, Connection};
use crate::errors::Failure;
use clap::{Parser, Subcommand};
use srt_proto::socket::Environment;

/// Lists, starts, stops and explains the MCP servers that the daemon srtd runs in sandboxes.
///
/// Exit status: 0 ok, 1 error, 2 usage, 3 not running or failed, 4 unknown name, 5 daemon unreachable,
/// 6 policy invalid, 7 denied, 124 a wait timed out.
#[derive(Debug, Parser)]
#[command(name = "srtctl", version, verbatim_doc_comment)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List servers
    List(list::Args),
    /// Show servers; exits 3 if one that is named is not running
    Status(list::Args),
    /// Register a server
    Add(add::Args),
    /// Forget a registered server
    Remove(remove::Args),
    /// Start servers without a host attached; the next host to attach takes over at once
    Start(select::Args),
    /// Stop servers
    Stop(select::Args),
    /// Restart servers
    Restart(select::Args),
    /// Print what a server wrote to stderr, and what the daemon and the proxies said about it
    Logs(logs::Args),
    /// Check settings files, or show a server's effective policy
    #[command(subcommand)]
    Policy(Policy),
    /// Print the audit log
    Audit(audit::Args),
    /// Say what this machine can enforce, and the remedy for each missing piece
    Doctor(doctor::Args),
    /// Show, start or stop the daemon
    #[command(subcommand)]
    Daemon(daemon::Command),
    /// Print a shell's completion script
    Completions(completions::Args),
}

#[derive(Debug, Subcommand)]
enum Policy {
    /// Check settings files; needs no daemon
    Check(check::Args),
    /// Show a server's effective policy, each line with where it comes from
    Show(show::Args),
}

impl Cli {
    /// Does what the command line asks for, and returns the exit status.
    ///
    /// # Errors
    /// A failure to report; quiet where the output said it already.
    pub async fn run(self) -> Result<i32, Failure> {
        let environment = Environment::from_process();
        match self.command {
            Command::List(args) => list::list(&connect(&environment).await?, args).await,
            Command::Status(args) => list::status(&connect(&environment).await?, args).await,
            Command::Add(args) => add::run(&connect(&environment).await?, args).await,
            Command::Remove(args) => remove::run(&connect(&environment).await?, args).await,
            Command::Start(args) => select::start(&connect(&environment).await?, args).await,
            Command::Stop(args) => select::stop(&connect(&environment).await?, args).await,
            Command::Restart(args) => select::restart(&connect(&environment).await?, args).await,
            Command::Logs(args) => logs::run(&connect(&environment).await?, args).await,
            Command::Policy(Policy::Check(args)) => check::run(&args),
            Command::Policy(Policy::Show(args)) => {
                show::run(&connect(&environment).await?, args).await
            }
            Command::Audit(args) => audit::run(&connect(&environment).await?, args).await,
            Command::Doctor(args) => doctor::run(&args),
            Command::Daemon(command) => daemon::run(&environment, command).await,
            Command::Completions(args) => completions::run(&args),
        }
    }
}

async fn connect(environment: &Environment) -> Result<Connection, Failure> {
    connect::existing(environment).await
}

/// For clap: `--since`.
fn since(text: &str) -> Result<String, String> {
    crate::time::since(text, jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("srtctl").chain(words.split(' ')))
    }

    #[test]
    fn the_definition_holds_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn command_lines() {
        let good = [
            "list",
            "list --json a",
            "status a b --json",
            "add files -- npx -y pkg --cwd x",
            "add files --cwd /w --settings s.json --env A --env B=c=d -- npx",
            "remove files",
            "start a b",
            "start --all --timeout 5",
            "stop --all",
            "restart a",
            "logs a -f -n 5 --since 2h --stream egress --json",
            "policy check a.json b.json --json",
            "policy show a",
            "audit --server a --since 2026-11-20T08:00:00Z --kind deny -f -n 3 --json",
            "doctor --json",
            "daemon status --json",
            "daemon start",
            "daemon stop --timeout 3",
            "completions bash",
        ];
        for words in good {
            assert!(check(words).is_ok(), "{words}: {:?}", check(words).err());
        }
        let wrong = [
            "",
            "lst",
            "add files",
            "add a/b -- x",
            "add files --env =x -- y",
            "remove",
            "start",
            "start a --all",
            "logs a --stream stdout",
            "logs a --since yesterday",
            "policy check",
            "completions ksh93",
        ];
        for words in wrong {
            let error = check(words).expect_err(words);
            assert_eq!(error.exit_code(), 2, "{words}");
        }
    }
}

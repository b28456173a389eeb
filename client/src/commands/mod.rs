//! `srtctl`: one file per request, each with its arguments and its rendering.
//!
//! Reading commands take `--json`: keys sorted, arrays never null, and stable names; what may be null is said where
//! it is written. A command prints to stdout what was asked for and nothing else; failures are [`Failure`]s.

mod add;
mod apply;
mod approvals;
mod audit;
mod changes;
mod check;
mod completions;
mod daemon;
mod detail;
mod diff;
mod discard;
mod doctor;
mod enable;
mod events;
mod flows;
mod fmt;
mod grants;
mod history;
mod install;
mod keys;
mod kill;
mod list;
mod logs;
mod migrate;
mod output;
mod reload;
mod remove;
mod reset;
mod review;
mod rewrite;
mod rollback;
mod schema;
mod screen;
mod select;
mod show;
mod store;
mod templates;
mod tools;
mod top;
mod upgrade;
mod why;

use crate::connect::{self, Connection};
use crate::errors::Failure;
use clap::{Parser, Subcommand};
use srt_proto::socket::Environment;

/// Lists, starts, stops and explains the MCP servers that the daemon srtd runs in sandboxes.
///
/// Exit status: 0 ok, 1 error, 2 usage, 3 not running or failed, 4 unknown name, 5 daemon unreachable,
/// 6 policy invalid, 7 denied, 8 and 9 findings of a review, 124 a wait timed out.
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
    /// Show servers, those that are named with all there is to know; exits 3 if one that is named is not running
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
    /// Send a signal to servers (SIGTERM unless -s says otherwise); "stop" is what ends one for good
    ///
    /// It goes to the server's own process of each launch that runs. Nothing else changes: a server that ends by it is
    /// started again where it would be after any other end.
    Kill(kill::Args),
    /// Forget that servers failed: the next host or start tries anew, and the waits between restarts begin small again
    ResetFailed(reset::Args),
    /// Have registered servers start with the daemon; starts nothing now unless --now
    Enable(enable::Args),
    /// Have servers no longer start with the daemon; stops nothing now unless --now
    Disable(enable::Args),
    /// Show what servers use, live: CPU, memory, processes, connections, messages
    Top(top::Args),
    /// Show every change of a server's state since the daemon started, and with -f those that come
    Events(events::Args),
    /// Read settings files anew, and say what changes; exits 6 where one cannot be used
    Reload(reload::Args),
    /// Print what a server wrote to stderr, and what the daemon and the proxies said about it
    Logs(logs::Args),
    /// Check settings files, show a server's effective policy, or explain a decision
    #[command(subcommand)]
    Policy(Policy),
    /// Show the connections that servers have open now, with how fast they are
    Flows(flows::Args),
    /// List connections that wait for a yes or no (network.ask)
    Approvals(approvals::Args),
    /// Let a connection that waits go on
    Approve(approvals::Approve),
    /// Refuse a connection that waits
    Deny(approvals::Deny),
    /// List the approvals that are remembered, or take one back
    Grants(grants::Args),
    /// List a server's tools and whether they may be used (mcp.tools, mcp.pinTools), or accept one that changed
    Tools(tools::Args),
    /// List what a server changed of overlaid folders (filesystem.overlay)
    Changes(changes::Args),
    /// Make the host's copy what a server changed
    Apply(apply::Args),
    /// Throw away what a server changed
    Discard(discard::Args),
    /// Print the audit log, or write it for other programs
    Audit(Box<audit::Args>),
    /// Look through the daemon's database, or make a backup of it
    #[command(subcommand)]
    Store(store::Command),
    /// Say what this machine can enforce, and the remedy for each missing piece
    Doctor(doctor::Args),
    /// Show, start, stop, replace or install the daemon
    #[command(subcommand)]
    Daemon(daemon::Command),
    /// Print a shell's completion script
    Completions(completions::Args),
}

#[derive(Debug, Subcommand)]
enum Policy {
    /// Check settings files; needs no daemon
    Check(check::Args),
    /// Write settings files in one form, with their comments; needs no daemon
    Fmt(fmt::Args),
    /// Rewrite settings files of an older version of the format as the newest, with their comments; needs no daemon
    ///
    /// Both versions are read for ever, so nobody has to.
    Migrate(migrate::Args),
    /// List the built-in templates, which other files extend ("extends": ["@NAME"]), or print one; needs no daemon
    Templates(templates::Args),
    /// Print the JSON Schema of settings files, for editors and validators; needs no daemon
    Schema,
    /// Show a server's effective policy, each line with where it comes from
    Show(show::Args),
    /// Say whether a server may connect to a host, or read or write a path: the decision, the rule, and what would change
    /// it; exits 0 if it may, 7 if not or if a person would be asked
    Why(why::Args),
    /// List the settings that a server had, as numbered generations, each with since when and why
    History(history::Args),
    /// Say what a server may do under one generation and not under another; what loosens comes first, with a "+"
    Diff(diff::Args),
    /// Write a generation's settings back to the files that they came from, and put them in force; asks before it does
    Rollback(rollback::Args),
    /// Print the checklist for who has to agree to a server: what it may do that few need, rules that nothing came by, tokens
    /// in what was registered; exits 8 where there are warnings, 9 where there is worse
    Review(review::Args),
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
            Command::Kill(args) => kill::run(&connect(&environment).await?, args).await,
            Command::Enable(args) => enable::enable(&connect(&environment).await?, args).await,
            Command::Disable(args) => enable::disable(&connect(&environment).await?, args).await,
            Command::ResetFailed(args) => reset::run(&connect(&environment).await?, args).await,
            Command::Events(args) => events::run(&connect(&environment).await?, args).await,
            Command::Top(args) => top::run(&connect(&environment).await?, args).await,
            Command::Reload(args) => reload::run(&connect(&environment).await?, args).await,
            Command::Logs(args) => logs::run(&connect(&environment).await?, args).await,
            Command::Policy(Policy::Check(args)) => check::run(&args),
            Command::Policy(Policy::Fmt(args)) => fmt::run(&args),
            Command::Policy(Policy::Migrate(args)) => migrate::run(&args),
            Command::Policy(Policy::Templates(args)) => templates::run(&args),
            Command::Policy(Policy::Schema) => schema::run(),
            Command::Policy(Policy::Show(args)) => {
                show::run(&connect(&environment).await?, args).await
            }
            Command::Policy(Policy::Why(args)) => {
                why::run(&connect(&environment).await?, args).await
            }
            Command::Policy(Policy::History(args)) => {
                history::run(&connect(&environment).await?, args).await
            }
            Command::Policy(Policy::Diff(args)) => {
                diff::run(&connect(&environment).await?, args).await
            }
            Command::Policy(Policy::Review(args)) => {
                review::run(&connect(&environment).await?, args).await
            }
            Command::Policy(Policy::Rollback(args)) => {
                rollback::run(&connect(&environment).await?, args).await
            }
            Command::Flows(args) => flows::run(&connect(&environment).await?, args).await,
            Command::Approvals(args) => approvals::list(&connect(&environment).await?, args).await,
            Command::Approve(args) => approvals::approve(&connect(&environment).await?, args).await,
            Command::Deny(args) => approvals::deny(&connect(&environment).await?, args).await,
            Command::Grants(args) => grants::run(&connect(&environment).await?, args).await,
            Command::Tools(args) => tools::run(&connect(&environment).await?, args).await,
            Command::Changes(args) => changes::run(&connect(&environment).await?, args).await,
            Command::Apply(args) => apply::run(&connect(&environment).await?, args).await,
            Command::Discard(args) => discard::run(&connect(&environment).await?, args).await,
            Command::Audit(args) => match audit::offline(&args) {
                Some(done) => done,
                None => audit::run(&connect(&environment).await?, *args).await,
            },
            Command::Store(command) => store::run(&command),
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
            "kill a b",
            "kill -s HUP a",
            "kill --signal sigusr1 a",
            "kill -s 9 a",
            "enable a b",
            "enable --now a",
            "disable a",
            "top",
            "reset-failed",
            "reset-failed a b",
            "events a -f -n 5 --json",
            "top a --sort memory --json",
            "reload",
            "reload a b --now --json",
            "logs a -f -n 5 --since 2h --stream egress --json",
            "policy check a.json b.json --json",
            "policy check policies '**/*.json' - --format github",
            "policy check --against base.json .srt.json",
            "policy schema",
            "policy fmt a b -",
            "policy fmt --check .",
            "policy migrate a",
            "policy migrate a b --write",
            "policy migrate --check a",
            "policy templates",
            "policy templates github",
            "policy show a",
            "policy why a connect x.org:80 --json",
            "policy why a write ./x",
            "policy history a --json",
            "policy diff a 3",
            "policy rollback a 3 --dry-run",
            "policy review a",
            "policy review a --since 7d --format markdown",
            "policy review a --json",
            "policy rollback a 3 -y --json",
            "policy diff a 3 7 --json",
            "flows a -f --json",
            "approvals -f",
            "approve k7x2",
            "approve k7x2 --for 10m --json",
            "deny k7x2",
            "grants a --all --json",
            "grants revoke g3",
            "tools a --json",
            "tools a --accept",
            "tools a --accept add",
            "audit --call 7 --json",
            "audit --host x.org:443 --path ~/.aws --until 1h -n 5 --before 70",
            "audit who-touched ~/.aws/credentials --since 2h --json",
            "audit export",
            "audit export --format csv --server a --since 2h --kind deny",
            "changes a --json",
            "changes a --diff src/x --layer 2",
            "apply a x y --force --json",
            "apply a --live",
            "discard a x --layer 1 --json",
            "remove files --force",
            "audit --server a --since 2026-11-20T08:00:00Z --kind deny -f -n 3 --json",
            "store check --json",
            "store backup --json x.db",
            "doctor --json",
            "daemon status --json",
            "daemon start",
            "daemon stop --timeout 3",
            "daemon upgrade",
            "daemon install --now --dry-run --force",
            "daemon uninstall --now --dry-run",
            "daemon upgrade --program ./srtd --timeout 3",
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
            "kill",
            "kill -s NOPE a",
            "kill -s 0 a",
            "kill -s 64 a",
            "enable",
            "top --sort weight",
            "logs a --stream stdout",
            "logs a --since yesterday",
            "policy check",
            "policy check a --format xml",
            "policy fmt",
            "policy migrate a --write --check",
            "policy check a --json --format github",
            "policy why a",
            "policy why a ping x.org",
            "policy history",
            "policy diff a",
            "policy diff a 0",
            "policy rollback a",
            "policy review a --format html",
            "policy diff a x",
            "approve",
            "approve k7x2 --for ever",
            "grants revoke",
            "changes",
            "tools",
            "audit --call 7 --follow",
            "audit --call x",
            "audit --server a export",
            "audit --follow --before 7",
            "audit --before 0",
            "audit who-touched",
            "audit export --format xml",
            "store",
            "store backup",
            "discard a --force",
            "apply a --layer x",
            "completions ksh93",
        ];
        for words in wrong {
            let error = check(words).expect_err(words);
            assert_eq!(error.exit_code(), 2, "{words}");
        }
    }
}

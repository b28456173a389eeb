//! `srtctl apply`.

use super::changes::{self, Heading};
use super::output::{self, Entries};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::clean;
use crate::terminal::Stream;
use srt_proto::exit;
use srt_proto::v1::changes_client::ChangesClient;
use srt_proto::v1::{SettleRequest, Settled};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// What takes longer says how far it is.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it does.
const BEAT: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// Only these, relative to the overlaid folder or absolute
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Also over what changed on the host meanwhile; and what a rule protects, where PATH names it
    #[arg(long)]
    force: bool,
    /// While the server runs: apply what is there, and leave the layer as it is
    #[arg(long)]
    live: bool,
    /// Only this layer
    #[arg(long, value_name = "N")]
    layer: Option<u32>,
    /// Print a JSON array: the changes, each with "refused", empty where it was applied
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = SettleRequest {
        name: args.name.clone(),
        paths: args.paths,
        layer: args.layer.unwrap_or(0),
        force: args.force,
        live: args.live,
    };
    let mut client = ChangesClient::new(connection.channel.clone());
    let mut settled = client.apply(request).await?.into_inner();
    let mut entries = Entries::new(false);
    let mut heading = Heading::default();
    let mut progress = Progress::new();
    let mut tally = Tally::default();
    while let Some(one) = settled.message().await? {
        tally.count(&one);
        if args.json {
            entries.entry(json(&one))?;
        } else if let Some(change) = one.change.as_ref().filter(|_| !one.refused.is_empty()) {
            progress.clear();
            output::print(&heading.before(change))?;
            let line = format!(
                "refused  {}: {}\n",
                clean(&change.path),
                clean(&one.refused)
            );
            output::print(&line)?;
        }
        progress.show(&tally);
    }
    progress.clear();
    if args.json {
        entries.end()?;
    } else {
        output::print(&tally.said())?;
    }
    tally.end(&args.name)
}

fn json(one: &Settled) -> serde_json::Value {
    let mut value = one
        .change
        .as_ref()
        .map(changes::json)
        .unwrap_or(serde_json::json!({}));
    value["refused"] = one.refused.as_str().into();
    value
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    applied: u64,
    refused: u64,
    /// The first refusal's.
    code: i32,
}

impl Tally {
    fn count(&mut self, one: &Settled) {
        if one.refused.is_empty() {
            self.applied += 1;
            return;
        }
        self.refused += 1;
        if self.code == 0 {
            self.code = if one.exit_code == 0 {
                exit::ERROR
            } else {
                one.exit_code
            };
        }
    }

    fn said(&self) -> String {
        match self.applied {
            0 if self.refused == 0 => "nothing to apply\n".to_owned(),
            1 => "applied 1 change\n".to_owned(),
            applied => format!("applied {applied} changes\n"),
        }
    }

    fn end(&self, name: &str) -> Result<i32, Failure> {
        let count = match self.refused {
            0 => return Ok(0),
            1 => "1 change was".to_owned(),
            refused => format!("{refused} changes were"),
        };
        let failure = Failure::new(self.code, format!("{count} not applied"));
        Err(failure.hint(format!(
            "srtctl changes {name} --diff PATH shows one; --force overrides a conflict and, with PATH, a rule; srtctl discard {name} PATH throws it away"
        )))
    }
}

/// How far it is, on a terminal.
struct Progress {
    begun: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            shown: None,
            terminal: Stream::Stderr.is_terminal(),
        }
    }

    fn show(&mut self, tally: &Tally) {
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= BEAT);
        if !self.terminal || self.begun.elapsed() < PATIENCE || !due {
            return;
        }
        self.shown = Some(Instant::now());
        // A failed write to stderr has nowhere to be reported.
        let _ = write!(std::io::stderr(), "\rapplied {} …", tally.applied);
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_decides_the_exit_status() {
        let one = |refused: &str, exit_code| Settled {
            change: None,
            refused: refused.into(),
            exit_code,
        };
        let mut tally = Tally::default();
        assert_eq!(tally.said(), "nothing to apply\n");
        tally.count(&one("", 0));
        assert_eq!(tally.end("s"), Ok(0));
        tally.count(&one("a rule", exit::DENIED));
        tally.count(&one("a conflict", exit::ERROR));
        assert_eq!(tally.said(), "applied 1 change\n");
        let failure = tally.end("s").unwrap_err();
        assert_eq!(failure.code, exit::DENIED);
        assert_eq!(failure.message, "2 changes were not applied");
    }
}

//! `srtctl audit`: the audit log's questions, and what is done with its answers.

mod export;
mod filters;
mod key;
mod shown;
mod touched;
mod verify;

use super::output::{self, Entries};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::terminal;
use filters::Filters;
use jiff::tz::TimeZone;
use srt_proto::v1::AuditRequest;
use srt_proto::v1::audit_client::AuditClient;
use tonic::transport::Channel;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    filters: Filters,
    /// Only the call with this number (SEQ), and what went on in its server while it lasted: connections, refusals, uses of
    /// files, other calls
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..),
          conflicts_with_all = ["server", "since", "until", "kind", "host", "path", "before", "after", "follow", "limit"])]
    call: Option<u64>,
    /// Go on with new entries until interrupted
    #[arg(short, long, conflicts_with_all = ["until", "before"])]
    follow: bool,
    /// The newest N entries, and how to get those before them [default: all; with --follow 10]
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u32>,
    /// Print a JSON array, with --follow an object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write the log, or a part of it, in a form for other programs
    Export(export::Args),
    /// Say which servers had to do with a path, a host or a variable: how often, first, last, allowed or refused
    WhoTouched(touched::Args),
    /// Say whether the log is what was written: nothing edited, put in, taken out, moved or cut off; exits 1 if it is not
    Verify(verify::Args),
    /// Say where the key is that the log is chained with, and whether it is the right one; exits 1 if it is not
    Key(key::Args),
}

/// What needs no daemon.
pub(super) fn offline(args: &Args) -> Option<Result<i32, Failure>> {
    match &args.command {
        Some(Command::Verify(args)) => Some(verify::run(args)),
        Some(Command::Key(args)) => Some(key::run(args)),
        _ => None,
    }
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    match args.command {
        Some(Command::Export(args)) => export::run(connection, args).await,
        Some(Command::WhoTouched(args)) => touched::run(connection, args).await,
        Some(Command::Verify(args)) => verify::run(&args),
        Some(Command::Key(args)) => key::run(&args),
        None => list(connection, args).await,
    }
}

async fn list(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let unbounded = if args.follow && args.filters.since.is_none() {
        10
    } else {
        0
    };
    let request = AuditRequest {
        follow: args.follow,
        limit: args.limit.unwrap_or(unbounded),
        call: args.call.unwrap_or_default(),
        ..args.filters.request()?
    };
    let nothing = args.limit == Some(0) && !args.follow;
    let mut client = AuditClient::new(connection.channel.clone());
    let mut log = client.query(request.clone()).await?.into_inner();
    let mut entries = Entries::new(args.follow);
    let zone = TimeZone::system();
    let width = terminal::Stream::Stdout.width();
    if !args.json {
        let heading = shown::heading(width);
        output::print(&terminal::Stream::Stdout.paint(terminal::STRONG, &heading))?;
        output::print("\n")?;
    }
    let (mut count, mut first, mut last) = (0_u32, None, 0);
    while let Some(entry) = log.message().await? {
        if nothing {
            break;
        }
        count = count.saturating_add(1);
        first = first.or(Some(entry.seq));
        last = entry.seq;
        if args.json {
            entries.entry(shown::json(&entry))?;
            continue;
        }
        output::print(&shown::render(&entry, &zone, width))?;
    }
    if args.json {
        entries.end()?;
    } else if let Some(first) = first.filter(|_| count == request.limit) {
        more(&mut client, request, first, last).await?;
    }
    Ok(0)
}

/// After a full page: says whether there is another one, and how to get it.
async fn more(
    client: &mut AuditClient<Channel>,
    page: AuditRequest,
    first: u64,
    last: u64,
) -> Result<(), Failure> {
    let (next, word) = match page.after {
        0 => {
            let before = AuditRequest {
                before: first,
                ..page
            };
            (before, format!("older entries: --before {first}"))
        }
        _ => {
            let after = AuditRequest {
                after: last,
                ..page
            };
            (after, format!("newer entries: --after {last}"))
        }
    };
    let one = AuditRequest { limit: 1, ..next };
    let found = client.query(one).await?.into_inner().message().await?;
    match found {
        Some(_) => output::print(&format!("{word}\n")),
        None => Ok(()),
    }
}

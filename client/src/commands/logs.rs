//! `srtctl logs`.

use super::output::{self, Entries};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::{table, terminal, time};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use srt_proto::v1::servers_client::ServersClient;
use srt_proto::v1::{LogLine, LogsRequest};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// Go on with new lines until interrupted
    #[arg(short, long)]
    follow: bool,
    /// The last N lines [default: all; with --follow 10]
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<u32>,
    /// Lines since this RFC 3339 time, or for so long: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = super::since)]
    since: Option<String>,
    /// Only this stream
    #[arg(long, value_parser = ["stderr", "daemon", "egress"])]
    stream: Option<String>,
    /// Print a JSON array, with --follow an object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let unbounded = if args.follow && args.since.is_none() {
        10
    } else {
        0
    };
    let request = LogsRequest {
        name: args.name,
        follow: args.follow,
        lines: args.lines.unwrap_or(unbounded),
        since: args.since.unwrap_or_default(),
        stream: args.stream.unwrap_or_default(),
    };
    // The daemon reads 0 as "all".
    let nothing = args.lines == Some(0) && !args.follow;
    let mut client = ServersClient::new(connection.channel.clone());
    let mut lines = client.logs(request).await?.into_inner();
    let zone = TimeZone::system();
    // A server's text may hold control sequences: shown to a person they are escaped, to a program they are kept.
    let escape = terminal::Stream::Stdout.is_terminal();
    let mut entries = Entries::new(args.follow);
    while let Some(line) = lines.message().await? {
        if nothing {
            break;
        }
        if args.json {
            entries.entry(json(&line))?;
        } else {
            output::print(&render(&line, &zone, escape))?;
        }
    }
    if args.json {
        entries.end()?;
    }
    Ok(0)
}

fn json(line: &LogLine) -> Value {
    json!({
        "at": line.at,
        "stream": line.stream,
        "launch": line.launch,
        "line": line.line,
        "id": line.id,
    })
}

fn render(line: &LogLine, zone: &TimeZone, escape: bool) -> String {
    let text = if escape {
        table::clean(&line.line)
    } else {
        line.line.clone()
    };
    let (at, stream) = (time::local(&line.at, zone), table::pad(&line.stream, 6));
    format!("{at} {stream} {text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_escaped_for_a_person_only() {
        let line = LogLine {
            at: "2026-11-20T12:00:00.5Z".into(),
            stream: "stderr".into(),
            line: "a\u{1b}[2Jb".into(),
            ..LogLine::default()
        };
        assert_eq!(
            render(&line, &TimeZone::UTC, true),
            "2026-11-20 12:00:00 stderr a\\u{1b}[2Jb\n"
        );
        assert!(render(&line, &TimeZone::UTC, false).contains("a\u{1b}[2Jb\n"));
    }
}

//! `srtctl changes`.

use super::output::{self, Entries};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::{clean, pad};
use crate::terminal::{self, Stream};
use crate::time;
use serde_json::{Value, json};
use srt_proto::v1::changes_client::ChangesClient;
use srt_proto::v1::{Change, ChangesRequest};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// Only these, relative to the overlaid folder or absolute
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Show what changed in text files
    #[arg(long)]
    diff: bool,
    /// Only this layer
    #[arg(long, value_name = "N")]
    layer: Option<u32>,
    /// Print a JSON array; what the host has no copy of has a null "was"
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = ChangesRequest {
        name: args.name,
        paths: args.paths,
        layer: args.layer.unwrap_or(0),
        diff: args.diff,
    };
    let mut client = ChangesClient::new(connection.channel.clone());
    let mut changes = client.list(request).await?.into_inner();
    let mut entries = Entries::new(false);
    let mut heading = Heading::default();
    while let Some(change) = changes.message().await? {
        if args.json {
            entries.entry(json(&change))?;
            continue;
        }
        output::print(&heading.before(&change))?;
        output::print(&render(&change, |style, text| {
            Stream::Stdout.paint(style, text)
        }))?;
        if args.diff {
            output::print(&diff(&change, Stream::Stdout.is_terminal()))?;
        }
    }
    if args.json {
        entries.end()?;
    }
    Ok(0)
}

/// Says which layer the lines after it are about, once for each.
#[derive(Default)]
pub(super) struct Heading(Option<u32>);

impl Heading {
    pub(super) fn before(&mut self, change: &Change) -> String {
        if self.0 == Some(change.layer) {
            return String::new();
        }
        let between = if self.0.is_some() { "\n" } else { "" };
        self.0 = Some(change.layer);
        let running = if change.in_use { ", in use" } else { "" };
        format!(
            "{between}{} (layer {}{running})\n",
            clean(&change.folder),
            change.layer
        )
    }
}

/// One line, and below it what must be known before it is applied.
pub(super) fn render(change: &Change, paint: impl Fn(anstyle::Style, &str) -> String) -> String {
    let size = match (change.r#type.as_str(), change.kind.as_str()) {
        ("file", _) | ("folder", "deleted") => time::size(change.size),
        _ => "-".to_owned(),
    };
    let style = match change.kind.as_str() {
        "added" => terminal::GOOD,
        "deleted" => terminal::BAD,
        _ => terminal::BUSY,
    };
    let kind = paint(style, &change.kind);
    let gap = " ".repeat(9_usize.saturating_sub(change.kind.len()));
    format!(
        "{kind}{gap}{} {}{}\n{}",
        pad(&size, 10),
        clean(&change.path),
        about(change),
        marks(change)
    )
}

fn about(change: &Change) -> String {
    match (change.r#type.as_str(), change.kind.as_str()) {
        ("folder", "deleted") => format!("/ ({} files)", change.files),
        ("folder", "changed") if change.was == Some(0) => {
            format!("/ (mode {:04o})", change.mode)
        }
        ("folder", _) => "/".to_owned(),
        ("link", _) => {
            let out = if change.outside {
                ", outside the folder"
            } else {
                ""
            };
            format!(" (link to {}{out})", clean(&change.target))
        }
        ("file", "changed") => match change.was {
            Some(was) if was != change.size => format!(" (was {})", time::size(was)),
            _ => String::new(),
        },
        ("file", _) => String::new(),
        (special, _) => format!(" ({}, never applied)", clean(special)),
    }
}

fn marks(change: &Change) -> String {
    let mut text = String::new();
    if !change.conflict.is_empty() {
        text += &format!("    conflict: {}\n", clean(&change.conflict));
    }
    if !change.guard.is_empty() {
        text += &format!("    write-protected by {}\n", clean(&change.guard));
    }
    text
}

/// The lines of a diff; for a person what a server wrote is escaped.
fn diff(change: &Change, escape: bool) -> String {
    if !change.no_diff.is_empty() {
        return format!("    no diff: {}\n", clean(&change.no_diff));
    }
    if !escape {
        return change.diff.clone();
    }
    let mut text = String::new();
    for line in change.diff.lines() {
        // A tab is no trick.
        let parts: Vec<_> = line.split('\t').map(clean).collect();
        text += &parts.join("\t");
        text.push('\n');
    }
    text
}

/// Stable names.
pub(super) fn json(change: &Change) -> Value {
    json!({
        "layer": change.layer,
        "folder": change.folder,
        "path": change.path,
        "kind": change.kind,
        "type": change.r#type,
        "size": change.size,
        "was": change.was,
        "files": change.files,
        "mode": change.mode,
        "target": change.target,
        "outside": change.outside,
        "conflict": change.conflict,
        "guard": change.guard,
        "diff": change.diff,
        "no_diff": change.no_diff,
        "in_use": change.in_use,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: Change, expected: &str) {
        assert_eq!(render(&change, |_, text| text.to_owned()), expected);
    }

    fn change(kind: &str, what: &str, path: &str) -> Change {
        Change {
            layer: 1,
            folder: "/w".into(),
            kind: kind.into(),
            r#type: what.into(),
            path: path.into(),
            ..Change::default()
        }
    }

    #[test]
    fn a_line_says_what_it_is_and_cannot_drive_the_terminal() {
        check(
            Change {
                size: 2048,
                was: Some(100),
                conflict: "the host's copy changed meanwhile".into(),
                ..change("changed", "file", "src/a")
            },
            "changed  2.0 KiB    src/a (was 100 B)\n    conflict: the host's copy changed meanwhile\n",
        );
        check(
            Change {
                target: "/etc\u{1b}[2J".into(),
                outside: true,
                guard: "filesystem.denyWrite: x".into(),
                ..change("added", "link", "l\n")
            },
            "added    -          l\\n (link to /etc\\u{1b}[2J, outside the folder)\n    write-protected by filesystem.denyWrite: x\n",
        );
        check(
            Change {
                files: 2,
                size: 5,
                ..change("deleted", "folder", "d")
            },
            "deleted  5 B        d/ (2 files)\n",
        );
        check(
            change("added", "FIFO", "f"),
            "added    -          f (FIFO, never applied)\n",
        );
    }

    #[test]
    fn a_heading_comes_once_for_each_layer() {
        let mut heading = Heading::default();
        let mut two = change("added", "file", "b");
        two.layer = 2;
        two.in_use = true;
        assert_eq!(
            heading.before(&change("added", "file", "a")),
            "/w (layer 1)\n"
        );
        assert_eq!(heading.before(&change("added", "file", "b")), "");
        assert_eq!(heading.before(&two), "\n/w (layer 2, in use)\n");
    }

    #[test]
    fn a_diff_is_escaped_for_a_person_only() {
        let mut change = change("changed", "file", "a");
        change.diff = "+\ta\u{1b}[2J\n".into();
        assert_eq!(diff(&change, true), "+\ta\\u{1b}[2J\n");
        assert_eq!(diff(&change, false), "+\ta\u{1b}[2J\n");
        change.no_diff = "binary".into();
        assert_eq!(diff(&change, true), "    no diff: binary\n");
    }
}

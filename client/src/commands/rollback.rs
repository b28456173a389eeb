//! `srtctl policy rollback`.

use super::diff::{differences, differences_json};
use super::output;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::clean;
use crate::terminal::Stream;
use anstyle::Style;
use serde_json::{Value, json};
use srt_proto::exit;
use srt_proto::v1::policies_client::PoliciesClient;
use srt_proto::v1::{RollbackRequest, RollbackResponse};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// The generation to go back to, of "srtctl policy history"
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    generation: u64,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(long, short = 'y')]
    yes: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = PoliciesClient::new(connection.channel.clone());
    let mut request = RollbackRequest {
        name: args.name.clone(),
        generation: args.generation,
        dry_run: true,
        plan: String::new(),
    };
    let shown = client.rollback(request.clone()).await?.into_inner();
    let nothing = !shown.files.iter().any(changes);
    if args.dry_run || nothing {
        return tell(&args, &shown, false);
    }
    let asks = !args.yes;
    if asks {
        if args.json || !io::stdin().is_terminal() {
            let failure = Failure::new(exit::USAGE, "nobody can be asked whether this is right");
            return Err(failure.hint("look at it with --dry-run, then say --yes"));
        }
        eprint!(
            "{}",
            render(&shown, |style, text| Stream::Stderr.paint(style, text))
        );
        if !agreed()? {
            return Err(Failure::new(exit::ERROR, "nothing was changed"));
        }
    }
    request.dry_run = false;
    request.plan = shown.plan;
    let done = client.rollback(request).await?.into_inner();
    match asks {
        // The rest was shown with the question.
        true => output::print(&outcome(&args.name, &done)).map(|()| exit::OK),
        false => tell(&args, &done, true),
    }
}

fn changes(file: &srt_proto::v1::RestoredFile) -> bool {
    ["write", "move away"].contains(&file.action.as_str())
}

/// Whether the person at the terminal says yes.
fn agreed() -> Result<bool, Failure> {
    eprint!("roll back? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn tell(args: &Args, told: &RollbackResponse, done: bool) -> Result<i32, Failure> {
    if args.json {
        output::print_json(json(told, done))?;
        return Ok(exit::OK);
    }
    let mut text = render(told, |style, text| Stream::Stdout.paint(style, text));
    if done {
        text += &outcome(&args.name, told);
    }
    output::print(&text)?;
    Ok(exit::OK)
}

fn outcome(name: &str, told: &RollbackResponse) -> String {
    let policy = told.policy.clone().unwrap_or_default();
    let mut text = match policy.generation == told.to {
        true => format!("{name}: generation {} is in force\n", told.to),
        // A template of another version, a project's file that came later.
        false => format!(
            "{name}: generation {} is in force; it is not {} again, for what is said above\n",
            policy.generation, told.to
        ),
    };
    if !told.next_start.is_empty() {
        text += &format!(
            "  at its next start: {} (srtctl restart {name})\n",
            clean(&told.next_start.join(", "))
        );
    }
    text
}

fn json(told: &RollbackResponse, done: bool) -> Value {
    let files = told.files.iter().map(|file| {
        json!({
            "path": file.path,
            "action": file.action,
            "saved_as": (!file.saved_as.is_empty()).then_some(&file.saved_as),
            "note": (!file.note.is_empty()).then_some(&file.note),
        })
    });
    json!({
        "done": done,
        "from": (told.from > 0).then_some(told.from),
        "to": told.to,
        "files": files.collect::<Vec<_>>(),
        "differences": differences_json(&told.differences),
        "other_servers": told.also,
        "in_force": told.policy.as_ref().map(|policy| policy.generation),
        "next_start": told.next_start,
    })
}

fn render(told: &RollbackResponse, paint: impl Fn(Style, &str) -> String) -> String {
    if !told.files.iter().any(changes) {
        return format!(
            "every file is as it was in generation {}: nothing to do\n",
            told.to
        );
    }
    let from = match told.from {
        0 => "settings that cannot be used".to_owned(),
        number => format!("generation {number}"),
    };
    let mut text = format!("from {from} to generation {}:\n", told.to);
    for file in &told.files {
        let mut line = format!("{} {}", file.action, file.path);
        if !file.saved_as.is_empty() {
            line += &format!(" (what is in it now: {})", file.saved_as);
        }
        if !file.note.is_empty() {
            line += &format!(": {}", file.note);
        }
        text += &format!("  {}\n", clean(&line));
    }
    if told.from > 0 {
        text += "for this server:\n";
        text += &differences(&told.differences, paint);
    }
    if !told.also.is_empty() {
        let names = clean(&told.also.join(", "));
        text += &format!("other servers read these files, too: {names}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_proto::v1::{PolicyRef, RestoredFile};

    #[test]
    fn it_says_what_becomes_of_each_file_and_for_whom() {
        let file = |path: &str, action: &str, saved: &str, note: &str| RestoredFile {
            path: path.into(),
            action: action.into(),
            saved_as: saved.into(),
            note: note.into(),
        };
        let mut told = RollbackResponse {
            from: 5,
            to: 3,
            files: vec![
                file("@git", "differs", "", "this version has another one"),
                file("/s.json", "write", "", ""),
                file("/own.json", "move away", "/own.json.old", ""),
            ],
            also: vec!["other".into()],
            policy: Some(PolicyRef {
                generation: 6,
                ..PolicyRef::default()
            }),
            next_start: vec!["filesystem.allowWrite".into()],
            ..RollbackResponse::default()
        };
        assert_eq!(
            render(&told, |_, text| text.to_owned()),
            "from generation 5 to generation 3:\n  \
               differs @git: this version has another one\n  \
               write /s.json\n  \
               move away /own.json (what is in it now: /own.json.old)\n\
             for this server:\n  nothing that it may do changes\n\
             other servers read these files, too: other\n"
        );
        assert_eq!(
            outcome("s", &told),
            "s: generation 6 is in force; it is not 3 again, for what is said above\n  \
               at its next start: filesystem.allowWrite (srtctl restart s)\n"
        );
        told.files.truncate(1);
        let text = render(&told, |_, text| text.to_owned());
        assert_eq!(
            text,
            "every file is as it was in generation 3: nothing to do\n"
        );
        assert_eq!(json(&told, false)["files"][0]["saved_as"], Value::Null);
    }
}

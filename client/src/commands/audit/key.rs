//! `srtctl audit key`: where the audit log's key is, and the way on where it is lost. srtd does both, without a daemon.

use super::super::{doctor, output};
use crate::errors::Failure;
use crate::table::{clean, pad};
use serde_json::Value;
use srt_proto::exit;
use std::ffi::OsString;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print a JSON object; what is not there is null
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Go on with another key where the log's own is lost. The daemon must not run. All entries stay, and nobody can tell any
    /// more whether they are what was written: "audit verify" says so for as long as one of them is there
    Renew(Renew),
}

#[derive(Debug, clap::Args)]
struct Renew {
    /// Why: stands in the log
    #[arg(long, value_name = "WHY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    because: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<i32, Failure> {
    let (words, json): (Vec<OsString>, bool) = match &args.command {
        None => (vec!["key".into(), "--json".into()], args.json),
        Some(Command::Renew(renew)) => {
            let because = format!("--because={}", renew.because);
            let words = vec!["renew-key".into(), "--json".into(), because.into()];
            (words, renew.json)
        }
    };
    let (value, code) = doctor::ask_srtd(&words)?;
    if let Some(error) = value["error"].as_str() {
        return Err(Failure::from_text(exit::ERROR, error));
    }
    if json {
        output::print_json(value)?;
        return Ok(code);
    }
    output::print(&match args.command {
        None => shown(&value),
        Some(_) => renewed(&value),
    })?;
    Ok(code)
}

fn shown(value: &Value) -> String {
    let kept = match value["kept"].as_str() {
        Some("keyring") => "in the keyring".to_owned(),
        Some(_) => "in the file".to_owned(),
        None => "not to be had".to_owned(),
    };
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{}{}\n", pad(name, 10), clean(value)));
    };
    line("kept", &kept);
    line("file", value["file"].as_str().unwrap_or_default());
    line("key", value["key"].as_str().unwrap_or("none"));
    line("log's", value["made_with"].as_str().unwrap_or("no log yet"));
    let trouble = value["trouble"].as_str().unwrap_or_default();
    for (number, part) in trouble.lines().enumerate() {
        line(if number == 0 { "trouble" } else { "" }, part);
    }
    text
}

fn renewed(value: &Value) -> String {
    let word = |name: &str| clean(value[name].as_str().unwrap_or_default());
    format!(
        "the log goes on with the key {}, kept in the {}\nentries up to {} cannot be verified any more, and stay; as they were they \
         are in {}: should the key {} turn up, srtctl audit verify --file FILE --key KEY-FILE\n",
        word("key"),
        word("kept"),
        value["through"],
        word("copy"),
        word("lost"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_that_is_not_the_log_s_is_told_with_its_remedy() {
        let well = json!({"ok": true, "file": "/s/audit.key", "kept": "file", "key": "a", "made_with": "a", "trouble": null});
        assert_eq!(
            shown(&well),
            "kept      in the file\nfile      /s/audit.key\nkey       a\nlog's     a\n"
        );
        let lost = json!({"ok": false, "file": "/s/audit.key", "kept": null, "key": null, "made_with": "a",
            "trouble": "gone\nhint: renew"});
        assert_eq!(
            shown(&lost),
            "kept      not to be had\nfile      /s/audit.key\nkey       none\nlog's     a\ntrouble   gone\n          hint: renew\n"
        );
    }
}

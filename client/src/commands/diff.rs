//! `srtctl policy diff`.

use super::output;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::clean;
use crate::terminal::{self, Stream};
use anstyle::Style;
use serde_json::{Value, json};
use srt_proto::v1::policies_client::PoliciesClient;
use srt_proto::v1::{PolicyDiffRequest, PolicyDiffResponse, PolicyDifference};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// The generation to begin with
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// The one to compare it with [default: the one in force]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = PolicyDiffRequest {
        name: args.name,
        from: args.from,
        to: args.to.unwrap_or(0),
    };
    let mut client = PoliciesClient::new(connection.channel.clone());
    let told = client.diff(request).await?.into_inner();
    match args.json {
        true => output::print_json(json(&told))?,
        false => output::print(&render(&told))?,
    }
    Ok(0)
}

fn json(told: &PolicyDiffResponse) -> Value {
    json!({
        "from": told.from,
        "to": told.to,
        "differences": differences_json(&told.differences),
    })
}

pub(super) fn differences_json(differences: &[PolicyDifference]) -> Value {
    let each = |difference: &PolicyDifference| {
        json!({
            "effect": difference.effect,
            "text": difference.text,
            "key": difference.key,
            "file": (!difference.file.is_empty()).then_some(&difference.file),
            "line": (difference.line > 0).then_some(difference.line),
        })
    };
    differences.iter().map(each).collect()
}

fn render(told: &PolicyDiffResponse) -> String {
    let lines = differences(&told.differences, |style, text| {
        Stream::Stdout.paint(style, text)
    });
    format!("from generation {} to {}:\n{lines}", told.from, told.to)
}

/// A line for each, with a sign for what it does: `+` it may do more, `-` it may do less.
pub(super) fn differences(
    differences: &[PolicyDifference],
    paint: impl Fn(Style, &str) -> String,
) -> String {
    if differences.is_empty() {
        return "  nothing that it may do changes\n".to_owned();
    }
    let mut text = String::new();
    for difference in differences {
        let (sign, style) = match difference.effect.as_str() {
            "loosens" => ("+", terminal::BAD),
            "tightens" => ("-", terminal::GOOD),
            _ => (" ", Style::new()),
        };
        let place = match (difference.file.as_str(), difference.line) {
            ("", _) => difference.key.clone(),
            (file, 0) => format!("{}, {file}", difference.key),
            (file, line) => format!("{}, {file}:{line}", difference.key),
        };
        let line = clean(&format!("{sign} {}", difference.text));
        text += &format!("  {} ({})\n", paint(style, &line), clean(&place));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_may_do_more_has_a_sign_of_its_own() {
        let difference = |effect: &str, text: &str, line| PolicyDifference {
            effect: effect.into(),
            text: text.into(),
            key: "filesystem.allowWrite".into(),
            file: if line > 0 {
                "/s.json".into()
            } else {
                String::new()
            },
            line,
        };
        let told = [
            difference("loosens", "may now write ./build", 3),
            difference("tightens", "may no longer write ./src", 0),
            difference("neutral", "what was said twice is said once", 0),
        ];
        assert_eq!(
            differences(&told, |_, text| text.to_owned()),
            "  + may now write ./build (filesystem.allowWrite, /s.json:3)\n  \
               - may no longer write ./src (filesystem.allowWrite)\n    \
                 what was said twice is said once (filesystem.allowWrite)\n"
        );
        assert_eq!(differences_json(&told)[1]["file"], Value::Null);
        let nothing = differences(&[], |_, text| text.to_owned());
        assert_eq!(nothing, "  nothing that it may do changes\n");
    }
}

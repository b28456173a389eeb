//! `srtctl tools`.

use super::output;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::{self, Cell, Table, clean};
use crate::{terminal, time};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use srt_proto::v1::tools_client::ToolsClient;
use srt_proto::v1::{AcceptToolsRequest, Tool, ToolsRequest, ToolsResponse};

/// So much of what changed is shown of one value, in characters; `--json` has all of it.
const SHOWN: usize = 400;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// Accept what the server says of this tool now; without TOOL, of each that changed
    #[arg(long, value_name = "TOOL", num_args = 0..=1)]
    accept: Option<Option<String>>,
    /// Print JSON: an object with the tools and what was said and accepted of each (null where nothing was, or it is too
    /// long to be kept); with --accept an array of names
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = ToolsClient::new(connection.channel.clone());
    let name = args.name;
    if let Some(tool) = args.accept {
        let request = AcceptToolsRequest {
            name: name.clone(),
            tool: tool.unwrap_or_default(),
        };
        let accepted = client.accept(request).await?.into_inner().tools;
        match args.json {
            true => output::print_json(json!(accepted))?,
            false => {
                for tool in &accepted {
                    let text = format!("{tool}: what {name} says of it now is accepted");
                    output::print(&format!("{}\n", clean(&text)))?;
                }
                output::print("hosts list it again when they ask for the tools again\n")?;
            }
        }
        return Ok(0);
    }
    let request = ToolsRequest { name: name.clone() };
    let response = client.list(request).await?.into_inner();
    match args.json {
        true => output::print_json(json(&response))?,
        false => output::print(&render(&name, &response, &TimeZone::system()))?,
    }
    Ok(0)
}

fn json(response: &ToolsResponse) -> Value {
    let maybe = |text: &String| (!text.is_empty()).then(|| text.clone());
    let said = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let tools: Vec<Value> = (response.tools.iter())
        .map(|tool| {
            json!({
                "name": tool.name,
                "state": tool.state,
                "reason": maybe(&tool.reason),
                "said": said(&tool.said),
                "since": tool.since,
                "accepted": said(&tool.accepted),
                "accepted_at": maybe(&tool.accepted_at),
            })
        })
        .collect();
    json!({ "pinned": response.pinned, "tools": tools })
}

fn render(name: &str, response: &ToolsResponse, zone: &TimeZone) -> String {
    if response.tools.is_empty() {
        return clean(&format!(
            "{name} has not listed its tools yet: it does when a host asks for them"
        )) + "\n";
    }
    let mut table = Table::new(["TOOL", "STATE", "SAID SINCE", "ACCEPTED", "WHAT"]);
    for tool in &response.tools {
        let state = match tool.state.as_str() {
            "changed" => Cell::styled(&tool.state, terminal::BAD),
            state => state.into(),
        };
        let accepted = match tool.accepted_at.as_str() {
            "" => "-".to_owned(),
            at => time::local(at, zone),
        };
        let what = match tool.reason.as_str() {
            "" => description(&tool.said),
            reason => reason.to_owned(),
        };
        table.row([
            (&tool.name).into(),
            state,
            time::local(&tool.since, zone).into(),
            accepted.into(),
            what.into(),
        ]);
    }
    let mut text = table.render();
    let changed: Vec<&Tool> = (response.tools.iter())
        .filter(|tool| tool.state == "changed")
        .collect();
    for tool in &changed {
        text += &difference(tool);
    }
    if let [first, ..] = changed[..] {
        let hint = format!(
            "a tool that changed is not listed and cannot be called (mcp.pinTools); accept it with: srtctl tools {name} --accept {}",
            first.name
        );
        text += &(clean(&hint) + "\n");
    }
    text
}

/// The first line of a tool's description.
fn description(said: &str) -> String {
    let said: Value = serde_json::from_str(said).unwrap_or_default();
    let text = said["description"].as_str().unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// What is said of a tool now, and what is accepted, where they differ.
fn difference(tool: &Tool) -> String {
    let mut text = format!("\n{} changed:\n", clean(&tool.name));
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text);
    let (Ok(accepted), Ok(said)) = (read(&tool.accepted), read(&tool.said)) else {
        text += "  what is said of it is too long to be kept: ask the server for its tools\n";
        return text;
    };
    let mut keys: Vec<&String> = accepted.keys().chain(said.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys
        .into_iter()
        .filter(|key| accepted.get(*key) != said.get(*key))
    {
        for (sign, value) in [("-", accepted.get(key)), ("+", said.get(key))] {
            if let Some(value) = value {
                let value = table::cut(&clean(&value.to_string()), SHOWN);
                text += &format!("  {sign} {}: {value}\n", clean(key));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, state: &str) -> Tool {
        Tool {
            name: name.into(),
            state: state.into(),
            said: r#"{"description":"Adds\nnumbers","name":"x"}"#.into(),
            since: "2026-11-20T12:00:00Z".into(),
            ..Tool::default()
        }
    }

    #[test]
    fn the_table_says_what_may_be_used_and_what_changed() {
        let changed = Tool {
            accepted: r#"{"description":"Adds","name":"x","title":"T"}"#.into(),
            accepted_at: "2026-11-19T12:00:00Z".into(),
            ..tool("add", "changed")
        };
        let denied = Tool {
            reason: "mcp.tools.deny has \"drop\"".into(),
            ..tool("drop", "denied")
        };
        let response = ToolsResponse {
            tools: vec![changed, denied],
            pinned: true,
        };
        assert_eq!(
            render("sums", &response, &TimeZone::UTC),
            "TOOL  STATE    SAID SINCE           ACCEPTED             WHAT\n\
             add   changed  2026-11-20 12:00:00  2026-11-19 12:00:00  Adds\n\
             drop  denied   2026-11-20 12:00:00  -                    mcp.tools.deny has \"drop\"\n\
             \n\
             add changed:\n  \
               - description: \"Adds\"\n  \
               + description: \"Adds\\nnumbers\"\n  \
               - title: \"T\"\n\
             a tool that changed is not listed and cannot be called (mcp.pinTools); accept it with: srtctl tools sums --accept add\n"
        );
        assert_eq!(json(&response)["tools"][1]["accepted"], Value::Null);
        let none = render("sums", &ToolsResponse::default(), &TimeZone::UTC);
        assert!(none.contains("has not listed its tools yet"), "{none}");
    }

    #[test]
    fn a_hostile_server_cannot_drive_the_terminal() {
        let hostile = Tool {
            name: "a\u{1b}[2J".into(),
            accepted: r#"{"description":"x"}"#.into(),
            said: r#"{"description":"\u001b[1A\u202e"}"#.into(),
            ..tool("", "changed")
        };
        let response = ToolsResponse {
            tools: vec![hostile],
            pinned: true,
        };
        let text = render("s", &response, &TimeZone::UTC);
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    }
}

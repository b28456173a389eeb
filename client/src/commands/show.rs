//! `srtctl policy show`.

use super::{list, output};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::{Table, clean};
use serde_json::{Value, json};
use srt_proto::v1::servers_client::ServersClient;
use srt_proto::v1::{PolicyLine, PolicyRef, ShowPolicyRequest, ShowPolicyResponse};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server
    name: String,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = ShowPolicyRequest { name: args.name };
    let mut client = ServersClient::new(connection.channel.clone());
    let shown = client.show_policy(request).await?.into_inner();
    if args.json {
        output::print_json(json(&shown))?;
        return Ok(0);
    }
    output::print(&render(&shown))?;
    for warning in &shown.warnings {
        eprintln!("warning: {}", crate::table::clean(warning));
    }
    Ok(0)
}

fn json(shown: &ShowPolicyResponse) -> Value {
    let lines = shown.lines.iter().map(|line| {
        json!({
            "key": line.key,
            "value": line.value,
            "file": line.file,
            "line": line.line,
            "reason": line.reason,
        })
    });
    json!({
        "policy": list::policy_json(shown.policy.as_ref()),
        "lines": lines.collect::<Vec<_>>(),
        "warnings": shown.warnings,
    })
}

fn render(shown: &ShowPolicyResponse) -> String {
    let mut text = String::new();
    if let Some(policy) = &shown.policy {
        text = crate::table::clean(&format!(
            "{} (generation {})",
            policy.source, policy.generation
        ));
        text.push('\n');
        text.push_str(&together(policy));
    }
    let mut table = Table::new(["KEY", "VALUE", "FROM"]);
    for line in &shown.lines {
        table.row([(&line.key).into(), (&line.value).into(), from(line).into()]);
    }
    text + &table.render()
}

/// What counts beside the file that opens things, where something does.
fn together(policy: &PolicyRef) -> String {
    let mut text = String::new();
    if policy.files.len() > 1 {
        let files: Vec<_> = policy.files.iter().map(|file| clean(file)).collect();
        text.push_str(&format!("from {}\n", files.join(", ")));
    }
    if !policy.profile.is_empty() {
        text.push_str(&format!("profile {}\n", clean(&policy.profile)));
    }
    text
}

fn from(line: &PolicyLine) -> String {
    let place = match line.line {
        0 => line.file.clone(),
        number => format!("{}:{number}", line.file),
    };
    if line.reason.is_empty() {
        return place;
    }
    format!("{place}: {}", line.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_count_together_are_named() {
        let mut policy = PolicyRef {
            source: "/s.json".into(),
            generation: 3,
            files: vec!["/s.json".into()],
            ..PolicyRef::default()
        };
        let shown = |policy: &PolicyRef| {
            render(&ShowPolicyResponse {
                policy: Some(policy.clone()),
                ..ShowPolicyResponse::default()
            })
        };
        assert!(shown(&policy).starts_with("/s.json (generation 3)\nKEY"));
        policy.files.insert(0, "@fetch".into());
        policy.profile = "dev".into();
        let head = "/s.json (generation 3)\nfrom @fetch, /s.json\nprofile dev\nKEY";
        assert!(shown(&policy).starts_with(head), "{}", shown(&policy));
    }

    #[test]
    fn each_line_says_where_it_comes_from() {
        let shown = ShowPolicyResponse {
            policy: None,
            lines: vec![
                PolicyLine {
                    key: "filesystem.denyRead".into(),
                    value: "~/.ssh".into(),
                    file: "built-in".into(),
                    line: 0,
                    reason: "private keys".into(),
                },
                PolicyLine {
                    key: "network.allowedDomains".into(),
                    value: "api.github.com".into(),
                    file: "/s.json".into(),
                    line: 4,
                    reason: String::new(),
                },
            ],
            warnings: Vec::new(),
        };
        assert_eq!(
            render(&shown),
            "KEY                     VALUE           FROM\n\
             filesystem.denyRead     ~/.ssh          built-in: private keys\n\
             network.allowedDomains  api.github.com  /s.json:4\n"
        );
        assert_eq!(json(&shown)["warnings"], json!([]));
    }
}

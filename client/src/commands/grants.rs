//! `srtctl grants` and `srtctl grants revoke`.

use super::output;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::Table;
use crate::{table, time};
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use serde_json::{Value, json};
use srt_proto::v1::grants_client::GrantsClient;
use srt_proto::v1::{Grant, GrantsRequest, RevokeRequest};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only this server's
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// With those that have ended
    #[arg(short, long)]
    all: bool,
    /// Print a JSON array; times and users that there are not are null
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// End a grant; what runs by it is closed within a second
    Revoke {
        /// The id, as "srtctl grants" shows it
        id: String,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = GrantsClient::new(connection.channel.clone());
    if let Some(Command::Revoke { id, json }) = args.command {
        let revoked = client.revoke(RevokeRequest { id }).await?.into_inner();
        let grant = revoked.grant.unwrap_or_default();
        match json {
            true => output::print_json(self::json(&grant))?,
            false => {
                let text = format!(
                    "{} is revoked: {} may no longer connect to {}",
                    grant.id, grant.server, grant.target
                );
                output::print(&format!("{}\n", table::clean(&text)))?;
            }
        }
        return Ok(0);
    }
    let request = GrantsRequest {
        name: args.name.unwrap_or_default(),
        all: args.all,
    };
    let grants = client.list(request).await?.into_inner().grants;
    match args.json {
        true => output::print_json(grants.iter().map(json).collect())?,
        false => output::print(&render(&grants, args.all, Timestamp::now()))?,
    }
    Ok(0)
}

fn json(grant: &Grant) -> Value {
    let maybe = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "id": grant.id,
        "server": grant.server,
        "target": grant.target,
        "scope": grant.scope,
        "launch": maybe(&grant.launch),
        "created": grant.created,
        "expires": maybe(&grant.expires),
        "last_used": maybe(&grant.last_used),
        "ended": maybe(&grant.ended),
        "end_reason": grant.end_reason,
        "uid": grant.uid,
        "user": maybe(&grant.user),
    })
}

fn render(grants: &[Grant], all: bool, now: Timestamp) -> String {
    if grants.is_empty() {
        return "no approval is remembered\n".to_owned();
    }
    let seconds = |text: &str| {
        let at = text.parse::<Timestamp>().ok()?;
        Some(now.duration_since(at).as_secs_f64())
    };
    let ago = |text: &str| match seconds(text) {
        Some(passed) => format!("{} ago", time::span(passed)),
        None => "-".to_owned(),
    };
    let mut table = Table::new([
        "ID", "SERVER", "TARGET", "SCOPE", "BY", "GIVEN", "HOLDS", "USED",
    ]);
    for grant in grants {
        let by = match grant.user.as_str() {
            "" => format!("uid {}", grant.uid),
            user => user.to_owned(),
        };
        let holds = match (grant.ended.as_str(), grant.scope.as_str()) {
            ("", "session") => "until the server ends".to_owned(),
            ("", "always") => "until revoked".to_owned(),
            ("", _) => match seconds(&grant.expires) {
                Some(passed) => format!("{} more", time::span(-passed)),
                None => "-".to_owned(),
            },
            (_, _) => grant.end_reason.clone(),
        };
        table.row([
            (&grant.id).into(),
            (&grant.server).into(),
            (&grant.target).into(),
            (&grant.scope).into(),
            by.into(),
            ago(&grant.created).into(),
            holds.into(),
            ago(&grant.last_used).into(),
        ]);
    }
    let mut text = table.render();
    if !all {
        text += "take one back with: srtctl grants revoke ID\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_who_and_how_long() {
        let grant = |id: &str, scope: &str| Grant {
            id: id.into(),
            server: "git".into(),
            target: "x.example:443".into(),
            scope: scope.into(),
            created: "2026-11-20T12:00:00Z".into(),
            uid: 1000,
            ..Grant::default()
        };
        let always = Grant {
            user: "ada".into(),
            last_used: "2026-11-20T12:59:00Z".into(),
            ..grant("g1", "always")
        };
        let hour = Grant {
            expires: "2026-11-20T13:30:00Z".into(),
            ..grant("g2", "time")
        };
        let now = "2026-11-20T13:00:00Z".parse().unwrap();
        assert_eq!(
            render(&[always.clone(), hour, grant("g3", "session")], false, now),
            "ID  SERVER  TARGET         SCOPE    BY        GIVEN     HOLDS                  USED\n\
             g1  git     x.example:443  always   ada       1h0m ago  until revoked          1m0s ago\n\
             g2  git     x.example:443  time     uid 1000  1h0m ago  30m0s more             -\n\
             g3  git     x.example:443  session  uid 1000  1h0m ago  until the server ends  -\n\
             take one back with: srtctl grants revoke ID\n"
        );
        let ended = Grant {
            ended: "2026-11-20T12:30:00Z".into(),
            end_reason: "revoked by ada".into(),
            ..always
        };
        assert!(render(&[ended], true, now).contains("  revoked by ada  "));
        assert_eq!(json(&Grant::default())["user"], Value::Null);
    }
}

//! `srtctl add`.

use crate::connect::Connection;
use crate::errors::Failure;
use crate::shim::args::{valid_name, valid_profile};
use srt_proto::exit;
use srt_proto::v1::servers_client::ServersClient;
use srt_proto::v1::{AddRequest, EnvVar};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to call it; `srt --name NAME` attaches to it
    #[arg(value_parser = valid_name)]
    name: String,
    /// Its working directory [default: that of the host that attaches]
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// The settings file with its policy [default: found by srtd's rules]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Take NAME's settings files where there are such [default: SRT_ENV of the host that attaches]
    #[arg(long, value_name = "NAME", value_parser = valid_profile)]
    profile: Option<String>,
    /// Let it see a variable; without a value, with that of whoever attaches (repeatable)
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = variable)]
    env: Vec<(String, Option<String>)>,
    /// Its command and arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let request = AddRequest {
        name: args.name,
        command: args.command,
        cwd: absolute(args.cwd)?,
        settings: absolute(args.settings)?,
        env: args
            .env
            .into_iter()
            .map(|(name, value)| EnvVar { name, value })
            .collect(),
        profile: args.profile.unwrap_or_default(),
    };
    ServersClient::new(connection.channel.clone())
        .add(request)
        .await?;
    Ok(0)
}

fn absolute(path: Option<PathBuf>) -> Result<String, Failure> {
    let Some(path) = path else {
        return Ok(String::new());
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    path.into_os_string()
        .into_string()
        .map_err(|path| Failure::new(exit::USAGE, format!("{} is not UTF-8", path.display())))
}

fn variable(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("expected NAME or NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value))
}

//! `srtctl start`, `stop` and `restart`: one request for several servers, each with its own result.

use crate::connect::Connection;
use crate::errors::Failure;
use srt_proto::exit;
use srt_proto::v1::servers_client::ServersClient;
use srt_proto::v1::{SelectRequest, SelectResponse};
use std::time::Duration;
use tonic::{Response, Status};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The servers
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// Every registered server
    #[arg(long)]
    all: bool,
    /// How long to wait for the result; afterwards exits 124
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT)]
    timeout: u32,
}

/// How long to wait unless --timeout says otherwise, in seconds.
const TIMEOUT: u32 = 30;

impl Args {
    pub(super) fn of(names: Vec<String>) -> Self {
        Self {
            names,
            all: false,
            timeout: TIMEOUT,
        }
    }

    /// With our environment: a start, and a restart of what does not run, launch with the caller's.
    fn request(&self, launches: bool) -> SelectRequest {
        SelectRequest {
            names: self.names.clone(),
            all: self.all,
            environment: if launches {
                crate::shim::environment()
            } else {
                Default::default()
            },
        }
    }
}

pub(super) async fn start(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = ServersClient::new(connection.channel.clone());
    finish("start", &args, client.start(args.request(true))).await
}

pub(super) async fn stop(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = ServersClient::new(connection.channel.clone());
    finish("stop", &args, client.stop(args.request(false))).await
}

pub(super) async fn restart(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = ServersClient::new(connection.channel.clone());
    finish("restart", &args, client.restart(args.request(true))).await
}

/// Reports each server that failed; the first one's status is ours.
async fn finish(
    verb: &str,
    args: &Args,
    call: impl Future<Output = Result<Response<SelectResponse>, Status>>,
) -> Result<i32, Failure> {
    let bound = Duration::from_secs(args.timeout.into());
    let Ok(answer) = tokio::time::timeout(bound, call).await else {
        let failure = Failure::new(
            exit::TIMED_OUT,
            format!("{verb} is not done after {} s", args.timeout),
        );
        return Err(failure.hint("it may still succeed: srtctl status"));
    };
    Ok(results(answer?.into_inner()))
}

/// As [`finish`], of an answer that is there.
pub(super) fn results(answer: SelectResponse) -> i32 {
    let mut code = 0;
    for result in answer.results {
        if result.error.is_empty() && result.exit_code == 0 {
            continue;
        }
        let own = report(&result.name, &result.error, result.exit_code);
        code = if code == 0 { own } else { code };
    }
    code
}

/// Reports why a request failed for one server, and gives the exit status.
pub(super) fn report(name: &str, error: &str, exit_code: i32) -> i32 {
    let own = if exit_code == 0 {
        exit::ERROR
    } else {
        exit_code
    };
    let mut failure = Failure::from_text(own, error);
    if !failure.message.contains(name) {
        failure.message = format!("{name}: {}", failure.message);
    }
    failure.report("");
    own
}

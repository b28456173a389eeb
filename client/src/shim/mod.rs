//! The shim: opens a session for the command in its arguments, relays bytes until the server ends, and ends as it did.

pub mod answer;
pub mod args;
pub mod name;
mod relay;
mod signals;
mod stdio;
mod words;

use crate::errors::Failure;
use crate::{connect::Connection, start};
use args::Args;
use signals::Attachment;
use srt_proto::exit;
use srt_proto::socket::Environment;
use srt_proto::v1::sessions_client::SessionsClient;
use srt_proto::v1::{AttachRequest, AttachResponse, Open, Opened, attach_request, attach_response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Chunks of stdin that wait for the daemon at most. With the HTTP/2 window this bounds the shim's memory.
const QUEUE: usize = 4;
/// The largest message taken from the daemon: chunks are a sixteenth of it.
const LARGEST_MESSAGE: usize = 1024 * 1024;

/// The process's life, and its exit status.
pub fn main() -> i32 {
    let args = Args::from_process();
    let ended = signals::watch().and_then(|attachment| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(exit::ERROR, format!("cannot start: {error}")))?;
        runtime.block_on(run(&args, &attachment))
    });
    match ended {
        Ok(code) => code,
        Err(Ended::BeforeOpen(failure)) => {
            failure.report("srt: ");
            answer::answer(&args.name, &failure);
            failure.code
        }
        Err(Ended::Open(failure)) => {
            failure.report("srt: ");
            failure.code
        }
    }
}

/// When a failure came: before the session was open, the host's first request is still unread and can be
/// answered; later its bytes are the server's.
enum Ended {
    BeforeOpen(Failure),
    Open(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::BeforeOpen(failure)
    }
}

async fn run(args: &Args, attachment: &Attachment) -> Result<i32, Ended> {
    let environment = Environment::from_process();
    let open = open_message(args)?;
    let notice = |text: &str| {
        if args.debug {
            stdio::notice(text);
        }
    };
    let mut connection = start::connect_or_start(&environment).await?;
    notice(&format!("connected to {}", connection.socket.display()));
    let session = match Session::open(&connection, open.clone()).await {
        Err(failure) if failure.code == exit::UNREACHABLE => {
            // It was on its way out, and nothing of the host's was sent: the next daemon may have it.
            notice(&format!("{}; trying again", failure.message));
            connection = start::connect_or_start(&environment).await?;
            Session::open(&connection, open).await?
        }
        opened => opened?,
    };
    notice(&format!(
        "server {} opened, launch {}",
        session.opened.name, session.opened.launch
    ));
    attachment.set(connection.socket, session.opened.attachment.clone());
    relay::relay(session.requests, session.responses, args.debug)
        .await
        .map_err(Ended::Open)
}

/// An open attachment.
struct Session {
    opened: Opened,
    requests: mpsc::Sender<AttachRequest>,
    responses: Streaming<AttachResponse>,
}

impl Session {
    async fn open(connection: &Connection, open: Open) -> Result<Self, Failure> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let first = AttachRequest {
            message: Some(attach_request::Message::Open(open)),
        };
        // The queue is empty and its receiver is ours: this cannot fail.
        let _ = requests.try_send(first);
        let mut client: SessionsClient<Channel> = SessionsClient::new(connection.channel.clone())
            .max_decoding_message_size(LARGEST_MESSAGE);
        let mut responses = client
            .attach(ReceiverStream::new(queue))
            .await?
            .into_inner();
        match responses
            .message()
            .await?
            .and_then(|response| response.message)
        {
            Some(attach_response::Message::Opened(opened)) => Ok(Self {
                opened,
                requests,
                responses,
            }),
            _ => Err(Failure::new(
                exit::ERROR,
                "the daemon srtd did not open the session as its contract says",
            )
            .hint("srt and srtd may be of different versions: srtctl daemon status")),
        }
    }
}

fn open_message(args: &Args) -> Result<Open, Failure> {
    let text = |path: std::path::PathBuf| {
        path.into_os_string()
            .into_string()
            .map_err(|path| Failure::new(exit::USAGE, format!("{} is not UTF-8", path.display())))
    };
    let cwd = match &args.cwd {
        Some(cwd) if !cwd.is_dir() => {
            return Err(Failure::new(
                exit::USAGE,
                format!("--cwd {} is not a folder", cwd.display()),
            )
            .hint("name an existing folder, or leave --cwd out"));
        }
        Some(cwd) => cwd.clone(),
        None => std::env::current_dir().map_err(|error| {
            Failure::new(
                exit::ERROR,
                format!("cannot tell the working directory: {error}"),
            )
            .hint("it may have been removed; pass --cwd DIR")
        })?,
    };
    Ok(Open {
        name: args.name.clone(),
        command: args.command.clone(),
        cwd: text(cwd)?,
        settings: args.settings.clone().map_or(Ok(String::new()), text)?,
        environment: environment(),
        env_names: args.env.clone(),
        debug: args.debug,
        name_given: args.name_given,
        umask: mask(),
    })
}

/// Our environment; variables that are not UTF-8 have no place in the contract and are left out.
pub(crate) fn environment() -> std::collections::HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
/// Our file mode creation mask. It can only be read by setting it (umask(2)); nothing of ours creates a file at
/// this point.
fn mask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    rustix::process::umask(mask);
    #[allow(clippy::useless_conversion, reason = "16 bits on macOS")]
    u32::from(mask.bits() & 0o777)
}

//! Attachments: the first one of a session, and those after it.

use super::conversation;
use super::signals::Attachment;
use super::stdio;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::start;
use srt_proto::exit;
use srt_proto::socket::Environment;
use srt_proto::v1::sessions_client::SessionsClient;
use srt_proto::v1::{AttachRequest, AttachResponse, Open, Opened, attach_request, attach_response};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Chunks of stdin that wait for the daemon at most. With the HTTP/2 window this bounds the shim's memory.
const QUEUE: usize = 4;
/// The largest message taken from the daemon: chunks are a sixteenth of it.
const LARGEST_MESSAGE: usize = 1024 * 1024;
/// How long a daemon is looked for, and started again, before the session is over.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks, growing.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An open attachment.
pub(super) struct Attached {
    pub(super) opened: Opened,
    pub(super) requests: mpsc::Sender<AttachRequest>,
    pub(super) responses: Streaming<AttachResponse>,
    /// Another attachment may be opened over it.
    pub(super) connection: Connection,
}

impl Attached {
    /// Opens one; the daemon answers when the server runs.
    ///
    /// # Errors
    ///
    /// Exit status 5 where the daemon is gone, and another one may have it; otherwise its reason.
    pub(super) async fn open(connection: &Connection, open: Open) -> Result<Self, Failure> {
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
                connection: connection.clone(),
            }),
            _ => Err(Failure::new(
                exit::ERROR,
                "the daemon srtd did not open the session as its contract says",
            )
            .hint("srt and srtd may be of different versions: srtctl daemon status")),
        }
    }
}

/// What it takes to open the session's next attachment.
pub(super) struct Door {
    pub(super) environment: Environment,
    pub(super) open: Open,
    pub(super) signals: Attachment,
    pub(super) debug: bool,
}

impl Door {
    /// Notes what the next attachment must say, and tells the conversation of this one.
    pub(super) fn passed(&mut self, attached: &Attached) -> conversation::Attached {
        let opened = &attached.opened;
        self.signals.set(
            attached.connection.socket.clone(),
            opened.attachment.clone(),
        );
        self.open.token.clone_from(&opened.token);
        self.notice(&format!(
            "server {} opened, launch {}{}",
            opened.name,
            opened.launch,
            match opened.replaced.as_str() {
                "" => String::new(),
                why => format!(", in place of one that is gone: {why}"),
            }
        ));
        conversation::Attached {
            carried: !opened.token.is_empty(),
            health: (opened.health_timeout > 0)
                .then(|| Duration::from_secs(opened.health_timeout.into())),
        }
    }

    /// Says something on stderr with --debug.
    pub(super) fn notice(&self, text: &str) {
        if self.debug {
            stdio::notice(text);
        }
    }

    /// Opens the next attachment: over `connection` where that daemon is there yet, with another one otherwise.
    ///
    /// # Errors
    ///
    /// What the daemon says, or that there is none to be had.
    pub(super) fn again(
        &self,
        connection: Option<Connection>,
        because: String,
    ) -> impl Future<Output = Result<Attached, Failure>> + 'static {
        let environment = self.environment.clone();
        let open = Open {
            because,
            ..self.open.clone()
        };
        async move {
            let deadline = Instant::now() + PATIENCE;
            let mut pause = PAUSE;
            let mut connection = connection;
            loop {
                let attached = match connection.take() {
                    Some(connection) => Attached::open(&connection, open.clone()).await,
                    None => match start::connect_or_start(&environment).await {
                        Ok(connection) => Attached::open(&connection, open.clone()).await,
                        Err(failure) => Err(failure),
                    },
                };
                match attached {
                    // Nothing of the host's was sent: the next daemon may have it.
                    Err(failure)
                        if failure.code == exit::UNREACHABLE && Instant::now() < deadline => {}
                    attached => return attached,
                }
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
    }
}

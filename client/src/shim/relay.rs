//! Carries a conversation between the host's descriptors and whichever attachment it has.
//!
//! Each direction is held back by its own reader: the host's next chunk is taken when the last is on its way, in a queue
//! of a few chunks before HTTP/2's window, and the server's when the last is being written or is next. Neither waits for
//! the other, so a host that writes a long request before it reads the answer to the last one gets as far as it would
//! without us. While there is no attachment, the host is read until the conversation holds enough.

use super::attach::{Attached, Door};
use super::conversation::{Conversation, Gone as Over, Order, ToServer};
use super::stdio::{self, Gone, Input, Output};
use crate::connect::Connection;
use crate::errors::Failure;
use bytes::Bytes;
use srt_proto::exit;
use srt_proto::v1::{
    AttachRequest, AttachResponse, GiveUp, StdinEnd, attach_request, attach_response,
};
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tonic::{Status, Streaming};

/// What a process gets that writes where nobody reads: 128 + SIGPIPE.
const NOBODY_READS: i32 = 128 + 13;

/// Where the server's side is.
enum Link {
    Open(Box<Streaming<AttachResponse>>, Connection),
    Opening(Pin<Box<dyn Future<Output = Result<Attached, Failure>>>>),
    /// The session is over.
    None,
}

/// What came of it.
enum Came {
    Message(Option<attach_response::Message>),
    Lost(Option<Status>),
    Opened(Result<Box<Attached>, Failure>),
}

impl Link {
    /// What comes next; nothing is lost where this is given up.
    async fn next(&mut self) -> Came {
        match self {
            Self::Open(responses, _) => match responses.message().await {
                Ok(Some(response)) => Came::Message(response.message),
                Ok(None) => Came::Lost(None),
                Err(status) => Came::Lost(Some(status)),
            },
            Self::Opening(opening) => Came::Opened(opening.await.map(Box::new)),
            Self::None => std::future::pending().await,
        }
    }
}

/// Relays from an open attachment on, and returns the exit status once all output is written.
///
/// # Errors
///
/// Where the session is over for a reason that a person should know.
pub(super) async fn relay(mut door: Door, attached: Attached) -> Result<i32, Failure> {
    let mark = RandomState::new().hash_one(std::process::id());
    let mut conversation = Conversation::new(&attached.opened.name, mark, Instant::now());
    let told = door.passed(&attached);
    conversation.opened(&told, Instant::now());
    Relay {
        door,
        conversation,
        link: Link::None,
        requests: None,
        stdin: Input::stdin(),
        stdin_over: false,
        stdout: Output::stdout(),
        stderr: Some(Output::stderr()),
        complaint: None,
        ended: None,
    }
    .run(attached)
    .await
}

struct Relay {
    door: Door,
    conversation: Conversation,
    link: Link,
    /// Of the open attachment.
    requests: Option<mpsc::Sender<AttachRequest>>,
    stdin: Input,
    stdin_over: bool,
    stdout: Output,
    /// Without a reader of its stderr a server goes on.
    stderr: Option<Output>,
    /// What of the server's stderr waits for room.
    complaint: Option<Bytes>,
    ended: Option<Result<i32, Failure>>,
}

impl Relay {
    async fn run(mut self, attached: Attached) -> Result<i32, Failure> {
        self.attach(attached);
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        // When the timer is due, where it runs.
        let mut armed = None;
        loop {
            self.carry();
            if let Some(ended) = self.ended.take() {
                return self.finish(ended).await;
            }
            // A deadline that has moved on needs no other timer: it is looked at when that one is due.
            let due = self.conversation.deadline();
            if let Some(due) = due
                && armed.is_none_or(|armed| due < armed)
            {
                timer.as_mut().reset(due.into());
                armed = Some(due);
            }
            let out = &self.conversation.out;
            let (to_server, to_host) = (!out.to_server.is_empty(), !out.to_host.is_empty());
            let takes = !self.stdin_over && !to_server && self.conversation.takes_host();
            tokio::select! {
                came = self.link.next(), if !to_host && self.complaint.is_none() => self.came(came),
                chunk = self.stdin.next(), if takes => self.read(chunk),
                () = room(self.requests.as_ref()), if to_server => {}
                Ok(()) = self.stdout.room(), if to_host => {}
                () = self.stdout.gone() => return Ok(NOBODY_READS),
                () = complain(&mut self.stderr, &mut self.complaint), if self.complaint.is_some() => {}
                () = &mut timer, if armed.is_some() => {
                    armed = None;
                    self.conversation.tick(Instant::now());
                }
            }
        }
    }

    /// Does what can be done at once.
    fn carry(&mut self) {
        while let Some(chunk) = self.conversation.out.to_host.pop_front() {
            if let Some(chunk) = self.stdout.try_write(chunk) {
                self.conversation.out.to_host.push_front(chunk);
                break;
            }
        }
        while let Some(text) = self.conversation.out.notices.pop_front() {
            stdio::notice(&text);
        }
        while let Some(order) = self.conversation.out.orders.pop_front() {
            self.obey(order);
        }
        if let Some(requests) = &self.requests {
            while let Some(next) = self.conversation.out.to_server.front() {
                let message = match next {
                    ToServer::Bytes(bytes) => attach_request::Message::Stdin(bytes.clone()),
                    ToServer::End => attach_request::Message::StdinEnd(StdinEnd {}),
                };
                match requests.try_send(request(message)) {
                    Ok(()) => _ = self.conversation.out.to_server.pop_front(),
                    Err(TrySendError::Full(_)) => break,
                    // The stream says why when it is read; what was for it is for nobody.
                    Err(TrySendError::Closed(_)) => self.conversation.out.to_server.clear(),
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Reopen { because } => {
                self.door
                    .notice(&format!("{because}; opening the session again"));
                self.requests = None;
                // Where its end was told, that daemon is there yet.
                let connection = match std::mem::replace(&mut self.link, Link::None) {
                    Link::Open(_, connection) => Some(connection),
                    Link::Opening(_) | Link::None => None,
                };
                self.link = Link::Opening(Box::pin(self.door.again(connection, because)));
            }
            Order::GiveUp { reason } => {
                self.door
                    .notice(&format!("another launch is wanted: {reason}"));
                if let Some(requests) = self.requests.clone() {
                    // Behind what is on its way. It is one message in the life of an attachment.
                    tokio::spawn(async move {
                        let message = attach_request::Message::GiveUp(GiveUp { reason });
                        // A stream that is gone needs no giving up.
                        let _ = requests.send(request(message)).await;
                    });
                }
            }
            Order::End { code, failure } => {
                let ended = failure.map_or(Ok(code), Err);
                self.ended.get_or_insert(ended);
            }
        }
    }

    fn read(&mut self, chunk: Bytes) {
        let now = Instant::now();
        if chunk.is_empty() {
            self.stdin_over = true;
            self.conversation.host_end(now);
        } else {
            self.conversation.host(&chunk, now);
        }
    }

    fn came(&mut self, came: Came) {
        let now = Instant::now();
        match came {
            Came::Message(Some(message)) => self.message(message, now),
            // A message of a newer contract carries no bytes of the server.
            Came::Message(None) => {}
            Came::Lost(status) => {
                self.link = Link::None;
                self.requests = None;
                self.door.signals.clear();
                self.conversation.gone(Over::Lost(lost(status)), now);
            }
            Came::Opened(Ok(attached)) => {
                let told = self.door.passed(&attached);
                self.attach(*attached);
                self.conversation.opened(&told, now);
            }
            Came::Opened(Err(failure)) => {
                self.link = Link::None;
                self.conversation.refused(failure);
            }
        }
    }

    fn message(&mut self, message: attach_response::Message, now: Instant) {
        match message {
            attach_response::Message::Stdout(chunk) => self.conversation.server(chunk, now),
            attach_response::Message::Stderr(chunk) => self.complaint = Some(chunk),
            attach_response::Message::Exited(exited) => {
                self.door.notice(&exited.reason);
                self.door.signals.clear();
                let over = Over::Ended {
                    code: exited.code,
                    reason: exited.reason,
                    again: exited.again,
                };
                self.conversation.gone(over, now);
            }
            attach_response::Message::Notice(text) => self.door.notice(&text),
            attach_response::Message::Renew(renew) => {
                self.conversation.renew(&renew.reason, renew.now);
            }
            // A second one says nothing.
            attach_response::Message::Opened(_) => {}
        }
    }

    fn attach(&mut self, attached: Attached) {
        let Attached {
            requests,
            responses,
            connection,
            ..
        } = attached;
        self.link = Link::Open(Box::new(responses), connection);
        self.requests = Some(requests);
    }

    /// Everything is written, and then it is over.
    async fn finish(mut self, ended: Result<i32, Failure>) -> Result<i32, Failure> {
        while let Some(chunk) = self.conversation.out.to_host.pop_front() {
            if self.stdout.room().await.is_err() {
                return Ok(NOBODY_READS);
            }
            // There is room, and nobody else writes.
            let _ = self.stdout.try_write(chunk);
        }
        complain(&mut self.stderr, &mut self.complaint).await;
        let written = self.stdout.finish().await;
        if let Some(stderr) = self.stderr {
            // Nobody reading it is no failure.
            let _ = stderr.finish().await;
        }
        match written {
            Err(Gone) if ended.is_ok() => Ok(NOBODY_READS),
            _ => ended,
        }
    }
}

/// Hands a chunk of the server's stderr on, where there is one and somebody reads.
async fn complain(stderr: &mut Option<Output>, complaint: &mut Option<Bytes>) {
    if let Some(output) = stderr
        && output.room().await.is_err()
    {
        *stderr = None;
    }
    if let (Some(output), Some(chunk)) = (stderr, complaint.take()) {
        // There is room, and nobody else writes.
        let _ = output.try_write(chunk);
    }
}

/// Waits for room for a chunk to the daemon.
async fn room(requests: Option<&mpsc::Sender<AttachRequest>>) {
    match requests {
        Some(requests) if requests.reserve().await.is_ok() => {}
        // A stream that is gone says so where it is read.
        _ => std::future::pending().await,
    }
}

fn request(message: attach_request::Message) -> AttachRequest {
    AttachRequest {
        message: Some(message),
    }
}

/// The stream ended without Exited.
fn lost(status: Option<Status>) -> Failure {
    match status {
        Some(status) if status.metadata().contains_key(srt_proto::EXIT_CODE) => status.into(),
        status => {
            let why = status
                .filter(|status| !status.message().is_empty())
                .map_or(String::new(), |status| format!(": {}", status.message()));
            Failure::new(
                exit::UNREACHABLE,
                format!("the daemon srtd went away while the server was running{why}"),
            )
            .hint("calls in flight may have had effects; start the server again, and see srtctl daemon status")
        }
    }
}

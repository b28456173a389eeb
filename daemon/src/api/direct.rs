//! The direct socket: a client hands its own descriptors over (SCM_RIGHTS, which gRPC cannot carry), and stays to pass
//! signals on and to hear of the end. What is said is the contract's, in [`srt_proto::direct`]'s frames.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rustix::process::Signal;
use srt_proto::direct::Link;
use srt_proto::v1::direct_request::Message as In;
use srt_proto::v1::direct_response::Message as Out;
use srt_proto::v1::{
    DirectFailure, DirectOpen, DirectRequest, DirectResponse, Exited, Opened, Terminal,
};
use srt_runtime::TerminalModes;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::Api;
use super::error::{bad_request, of_attach};
use super::sessions::plan_of;
use crate::session::{self, open_direct};
use crate::supervisor::{Control, Direct};

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to read a message of ours.
const READING: Duration = Duration::from_secs(1);

impl Api {
    /// Serves each connection until `closing`; whatever was begun by then goes on in tasks of the daemon's.
    pub(crate) async fn serve_direct(
        self,
        connections: impl Stream<Item = io::Result<UnixStream>>,
        closing: CancellationToken,
    ) {
        let mut connections = std::pin::pin!(connections.take_until(closing.cancelled_owned()));
        while let Some(connection) = connections.next().await {
            let Ok(stream) = connection else { continue };
            let api = self.clone();
            self.supervisor.shared.tracker.spawn(async move {
                if let Err(error) = api.converse(stream).await {
                    tracing::warn!(%error, "a connection to the direct socket broke");
                }
            });
        }
    }

    async fn converse(self, stream: UnixStream) -> io::Result<()> {
        let client_pid = stream.peer_cred()?.pid();
        let mut link = Link::new(stream);
        let first = tokio::select! {
            first = tokio::time::timeout(PATIENCE, link.receive::<DirectRequest>()) => first,
            () = self.supervisor.shared.shutdown.cancelled() => return Ok(()),
        };
        let Some((first, descriptors)) = first?? else {
            return Ok(());
        };
        let opened = match first.message {
            Some(In::Open(open)) => self.open_direct(open, descriptors, client_pid).await,
            _ => Err(bad_request("the first message must be DirectOpen")),
        };
        match opened {
            Ok((name, debug, direct)) => self.attend(link, name, debug, direct).await,
            Err(status) => say(&link, Out::Failure(failure(&status)), &[]).await,
        }
    }

    async fn open_direct(
        &self,
        open: DirectOpen,
        descriptors: Vec<OwnedFd>,
        client_pid: Option<i32>,
    ) -> Result<(String, bool, Direct), Status> {
        let mut on_terminal = [false; 3];
        for number in open.on_terminal {
            let part = usize::try_from(number)
                .ok()
                .and_then(|number| on_terminal.get_mut(number));
            *part.ok_or_else(|| bad_request(format!("{number} is none of 0, 1 and 2")))? = true;
        }
        let terminal = terminal(open.terminal.unwrap_or_default());
        let open = open
            .open
            .ok_or_else(|| bad_request("DirectOpen has no Open"))?;
        let (name, debug) = (open.name.clone(), open.debug);
        let handed = session::admit(descriptors, on_terminal, terminal);
        let request = session::Request {
            plan: plan_of(open)?,
            client_pid: client_pid.and_then(|pid| u32::try_from(pid).ok()),
            token: String::new(),
            because: String::new(),
        };
        // This task is the daemon's, not the client's: what is begun is seen to its end even where that went away.
        let direct = open_direct(&self.supervisor, request, handed)
            .await
            .map_err(|error| of_attach(&error))?;
        Ok((name, debug, direct))
    }

    /// Stays with a program until it is gone.
    async fn attend(
        self,
        mut link: Link,
        name: String,
        debug: bool,
        direct: Direct,
    ) -> io::Result<()> {
        let Direct {
            control,
            terminal,
            notes,
            notices,
        } = direct;
        let opened = Opened {
            attachment: String::new(),
            launch: control.id.to_string(),
            name,
            // There is nothing to go on with: the daemon holds no end of what it talks by.
            ..Opened::default()
        };
        let with: Vec<BorrowedFd<'_>> = terminal.iter().map(|fd| fd.as_fd()).collect();
        let mut told = say(&link, Out::Opened(opened), &with).await;
        // The client's now: when it goes, nothing keeps the program's terminal.
        drop(with);
        drop(terminal);
        if debug {
            for notice in notices {
                told = told.and(say(&link, Out::Notice(notice), &[]).await);
            }
        }
        if told.is_err() {
            control.stop(GONE);
        }
        loop {
            tokio::select! {
                request = link.receive::<DirectRequest>() => match request {
                    Ok(Some((DirectRequest { message: Some(In::Signal(number)) }, _))) => {
                        deliver(&control, number);
                    }
                    // A message of a newer contract.
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => {
                        control.stop(GONE);
                        control.ended().await;
                        return Ok(());
                    }
                },
                note = notes.noted() => {
                    let _ = say(&link, Out::Notice(note), &[]).await;
                }
                end = control.ended() => {
                    while let Some(note) = notes.next_note() {
                        let _ = say(&link, Out::Notice(note), &[]).await;
                    }
                    let exited = Exited {
                        code: end.code,
                        signal: end.signal,
                        reason: end.reason,
                        again: false,
                    };
                    return say(&link, Out::Exited(exited), &[]).await;
                }
            }
        }
    }
}

const GONE: &str = "the host went away";

/// By Linux's numbers, which are the contract's.
fn deliver(control: &Control, number: i32) {
    let processes = &control.processes;
    match number {
        1 | 2 | 3 | 15 => processes.signal(number),
        10 => processes.signal(Signal::USR1.as_raw()),
        12 => processes.signal(Signal::USR2.as_raw()),
        // SIGTSTP has no effect where no shell of the session's could continue it (setpgid(2), orphaned groups).
        20 => processes.signal_all(Signal::STOP.as_raw()),
        18 => processes.signal_all(Signal::CONT.as_raw()),
        _ => tracing::debug!(number, "a signal that is not carried"),
    }
}

async fn say(link: &Link, message: Out, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    let response = DirectResponse {
        message: Some(message),
    };
    // A client that does not read keeps nobody waiting.
    tokio::time::timeout(READING, link.send(&response, with)).await?
}

fn failure(status: &Status) -> DirectFailure {
    let code = status.metadata().get(srt_proto::EXIT_CODE);
    DirectFailure {
        message: status.message().to_owned(),
        exit_code: code
            .and_then(|code| code.to_str().ok()?.parse().ok())
            .unwrap_or(srt_proto::exit::ERROR),
    }
}

fn terminal(terminal: Terminal) -> srt_runtime::Terminal {
    let size = |number: u32| u16::try_from(number).unwrap_or(0);
    let modes = match (terminal.input, terminal.output, terminal.local) {
        (Some(input), Some(output), Some(local)) => Some(TerminalModes {
            input,
            output,
            local,
            special: terminal.special,
        }),
        _ => None,
    };
    srt_runtime::Terminal {
        rows: size(terminal.rows),
        columns: size(terminal.columns),
        width: size(terminal.width),
        height: size(terminal.height),
        modes,
    }
}

//! Direct mode: the program in the sandbox inherits our own descriptors, and has a terminal of its own in the place of
//! ours. Nothing but a terminal's bytes passes through us; we stay for signals and for the end.

mod handed;
mod signals;
mod terminal;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use srt_proto::direct::Link;
use srt_proto::exit;
use srt_proto::socket::Environment;
use srt_proto::v1::daemon_client::DaemonClient;
use srt_proto::v1::direct_request::Message as Out;
use srt_proto::v1::direct_response::Message as In;
use srt_proto::v1::{DaemonStatusRequest, DirectOpen, DirectRequest, DirectResponse, Exited, Open};
use tokio::net::UnixStream;

use crate::errors::Failure;
use crate::shim::args::Args;
use crate::shim::{answer, open_message, stdio};
use crate::{connect, start};
use handed::Handed;
use signals::{Signals, What};
use terminal::Terminal;

/// How long a daemon that answers may take to have its direct socket, too.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);
/// What a shell gives for a process that a hang-up ended: 128 + SIGHUP.
const HUNG_UP: i32 = 128 + 1;

/// The process's life, and its exit status.
pub(crate) fn main(args: &Args) -> i32 {
    match crate::runtime::runtime().and_then(|runtime| runtime.block_on(run(args))) {
        Ok(code) => code,
        Err(failure) => {
            failure.report("srt: ");
            failure.code
        }
    }
}

async fn run(args: &Args) -> Result<i32, Failure> {
    let open = open_message(args)?;
    let mut signals = Signals::watch()?;
    let Begun {
        mut link,
        terminal,
        handed,
    } = match begin(args, open, &mut signals).await {
        Ok(Some(begun)) => begun,
        Ok(None) => return Ok(128 + signals.number()),
        Err(failure) => {
            failure.report("srt: ");
            // Its first request, where this is a host, is unread.
            answer::answer(&args.name, &failure);
            return Ok(failure.code);
        }
    };
    let ended = stay(&mut link, &mut signals, terminal.as_ref()).await;
    if let Ok(End::Exited(_)) = ended {
        // All that could write has ended: the rest of its output is on its way to us.
        if let Some(terminal) = &terminal {
            terminal.finish();
        }
        handed.finish();
    }
    // The terminal is the person's again before anything is said on it.
    drop(terminal);
    match ended? {
        End::Exited(exited) => {
            if args.debug {
                stdio::notice(&exited.reason);
            }
            Ok(exited.code)
        }
        End::HungUp => Ok(HUNG_UP),
    }
}

/// A program that runs.
struct Begun {
    link: Link,
    terminal: Option<Terminal>,
    handed: Handed,
}

/// Has it started; `None` where a signal says that it is not wanted any more.
async fn begin(args: &Args, open: Open, signals: &mut Signals) -> Result<Option<Begun>, Failure> {
    let mut handed = Handed::take()?;
    let stream = tokio::select! {
        stream = connected() => stream?,
        () = signals.ending() => return Ok(None),
    };
    let mut link = Link::new(stream);
    let request = DirectRequest {
        message: Some(Out::Open(DirectOpen {
            open: Some(open),
            on_terminal: handed.on_terminal(),
            terminal: handed.has_terminal().then(|| terminal::describe(&handed)),
        })),
    };
    let descriptors: Vec<BorrowedFd<'_>> = handed.descriptors();
    link.send(&request, &descriptors).await.map_err(lost)?;
    drop(descriptors);
    // The program's alone from here on: a pipe's end that we kept would keep it from ending.
    handed.given();
    let mut impatient = false;
    let (name, launch, other) = loop {
        let (response, descriptors) = tokio::select! {
            response = link.receive::<DirectResponse>() => response
                .map_err(lost)?
                .ok_or_else(|| lost(std::io::ErrorKind::UnexpectedEof.into()))?,
            () = signals.ending() => {
                // It may run already. A second one is about us: the daemon takes the lost connection for the order to
                // end it.
                if impatient {
                    return Ok(None);
                }
                impatient = true;
                pass(&link, signals.number()).await;
                continue;
            }
        };
        match response.message {
            Some(In::Opened(opened)) => {
                break (opened.name, opened.launch, descriptors.into_iter().next());
            }
            Some(In::Failure(failure)) => {
                return Err(Failure::from_text(failure.exit_code, &failure.message));
            }
            _ => {}
        }
    };
    if args.debug {
        stdio::notice(&format!(
            "server {name} opened in direct mode, launch {launch}"
        ));
    }
    handed.carry();
    let terminal = other
        .map(|other| Terminal::show(&handed, other))
        .transpose()?;
    Ok(Some(Begun {
        link,
        terminal,
        handed,
    }))
}

fn lost(error: std::io::Error) -> Failure {
    Failure::new(
        exit::UNREACHABLE,
        format!("the connection to the daemon srtd was lost: {error}"),
    )
    .hint("srtctl daemon status")
}

/// A connection to the direct socket of a daemon, which is started if there is none.
async fn connected() -> Result<UnixStream, Failure> {
    let environment = Environment::from_process();
    if let Some(stream) = connect::find_direct(&environment).await? {
        return Ok(stream);
    }
    let connection = start::connect_or_start(&environment).await?;
    // Once it answers here it listens there: where its socket was there before it (systemd), it may still be starting.
    DaemonClient::new(connection.channel.clone())
        .status(DaemonStatusRequest::default())
        .await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(stream) = connect::direct(&connection.socket).await? {
            return Ok(stream);
        }
        if Instant::now() >= deadline {
            let place = srt_proto::socket::direct_of(&connection.socket);
            return Err(Failure::new(
                exit::UNREACHABLE,
                format!("the daemon has no socket for direct mode: nobody listens at {}", place.display()),
            )
            .hint("it may be older than this tool: srtctl daemon stop, then try again; or pass --no-direct"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How it ended.
enum End {
    Exited(Exited),
    /// Our terminal is gone, and nobody is there to see it.
    HungUp,
}

/// Passes signals on until the program is gone.
async fn stay(
    link: &mut Link,
    signals: &mut Signals,
    terminal: Option<&Terminal>,
) -> Result<End, Failure> {
    let gone_away = |why: &str| {
        Failure::new(
            exit::UNREACHABLE,
            format!("the daemon srtd went away while the program was running{why}"),
        )
        .hint("the program ended with it; start it again, and see srtctl daemon status")
    };
    loop {
        let what = tokio::select! {
            response = link.receive::<DirectResponse>() => match response {
                Ok(Some((DirectResponse { message }, _))) => {
                    match message {
                        Some(In::Exited(exited)) => return Ok(End::Exited(exited)),
                        Some(In::Notice(text)) => say(&text, terminal),
                        _ => {}
                    }
                    continue;
                }
                Ok(None) => return Err(gone_away("")),
                Err(error) => return Err(gone_away(&format!(": {error}"))),
            },
            what = signals.next() => what,
            () = gone(terminal) => return Ok(End::HungUp),
        };
        match (what, terminal) {
            (What::Resized, Some(terminal)) => terminal.resize(),
            (What::Resized, None) => {}
            (What::Passed(1), Some(_)) => return Ok(End::HungUp),
            (What::Passed(number), _) => pass(link, number).await,
            (What::Stop, _) => {
                pass(link, signals::TSTP).await;
                if let Some(terminal) = terminal {
                    terminal.lend_back();
                }
                // Here we stand until somebody continues us.
                signals::stop_ourselves();
            }
            (What::Continued, _) => {
                if let Some(terminal) = terminal {
                    terminal.take_again();
                }
                pass(link, signals::CONT).await;
            }
        }
    }
}

async fn gone(terminal: Option<&Terminal>) {
    match terminal {
        Some(terminal) => terminal.gone().await,
        None => std::future::pending().await,
    }
}

async fn pass(link: &Link, number: i32) {
    let request = DirectRequest {
        message: Some(Out::Signal(number)),
    };
    // A daemon that is gone is found out by its end of the connection.
    let _ = link.send(&request, &[]).await;
}

/// A line for a person, wherever the program's output stands.
fn say(text: &str, terminal: Option<&Terminal>) {
    let text = text.strip_prefix("srt: ").unwrap_or(text);
    match terminal {
        Some(terminal) => terminal.say(&format!("srt: {}", crate::table::clean(text))),
        None => stdio::notice(text),
    }
}

//! Carries bytes between the host's descriptors and an open attachment until the server ends.
//!
//! Each direction is held back by its own reader: stdin by a queue of a few chunks before HTTP/2's window, stdout by
//! taking the next message only when the last is written or one chunk is queued. Neither waits for the other, so a
//! host that writes a long request before it reads the answer to the last one gets as far as it would without us.

use super::stdio::{self, Gone, Output};
use crate::errors::Failure;
use srt_proto::exit;
use srt_proto::v1::{AttachRequest, AttachResponse, attach_response};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// What a process gets that writes where nobody reads: 128 + SIGPIPE.
const NOBODY_READS: i32 = 128 + 13;

/// Relays, and returns the server's exit status once all its output is written.
pub(super) async fn relay(
    requests: mpsc::Sender<AttachRequest>,
    mut responses: Streaming<AttachResponse>,
    debug: bool,
) -> Result<i32, Failure> {
    // Held until the end: to the daemon, the end of our half of the stream would be the order to stop.
    let _open = requests.clone();
    stdio::pump_stdin(requests);
    let mut stdout = Output::stdout();
    // Without a reader of its stderr a server goes on.
    let mut stderr = Some(Output::stderr());
    loop {
        let next = tokio::select! {
            next = responses.message() => next,
            () = stdout.gone() => return Ok(NOBODY_READS),
        };
        match next.map(|response| response.map(|response| response.message)) {
            Ok(Some(Some(attach_response::Message::Stdout(chunk)))) => {
                if let Err(Gone) = stdout.write(chunk).await {
                    return Ok(NOBODY_READS);
                }
            }
            Ok(Some(Some(attach_response::Message::Stderr(chunk)))) => {
                if let Some(output) = &mut stderr
                    && let Err(Gone) = output.write(chunk).await
                {
                    stderr = None;
                }
            }
            Ok(Some(Some(attach_response::Message::Exited(exited)))) => {
                let written = finish(stdout, stderr).await;
                if debug {
                    stdio::notice(&exited.reason);
                }
                return Ok(written.map_or(NOBODY_READS, |()| exited.code));
            }
            Ok(Some(Some(attach_response::Message::Notice(text)))) if debug => {
                stdio::notice(&text);
            }
            // A second Opened or a message of a newer contract carries no bytes of the server.
            Ok(Some(_)) => {}
            Ok(None) => return Err(lost(stdout, stderr, None).await),
            Err(status) => return Err(lost(stdout, stderr, Some(status)).await),
        }
    }
}

async fn finish(stdout: Output, stderr: Option<Output>) -> Result<(), Gone> {
    let written = stdout.finish().await;
    if let Some(stderr) = stderr {
        // Nobody reading it is no failure.
        let _ = stderr.finish().await;
    }
    written
}

/// The stream ended without Exited. What came of the output is still the host's.
async fn lost(stdout: Output, stderr: Option<Output>, status: Option<Status>) -> Failure {
    let _ = finish(stdout, stderr).await;
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

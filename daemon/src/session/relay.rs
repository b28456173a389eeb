//! Bytes between a host and a launch, in both directions, as they come: bounded, in order, never re-framed.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use srt_proto::CHUNK;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::supervisor::{Control, LaunchEnd, Running};

/// What comes from the host.
#[derive(Debug)]
pub(crate) enum Inbound {
    Stdin(Bytes),
    StdinEnd,
}

/// What goes to the host.
#[derive(Debug)]
pub(crate) enum Outbound {
    Stdout(Bytes),
    Stderr(Bytes),
    /// The last one.
    Exited(LaunchEnd),
}

/// Carries one session until its launch is gone.
///
/// `inbound` ends when the host does. `outbound` is bounded: a host that does not read stops this function, hence
/// the server's writing, and nothing else.
pub(crate) async fn relay(
    running: Running,
    inbound: impl Stream<Item = Inbound> + Send + Unpin,
    outbound: mpsc::Sender<Outbound>,
) {
    let Running {
        control,
        stdin,
        stdout,
        early,
        stderr,
        ..
    } = running;
    let complaints = early.unwrap_or_else(|| stderr.open());
    let to_server = carry_in(&control, stdin, inbound, &outbound);
    let to_host = async {
        tokio::join!(
            carry_out(stdout, &outbound),
            carry_complaints(complaints, &outbound)
        );
        // Output is at its end: every process that could write is gone, or closed its side.
        let end = control.ended().await;
        let _ = outbound.send(Outbound::Exited(end)).await;
    };
    tokio::pin!(to_server, to_host);
    tokio::select! {
        () = &mut to_host => {}
        // The host closed its side, or is gone: what the server still says is carried on, to somebody or nobody.
        () = &mut to_server => to_host.await,
    }
}

/// Host to server. Ends with stdin closed, for whatever reason.
async fn carry_in(
    control: &Control,
    mut stdin: pipe::Sender,
    mut inbound: impl Stream<Item = Inbound> + Unpin,
    outbound: &mpsc::Sender<Outbound>,
) {
    let carry = async {
        loop {
            match inbound.next().await {
                Some(Inbound::Stdin(bytes)) => {
                    // The server closed its stdin: a host's pipe would give EPIPE; ours takes the rest away.
                    if stdin.write_all(&bytes).await.is_err() {
                        return false;
                    }
                }
                // What the host says, it has said; it stays to listen.
                Some(Inbound::StdinEnd) => return false,
                None => return true,
            }
        }
    };
    let lost = tokio::select! {
        lost = carry => lost,
        // Seen even while the server does not read its stdin.
        () = outbound.closed() => true,
        () = control.stopping() => false,
    };
    drop(stdin);
    if lost {
        control.stop("the host went away");
        return;
    }
    // Stdin is closed; whether the host stays must still be watched.
    tokio::select! {
        () = outbound.closed() => control.stop("the host went away"),
        () = async { while inbound.next().await.is_some() {} } => control.stop("the host went away"),
        _ = control.ended() => {}
    }
}

/// Server to host.
async fn carry_out(mut stdout: pipe::Receiver, outbound: &mpsc::Sender<Outbound>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match stdout.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // Nobody listens any more: the teardown is under way. What is left is read, so that it does not wait.
        let _ = outbound
            .send(Outbound::Stdout(buffer.split().freeze()))
            .await;
    }
}

/// The server's standard error to the host, until it ends.
async fn carry_complaints(
    mut complaints: mpsc::Receiver<Bytes>,
    outbound: &mpsc::Sender<Outbound>,
) {
    while let Some(bytes) = complaints.recv().await {
        let _ = outbound.send(Outbound::Stderr(bytes)).await;
    }
}

//! A conversation between a host and a launch, in both directions: bounded and in order. What is no MCP passes as it
//! comes; of MCP each line is looked at, and passes byte for byte unless a rule says otherwise.

use bytes::{Bytes, BytesMut};
use futures_util::future::maybe_done;
use futures_util::{Stream, StreamExt as _, stream};
use srt_mcp::{Mode, Piece, Wire};
use srt_proto::CHUNK;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::calls::Side;
use super::patience::Patience;
use super::ruling::Passes;
use super::scene::{Judged, Scene};
use crate::store::EndKind;
use crate::supervisor::{Control, LaunchEnd, Renewal, Running};

/// Lines of ours that may wait for the server's side to be between two of its lines.
const ANSWERS: usize = 16;

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
    /// The session is to go on in another launch.
    Renew(Renewal),
    /// The last one.
    Exited(LaunchEnd),
}

/// Carries one session until its launch is gone.
///
/// `inbound` ends when the host does. `outbound` is bounded: a host that does not read stops this function, hence
/// the server's writing, and nothing else.
///
/// Where the host leaves before either side has said a word, and that was looked out for, the launch is given back.
pub(crate) async fn relay(
    running: Running,
    scene: &Scene,
    mut inbound: impl Stream<Item = Inbound> + Send + Unpin,
    outbound: mpsc::Sender<Outbound>,
) -> Option<Running> {
    let Running {
        control,
        stdin,
        stdout,
        early,
        stderr,
        notices,
        goes_on,
        timeout,
    } = running;
    let complaints = early.unwrap_or_else(|| stderr.open());
    let complaints = maybe_done(carry_complaints(complaints, &outbound));
    tokio::pin!(complaints);
    let mut first = None;
    if control.is_silent() {
        let word = {
            let word = first_word(&control, &stdout, &mut inbound, &outbound);
            tokio::pin!(word);
            tokio::select! {
                word = &mut word => word,
                () = &mut complaints => word.await,
            }
        };
        match word {
            Word::Left => {
                return Some(Running {
                    control,
                    stdin,
                    stdout,
                    early: None,
                    stderr,
                    notices,
                    goes_on,
                    timeout,
                });
            }
            Word::OfServer => {}
            Word::OfHost(inbound) => first = Some(inbound),
        }
    }
    let inbound = stream::iter(first).chain(inbound);
    let patience = Patience::new(timeout);
    let (answers, answered) = mpsc::channel(ANSWERS);
    let to_server = carry_in(scene, stdin, inbound, &outbound, answers, &patience);
    let to_host = async {
        tokio::join!(
            carry_out(scene, stdout, &outbound, answered, &patience, goes_on),
            &mut complaints
        );
        // Output is at its end: every process that could write is gone, or closed its side.
        let end = control.ended().await;
        scene.over().await;
        let _ = outbound.send(Outbound::Exited(end)).await;
    };
    tokio::pin!(to_server, to_host);
    let both = async {
        tokio::select! {
            () = &mut to_host => {}
            // The host closed its side, or is gone: what the server still says is carried on, to somebody or nobody.
            () = &mut to_server => to_host.await,
        }
    };
    tokio::pin!(both);
    tokio::select! {
        () = &mut both => {}
        why = patience.exceeded(scene) => {
            scene.gives_up(&why);
            control.end(&why, EndKind::TimedOut);
            both.await;
        }
    }
    None
}

/// What a conversation begins with.
enum Word {
    OfHost(Inbound),
    /// Or its end, which is for whoever reads.
    OfServer,
    /// With none.
    Left,
}

/// Waits for the first word of either side.
async fn first_word(
    control: &Control,
    stdout: &pipe::Receiver,
    inbound: &mut (impl Stream<Item = Inbound> + Unpin),
    outbound: &mpsc::Sender<Outbound>,
) -> Word {
    let said = |word| match control.speaks() {
        true => word,
        false => Word::Left,
    };
    tokio::select! {
        biased;
        () = control.left() => Word::Left,
        _ = stdout.readable() => said(Word::OfServer),
        () = control.stopping() => said(Word::OfServer),
        message = inbound.next() => match message {
            Some(message) => said(Word::OfHost(message)),
            None if control.leaves() => Word::Left,
            None => Word::OfServer,
        },
        () = outbound.closed() => match control.leaves() {
            true => Word::Left,
            false => Word::OfServer,
        },
    }
}

/// Host to server. Ends with stdin closed, for whatever reason.
async fn carry_in(
    scene: &Scene,
    mut stdin: pipe::Sender,
    mut inbound: impl Stream<Item = Inbound> + Unpin,
    outbound: &mpsc::Sender<Outbound>,
    answers: mpsc::Sender<Bytes>,
    patience: &Patience,
) {
    let control = &scene.control;
    let carry = async {
        let mut from_host = Side::Host.reader();
        // Lines that came together go on together.
        let mut gathered = BytesMut::new();
        loop {
            let (bytes, end) = match inbound.next().await {
                Some(Inbound::Stdin(bytes)) => (bytes, None),
                // What the host says, it has said; it stays to listen.
                Some(Inbound::StdinEnd) => (Bytes::new(), Some(false)),
                None => (Bytes::new(), Some(true)),
            };
            let mut pieces = from_host.read(scene, &bytes, end.is_some());
            let mut more = true;
            while more {
                let piece = pieces.next(scene).await;
                more = piece.is_some();
                let Passed {
                    bytes,
                    answers: ours,
                } = piece.unwrap_or_default();
                for answer in ours {
                    // Where nobody takes it, the server's side is at its end, and the host's will be.
                    let _ = answers.send(answer).await;
                }
                gathered.extend_from_slice(&bytes);
                if !more || gathered.len() >= CHUNK {
                    // The server closed its stdin: a host's pipe would give EPIPE; ours takes the rest away.
                    if stdin.write_all(&gathered).await.is_err() {
                        return false;
                    }
                    patience.sent(&gathered);
                    gathered.clear();
                }
            }
            if let Some(lost) = end {
                return lost;
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
        control.host_ends();
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

/// Server to host, and what is answered in the server's place, between its lines.
async fn carry_out(
    scene: &Scene,
    mut stdout: pipe::Receiver,
    outbound: &mpsc::Sender<Outbound>,
    mut answered: mpsc::Receiver<Bytes>,
    patience: &Patience,
    goes_on: bool,
) {
    let mut from_server = Side::Server.reader();
    let mut sink = Sink::new(outbound);
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let end = tokio::select! {
            read = stdout.read_buf(&mut buffer) => matches!(read, Ok(0) | Err(_)),
            Some(answer) = answered.recv(), if !from_server.is_within_parts() => {
                sink.put(answer).await;
                sink.flush().await;
                continue;
            }
        };
        patience.came(&buffer);
        let mut pieces = from_server.read(scene, &buffer.split(), end);
        while let Some(piece) = pieces.next(scene).await {
            sink.put(piece.bytes).await;
            for answer in piece.answers {
                sink.put(answer).await;
            }
        }
        sink.flush().await;
        if end {
            break;
        }
    }
    while let Ok(answer) = answered.try_recv() {
        sink.put(answer).await;
    }
    // Of a session that goes on the shim knows what to say.
    if let Some(why) = patience.over().filter(|_| !goes_on) {
        for answer in scene.given_up(&why) {
            sink.put(answer).await;
        }
    }
    sink.flush().await;
    scene.control.activity.is_read();
}

/// One direction of a conversation, piece by piece.
#[derive(Debug)]
struct Reader {
    side: Side,
    wire: Wire,
    /// A line that began to pass in parts goes on doing so, whatever is judged by now.
    passing: bool,
}

/// What passes next, and what is answered to the host meanwhile.
#[derive(Debug, Default)]
struct Passed {
    bytes: Bytes,
    answers: Vec<Bytes>,
}

/// The pieces of what has come.
struct Pieces<'a> {
    reader: &'a mut Reader,
    /// The stream is at its end: what is held of a line passes, too.
    end: bool,
}

impl Side {
    fn reader(self) -> Reader {
        Reader {
            side: self,
            wire: match self {
                Self::Host => Wire::of_host(),
                Self::Server => Wire::of_server(),
            },
            passing: false,
        }
    }
}

impl Reader {
    fn is_within_parts(&self) -> bool {
        self.wire.is_within_parts()
    }

    fn read(&mut self, scene: &Scene, bytes: &[u8], end: bool) -> Pieces<'_> {
        if scene.judges() {
            self.insist(scene);
        } else if self.side == Side::Server && self.wire.mode() == Mode::Unknown {
            self.wire.set(scene.mode());
        }
        self.wire.push(bytes);
        Pieces { reader: self, end }
    }

    /// Rules judge: what is no MCP cannot pass.
    fn insist(&mut self, scene: &Scene) {
        if scene.mode() == Mode::Raw {
            scene.control.stop(
                "what the host says is no MCP: it cannot be judged, as mcp.tools and mcp.pinTools want",
            );
        }
        scene.found(Mode::Mcp);
        self.wire.set(Mode::Mcp);
    }
}

impl Pieces<'_> {
    async fn next(&mut self, scene: &Scene) -> Option<Passed> {
        let Reader {
            side,
            wire,
            passing,
        } = &mut *self.reader;
        let piece = match wire.next() {
            Some(piece) => piece,
            None if self.end => {
                self.end = false;
                // A reader takes a last line without its end for one.
                let rest = wire.rest();
                match wire.mode() {
                    _ if rest.is_empty() => return None,
                    Mode::Mcp => Piece::Line(rest),
                    Mode::Unknown | Mode::Raw => Piece::Part {
                        bytes: rest,
                        last: true,
                    },
                }
            }
            None => return None,
        };
        if *side == Side::Host && scene.mode() == Mode::Unknown {
            scene.found(wire.mode());
        }
        match piece {
            Piece::Line(line) => {
                let Judged { passes, answers } = scene.judge(*side, &line).await;
                let bytes = match passes {
                    Passes::AsItCame => line,
                    Passes::Instead(instead) => instead,
                    Passes::Nothing => Bytes::new(),
                };
                Some(Passed { bytes, answers })
            }
            Piece::Part { bytes, last } => {
                let refused = !*passing && scene.judges() && !bytes.trim_ascii().is_empty();
                if refused {
                    scene.unjudgeable(*side, &bytes).await;
                    return Some(Passed::default());
                }
                *passing = !last;
                Some(Passed {
                    bytes,
                    answers: Vec::new(),
                })
            }
        }
    }
}

/// Gathers what goes to the host into chunks.
struct Sink<'a> {
    outbound: &'a mpsc::Sender<Outbound>,
    gathered: BytesMut,
}

impl<'a> Sink<'a> {
    fn new(outbound: &'a mpsc::Sender<Outbound>) -> Self {
        Self {
            outbound,
            gathered: BytesMut::new(),
        }
    }

    async fn put(&mut self, mut bytes: Bytes) {
        if self.gathered.len() + bytes.len() > CHUNK {
            self.flush().await;
        }
        while bytes.len() >= CHUNK {
            self.send(bytes.split_to(CHUNK)).await;
        }
        self.gathered.extend_from_slice(&bytes);
    }

    async fn flush(&mut self) {
        if !self.gathered.is_empty() {
            let gathered = self.gathered.split().freeze();
            self.send(gathered).await;
        }
    }

    /// Nobody listens any more: the teardown is under way. What is left is read, so that it does not wait.
    async fn send(&self, bytes: Bytes) {
        let _ = self.outbound.send(Outbound::Stdout(bytes)).await;
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

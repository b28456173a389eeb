//! Our own stdin, stdout and stderr, and what of them the program in the sandbox gets.
//!
//! A terminal never goes in. Nor do files, and sockets, which hosts written in Node have in the place of pipes: each is
//! more than its bytes (the daemon's `session/descriptors.rs` says what). The program gets a pipe, and we carry the bytes.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::fs::FileType;
use rustix::net::SocketType;
use srt_proto::exit;

use crate::errors::Failure;
use crate::shim::stdio::{read_from, write_all};

/// What becomes of one of our three.
enum Part {
    /// The program's own terminal.
    Terminal,
    /// Ours as it is.
    Ours,
    /// One end of a pipe, at whose other end we carry bytes; `None` once it was given.
    Pipe(Option<OwnedFd>),
}

/// Our three, and those who carry bytes for them.
pub(super) struct Handed {
    parts: [Part; 3],
    /// Our ends of pipes, with the one of ours that each is for.
    ends: Vec<(usize, OwnedFd)>,
    /// Those who carry what the program writes.
    carriers: Vec<JoinHandle<()>>,
}

fn ours(number: usize) -> BorrowedFd<'static> {
    match number {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    }
}

impl Handed {
    /// Looks at our three.
    ///
    /// # Errors
    /// When there is no descriptor left for a pipe.
    pub(super) fn take() -> Result<Self, Failure> {
        let mut handed = Self {
            parts: [Part::Ours, Part::Ours, Part::Ours],
            ends: Vec::new(),
            carriers: Vec::new(),
        };
        for number in 0..3 {
            let fd = ours(number);
            handed.parts[number] = if rustix::termios::isatty(fd) {
                Part::Terminal
            } else if is_carried(fd) {
                let pipe = handed.piped(number).map_err(|error| {
                    Failure::new(exit::ERROR, format!("cannot make a pipe: {error}"))
                        .hint("too many open files? see ulimit -n")
                })?;
                Part::Pipe(Some(pipe))
            } else {
                Part::Ours
            };
        }
        Ok(handed)
    }

    /// The program's end of a pipe, between it and what is ours.
    fn piped(&mut self, number: usize) -> io::Result<OwnedFd> {
        let (reader, writer) = io::pipe()?;
        let (inside, outside) = match number {
            0 => (OwnedFd::from(reader), OwnedFd::from(writer)),
            _ => (writer.into(), reader.into()),
        };
        self.ends.push((number, outside));
        Ok(inside)
    }

    /// Begins to carry, once the program runs: until then what came is unread.
    pub(super) fn carry(&mut self) {
        for (number, end) in self.ends.drain(..) {
            if number == 0 {
                // Not waited for: it may be reading for as long as the host likes.
                std::thread::spawn(move || carry(ours(0), end.as_fd()));
            } else {
                let carrier = std::thread::spawn(move || carry(end.as_fd(), ours(number)));
                self.carriers.push(carrier);
            }
        }
    }

    /// Whether the program is to have a terminal.
    pub(super) fn has_terminal(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Terminal))
    }

    /// Which of 0, 1 and 2 are to be its terminal.
    pub(super) fn on_terminal(&self) -> Vec<u32> {
        (0..3)
            .zip(&self.parts)
            .filter_map(|(number, part)| matches!(part, Part::Terminal).then_some(number))
            .collect()
    }

    /// Our terminal that the program's is shown on, and whether it is typed on.
    pub(super) fn screen(&self) -> (BorrowedFd<'static>, bool) {
        let is_terminal = |number: usize| matches!(self.parts[number], Part::Terminal);
        let shown = [1, 2, 0].into_iter().find(|number| is_terminal(*number));
        (ours(shown.unwrap_or(1)), is_terminal(0))
    }

    /// The descriptors that go in, lowest first.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.parts
            .iter()
            .enumerate()
            .filter_map(|(number, part)| match part {
                Part::Terminal => None,
                Part::Ours => Some(ours(number)),
                Part::Pipe(end) => end.as_ref().map(|end| end.as_fd()),
            })
            .collect()
    }

    /// They went in: what was made for it is not ours any more.
    pub(super) fn given(&mut self) {
        for part in &mut self.parts {
            if let Part::Pipe(end) = part {
                *end = None;
            }
        }
    }

    /// Waits until what the program wrote is carried, once it has ended.
    pub(super) fn finish(self) {
        for carrier in self.carriers {
            let _ = carrier.join();
        }
    }
}

/// Whether it is a file or a socket over which bytes flow. Whatever is neither that nor a pipe, the daemon refuses with the
/// reason, but for devices that are only bytes.
fn is_carried(fd: BorrowedFd<'_>) -> bool {
    let Ok(stat) = rustix::fs::fstat(fd) else {
        return false;
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => true,
        FileType::Fifo => is_named(fd),
        FileType::Socket => rustix::net::sockopt::socket_type(fd) == Ok(SocketType::STREAM),
        _ => false,
    }
}

/// Whether a pipe has a name (fifo(7)): the others are on a file system of their own (PIPEFS_MAGIC, linux/magic.h).
#[cfg(target_os = "linux")]
fn is_named(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|system| system.f_type as u64 != 0x5049_5045)
}

/// macOS does not say.
#[cfg(not(target_os = "linux"))]
fn is_named(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// Bytes, until there are no more or nobody takes them.
fn carry(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let mut buffer = vec![0; srt_proto::CHUNK];
    while let Ok(count @ 1..) = read_from(from, &mut buffer) {
        if write_all(to, &buffer[..count]).is_err() {
            return;
        }
    }
}

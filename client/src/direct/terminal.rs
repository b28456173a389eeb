//! The person's terminal while it shows the program's: raw, so that every key goes to the program's own, where Ctrl-C
//! and Ctrl-Z mean what they mean; and as it was before, whichever way we end.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::termios::{
    OptionalActions, SpecialCodeIndex, Termios, Winsize, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr, tcsetwinsize,
};
use srt_proto::{exit, v1};
use tokio::sync::Notify;

use super::handed::Handed;
use crate::errors::Failure;
use crate::shim::stdio::{read_from, write_all};

/// The order of `v1::Terminal.special`.
const SPECIAL: [SpecialCodeIndex; 14] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VEOL2,
];

/// How long to leave a terminal alone that no program has open at the moment.
const UNUSED: Duration = Duration::from_millis(20);

/// What the program's terminal is to be like at first: as ours is.
pub(super) fn describe(handed: &Handed) -> v1::Terminal {
    let (screen, typed_on) = handed.screen();
    let mut terminal = v1::Terminal {
        // Where nobody types on it, ours stays as it is: what it does to output, the other must not do before.
        input: Some(0),
        output: Some(0),
        local: Some(0),
        ..v1::Terminal::default()
    };
    if let Ok(size) = tcgetwinsize(screen) {
        terminal.rows = size.ws_row.into();
        terminal.columns = size.ws_col.into();
        terminal.width = size.ws_xpixel.into();
        terminal.height = size.ws_ypixel.into();
    }
    if typed_on && let Ok(modes) = tcgetattr(rustix::stdio::stdin()) {
        #[allow(clippy::useless_conversion, reason = "64 bits on macOS")]
        let bits = |bits| u32::try_from(bits).unwrap_or_default();
        terminal.input = Some(bits(modes.input_modes.bits()));
        terminal.output = Some(bits(modes.output_modes.bits()));
        terminal.local = Some(bits(modes.local_modes.bits()));
        terminal.special = SPECIAL.map(|index| modes.special_codes[index]).to_vec();
    }
    terminal
}

/// Our terminal, which shows another. Dropping it makes it as it was.
pub(super) struct Terminal {
    /// The other side of the program's.
    other: Arc<OwnedFd>,
    screen: BorrowedFd<'static>,
    /// As it was, where somebody types on it.
    before: Option<Termios>,
    showing: Mutex<Option<JoinHandle<()>>>,
    over: Arc<AtomicBool>,
    gone: Arc<Notify>,
}

impl Terminal {
    /// Shows the terminal whose other side this is, and passes what is typed to it.
    pub(super) fn show(handed: &Handed, other: OwnedFd) -> Result<Self, Failure> {
        let (screen, typed_on) = handed.screen();
        let stdin = rustix::stdio::stdin();
        let before = match typed_on {
            true => Some(tcgetattr(stdin).map_err(unusable)?),
            false => None,
        };
        let other = Arc::new(other);
        let terminal = Self {
            other: other.clone(),
            screen,
            before,
            showing: Mutex::default(),
            over: Arc::default(),
            gone: Arc::default(),
        };
        if let Some(before) = &terminal.before {
            // In the background this stops us until we are in the foreground (SIGTTOU), as it would the program bare.
            tcsetattr(stdin, OptionalActions::Now, &raw(before)).map_err(unusable)?;
            // It may have changed since it was described.
            terminal.resize();
            let (other, gone) = (other.clone(), terminal.gone.clone());
            std::thread::spawn(move || {
                type_on(&other);
                gone.notify_one();
            });
        }
        let (over, gone) = (terminal.over.clone(), terminal.gone.clone());
        let showing = std::thread::spawn(move || {
            if show(&other, screen, &over).is_err() {
                gone.notify_one();
            }
        });
        *terminal.lock() = Some(showing);
        Ok(terminal)
    }

    /// Waits until ours is gone: a window that was closed, a connection that broke. Cancel safe.
    pub(super) async fn gone(&self) {
        self.gone.notified().await;
    }

    /// Makes the program's as large as ours is.
    pub(super) fn resize(&self) {
        if let Ok(size) = tcgetwinsize(self.screen) {
            let _ = tcsetwinsize(&*self.other, Winsize { ..size });
        }
    }

    /// As it was, for as long as a shell has it.
    pub(super) fn lend_back(&self) {
        if let Some(before) = &self.before
            && in_foreground()
        {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }

    /// Ours once more.
    pub(super) fn take_again(&self) {
        if let Some(before) = &self.before
            && in_foreground()
        {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw(before));
        }
        self.resize();
    }

    /// A line of ours, between the program's.
    pub(super) fn say(&self, line: &str) {
        let text = match self.before {
            Some(_) => format!("\r\n{line}\r\n"),
            None => format!("{line}\n"),
        };
        let _ = write_all(self.screen, text.as_bytes());
    }

    /// Waits until all is shown that the program wrote, once it has ended.
    pub(super) fn finish(&self) {
        self.over.store(true, Ordering::Release);
        if let Some(showing) = self.lock().take() {
            let _ = showing.join();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.showing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.lend_back();
    }
}

fn unusable(error: rustix::io::Errno) -> Failure {
    Failure::new(
        exit::ERROR,
        format!("cannot use the terminal on stdin: {error}"),
    )
    .hint("srt --no-direct does without it")
}

fn raw(before: &Termios) -> Termios {
    let mut modes = before.clone();
    modes.make_raw();
    modes
}

/// Whether our process group is the one that our terminal listens to. From the background a change of it would stop us.
fn in_foreground() -> bool {
    tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Passes what is typed on, until our terminal or the other is gone.
fn type_on(other: &OwnedFd) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = read_from(rustix::stdio::stdin(), &mut buffer) {
        if write_all(other.as_fd(), &buffer[..count]).is_err() {
            return;
        }
    }
}

/// Shows what the program writes; an error where ours is gone.
fn show(
    other: &OwnedFd,
    screen: BorrowedFd<'_>,
    over: &AtomicBool,
) -> Result<(), rustix::io::Errno> {
    let mut buffer = [0; 16 * 1024];
    loop {
        // Asked before it is read: what was written before the end is still there after it.
        let last = over.load(Ordering::Acquire);
        match read_from(other.as_fd(), &mut buffer) {
            Ok(count @ 1..) => write_all(screen, &buffer[..count])?,
            // Nobody has it open; whoever still runs may open it again (pts(4): EIO).
            Ok(0) | Err(_) if last => return Ok(()),
            Ok(_) | Err(_) => std::thread::sleep(UNUSED),
        }
    }
}

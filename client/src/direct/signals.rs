//! What we are told by signals while a program runs that they are meant for.

use futures_util::future::{FutureExt as _, select_all};
use srt_proto::exit;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::errors::Failure;

/// SIGTSTP and SIGCONT by Linux's numbers, which are the contract's.
pub(super) const TSTP: i32 = 20;
pub(super) const CONT: i32 = 18;

/// What a signal means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The program's, by the contract's number.
    Passed(i32),
    /// Our terminal has another size.
    Resized,
    /// A shell's job control stops us.
    Stop,
    /// And continues us.
    Continued,
}

/// The signals that we watch. None of them has its default action any more.
pub(super) struct Signals {
    watched: Vec<(Signal, What)>,
    /// Of the last that would end a process.
    number: i32,
}

impl Signals {
    pub(super) fn watch() -> Result<Self, Failure> {
        let watched = [
            (SignalKind::hangup(), What::Passed(1)),
            (SignalKind::interrupt(), What::Passed(2)),
            (SignalKind::quit(), What::Passed(3)),
            (SignalKind::user_defined1(), What::Passed(10)),
            (SignalKind::user_defined2(), What::Passed(12)),
            (SignalKind::terminate(), What::Passed(15)),
            (SignalKind::window_change(), What::Resized),
            (raw(rustix::process::Signal::TSTP), What::Stop),
            (raw(rustix::process::Signal::CONT), What::Continued),
        ];
        let mut signals = Vec::with_capacity(watched.len());
        for (kind, what) in watched {
            let signal = signal(kind).map_err(|error| {
                Failure::new(exit::ERROR, format!("cannot watch for signals: {error}"))
            })?;
            signals.push((signal, what));
        }
        Ok(Self {
            watched: signals,
            number: 0,
        })
    }

    /// The next that comes. Cancel safe.
    pub(super) async fn next(&mut self) -> What {
        let waits = self.watched.iter_mut().map(|(signal, what)| {
            let what = *what;
            async move {
                signal.recv().await;
                what
            }
            .boxed_local()
        });
        select_all(waits).await.0
    }

    /// Waits for one that would end a process, for which nothing runs yet. Cancel safe.
    pub(super) async fn ending(&mut self) {
        loop {
            match self.next().await {
                What::Passed(number) => {
                    self.number = number;
                    return;
                }
                What::Stop => stop_ourselves(),
                What::Resized | What::Continued => {}
            }
        }
    }

    /// The number of the last one.
    pub(super) fn number(&self) -> i32 {
        self.number
    }
}

fn raw(signal: rustix::process::Signal) -> SignalKind {
    SignalKind::from_raw(signal.as_raw())
}

/// Stops this process as a shell's job control would have, had we not watched for it.
pub(super) fn stop_ourselves() {
    let us = rustix::process::getpid();
    // There is nobody to tell: we would not stop, and go on.
    let _ = rustix::process::kill_process(us, rustix::process::Signal::STOP);
}

//! What the end-to-end tests stand on: a [`World`] of its own for each test, [`Talk`] for raw conversations,
//! [`Web`] to be reached or refused, and [`process`] to see what is left behind.
//!
//! The harness panics where a test could not go on, with what it waited for and what the daemon logged. Nothing
//! here sleeps for a fixed time: waits are on conditions, with a deadline.

mod beside;
mod built;
pub mod chaos;
mod ctl;
mod disk;
pub mod escape;
mod left;
pub mod mcp;
pub mod process;
#[cfg(target_os = "linux")]
mod pty;
pub mod resolver;
mod shell;
mod site;
mod talk;
pub mod web;
mod world;

use std::time::{Duration, Instant};

pub use beside::Beside;
pub use built::{built, postgres, servers};
pub use ctl::Entry;
pub use left::{Standing, tree};
#[cfg(target_os = "linux")]
pub use pty::Pty;
pub use shell::{Shell, replace};
pub use site::{Site, clients};
pub use talk::Talk;
pub use web::Web;
pub use world::World;

/// A deadline for what should take well under a second, on a machine that is busy with everything else.
pub const SOON: Duration = Duration::from_secs(30);

/// Polls `condition` until it gives something.
///
/// # Panics
///
/// When `within` is over; the message says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            start.elapsed() < within,
            "waited {within:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A small generator of repeatable pseudo-random numbers (xorshift64*), so that a failing run can be run again.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From `SRT_TEST_SEED`, or a fixed seed; prints it.
    pub fn from_environment() -> Self {
        let seed = std::env::var("SRT_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0x5eed_u64);
        println!("SRT_TEST_SEED={seed}");
        Self::new(seed)
    }

    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

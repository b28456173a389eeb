//! How ready the kernel is to kill us when memory runs out.

use std::fs;

const OWN: &str = "/proc/self/oom_score_adj";

/// Takes back what whoever started us told the kernel of its children: editors built on Chromium offer theirs first
/// (`oom_score_adj` 300), and a daemon that one of them happened to start is not theirs alone. Down to 0, or to what a
/// privileged process has set, below which nobody else may go (proc_pid_oom_score_adj(5)). Only Linux has it.
pub fn take_back_readiness_to_be_killed() {
    let now = fs::read_to_string(OWN).ok();
    let Some(now) = now.and_then(|text| text.trim().parse::<i32>().ok()) else {
        return;
    };
    // The kernel does not tell where that is: it refuses what is lower.
    let (mut refused, mut taken) = (-1, now);
    while refused + 1 < taken {
        let middle = refused + (taken - refused) / 2;
        match fs::write(OWN, middle.to_string()) {
            Ok(()) => taken = middle,
            Err(_) => refused = middle,
        }
    }
}

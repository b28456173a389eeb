//! From starting the shim to the server's first byte, against the program alone and in plain bubblewrap.

use std::io::Read as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::Effort;
use crate::how::{How, Programs};
use crate::stats::{Samples, Table, ms, times};

const WARM_UP: usize = 3;

pub(crate) fn run(programs: &Programs, effort: Effort) -> anyhow::Result<()> {
    let launches = effort.launches;
    let ways = programs.possible(&[How::Bare, How::Bwrap, How::Srt]);
    let mut samples = vec![(Samples::default(), Samples::default()); ways.len()];
    // Interleaved, so that whatever else the machine does falls on all alike.
    for round in 0..WARM_UP + launches {
        for (how, (first_byte, whole)) in ways.iter().zip(&mut samples) {
            let (byte, end) = once(programs, *how)?;
            if round >= WARM_UP {
                first_byte.time(byte);
                whole.time(end);
            }
        }
    }
    let bwrap = ways.iter().position(|how| *how == How::Bwrap);
    let base = bwrap.map_or(f64::NAN, |index| samples[index].0.median());
    let mut table = Table::new(&[
        "launch",
        "first byte p50",
        "p90",
        "of plain bwrap",
        "until gone p50",
    ]);
    for (how, (first_byte, whole)) in ways.iter().zip(&samples) {
        table.row([
            how.name().to_owned(),
            ms(first_byte.median()),
            ms(first_byte.percentile(90.0)),
            times(first_byte.median() / base),
            ms(whole.median()),
        ]);
    }
    table.print(&format!(
        "Launch: start to the server's first byte, {launches} runs each, interleaved (aim: at most 2 × plain bwrap)"
    ));
    Ok(())
}

/// One launch: until its first byte, and until it is gone.
fn once(programs: &Programs, how: How) -> anyhow::Result<(Duration, Duration)> {
    let context = || format!("launching a server {}", how.name());
    let mut command = programs.helper(how, None, &["hello"]);
    let start = Instant::now();
    let mut child = command.spawn().with_context(context)?;
    let mut stdout = child.stdout.take().context("stdout is not piped")?;
    let mut byte = [0];
    let read = stdout.read_exact(&mut byte);
    let first_byte = start.elapsed();
    drop(child.stdin.take());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).with_context(context)?;
    let status = child.wait().with_context(context)?;
    read.with_context(|| format!("{} ended with {status} before its first byte", how.name()))?;
    if !status.success() || byte != *b"h" || rest != "ello\n" {
        bail!("{}: {status}, and it said {rest:?}", context());
    }
    Ok((first_byte, start.elapsed()))
}

//! From starting the shim to the server's first byte, against the program alone, in plain bubblewrap and in
//! sandbox-runtime's sandbox.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::Effort;
use crate::how::{How, Programs};
use crate::stats::{Samples, Table, ms, times};

const WARM_UP: usize = 3;

pub(crate) fn run(programs: &Programs, effort: Effort) -> anyhow::Result<()> {
    let launches = effort.launches;
    let ways = programs.possible(&[How::Bare, How::Bwrap, How::Srt, How::Peer]);
    let mut samples = vec![(Samples::default(), Samples::default()); ways.len()];
    // Interleaved, so that whatever else the machine does falls on all alike.
    for round in 0..WARM_UP + launches {
        for (how, (first_byte, whole)) in ways.iter().zip(&mut samples) {
            let (byte, end) = once(programs, *how, None)?;
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
    if ways.contains(&How::Srt) {
        in_folders(programs, effort)?;
        if let Some(node) = programs.node() {
            observed(programs, effort, &node)?;
        }
    }
    Ok(())
}

/// A program that opens many files as it starts, with the recording of refused uses of files and without: then nothing
/// stops for the broker but changes.
fn observed(programs: &Programs, effort: Effort, node: &Path) -> anyhow::Result<()> {
    let top = tempfile::tempdir().context("a temporary folder")?;
    let mut ways = Vec::new();
    for (name, recorded) in [("not recorded", false), ("recorded", true)] {
        let settings = top.path().join(format!("{recorded}.json"));
        let text = format!(
            r#"{{"filesystem": {{"denyRead": [], "allowWrite": [], "denyWrite": []}},
            "network": {{"allowedDomains": [], "deniedDomains": []}}, "audit": {{"filesystem": {recorded}}}}}"#
        );
        std::fs::write(&settings, text)?;
        ways.push((name, settings, Samples::default()));
    }
    for round in 0..WARM_UP + effort.launches {
        for (name, settings, samples) in &mut ways {
            let mut command = programs.shim(&["--name", "node", "--settings"]);
            command.arg(settings).arg("--").arg(node);
            command.args(["-e", "process.stdout.write('ran')"]);
            let start = Instant::now();
            let output = command.output().context("starting srt")?;
            let took = start.elapsed();
            if output.stdout != *b"ran" {
                bail!(
                    "Node, refused uses {name}, said {:?}: {}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            if round >= WARM_UP {
                samples.time(took);
            }
        }
    }
    let base = ways[0].2.median();
    let mut table = Table::new(&["refused uses of files", "Node, p50", "p90", "of the first"]);
    for (name, _, samples) in &ways {
        table.row([
            (*name).to_owned(),
            ms(samples.median()),
            ms(samples.percentile(90.0)),
            times(samples.median() / base),
        ]);
    }
    table.print(
        "Node from its start to its end, with `audit.filesystem` and without (aim: under 1.05 ×)",
    );
    Ok(())
}

/// With a settings file, in a writable folder of few files and of many: the rules do not look at what is in it.
fn in_folders(programs: &Programs, effort: Effort) -> anyhow::Result<()> {
    const SETTINGS: &str = r#"{"filesystem": {"denyRead": [], "allowWrite": ["."], "denyWrite": []},
        "network": {"allowedDomains": [], "deniedDomains": []}}"#;
    let top = tempfile::tempdir().context("a temporary folder")?;
    let settings = top.path().join("settings.json");
    std::fs::write(&settings, SETTINGS)?;
    let sizes = [100, (100_000 / effort.divisor).max(200)];
    let mut folders = Vec::new();
    for size in sizes {
        let folder = top.path().join(size.to_string());
        for hundred in 0..size / 100 {
            let part = folder.join(hundred.to_string());
            std::fs::create_dir_all(&part)?;
            for file in 0..100 {
                std::fs::write(part.join(file.to_string()), "")?;
            }
        }
        folders.push(folder);
    }
    let mut samples = [Samples::default(), Samples::default()];
    for round in 0..WARM_UP + effort.launches {
        for (folder, samples) in folders.iter().zip(&mut samples) {
            let (byte, _) = once(programs, How::Srt, Some((&settings, folder)))?;
            if round >= WARM_UP {
                samples.time(byte);
            }
        }
    }
    let base = samples[0].median();
    let mut table = Table::new(&["files in the folder", "first byte p50", "of the first"]);
    for (size, samples) in sizes.iter().zip(&samples) {
        table.row([
            size.to_string(),
            ms(samples.median()),
            times(samples.median() / base),
        ]);
    }
    table.print("Launch in a writable folder of few files and of many (aim: within a tenth)");
    Ok(())
}

/// One launch: until its first byte, and until it is gone.
fn once(
    programs: &Programs,
    how: How,
    place: Option<(&Path, &Path)>,
) -> anyhow::Result<(Duration, Duration)> {
    let context = || format!("launching a server {}", how.name());
    let mut command = programs.helper(how, place.map(|(settings, _)| settings), &["hello"]);
    if let Some((_, folder)) = place {
        command.current_dir(folder);
    }
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

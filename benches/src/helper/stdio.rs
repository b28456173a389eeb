//! Helpers that talk over stdin and stdout: no runtime, no buffering beyond one read.

use std::io::{self, Read as _, Write as _};

use crate::roundtrip::LINE;

/// One line, then until stdin ends.
pub(super) fn hello() -> anyhow::Result<()> {
    say(b"hello\n")?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// Whatever comes, as it comes.
pub(super) fn echo() -> anyhow::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut stdin = io::stdin().lock();
    loop {
        match stdin.read(&mut buffer)? {
            0 => return Ok(()),
            count => say(&buffer[..count])?,
        }
    }
}

/// Says when it has read so many bytes.
pub(super) fn sink(bytes: u64) -> anyhow::Result<()> {
    say(b"ready\n")?;
    io::copy(&mut io::stdin().lock().take(bytes), &mut io::sink())?;
    say(b"done.\n")
}

/// So many lines, once it is told to begin.
pub(super) fn source(lines: usize) -> anyhow::Result<()> {
    say(b"ready\n")?;
    let mut go = [0; 3];
    io::stdin().lock().read_exact(&mut go)?;
    let mut line = [b'x'; LINE];
    line[LINE - 1] = b'\n';
    for _ in 0..lines {
        say(&line)?;
    }
    Ok(())
}

/// One write, unbuffered for what ends with a line end: what a server that flushes its lines does.
fn say(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

//! A host's end of one conversation.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::lines;

/// A program with its pipes, spoken to as a host does.
pub(super) struct Peer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
    next: u64,
}

impl Peer {
    /// Starts it and has it answer `initialize`.
    pub(super) fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut peer = Self {
            stdin: child.stdin.take().context("stdin is not piped")?,
            stdout: BufReader::with_capacity(
                64 * 1024,
                child.stdout.take().context("stdout is not piped")?,
            ),
            child,
            line: Vec::new(),
            next: 0,
        };
        peer.stdin.write_all(lines::INITIALIZE.as_bytes())?;
        peer.answer(0)?;
        peer.stdin.write_all(lines::INITIALIZED.as_bytes())?;
        Ok(peer)
    }

    /// The process's id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads until request `id` is answered; how many bytes came, the answer's included. The answer is left in `line`.
    fn answer(&mut self, id: u64) -> anyhow::Result<u64> {
        let mut bytes = 0;
        loop {
            self.line.clear();
            let count = self.stdout.read_until(b'\n', &mut self.line)?;
            if count == 0 {
                let status = self.child.wait()?;
                bail!("the server ended ({status}) and owed an answer");
            }
            bytes += count as u64;
            if lines::answers(&self.line, id)? {
                return Ok(bytes);
            }
        }
    }

    /// A call of `echo` with so many bytes, and its answer.
    pub(super) fn echo(&mut self, size: usize) -> anyhow::Result<()> {
        self.next += 1;
        self.stdin.write_all(&lines::echo(self.next, size))?;
        self.answer(self.next)?;
        Ok(())
    }

    /// Has the server list its tools.
    pub(super) fn list(&mut self) -> anyhow::Result<()> {
        self.next += 1;
        self.stdin.write_all(&lines::list(self.next))?;
        self.answer(self.next)?;
        Ok(())
    }

    /// Has the server send so many notifications of `size` bytes.
    pub(super) fn flood(&mut self, count: u64, size: usize) -> anyhow::Result<()> {
        self.next += 1;
        let arguments = json!({ "count": count, "size": size });
        let call = lines::call(self.next, "flood", &arguments);
        self.stdin.write_all(&call)?;
        let bytes = self.answer(self.next)?;
        let expected = count * size as u64 + self.line.len() as u64;
        if bytes != expected {
            bail!("{bytes} bytes came of {expected}");
        }
        Ok(())
    }

    /// Sends so many notifications of `size` bytes, and waits until the server has read them all.
    pub(super) fn tell(&mut self, count: u64, size: usize) -> anyhow::Result<()> {
        let before = self.told()?;
        let line = lines::notification(size);
        for _ in 0..count {
            self.stdin.write_all(&line)?;
        }
        let arrived = self.told()? - before;
        if arrived != count {
            bail!("{arrived} notifications of {count} reached the server");
        }
        Ok(())
    }

    fn told(&mut self) -> anyhow::Result<u64> {
        self.next += 1;
        let call = lines::call(self.next, "told", &json!({}));
        self.stdin.write_all(&call)?;
        self.answer(self.next)?;
        let value: Value = serde_json::from_slice(&self.line)?;
        let text = value["result"]["content"][0]["text"].as_str();
        Ok(text.context("a count")?.parse()?)
    }

    /// Ends it as SDKs do: by closing its stdin.
    pub(super) fn end(self) -> anyhow::Result<()> {
        let Self {
            mut child,
            stdin,
            mut stdout,
            ..
        } = self;
        drop(stdin);
        // What it still says is read, so that it can end.
        std::io::copy(&mut stdout, &mut std::io::sink())?;
        let status = child.wait()?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }
}

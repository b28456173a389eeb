//! A raw conversation with a program over its standard streams, byte for byte as a host sees it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::until;

/// A running program whose lines are read as they come.
#[derive(Debug)]
pub struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// Told when stderr is at its end.
    stderr_over: Receiver<()>,
    next: u64,
}

impl Talk {
    /// Starts a command with all three streams piped.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut errors = child.stderr.take().expect("stderr is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            loop {
                let mut line = Vec::new();
                match reader.read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) if sender.send(line).is_err() => return,
                    Ok(_) => {}
                }
            }
        });
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&stderr);
        let (over, stderr_over) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = errors.read(&mut buffer) {
                let Ok(mut collected) = collected.lock() else {
                    return;
                };
                collected.extend_from_slice(&buffer[..count]);
            }
            // Received by whoever waits for the last words; nobody may.
            let _ = over.send(());
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            stderr,
            stderr_over,
            next: 0,
        }
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its stdin. A program that is gone is found out when its answer is missing.
    pub fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
        }
    }

    /// Writes a line.
    pub fn send(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Closes its stdin.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// The next line of its stdout with the line feed, or none at its end.
    ///
    /// # Panics
    ///
    /// When neither comes in time.
    #[track_caller]
    pub fn line(&mut self, within: Duration) -> Option<Vec<u8>> {
        match self.lines.recv_timeout(within) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!(
                "waited {within:?} in vain for a line; stderr: {}",
                self.stderr()
            ),
        }
    }

    /// How many lines came that nobody has taken; takes them.
    pub fn waiting(&self) -> usize {
        self.lines.try_iter().count()
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr
            .lock()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends a JSON-RPC line and gives the raw line that answers its id; notifications and requests from the
    /// server in between are passed over.
    ///
    /// # Panics
    ///
    /// When no answer comes in time.
    #[track_caller]
    pub fn ask(&mut self, line: &str, within: Duration) -> String {
        let asked: Value = serde_json::from_str(line).expect("the request is JSON");
        let id = asked.get("id").expect("the request has an id");
        self.send(line);
        let start = Instant::now();
        while let Some(answer) = self.line(within.saturating_sub(start.elapsed())) {
            let answer = String::from_utf8(answer).expect("the answer is UTF-8");
            let value: Value = serde_json::from_str(&answer)
                .unwrap_or_else(|error| panic!("not JSON ({error}): {answer}"));
            if value.get("id") == Some(id) && value.get("method").is_none() {
                return answer;
            }
        }
        panic!(
            "the program ended without answering {line}; stderr: {}",
            self.stderr()
        );
    }

    /// Calls a tool in the modern way, which needs no `initialize`. Gives the text, and whether the server called
    /// it an error.
    ///
    /// # Panics
    ///
    /// When no answer comes in time, or a JSON-RPC error.
    #[track_caller]
    pub fn tool(&mut self, name: &str, arguments: Value) -> (String, bool) {
        self.next += 1;
        let params = serde_json::json!({ "name": name, "arguments": arguments });
        let request = crate::mcp::modern(&self.next.into(), "tools/call", params);
        let answer = self.ask(&request, crate::SOON);
        let value: Value = serde_json::from_str(&answer).expect("ask() has parsed it");
        let result = value
            .get("result")
            .unwrap_or_else(|| panic!("{name} failed: {answer}"));
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        (text.to_owned(), result["isError"] == Value::Bool(true))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let stderr = Arc::clone(&self.stderr);
        let child = &mut self.child;
        let what = format!(
            "the end of process {}; stderr: {}",
            child.id(),
            stderr
                .lock()
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default()
        );
        let status = until(&what, within, || child.try_wait().ok().flatten());
        // What it said last is still being read; something that it left behind may hold the pipe open.
        let _ = self.stderr_over.recv_timeout(Duration::from_secs(2));
        status
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A server of MCP's legacy era with three tools, and the relay through which a host would reach one that runs already.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::session::lines::notification;

/// Serves on stdin and stdout.
pub(super) fn stdio() -> anyhow::Result<()> {
    serve(io::stdin().lock(), io::stdout().lock())
}

/// Serves whoever connects, one after the other, until killed.
pub(super) fn listen(path: &Path) -> anyhow::Result<()> {
    let listener = UnixListener::bind(path).with_context(|| format!("{}", path.display()))?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A client that goes away in the middle is its own affair.
        let _ = serve(BufReader::new(stream.try_clone()?), stream);
    }
    Ok(())
}

/// Joins stdin and stdout to a server that listens: what a shim without a sandbox, a daemon or a policy would do.
pub(super) fn relay(path: &Path) -> anyhow::Result<()> {
    let stream = UnixStream::connect(path).with_context(|| format!("{}", path.display()))?;
    let mut to_server = stream.try_clone()?;
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        // Its end is the end of the conversation, however it came.
        let _ = io::copy(&mut stdin, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    let mut from_server = stream;
    let mut stdout = io::stdout().lock();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match io::Read::read(&mut from_server, &mut buffer)? {
            0 => return Ok(()),
            count => {
                stdout.write_all(&buffer[..count])?;
                stdout.flush()?;
            }
        }
    }
}

/// Answers until the input ends. Every message is written whole, at once.
fn serve(mut input: impl BufRead, output: impl Write) -> anyhow::Result<()> {
    let mut output = BufWriter::with_capacity(64 * 1024, output);
    let mut line = Vec::new();
    let mut told = 0_u64;
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // Looked at, not parsed: what is measured is the way here.
        if line.starts_with(br#"{"jsonrpc":"2.0","method":"#) {
            told += 1;
            continue;
        }
        let request: Value = serde_json::from_slice(&line).context("a request")?;
        let arguments = &request["params"]["arguments"];
        let text = |text: &str| json!({ "content": [{ "type": "text", "text": text }] });
        let result = match request["method"].as_str().unwrap_or_default() {
            "initialize" => json!({
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": { "tools": {}, "logging": {} },
                "serverInfo": { "name": "bench", "version": "1" },
            }),
            "tools/list" => {
                let tool = |name| json!({ "name": name, "inputSchema": { "type": "object" } });
                let tools = ["echo", "told", "flood"].map(tool);
                json!({ "tools": tools })
            }
            "tools/call" => match request["params"]["name"].as_str().unwrap_or_default() {
                "echo" => text(arguments["text"].as_str().unwrap_or_default()),
                "told" => text(&told.to_string()),
                "flood" => {
                    let size = arguments["size"].as_u64().unwrap_or_default();
                    let message = notification(usize::try_from(size)?);
                    for _ in 0..arguments["count"].as_u64().unwrap_or_default() {
                        output.write_all(&message)?;
                        output.flush()?;
                    }
                    text("done")
                }
                other => text(&format!("no tool {other}")),
            },
            _ => json!({}),
        };
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
        output.write_all(format!("{answer}\n").as_bytes())?;
        output.flush()?;
    }
}

//! The messages of the bench, of exact sizes.

use anyhow::{Context as _, bail};

/// Text that makes `around` a line of `size` bytes, its line feed included.
fn padded(before: &str, after: &str, size: usize) -> Vec<u8> {
    let pad = size.saturating_sub(before.len() + after.len() + 1);
    format!("{before}{}{after}\n", "x".repeat(pad)).into_bytes()
}

/// A notification of so many bytes, either way.
pub(crate) fn notification(size: usize) -> Vec<u8> {
    padded(
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":""#,
        r#""}}"#,
        size,
    )
}

/// A call of `echo` of so many bytes.
pub(super) fn echo(id: u64, size: usize) -> Vec<u8> {
    let before = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":""#
    );
    padded(&before, r#""}}}"#, size)
}

/// A call of another tool.
pub(super) fn call(id: u64, name: &str, arguments: &serde_json::Value) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}{}"#,
        '\n'
    )
    .into_bytes()
}

/// A request for the tools.
pub(super) fn list(id: u64) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\"}}\n").into_bytes()
}

/// The two lines that begin a conversation.
pub(super) const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"#,
    r#""clientInfo":{"name":"bench","version":"1"}}}"#,
    "\n"
);
pub(super) const INITIALIZED: &str =
    "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";

/// Whether a line answers the request `id`, whose result it must be.
pub(super) fn answers(line: &[u8], id: u64) -> anyhow::Result<bool> {
    if line.starts_with(br#"{"jsonrpc":"2.0","method":"#) {
        return Ok(false);
    }
    let value: serde_json::Value = serde_json::from_slice(line).context("an answer")?;
    if value["id"] != id || value.get("result").is_none() {
        bail!("request {id} was answered with {value}");
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_size_that_was_asked_for_and_are_json() {
        for line in [notification(200), echo(7, 1024), echo(123_456, 1024)] {
            assert!(matches!(line.len(), 200 | 1024));
            serde_json::from_slice::<serde_json::Value>(&line).unwrap();
        }
        assert!(!answers(&notification(200), 1).unwrap());
        assert!(answers(br#"{"jsonrpc":"2.0","id":2,"result":{}}"#, 1).is_err());
    }
}

//! The answer to a host whose server could not be started.
//!
//! A host shows a JSON-RPC error's message to the model word for word, and a server's stderr mostly to nobody.
//! So the first request on stdin is answered with the failure.

use crate::errors::Failure;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a host may take to send its first request.
const PATIENCE: Duration = Duration::from_secs(2);
/// A first line longer than this is not read to its end.
const LONGEST: usize = 1024 * 1024;
/// "Server error" of the range that JSON-RPC leaves to implementations; -32020 and below are MCP's.
const CODE: i32 = -32000;
/// The request with which a modern host finds out whether the server is modern; it asks again in the older way.
const PROBE: &str = "server/discover";

/// What a model does with an error that it cannot put right is to try again.
const ADVICE: &str = "The server is not running and nothing was done; trying again does not help until this is \
                      put right.";

#[derive(Deserialize)]
struct Request<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
struct Response<'a> {
    jsonrpc: &'a str,
    id: &'a RawValue,
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: i32,
    message: &'a str,
}

/// Answers the host's first request on stdin, if there is one within a bound; a probe and the request after it.
pub fn answer(name: &str, failure: &Failure) {
    if std::io::stdin().is_terminal() {
        // A person, who has read stderr.
        return;
    }
    let (sender, lines) = mpsc::channel();
    // Reading stdin cannot be given up, so it has a thread that the process's end takes with it.
    std::thread::spawn(move || read_lines(&sender));
    let deadline = Instant::now() + PATIENCE;
    let message = message(name, failure);
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        let Some((response, probe)) = response(&line, &message) else {
            return;
        };
        let mut stdout = std::io::stdout();
        if stdout
            .write_all(&response)
            .and_then(|()| stdout.flush())
            .is_err()
            || !probe
        {
            return;
        }
    }
}

fn read_lines(sender: &mpsc::Sender<Vec<u8>>) {
    let mut stdin = std::io::BufReader::new(std::io::stdin());
    loop {
        let mut line = Vec::new();
        let limit = LONGEST as u64;
        let read = std::io::BufRead::read_until(&mut stdin.by_ref().take(limit), b'\n', &mut line);
        if !matches!(read, Ok(1..)) || sender.send(line).is_err() {
            return;
        }
    }
}

/// Written for a model or a person who must decide what to do next.
fn message(name: &str, failure: &Failure) -> String {
    let head = format!("srt did not start the MCP server \"{name}\":");
    if failure.message.contains('\n') {
        // Several things are wrong, each with its hint beneath it: nothing comes in between.
        return format!("{head} {failure}\n{ADVICE}");
    }
    let told = Failure {
        message: format!("{head} {}. {ADVICE}", failure.message.trim_end_matches('.')),
        ..failure.clone()
    };
    told.to_string()
}

/// The line to answer with, and whether the request was only a probe. `None` where `line` is not a request.
fn response(line: &[u8], message: &str) -> Option<(Vec<u8>, bool)> {
    let request: Request = serde_json::from_slice(line).ok()?;
    let id = request.id.filter(|id| id.get() != "null")?;
    if request.jsonrpc != "2.0" {
        return None;
    }
    let response = Response {
        jsonrpc: "2.0",
        id,
        error: Error {
            code: CODE,
            message,
        },
    };
    let mut text = serde_json::to_vec(&response).ok()?;
    text.push(b'\n');
    Some((text, request.method == PROBE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> Option<String> {
        response(line.as_bytes(), "m\n\"x\"").map(|(text, _)| String::from_utf8(text).unwrap())
    }

    #[test]
    fn the_id_is_echoed_exactly_as_given() {
        for id in [
            "1",
            "0",
            "-7",
            "1e3",
            "12345678901234567890123",
            "\"a\"",
            "\"\\u00e4 b\"",
            "1.50",
        ] {
            let line = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"initialize\",\"params\":{{\"id\":2}}}}\r\n"
            );
            assert_eq!(
                answered(&line).as_deref(),
                Some(&*format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32000,\"message\":\"m\\n\\\"x\\\"\"}}}}\n"
                ))
            );
        }
    }

    #[test]
    fn only_requests_are_answered() {
        let table = [
            "",
            "\n",
            "hello",
            "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}",
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"x\"}",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
            "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"x\"}",
            "{\"id\":1,\"method\":\"x\"}",
            "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}]",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"} {}",
        ];
        for line in table {
            assert_eq!(answered(line), None, "{line}");
        }
    }

    #[test]
    fn a_probe_is_told_apart() {
        let probe = b"{\"method\":\"server/discover\",\"id\":\"p\",\"jsonrpc\":\"2.0\"}";
        assert!(response(probe, "m").is_some_and(|(_, probe)| probe));
    }

    #[test]
    fn the_message_says_what_failed_and_what_to_do() {
        let failure = Failure::new(6, "unknown key \"netwrok\" in s.json:3:5")
            .hint("did you mean \"network\"?");
        assert_eq!(
            message("files", &failure),
            "srt did not start the MCP server \"files\": unknown key \"netwrok\" in s.json:3:5. The server is not \
             running and nothing was done; trying again does not help until this is put right.\nhint: did you mean \
             \"network\"?"
        );
    }

    #[test]
    fn what_is_wrong_in_several_places_keeps_its_hints_where_they_belong() {
        let text = "it cannot be used\ns.json:2:3: error: x\nhint: do this\ns.json:3:1: error: y\nhint: do that";
        let failure = Failure::from_text(6, text);
        assert_eq!(
            message("files", &failure),
            format!(
                "srt did not start the MCP server \"files\": {text}\nThe server is not running and nothing was \
                 done; trying again does not help until this is put right."
            )
        );
    }
}

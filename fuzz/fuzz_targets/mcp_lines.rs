//! A stream of lines as a host or a server may send them, cut anywhere: no byte is lost, added or moved; what is said to
//! have one reading is read alike by a reader that shares nothing with ours; a list without some of its tools is the same
//! list without them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use srt_mcp::{Details, Message, Mode, Piece, Wire, one_reading, read, tool_list};

fuzz_target!(|data: &[u8]| {
    let [cut, which, stream @ ..] = data else {
        return;
    };
    let size = usize::from(*cut) + 1;
    let host = which & 1 == 0;
    let whole = pieces(host, which & 2 == 0, stream, stream.len().max(1));
    let in_parts = pieces(host, which & 2 == 0, stream, size);
    assert_eq!(whole.passed, stream, "what passes is what came");
    assert_eq!(in_parts.passed, stream, "however it is cut");
    if host {
        assert_eq!(whole.lines, in_parts.lines, "and the lines are the same");
        assert_eq!(whole.mode, in_parts.mode);
    }
    for line in whole.lines.iter().map(Vec::as_slice).chain([stream]) {
        look(line);
    }
});

struct Passed {
    passed: Vec<u8>,
    lines: Vec<Vec<u8>>,
    mode: Mode,
}

fn pieces(host: bool, told: bool, stream: &[u8], size: usize) -> Passed {
    let mut wire = match host {
        true => Wire::of_host(),
        false => Wire::of_server(),
    };
    if !host && told {
        wire.set(Mode::Mcp);
    }
    let (mut passed, mut lines) = (Vec::new(), Vec::new());
    for chunk in stream.chunks(size) {
        wire.push(chunk);
        while let Some(piece) = wire.next() {
            match piece {
                Piece::Line(line) => {
                    assert_eq!(
                        line.iter().position(|byte| *byte == b'\n'),
                        Some(line.len() - 1)
                    );
                    passed.extend_from_slice(&line);
                    lines.push(line.to_vec());
                }
                Piece::Part { bytes, .. } => passed.extend_from_slice(&bytes),
            }
        }
    }
    let mode = wire.mode();
    passed.extend_from_slice(&wire.rest());
    assert!(!wire.is_within());
    Passed {
        passed,
        lines,
        mode,
    }
}

/// A line, and each message of a batch.
fn look(line: &[u8]) {
    let Some(message) = read(line) else {
        return;
    };
    if let Message::Batch(items) = &message {
        for item in items {
            if !item.get().trim_start().starts_with('[') {
                look(item.get().as_bytes());
            }
        }
        return;
    }
    if one_reading(line).is_err() {
        return;
    }
    // A reader that takes the last of two equal keys; there are none.
    // It has numbers as floats, and refuses those that are beyond; ours leaves them as they are written.
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return;
    };
    let keys = value.as_object().expect("it has an envelope").keys();
    for key in keys {
        let known = ["jsonrpc", "id", "method", "params", "result", "error"];
        let lower = key.to_lowercase();
        assert!(!known.contains(&lower.as_str()) || *key == lower, "{key}");
    }
    match message {
        Message::Request { method, params, .. } | Message::Notification { method, params } => {
            assert_eq!(value["method"], *method);
            if let Some(details) = Details::of(params)
                && let Some(name) = details.name
            {
                assert_eq!(value["params"]["name"], *name);
            }
        }
        Message::Response { outcome, .. } => {
            let Ok(result) = outcome else {
                assert!(value.get("error").is_some());
                return;
            };
            let Ok(list) = tool_list(result) else {
                return;
            };
            let names: Vec<Option<String>> =
                list.tools.iter().map(|tool| tool.name.clone()).collect();
            let mut turn = 0;
            let without = list.without(line, |_| {
                turn += 1;
                turn % 2 == 0
            });
            let left: Value = serde_json::from_slice(&without).expect("it is JSON");
            let left: Vec<Option<&str>> = left["result"]["tools"]
                .as_array()
                .expect("it is a list")
                .iter()
                .map(|tool| tool["name"].as_str())
                .collect();
            let expected: Vec<_> = names.iter().skip(1).step_by(2).collect();
            assert_eq!(left.len(), expected.len());
            for (left, expected) in left.iter().zip(expected) {
                assert!(expected.is_none() || expected.as_deref() == *left);
            }
            let all = list.without(line, |_| true);
            let all: Value = serde_json::from_slice(&all).expect("it is JSON");
            assert_eq!(all, value, "nothing left out is the same list");
        }
        Message::Batch(_) => {}
    }
}

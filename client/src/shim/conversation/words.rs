//! What a model, or a person, is told. A host shows an error's message to its model word for word, so each says what
//! happened to the call, whether it may have had effects, and what to do.

use std::fmt;

use bytes::Bytes;
use serde_json::json;

use super::calls::{Call, TRIES};

/// "Server error" of the range that JSON-RPC leaves to implementations; -32020 and below are MCP's.
const CODE: i32 = -32000;

/// Why an attachment is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The launch ended: "killed by SIGKILL".
    Ended(String),
    /// The daemon is gone, and the launch with it.
    Lost,
    /// We wanted another launch: "no answer to ping within 30 s".
    GaveUp(String),
}

/// A server, and why it is gone: "the server "x" ended (killed by SIGKILL)".
pub(super) struct Told<'a>(pub(super) &'a str, pub(super) &'a Why);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, why) = self;
        match why {
            Why::Ended(reason) => write!(f, "the MCP server {name:?} ended ({reason})"),
            Why::Lost => write!(
                f,
                "the daemon srtd, which ran the MCP server {name:?}, was lost"
            ),
            Why::GaveUp(reason) => write!(
                f,
                "the MCP server {name:?} was ended to start it anew ({reason})"
            ),
        }
    }
}

/// What comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then<'a> {
    /// Another launch.
    Again,
    /// The end, with its reason where there is more to say.
    Over(&'a str),
}

fn named(call: &Call) -> String {
    let what = match &*call.method {
        "tools/call" => "The tool call",
        _ => "The request",
    };
    match (&*call.method, &call.subject) {
        ("tools/call", Some(tool)) => format!("{what} {tool:?}"),
        (method, Some(subject)) => format!("{what} {method:?} of {subject:?}"),
        (method, None) => format!("{what} {method:?}"),
    }
}

/// A sentence's end: no full stop is doubled.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end().trim_end_matches('.'))
}

fn answer(call: &Call, message: &str, sent: bool, reason: &str) -> Bytes {
    let data = json!({ "srt": {
        "method": &*call.method,
        "subject": call.subject.as_deref(),
        "mayHaveHadEffects": sent && call.line.is_none(),
        "retried": call.tries,
        "reason": reason,
    } });
    srt_mcp::error(&call.id, CODE, message, Some(&data))
}

/// The answer to a request that ran when its server went.
pub(super) fn broken(call: &Call, told: &Told<'_>, then: Then<'_>) -> Bytes {
    let named = named(call);
    let mut message = if call.line.is_some() {
        let tried = match call.tries {
            0 => "It changed nothing that outlives the server".to_owned(),
            tries => format!(
                "It was asked {} times in vain, and changed nothing that outlives the server",
                tries + 1
            ),
        };
        format!("{named} was not answered: {told} while it ran. {tried}.")
    } else {
        format!(
            "{named} was not answered: {told} while it ran. It may have had effects, in part or in full, and it was not \
             retried."
        )
    };
    message += " ";
    message += &match then {
        Then::Again if call.tries >= TRIES => {
            "The server is started once more; this request seems to end it.".to_owned()
        }
        Then::Again if call.line.is_none() => {
            "The server is started again: find out what was done before you repeat the call."
                .to_owned()
        }
        Then::Again => "The server is started again; the request may be repeated.".to_owned(),
        Then::Over(why) => over(why),
    };
    answer(call, &message, true, &told.to_string())
}

/// The answer to a request that no server has seen.
pub(super) fn unsent(call: &Call, told: &Told<'_>, then: Then<'_>, seconds: u64) -> Bytes {
    if call.tries > 0 {
        return broken(call, told, then);
    }
    let named = named(call);
    let message = match then {
        Then::Again => format!(
            "{named} was not sent, and nothing was done: {told}, and no other launch was ready within {seconds} s. It is \
             still being started; the request may be repeated."
        ),
        Then::Over(why) => format!(
            "{named} was not sent, and nothing was done: {told}. {}",
            over(why)
        ),
    };
    answer(call, &message, false, &told.to_string())
}

fn over(why: &str) -> String {
    match why {
        "" => "The session with this server is over.".to_owned(),
        why => format!("The session with this server is over: {}", sentence(why)),
    }
}

/// The answer to a request that is one too many.
pub(super) fn too_many(call: &Call, most: usize) -> Bytes {
    let message = format!(
        "{} was not sent, and nothing was done: {most} requests wait for their answers, which is the most that srt \
         carries. It may be repeated when some are answered.",
        named(call)
    );
    answer(call, &message, false, "too many requests")
}

//! One message of a line, and what of it a conversation goes by. Pure.

use std::borrow::Cow;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use srt_mcp::{Id, Message, one_reading, read};
use srt_policy::McpAudit;

use super::calls::Came;
use super::ruling::Rules;

/// So much is recorded of a message's contents, where they are, in bytes.
const CONTENTS: usize = 4 * 1024;

/// One message of a line, as far as it can be read.
pub(super) struct Item<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) message: Result<Message<'a>, &'static str>,
}

impl<'a> Item<'a> {
    pub(super) fn of(bytes: &'a [u8], judged: bool) -> Self {
        let mut message = read(bytes).ok_or("it is no JSON-RPC message that can be read");
        if judged && let Err(why) = one_reading(bytes) {
            message = Err(why);
        }
        Self { bytes, message }
    }

    pub(super) fn is_blank(&self) -> bool {
        self.bytes.trim_ascii().is_empty()
    }

    /// The identifier that some reader may find in what has no clear one.
    pub(super) fn presumed_id(&self) -> Option<Id> {
        let value: Value = serde_json::from_slice(self.bytes).ok()?;
        serde_json::from_str(&value.get("id")?.to_string()).ok()
    }
}

/// Whether two methods are the same to a reader that takes no notice of case.
pub(super) fn same(method: &str, known: &str) -> bool {
    method.trim().to_uppercase().to_lowercase() == known
}

pub(super) fn contents<'a>(rules: Rules<'_>, raw: Option<&'a RawValue>) -> Option<&'a str> {
    let text = raw.filter(|_| rules.audit == McpAudit::Full)?.get();
    Some(&text[..text.floor_char_boundary(CONTENTS)])
}

/// How a request came out, and what was said of it.
pub(super) fn came<'a>(
    outcome: &Result<&'a RawValue, &'a RawValue>,
    of_tool: bool,
) -> (Came, &'a RawValue) {
    #[derive(Deserialize)]
    struct Called {
        #[serde(rename = "isError", default)]
        is_error: bool,
    }
    #[derive(Deserialize)]
    struct Failed {
        code: i64,
    }
    match outcome {
        Ok(result) if of_tool => {
            let called = serde_json::from_str::<Called>(result.get());
            match called.is_ok_and(|called| called.is_error) {
                true => (Came::Failed, result),
                false => (Came::Done, result),
            }
        }
        Ok(result) => (Came::Done, result),
        Err(error) => {
            let failed = serde_json::from_str::<Failed>(error.get());
            (Came::Error(failed.ok().map(|failed| failed.code)), error)
        }
    }
}

pub(super) fn batch(items: &[Cow<'_, [u8]>]) -> Bytes {
    let mut line = BytesMut::new();
    for (place, item) in items.iter().enumerate() {
        line.put_u8(if place == 0 { b'[' } else { b',' });
        line.put_slice(item);
    }
    line.put_slice(b"]\n");
    line.freeze()
}

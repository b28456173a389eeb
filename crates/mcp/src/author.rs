//! Lines of our own.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::Id;

fn line(mut text: String) -> Bytes {
    text.push('\n');
    text.into()
}

/// A request.
pub fn request(id: &Id, method: &str, params: Option<&Value>) -> Bytes {
    let method = Value::from(method);
    line(match params {
        Some(params) => {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#)
        }
        None => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method}}}"#),
    })
}

/// A notification.
pub fn notification(method: &str, params: Option<&Value>) -> Bytes {
    let mut message = json!({ "jsonrpc": "2.0", "method": method });
    if let Some(params) = params {
        message["params"] = params.clone();
    }
    line(message.to_string())
}

/// The answer to a request that failed. A host shows `message` to its model word for word.
pub fn error(id: &Id, code: i32, message: &str, data: Option<&Value>) -> Bytes {
    let mut error = json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = data.clone();
    }
    line(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Message, read};

    #[test]
    fn what_is_authored_can_be_read_and_is_one_line() {
        let id = Id::text("srt \"1\"\n");
        for line in [
            request(&id, "ping", None),
            request(&id, "initialize", Some(&json!({ "a": "b\n" }))),
            error(&id, -32000, "two\nlines", Some(&json!({}))),
        ] {
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let (Message::Request { id: read_id, .. } | Message::Response { id: read_id, .. }) =
                read(&line).unwrap()
            else {
                panic!("{line:?}")
            };
            assert_eq!(read_id, id);
        }
        let line = notification("notifications/initialized", None);
        assert!(matches!(read(&line), Some(Message::Notification { .. })));
    }
}

//! A line with another id in it, and every other byte as it came.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Id;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow, rename = "requestId")]
    request_id: Option<&'a RawValue>,
}

/// The message with `id` in place of its own. `None` where it has none.
pub fn with_id(line: &[u8], id: &Id) -> Option<Bytes> {
    let envelope: Envelope<'_> = serde_json::from_slice(line).ok()?;
    replace(line, envelope.id?, id)
}

/// The message with `id` in place of its `params.requestId`. `None` where it has none.
pub fn with_request_id(line: &[u8], id: &Id) -> Option<Bytes> {
    let envelope: Envelope<'_> = serde_json::from_slice(line).ok()?;
    let params: Params<'_> = serde_json::from_str(envelope.params?.get()).ok()?;
    replace(line, params.request_id?, id)
}

/// `old` is a part of `line`: a value that is borrowed stands where it was read.
fn replace(line: &[u8], old: &RawValue, id: &Id) -> Option<Bytes> {
    let start = (old.get().as_ptr() as usize).checked_sub(line.as_ptr() as usize)?;
    let end = start + old.get().len();
    let mut text = BytesMut::with_capacity(line.len() + id.raw().len());
    text.extend_from_slice(line.get(..start)?);
    text.extend_from_slice(id.raw().as_bytes());
    text.extend_from_slice(line.get(end..)?);
    Some(text.freeze())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_id_changes_and_nothing_else() {
        let line =
            b" {\"params\": {\"id\": 7},\t\"id\" :  7 , \"method\":\"x\",\"jsonrpc\":\"2.0\"}\r\n";
        let changed = with_id(line, &Id::text("a")).unwrap();
        assert_eq!(
            &changed[..],
            b" {\"params\": {\"id\": 7},\t\"id\" :  \"a\" , \"method\":\"x\",\"jsonrpc\":\"2.0\"}\r\n"
        );
        assert_eq!(with_id(br#"{"method":"x"}"#, &Id::text("a")), None);
    }

    #[test]
    fn the_request_that_a_notification_is_about_changes_and_nothing_else() {
        let line = br#"{"method":"notifications/cancelled","params":{"reason":"0","requestId":0}}"#;
        let changed = with_request_id(line, &Id::text("a")).unwrap();
        assert_eq!(
            &changed[..],
            br#"{"method":"notifications/cancelled","params":{"reason":"0","requestId":"a"}}"#
        );
        assert_eq!(with_request_id(br#"{"params":[]}"#, &Id::text("a")), None);
        assert_eq!(with_request_id(br#"{"id":1}"#, &Id::text("a")), None);
    }
}

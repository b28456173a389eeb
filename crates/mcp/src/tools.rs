//! The result of `tools/list`: its tools, and the same result without some of them.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::strict::{canonical, clear};

/// A page of a server's tools.
#[derive(Debug)]
pub struct ToolList<'a> {
    /// Its tools, in their order.
    pub tools: Vec<Tool<'a>>,
    /// The list as it came.
    array: &'a RawValue,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Tool<'a> {
    /// Its name; `None` where it has none that every reader reads the same.
    pub name: Option<String>,
    /// What is said of it; `None` where readers may differ about that.
    pub definition: Option<Definition>,
    raw: &'a RawValue,
}

/// What a server says of a tool: description, schemas, annotations and whatever else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// In one spelling: keys sorted, no blanks.
    pub text: String,
    /// Lower-case hexadecimal SHA-256 of it.
    pub digest: String,
}

#[derive(Deserialize)]
struct Result<'a> {
    #[serde(borrow)]
    tools: &'a RawValue,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Keys of a tool that a host shows to its model or acts on.
const KEYS: [&str; 6] = [
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
];

/// Reads the result of `tools/list`.
///
/// # Errors
/// Why it has not one reading, as a clause.
pub fn tool_list(result: &RawValue) -> std::result::Result<ToolList<'_>, &'static str> {
    clear(result.get(), &["tools", "nextCursor"])?;
    let Ok(Result { tools: array }) = serde_json::from_str(result.get()) else {
        return Err("it has no list of tools");
    };
    let Ok(raw) = serde_json::from_str::<Vec<&RawValue>>(array.get()) else {
        return Err("its tools are no list");
    };
    let tools = raw.into_iter().map(Tool::of).collect();
    Ok(ToolList { tools, array })
}

impl<'a> Tool<'a> {
    fn of(raw: &'a RawValue) -> Self {
        let plain = clear(raw.get(), &KEYS).is_ok();
        let named: Option<Named> = serde_json::from_str(raw.get()).ok();
        Self {
            name: named.filter(|_| plain).map(|named| named.name),
            definition: canonical(raw.get())
                .filter(|_| plain)
                .map(|text| Definition {
                    digest: format!("{:x}", Sha256::digest(&text)),
                    text,
                }),
            raw,
        }
    }
}

impl ToolList<'_> {
    /// The message `line`, whose result was read, with those tools only for which `keep` holds. All else is as it came.
    ///
    /// # Panics
    /// Where `line` is not what the result was read from.
    pub fn without(&self, line: &[u8], mut keep: impl FnMut(&Tool<'_>) -> bool) -> Bytes {
        let array = self.array.get();
        // It is a part of the line, so the difference of their addresses is its place.
        let start = array.as_ptr().addr() - line.as_ptr().addr();
        let end = start + array.len();
        let mut instead = BytesMut::with_capacity(line.len());
        instead.put_slice(&line[..start]);
        instead.put_u8(b'[');
        let mut first = true;
        for tool in self.tools.iter().filter(|tool| keep(tool)) {
            if !std::mem::take(&mut first) {
                instead.put_u8(b',');
            }
            instead.put_slice(tool.raw.get().as_bytes());
        }
        instead.put_u8(b']');
        instead.put_slice(&line[end..]);
        instead.freeze()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Message, read};

    fn list(line: &str) -> ToolList<'_> {
        let Some(Message::Response { outcome, .. }) = read(line.as_bytes()) else {
            panic!("{line}")
        };
        tool_list(outcome.unwrap()).unwrap()
    }

    #[test]
    fn what_is_left_out_is_gone_and_the_rest_is_as_it_came() {
        let line = r#"{"jsonrpc":"2.0", "id":1,"result":{"tools" : [ {"name":"a", "x":1e2} ,{"name":"b"},{"n\u0061me":"c"}],"nextCursor":"p"},"_x":0}"#;
        let list = list(line);
        let names: Vec<_> = list
            .tools
            .iter()
            .map(|tool| tool.name.clone().unwrap())
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
        let without = |left_out: &str| {
            let keep = |tool: &Tool<'_>| tool.name.as_deref() != Some(left_out);
            String::from_utf8(list.without(line.as_bytes(), keep).to_vec()).unwrap()
        };
        assert_eq!(
            without("b"),
            r#"{"jsonrpc":"2.0", "id":1,"result":{"tools" : [{"name":"a", "x":1e2},{"n\u0061me":"c"}],"nextCursor":"p"},"_x":0}"#
        );
        assert!(without("a").contains(r#"[{"name":"b"},"#));
        let none = list.without(line.as_bytes(), |_| false);
        assert!(
            String::from_utf8(none.to_vec())
                .unwrap()
                .contains("\"tools\" : []")
        );
    }

    #[test]
    fn a_definition_is_what_is_said_and_not_how() {
        let digest = |tool: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tool}]}}}}"#);
            let list = list(&line);
            let tool = &list.tools[0];
            tool.definition.clone().map(|definition| definition.digest)
        };
        let plain = digest(r#"{"name":"a","description":"d","inputSchema":{"type":"object"}}"#);
        assert_eq!(plain.as_ref().map(String::len), Some(64));
        assert_eq!(
            plain,
            digest(r#"{"inputSchema":{"type":"object"}, "description":"\u0064","name":"a"}"#)
        );
        for other in [
            r#"{"name":"a","description":"d ","inputSchema":{"type":"object"}}"#,
            r#"{"name":"a","description":"d","inputSchema":{"type":"object","x":1}}"#,
            r#"{"name":"a","description":"d","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}"#,
        ] {
            assert!(digest(other).is_some());
            assert_ne!(plain, digest(other), "{other}");
        }
        for unclear in [
            r#"{"name":"a","description":"d","description":"e"}"#,
            r#"{"name":"a","Description":"e"}"#,
            r#"{"name":"a","inputSchema":{"x":1,"x":2}}"#,
            "7",
        ] {
            assert_eq!(digest(unclear), None, "{unclear}");
        }
    }

    #[test]
    fn what_has_two_readings_is_no_list_and_a_tool_of_two_names_has_none() {
        let read = |text: &str| {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            tool_list(raw).map(|list| {
                let names = list.tools.into_iter().map(|tool| tool.name);
                names.collect::<Vec<_>>()
            })
        };
        assert!(read(r#"{"tools":[],"tools":[{"name":"a"}]}"#).is_err());
        assert!(read(r#"{"tools":[],"Tools":[{"name":"a"}]}"#).is_err());
        assert!(read(r#"{"tools":{}}"#).is_err());
        assert!(read(r#"{"resources":[]}"#).is_err());
        assert!(read("[]").is_err());
        assert_eq!(
            read(r#"{"tools":[{"name":"a","name":"b"},{"name":"a","NAME":"b"},{"name":7},{},1]}"#),
            Ok(vec![None; 5])
        );
    }
}

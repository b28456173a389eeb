//! Whether a line has one reading. Peers read JSON differently: some take the first of two equal keys and some the last,
//! some take `Method` for `method`, some end a line at a carriage return. Who decides by what a line says must refuse
//! what another reader may read otherwise.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// Whether a line, or a member of a batch, reads the same to every peer as far as its envelope goes.
///
/// # Errors
/// Why it does not, as a clause: "it has a key twice".
pub fn one_reading(line: &[u8]) -> Result<(), &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.contains(['\r', '\n']) {
        return Err("it has a line end inside, where some readers end the message");
    }
    if text.trim_start().starts_with('[') {
        return Ok(());
    }
    clear(text, &ENVELOPE)
}

/// Whether an object has each of its keys once, and none that differs from a `known` one in case alone.
///
/// # Errors
/// Why not, as a clause.
pub fn clear(object: &str, known: &[&str]) -> Result<(), &'static str> {
    let Ok(Keys(keys)) = serde_json::from_str(object) else {
        return Err("it is no object that can be read");
    };
    let mut seen = HashSet::with_capacity(keys.len());
    for key in keys {
        let folded = folded(&key);
        if (known.iter()).any(|known| *known != key && self::folded(known) == folded) {
            return Err("it has a key that differs from one of the protocol's in case alone");
        }
        if !seen.insert(key) {
            return Err("it has a key twice");
        }
    }
    Ok(())
}

fn folded(text: &str) -> String {
    // By way of upper case: it has one form of letters such as the long s, which some readers take for an s.
    text.to_uppercase().to_lowercase()
}

/// An object's keys, in their order.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// What a JSON text says, in one spelling: keys sorted, no blanks, no needless escapes. `None` where it says nothing, or
/// has a key twice at any depth.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let said = Canonical.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(said)
}

struct Canonical;

impl<'de> DeserializeSeed<'de> for Canonical {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Canonical {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }
    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(serde_json::Value::from(value).to_string())
    }
    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(serde_json::Value::from(value).to_string())
    }
    fn visit_unit<E>(self) -> Result<String, E> {
        Ok("null".to_owned())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<String, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Canonical)? {
            items.push(item);
        }
        Ok(format!("[{}]", items.join(",")))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Canonical)?;
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom("a key twice"));
            }
        }
        let members: Vec<String> = members
            .into_iter()
            .map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key)))
            .collect();
        Ok(format!("{{{}}}", members.join(",")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_two_readings_is_none() {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        for line in [
            ping.to_owned(),
            format!("{ping}\n"),
            format!(" {ping} \r\n"),
            r#"{"params":{"Method":1,"method":2},"x":1,"jsonrpc":"2.0"}"#.to_owned(),
            "[{},{}]\n".to_owned(),
        ] {
            assert_eq!(one_reading(line.as_bytes()), Ok(()), "{line}");
        }
        for (line, why) in [
            (r#"{"id":1,"id":1}"#, "twice"),
            (r#"{"id":1,"\u0069d":2}"#, "twice"),
            (r#"{"x":1,"x":1}"#, "twice"),
            (r#"{"id":1,"ID":2}"#, "case"),
            (r#"{"Method":"tools/call"}"#, "case"),
            ("{\"re\u{17f}ult\":{}}", "case"),
            (
                "{\"params\":\r{\"method\":\"tools/call\"}\r}\n",
                "line end inside",
            ),
            ("{}\r{}\n", "line end inside"),
            ("{}\r\r\n", "line end inside"),
            ("{} {}", "no object"),
        ] {
            let found = one_reading(line.as_bytes());
            assert!(found.is_err_and(|found| found.contains(why)), "{line:?}");
        }
        assert!(one_reading(b"{\"a\":\"\xff\"}").is_err());
        assert!(clear(r#"{"name":"a","Name":"b"}"#, &["name"]).is_err());
        assert!(clear("[]", &[]).is_err());
    }

    #[test]
    fn what_says_the_same_is_the_same_text() {
        for (one, other) in [
            (
                r#"{"a":1,"b":[true,null]}"#,
                r#"{ "b" : [true, null], "a" : 1 }"#,
            ),
            (r#"{"\u0061":"\u00e9\/"}"#, "{\"a\":\"é/\"}"),
            (
                r#"[-1,1.50,{"b":{},"a":[]}]"#,
                r#"[-1,1.5,{"a":[],"b":{}}]"#,
            ),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one}");
            assert!(canonical(one).is_some(), "{one}");
        }
        for (one, other) in [
            ("1", "\"1\""),
            ("[]", "{}"),
            ("[1,2]", "[2,1]"),
            ("\"a \"", "\"a\""),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one}");
        }
        for wrong in [
            r#"{"a":1,"a":1}"#,
            r#"[{"x":{"a":1,"\u0061":2}}]"#,
            "",
            "{",
            "1 2",
        ] {
            assert_eq!(canonical(wrong), None, "{wrong}");
        }
    }
}

//! Identifiers of requests: strings or numbers (JSON-RPC 2.0, section 4), told apart as a peer tells them apart.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The identifier of a request, or a progress token. It is equal to another one that says the same in another
/// spelling (`"\u0061"` and `"a"`), and is written as it came.
#[derive(Clone, Debug)]
pub struct Id {
    raw: Box<str>,
    key: Key,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Text(Box<str>),
    Whole(i64),
    /// Another number: what it says is its spelling.
    Number(Box<str>),
}

impl Id {
    /// An identifier that is a string.
    pub fn text(text: &str) -> Self {
        Self {
            raw: serde_json::Value::from(text).to_string().into(),
            key: Key::Text(text.into()),
        }
    }

    /// As it is written in JSON.
    pub fn raw(&self) -> &str {
        &self.raw
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let key = match raw.as_bytes().first() {
            Some(b'"') => Key::Text(
                serde_json::from_str::<String>(raw)
                    .map_err(D::Error::custom)?
                    .into(),
            ),
            Some(b'-' | b'0'..=b'9') => match whole(raw) {
                Some(whole) => Key::Whole(whole),
                None => Key::Number(raw.into()),
            },
            _ => return Err(D::Error::custom("an id is a string or a number")),
        };
        Ok(Self {
            raw: raw.into(),
            key,
        })
    }
}

/// A whole number, however it is spelled: a peer that reads `1.0` as a number writes it as `1`.
fn whole(raw: &str) -> Option<i64> {
    /// From here on different whole numbers may be one floating-point number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Ok(whole) = raw.parse() {
        return Some(whole);
    }
    let number: f64 = raw.parse().ok()?;
    #[allow(clippy::cast_possible_truncation, reason = "it is whole, and in range")]
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(text: &str) -> Id {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn ids_are_compared_by_what_they_say_and_written_as_they_came() {
        assert_eq!(id(r#""\u0061""#), id(r#""a""#));
        assert_eq!(id(r#""\u0061""#).raw(), r#""\u0061""#);
        assert_ne!(id("1"), id(r#""1""#));
        assert_eq!(id("1"), id("1"));
        assert_eq!(id("1.0"), id("1"));
        assert_eq!(id("10e-1"), id("1"));
        assert_eq!(id("1.0").raw(), "1.0");
        assert_ne!(id("1.5"), id("1"));
        assert_ne!(id("9007199254740993.0"), id("9007199254740992"));
        assert_ne!(id("12345678901234567890123"), id("12345678901234567890124"));
        assert_eq!(Id::text("a\"b"), id(r#""a\"b""#));
        for wrong in ["null", "true", "{}", "[1]"] {
            assert!(serde_json::from_str::<Id>(wrong).is_err(), "{wrong}");
        }
    }
}

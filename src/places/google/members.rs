//! The members of a JSON object, in the order in which they were sent, each unchanged.
//!
//! `serde_json::Value` would sort keys and convert numbers to floats. The values here are validated
//! as JSON, and remain text.

use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// Keys and values as they were sent, keys with their quotes.
pub(super) struct Members<'a>(pub(super) Vec<(&'a RawValue, &'a RawValue)>);

/// The reason why a text has no members. Its message quotes nothing of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAnObject {
    /// The text is not UTF-8.
    Encoding,
    /// The text is not JSON from this position, or not an object.
    Json {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
}

impl<'a> Members<'a> {
    /// Reads a whole text that is one object. Deep nesting uses no stack.
    pub(super) fn read(text: &'a [u8]) -> Result<Self, NotAnObject> {
        let text = std::str::from_utf8(text).map_err(|_| NotAnObject::Encoding)?;
        let mut json = serde_json::Deserializer::from_str(text);
        let members = json.deserialize_map(InOrder);
        let members = members.and_then(|members| json.end().map(|()| members));
        members.map_err(|error| NotAnObject::Json {
            line: error.line(),
            column: error.column(),
        })
    }

    /// Returns the value of a key, or `None` if the key is absent or ambiguous because it occurs
    /// more than once.
    pub(super) fn get(&self, key: &str) -> Option<&'a RawValue> {
        let mut values = self.0.iter().filter(|(name, _)| is_key(name, key));
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Returns the value of a key if it is a string.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }
}

/// Returns the elements of an array, each as it was sent, without parsing them.
pub(super) fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// Returns whether `raw` is this key, without redundant escapes.
pub(super) fn is_key(raw: &RawValue, key: &str) -> bool {
    let inner = raw
        .get()
        .strip_prefix('"')
        .and_then(|raw| raw.strip_suffix('"'));
    inner == Some(key)
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

impl fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAnObject::Encoding => write!(f, "it is not UTF-8"),
            NotAnObject::Json { line, column } => {
                write!(
                    f,
                    "it is no JSON object from line {line}, column {column} on"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_members_as_they_were_sent() {
        let text = br#" {"z" : 1.50e+1, "a":{"y":[ 1 ], "b":2}, "\u0061b" : "\/" } "#;
        let members = Members::read(text).unwrap().0;
        let shown: Vec<_> = members
            .iter()
            .map(|(key, value)| (key.get(), value.get()))
            .collect();
        let expected = [
            (r#""z""#, "1.50e+1"),
            (r#""a""#, r#"{"y":[ 1 ], "b":2}"#),
            (r#""\u0061b""#, r#""\/""#),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_repeated_key_has_no_value() {
        let members = Members::read(br#"{"a": "x", "b": 1, "a": "y"}"#).unwrap();
        assert_eq!(members.text("a"), None);
        assert_eq!(members.get("b").unwrap().get(), "1");
        assert_eq!(members.text("b"), None);
        assert!(members.get("c").is_none());
    }

    #[test]
    fn returns_elements_as_they_were_sent() {
        let members = Members::read(br#"{"a": [1.0 ,{"b": []}, "c"], "d": {}}"#).unwrap();
        let list = elements(members.get("a").unwrap()).unwrap();
        let shown: Vec<_> = list.iter().map(|element| element.get()).collect();
        assert_eq!(shown, ["1.0", "{\"b\": []}", "\"c\""]);
        assert!(elements(members.get("d").unwrap()).is_none());
    }

    #[test]
    fn rejects_other_texts_with_their_location() {
        assert_eq!(
            Members::read(b"{\"a\": \"\xff\"}").err(),
            Some(NotAnObject::Encoding)
        );
        for text in [
            "",
            "null",
            "[]",
            "<html>",
            "{",
            "{\"a\"}",
            "{\"a\": 01}",
            "{\"a\": 1} x",
            "{\"a\": .5}",
            "{\"a\": \"\n\"}",
            "{\"a\": tru}",
            "{\"a\": [1,]}",
            "\u{feff}{}",
        ] {
            let refusal = Members::read(text.as_bytes()).err();
            assert!(matches!(refusal, Some(NotAnObject::Json { .. })), "{text}");
        }
    }

    #[test]
    fn deep_nesting_uses_no_stack() {
        let deep = "[".repeat(1_000_000);
        assert!(Members::read(deep.as_bytes()).is_err());
        let closed = format!("{{\"a\":{}{}}}", deep, "]".repeat(1_000_000));
        assert!(Members::read(closed.as_bytes()).is_ok());
    }
}

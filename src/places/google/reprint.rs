//! Received JSON in Google's formatting.
//!
//! The printer works on the text, token by token: numbers keep every digit, strings every escape,
//! objects the order of their keys. Only white space changes, and `<` and `>` in strings, which
//! become `\u003c` and `\u003e`. [`google_json`](super::super::google_json) prints our own values; this file
//! prints what is forwarded.

use std::fmt;

/// The maximum number of open brackets. Google needs 7. Each costs indentation on every line inside
/// it.
const MAX_DEPTH: usize = 64;

/// The maximum size of a printed text, in bytes. Indentation enlarges a text, a hostile one a
/// hundredfold.
const MAX_PRINTED_BYTES: usize = 8 << 20;

/// One level of indentation.
const INDENT: &str = "   ";

/// The error of a text that would exceed [`MAX_DEPTH`] or [`MAX_PRINTED_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LimitExceeded;

/// Prints a text that was validated as one JSON value, without a line end after it.
pub(super) fn print(json: &str) -> Result<String, LimitExceeded> {
    let mut printer = Printer::default();
    let mut rest = json.trim_start_matches(WHITE_SPACE);
    while !rest.is_empty() {
        let (token, behind) = rest.split_at(token_bytes(rest));
        printer.take(token)?;
        rest = behind.trim_start_matches(WHITE_SPACE);
    }
    Ok(printer.out)
}

const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Returns the length of the first token in bytes; at least one.
fn token_bytes(text: &str) -> usize {
    let end = match text.as_bytes()[0] {
        b'"' => return text_bytes(text),
        b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
        _ => text
            .find(|c| matches!(c, '}' | ']' | ',' | ':') || WHITE_SPACE.contains(&c))
            .unwrap_or(text.len()),
    };
    end.max(1)
}

/// Returns the length in bytes of the quoted string at the start of the text.
fn text_bytes(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return at + 1,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    text.len()
}

#[derive(Default)]
struct Printer {
    out: String,
    depth: usize,
    /// Set if the last token opened a bracket that is still empty.
    is_fresh: bool,
}

impl Printer {
    fn take(&mut self, token: &str) -> Result<(), LimitExceeded> {
        match token {
            "{" | "[" => self.open(token),
            "}" | "]" => self.close(token),
            "," => {
                self.out.push(',');
                self.start_line();
            }
            ":" => self.out.push_str(" : "),
            _ => self.value(token),
        }
        if self.depth <= MAX_DEPTH && self.out.len() <= MAX_PRINTED_BYTES {
            Ok(())
        } else {
            Err(LimitExceeded)
        }
    }

    fn open(&mut self, bracket: &str) {
        self.begin();
        self.out.push_str(bracket);
        self.depth += 1;
        self.is_fresh = true;
    }

    fn close(&mut self, bracket: &str) {
        self.depth = self.depth.saturating_sub(1);
        if !self.is_fresh {
            self.start_line();
        }
        self.is_fresh = false;
        self.out.push_str(bracket);
    }

    fn value(&mut self, token: &str) {
        self.begin();
        for piece in token.split_inclusive(['<', '>']) {
            match piece.as_bytes().last() {
                Some(b'<') => self.escaped(piece, "\\u003c"),
                Some(b'>') => self.escaped(piece, "\\u003e"),
                _ => self.out.push_str(piece),
            }
        }
    }

    fn escaped(&mut self, piece: &str, escape: &str) {
        self.out.push_str(&piece[..piece.len() - 1]);
        self.out.push_str(escape);
    }

    /// Begins a value. The first in a bracket begins a line; the others follow a comma or a colon.
    fn begin(&mut self) {
        if self.is_fresh {
            self.start_line();
        }
        self.is_fresh = false;
    }

    fn start_line(&mut self) {
        self.out.push('\n');
        for _ in 0..self.depth {
            self.out.push_str(INDENT);
        }
    }
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "printed, it has more than {MAX_PRINTED_BYTES} bytes or {MAX_DEPTH} levels"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::super::google_json;
    use super::*;

    #[test]
    fn prints_in_google_s_formatting() {
        let sent = "{\"status\":\"OK\",\"results\":[{\"b\":{},\"a\":[ ],\"n\":[1,[],[2]]},{}],\t\r\n\"end\":null}";
        let expected = r#"{
   "status" : "OK",
   "results" : [
      {
         "b" : {},
         "a" : [],
         "n" : [
            1,
            [],
            [
               2
            ]
         ]
      },
      {}
   ],
   "end" : null
}"#;
        assert_eq!(print(sent).unwrap(), expected);
        assert_eq!(print(expected).unwrap(), expected);
    }

    #[test]
    fn keeps_numbers_and_strings_as_sent() {
        for kept in [
            "34.0689300000000000000000000001",
            "-0",
            "1E+400",
            "4.0",
            "18446744073709551616",
            "true",
            r#""a \" \\ \/ \u00e9 \ud83d\ude00 é 😀 \\""#,
            r#"", : { } [ ] \" \\\" ""#,
            r#""""#,
        ] {
            assert_eq!(print(&format!("\n {kept}\t")).unwrap(), kept);
        }
        assert_eq!(print(r#""<b>\u003c""#).unwrap(), r#""\u003cb\u003e\u003c""#);
        assert_eq!(print(r#"{"<":1}"#).unwrap(), "{\n   \"\\u003c\" : 1\n}");
    }

    #[test]
    fn keeps_the_order_and_duplicates_of_keys() {
        let sent = r#"{"b":1,"a":2,"b":3}"#;
        let expected = "{\n   \"b\" : 1,\n   \"a\" : 2,\n   \"b\" : 3\n}";
        assert_eq!(print(sent).unwrap(), expected);
    }

    #[test]
    fn rejects_a_text_that_would_exceed_a_limit() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(print(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(print(&nested(MAX_DEPTH + 1)), Err(LimitExceeded));
        assert_eq!(print(&"[".repeat(1_000_000)), Err(LimitExceeded));
        let wide = format!("{}{}{}", "[".repeat(60), "0,".repeat(100_000), "0");
        assert_eq!(print(&wide), Err(LimitExceeded));
    }

    proptest! {
        /// Includes texts that nothing validated.
        #[test]
        fn never_panics(text in r#"([\[\]{},:"\\<> é01nu]|\\u00e9){0,60}"#) {
            let _ = print(&text);
        }

        /// Where order and spelling are unambiguous, it prints the same as the printer of our own
        /// values.
        #[test]
        fn agrees_with_the_other_printer(value in json()) {
            let sent = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(print(&sent).unwrap(), google_json::print(&value));
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 60, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}

//! JSON in the formatting of Google's Nearby Search, for the results of every provider.
//!
//! Three spaces for each level, `"key" : value`, one element on each line, empty arrays and objects
//! as `[]` and `{}`, `<` and `>` in strings as `\u003c` and `\u003e`, whole numbers without a
//! fraction. Line ends inside strings are escaped, so the text never holds two newlines in a row.
//!
//! A number that was parsed as JSON keeps its digits (its exponent gets a sign). Other numbers are
//! printed in the fewest digits that parse to the same double.
//!
//! The printer does not change the content: the value determines the keys and their order.

use std::fmt;
use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

const INDENT: &[u8] = b"   ";

/// The bound below which every whole number is exact in a float and is printed in full.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// The capacity for a few places, so that most responses are written without reallocation.
const TYPICAL_BYTES: usize = 4096;

/// The maximum size of a printed text, in bytes: ten times that of twenty places with all their
/// fields. Indentation enlarges a text, a hostile one more than a hundredfold.
pub const MAX_PLACES_BYTES: usize = 2 << 20;

/// The error of a text that would exceed [`MAX_PLACES_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PrintedTooLarge;

/// Prints a value in Google's formatting, without a line end after it.
///
/// The keys of a struct are in the order of its fields; those of a [`serde_json::Value`] in the
/// order in which they were parsed or inserted.
///
/// # Errors
///
/// The text would be too large.
///
/// # Panics
///
/// If the value has no representation in JSON (a map whose keys are not strings).
pub(super) fn print(value: &impl Serialize) -> Result<String, PrintedTooLarge> {
    let mut text = LimitedText(Vec::with_capacity(TYPICAL_BYTES));
    let formatter = GoogleFormatter(PrettyFormatter::with_indent(INDENT));
    match value.serialize(&mut Serializer::with_formatter(&mut text, formatter)) {
        Ok(()) => Ok(String::from_utf8(text.0).expect("JSON is UTF-8")),
        Err(error) if error.is_io() => Err(PrintedTooLarge),
        Err(error) => panic!("only maps with strings as keys are printed: {error}"),
    }
}

/// A buffer of at most [`MAX_PLACES_BYTES`].
struct LimitedText(Vec<u8>);

impl io::Write for LimitedText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_PLACES_BYTES - self.0.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for PrintedTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "printed, it has more than {MAX_PLACES_BYTES} bytes")
    }
}

/// The pretty printer of serde_json, except for the three things that Google formats differently.
struct GoogleFormatter(PrettyFormatter<'static>);

impl Formatter for GoogleFormatter {
    fn begin_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" : ")
    }

    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for piece in fragment.split_inclusive(['<', '>']) {
            match piece.as_bytes() {
                [plain @ .., b'<'] => {
                    writer.write_all(plain)?;
                    writer.write_all(b"\\u003c")?;
                }
                [plain @ .., b'>'] => {
                    writer.write_all(plain)?;
                    writer.write_all(b"\\u003e")?;
                }
                plain => writer.write_all(plain)?,
            }
        }
        Ok(())
    }

    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value.fract() == 0.0 && value.abs() < MAX_EXACT_INTEGER {
            write!(writer, "{value:.0}")
        } else {
            self.0.write_f64(writer, value)
        }
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn begin_array_value<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn begin_object_key<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn end_object_value<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn formats_a_response_as_google_does() {
        let response = json!({
            "html_attributions": [],
            "results": [{
                "geometry": {"location": {"lat": -33.8587323, "lng": 151.2100055}},
                "name": "Cruise Bar",
                "opening_hours": {},
                "permanently_closed": null,
                "price_level": 2,
                "rating": [4, [], [2]],
                "types": ["bar", "food"],
            }],
            "status": "OK",
        });
        let expected = r#"{
   "html_attributions" : [],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : -33.8587323,
               "lng" : 151.2100055
            }
         },
         "name" : "Cruise Bar",
         "opening_hours" : {},
         "permanently_closed" : null,
         "price_level" : 2,
         "rating" : [
            4,
            [],
            [
               2
            ]
         ],
         "types" : [
            "bar",
            "food"
         ]
      }
   ],
   "status" : "OK"
}"#;
        assert_eq!(print(&response).unwrap(), expected);
    }

    #[test]
    fn keeps_the_digits_and_the_order_of_parsed_json() {
        let text = r#"{
   "html_attributions" : [
      "\u003ca href=\"https://example.org/?a=1&b=2\"\u003eA \\ B\u003c/a\u003e"
   ],
   "next_page_token" : "CuQB3AAAACX_8",
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 40.64131109999999,
               "lng" : -73.77813909999999
            }
         },
         "name" : "मुंबई",
         "user_ratings_total" : 340282366920938463463374607431768211456,
         "a" : [
            34.0689300000000000000000000001,
            -0,
            1e+400,
            4.0
         ],
         "\u003c" : true
      }
   ],
   "status" : "OK"
}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(print(&value).unwrap(), text);
    }

    #[test]
    fn rejects_a_text_that_would_exceed_the_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let value: Value = serde_json::from_str(&nested(127)).unwrap();
        assert!(print(&value).is_ok());
        let deep = nested(60).replace("[]", &format!("[{}0]", "0,".repeat(100_000)));
        let value: Value = serde_json::from_str(&deep).unwrap();
        assert_eq!(print(&value), Err(PrintedTooLarge));
    }

    #[test]
    fn escapes_line_ends_in_strings() {
        assert_eq!(print(&"a\n\n\r\tb").unwrap(), r#""a\n\n\r\tb""#);
    }

    #[test]
    fn prints_whole_floats_without_a_fraction() {
        for (number, expected) in [
            (20.0, "20"),
            (-118.0, "-118"),
            (0.1, "0.1"),
            (34.06893, "34.06893"),
            (9_007_199_254_740_992.0, "9007199254740992.0"),
        ] {
            assert_eq!(print(&number).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_printed_string_parses_to_the_same_string(text: String) {
            let printed = print(&text).unwrap();
            prop_assert!(!printed.contains(['<', '>', '\n']));
            prop_assert_eq!(serde_json::from_str::<String>(&printed).unwrap(), text);
        }
    }
}

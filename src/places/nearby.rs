//! The look of Google's JSON, as its Nearby Search prints it.
//!
//! Three spaces a level, `"key" : value`, one element a line, empty arrays and objects as `[]` and `{}`, `<` and `>`
//! in texts as `\u003c` and `\u003e`, whole numbers without a fraction. Line ends inside texts are escaped, so no two
//! newlines ever stand in a row.
//!
//! Other numbers come in the fewest digits that mean the same double. Google prints some with more: then the number
//! stays what it was, its digits do not.
//!
//! It does not change what is printed: which keys there are, and in which order, is up to the value.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

const LEVEL: &[u8] = b"   ";

/// Below this every whole number is exact in a float and is printed by all its digits.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Room for a few places, so that most answers are written without moving.
const USUAL_BYTES: usize = 4096;

/// Prints a value in Google's look, without a line end after it.
///
/// A struct's keys come in the order of its fields; a [`serde_json::Value`]'s in alphabetical order, which is
/// Google's. What has no JSON at all (a map whose keys are no texts) is a mistake of the caller and panics.
pub(super) fn print(value: &impl Serialize) -> String {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    let look = GoogleFormatter(PrettyFormatter::with_indent(LEVEL));
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, look))
        .expect("writing to memory does not fail, and all that is printed here has texts for keys");
    String::from_utf8(bytes).expect("the serializer writes whole strings and ASCII")
}

/// serde_json's own pretty printer, but for the three things that Google does in another way.
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
        if value.fract() == 0.0 && value.abs() < EXACT {
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
    fn a_response_looks_as_google_prints_it() {
        let response = json!({
            "status": "OK",
            "results": [{
                "types": ["bar", "food"],
                "name": "Cruise Bar",
                "geometry": {"location": {"lng": 151.2100055, "lat": -33.8587323}},
                "rating": 4.0,
                "price_level": 2,
                "opening_hours": {},
                "permanently_closed": null,
            }],
            "html_attributions": [],
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
         "rating" : 4,
         "types" : [
            "bar",
            "food"
         ]
      }
   ],
   "status" : "OK"
}"#;
        assert_eq!(print(&response), expected);
    }

    #[test]
    fn google_s_own_text_comes_back_as_it_was() {
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
         "user_ratings_total" : 18446744073709551615
      }
   ],
   "status" : "OK"
}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(print(&value), text);
    }

    #[test]
    fn line_ends_in_texts_are_escaped() {
        assert_eq!(print(&"a\n\n\r\tb"), r#""a\n\n\r\tb""#);
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (number, expected) in [
            (20.0, "20"),
            (-118.0, "-118"),
            (0.1, "0.1"),
            (34.06893, "34.06893"),
            (9_007_199_254_740_992.0, "9007199254740992.0"),
        ] {
            assert_eq!(print(&number), expected);
        }
    }

    proptest! {
        #[test]
        fn a_text_means_what_it_meant(text: String) {
            let printed = print(&text);
            prop_assert!(!printed.contains(['<', '>', '\n']));
            prop_assert_eq!(serde_json::from_str::<String>(&printed).unwrap(), text);
        }
    }
}

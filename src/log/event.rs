//! A tracing event as text: its message, then its fields as `key=value`.

use std::fmt::{self, Write};

use tracing::Event;
use tracing::field::{Field, Visit};

use super::escape::{escape_into, quote_into};

/// Bytes of a message or a value that are shown; the rest is cut off. Larger: one careless
/// event fills a page; smaller: errors of libraries, which can be long, lose their cause.
const MAX_TEXT: usize = 4096;

/// The words of `event`, escaped, without a line end. A value that holds white space, quotes or an
/// equals sign is quoted, so that no value looks like another field.
pub(super) fn words(event: &Event<'_>) -> Vec<u8> {
    let mut words = Words::default();
    event.record(&mut words);
    if words.message.is_empty() {
        words.fields.drain(..words.fields.len().min(1)); // the space before the first
    }
    words.message.append(&mut words.fields);
    words.message
}

#[derive(Default)]
struct Words {
    message: Vec<u8>,
    fields: Vec<u8>,
}

impl Words {
    fn add(&mut self, field: &Field, text: &str) {
        let shown = &text[..text.floor_char_boundary(MAX_TEXT)];
        if field.name() == "message" {
            escape_into(&mut self.message, shown.as_bytes());
            return;
        }
        self.fields.push(b' ');
        self.fields.extend_from_slice(field.name().as_bytes());
        self.fields.push(b'=');
        if needs_quotes(shown) {
            quote_into(&mut self.fields, shown.as_bytes());
        } else {
            escape_into(&mut self.fields, shown.as_bytes());
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // A value that cannot say what it is says as much as it can.
        let _ = write!(text, "{value:?}");
        self.add(field, &text);
    }
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=')
}

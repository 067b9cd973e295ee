//! A tracing event as text: its message, then its fields as `key=value`.

use std::fmt::{self, Write};

use tracing::Event;
use tracing::field::{Field, Visit};

use super::escape::{escape_into, quote_into};

/// Maximum number of bytes of a message or a value; the rest is cut off. Larger: one careless event
/// fills a page; smaller: long errors of libraries lose their cause.
const MAX_VALUE_BYTES: usize = 4096;

/// Formats the message and fields of `event`, escaped, without a line end. A value that contains
/// white space, quotes or an equals sign is quoted, so that no value looks like another field.
pub(super) fn format_event(event: &Event<'_>) -> Vec<u8> {
    let mut text = EventText::default();
    event.record(&mut text);
    if text.message.is_empty() {
        text.fields.drain(..text.fields.len().min(1)); // the space before the first
    }
    text.message.append(&mut text.fields);
    text.message
}

#[derive(Default)]
struct EventText {
    message: Vec<u8>,
    fields: Vec<u8>,
}

impl EventText {
    fn add(&mut self, field: &Field, text: &str) {
        let shown = &text[..text.floor_char_boundary(MAX_VALUE_BYTES)];
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

impl Visit for EventText {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // If the value's `Debug` fails, what it wrote before is kept.
        let _ = write!(text, "{value:?}");
        self.add(field, &text);
    }
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=')
}

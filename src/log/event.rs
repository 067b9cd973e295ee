//! A tracing event as text, its message and then its fields as `key=value`, or as JSON.

use std::fmt::{self, Write};

use tracing::Event;
use tracing::field::{Field, Visit};

use super::escape::{escape_into, json_into, quote_into};

/// The crate's name, with which the targets of its own events begin.
pub(super) const CRATE: &str = env!("CARGO_CRATE_NAME");

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
        let shown = cut(text);
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
        self.add(field, &debug_text(value));
    }
}

/// The message and the fields of an event as JSON.
#[derive(Default)]
pub(super) struct EventJson {
    /// The message, a string.
    pub(super) message: Vec<u8>,
    /// The members of an object, with commas between them.
    pub(super) fields: Vec<u8>,
}

impl EventJson {
    /// Formats the message and the fields of `event`. Strings are escaped as in text.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut json = Self::default();
        event.record(&mut json);
        if json.message.is_empty() {
            json_into(&mut json.message, b"");
        }
        json
    }

    fn add(&mut self, field: &Field, text: &str) {
        let shown = cut(text).as_bytes();
        if field.name() == "message" {
            self.message.clear();
            json_into(&mut self.message, shown);
        } else {
            self.add_key(field);
            json_into(&mut self.fields, shown);
        }
    }

    /// Adds a number or a boolean.
    fn add_plain(&mut self, field: &Field, value: impl ToString) {
        self.add_key(field);
        self.fields.extend_from_slice(value.to_string().as_bytes());
    }

    fn add_key(&mut self, field: &Field) {
        if !self.fields.is_empty() {
            self.fields.push(b',');
        }
        json_into(&mut self.fields, field.name().as_bytes());
        self.fields.push(b':');
    }
}

impl Visit for EventJson {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add_plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add_plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add_plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        if value.is_finite() {
            self.add_plain(field, value);
        } else {
            self.add(field, &value.to_string());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &debug_text(value));
    }
}

fn debug_text(value: &dyn fmt::Debug) -> String {
    let mut text = String::new();
    // If the value's `Debug` fails, what it wrote before is kept.
    let _ = write!(text, "{value:?}");
    text
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_VALUE_BYTES)]
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"' || c == '=')
}

/// Returns true if a target is of this crate.
pub(super) fn is_of_this_crate(target: &str) -> bool {
    is_within(target, CRATE)
}

/// Returns true if a target is `module` or inside it.
pub(super) fn is_within(target: &str, module: &str) -> bool {
    target
        .strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

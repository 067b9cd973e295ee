//! The form of what `--json` prints.

use std::fmt::Write;

use serde::Serialize;

use super::format::escaped;

/// Returns a value as indented lines.
pub(in crate::cli) fn pretty(value: &impl Serialize) -> String {
    finish(serde_json::to_string_pretty(value))
}

/// Returns a value as one line.
pub(super) fn line(value: &impl Serialize) -> String {
    finish(serde_json::to_string(value))
}

fn finish(text: serde_json::Result<String>) -> String {
    let text = text.expect("outcomes have text keys and no errors of their own");
    printable(&text) + "\n"
}

/// Escapes every character that a terminal would interpret. JSON has such characters
/// only within strings.
fn printable(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        let is_plain = character == '\n' || (' '..='~').contains(&character);
        let mut utf8 = [0; 4];
        let shown = character.encode_utf8(&mut utf8);
        if is_plain || escaped(shown) == *shown {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_is_lost() {
        let raw = "a\"\\\u{1b}\u{9b}2J\u{7f}\u{202e}\u{e0001}Zürich\n";
        let text = line(&raw);
        assert_eq!(
            text,
            "\"a\\\"\\\\\\u001b\\u009b2J\\u007f\\u202e\\udb40\\udc01Zürich\\n\"\n"
        );
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), raw);
    }
}

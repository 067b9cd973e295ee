//! What `--json` prints.

use std::fmt::Write;

use serde::Serialize;

use super::failure::Failure;
use super::messages;
use super::server::Server;

/// A server without an answer.
#[derive(Debug, Serialize)]
pub(super) struct ErrorView {
    server: String,
    address: String,
    error: String,
}

/// Servers without an answer.
pub(super) fn errors(failures: &[(Server, Failure)]) -> Vec<ErrorView> {
    let view = |(server, failure): &(Server, Failure)| ErrorView {
        server: server.title(),
        address: server.address().to_string(),
        error: failure.to_string(),
    };
    failures.iter().map(view).collect()
}

/// A value as indented lines.
pub(super) fn pretty(value: &impl Serialize) -> String {
    finish(serde_json::to_string_pretty(value))
}

/// A value as one line.
pub(super) fn line(value: &impl Serialize) -> String {
    finish(serde_json::to_string(value))
}

fn finish(text: serde_json::Result<String>) -> String {
    let text = text.expect("values of this folder have text keys and no errors of their own");
    visible(&text) + "\n"
}

/// A number that is compared and never reckoned with: programs read numbers as
/// floats, which hold no 64 bits.
pub(super) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

/// The same JSON with every character escaped that a terminal would obey: it is
/// left as it is within texts, and stands nowhere else.
fn visible(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        let is_plain = character == '\n' || (' '..='~').contains(&character);
        let mut utf8 = [0; 4];
        let shown = character.encode_utf8(&mut utf8);
        if is_plain || messages::escaped(shown) == *shown {
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
    fn nothing_in_it_moves_a_cursor_and_nothing_is_lost() {
        let wild = "a\"\\\u{1b}\u{9b}2J\u{7f}\u{202e}\u{e0001}Zürich\n";
        let text = line(&wild);
        assert_eq!(
            text,
            "\"a\\\"\\\\\\u001b\\u009b2J\\u007f\\u202e\\udb40\\udc01Zürich\\n\"\n"
        );
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), wild);
    }
}

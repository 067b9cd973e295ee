//! Escaping of text from outside, which keeps it within its line and makes all of it visible.
//!
//! The notation is that of Rust and Python strings: `\\`, `\n`, `\r`, `\t`, `\xNN` for one byte
//! (other ASCII controls, and bytes that are not UTF-8), `\u{...}` for a character. It is lossless:
//! the bytes can be recovered from it.

/// Appends `bytes` to `out` and escapes everything that could end a line, move a cursor, reorder
/// text or be invisible. `out` grows by valid UTF-8 of at most four times the length of `bytes`.
pub fn escape_into(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            escape_char(out, character);
        }
        for &byte in chunk.invalid() {
            escape_byte(out, byte);
        }
    }
}

/// Returns a text from outside with every character escaped that a terminal would interpret.
pub fn escaped(text: &str) -> String {
    let mut bytes = Vec::new();
    escape_into(&mut bytes, text.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Appends `bytes` as [`escape_into`] does, between quotation marks, with `\"` for those inside.
pub(super) fn quote_into(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for (n, part) in bytes.split(|&byte| byte == b'"').enumerate() {
        if n > 0 {
            out.extend_from_slice(b"\\\"");
        }
        escape_into(out, part);
    }
    out.push(b'"');
}

/// Appends the JSON string of what [`escape_into`] makes of `bytes`. A program that parses it gets
/// text that is still escaped, and so is safe on a terminal, and in which no byte is lost.
pub(super) fn json_into(out: &mut Vec<u8>, bytes: &[u8]) {
    // Nearly all lines of clients: no copy to escape, and none to parse.
    if is_plain(bytes) && memchr::memchr(b'"', bytes).is_none() {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut text = Vec::new();
    escape_into(&mut text, bytes);
    serde_json::to_writer(out, &String::from_utf8_lossy(&text))
        .expect("a string can be serialized, and a vector written to");
}

/// Returns true if `bytes` are printable ASCII without a backslash. There is no early return:
/// checking all of them lets the compiler process sixteen or more at once.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &byte| {
        plain & (b' '..=b'~').contains(&byte) & (byte != b'\\')
    })
}

fn escape_char(out: &mut Vec<u8>, character: char) {
    match character {
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ if character.is_ascii_control() => escape_byte(out, character as u8),
        _ if character.is_control() || is_invisible(character) => {
            out.extend(character.escape_unicode().map(|ascii| ascii as u8));
        }
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn escape_byte(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
    out.extend_from_slice(&[b'\\', b'x', high, low]);
}

/// Returns true if a character has no glyph of its own: Unicode's Default_Ignorable_Code_Point
/// (zero-width characters, joiners, variation selectors, bidirectional controls, tags), the line
/// and paragraph separators, and the interlinear annotation marks.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape_into(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    /// The inverse of [`escape_into`], which shows that it is lossless.
    fn unescape(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            if character != '\\' {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            match rest.next().unwrap() {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'x' => {
                    let hex: String = rest.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                }
                'u' => {
                    let hex: String = rest.by_ref().skip(1).take_while(|&c| c != '}').collect();
                    let code = u32::from_str_radix(&hex, 16).unwrap();
                    let character = char::from_u32(code).unwrap();
                    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                quoted => bytes.push(u8::try_from(quoted).unwrap()),
            }
        }
        bytes
    }

    #[test]
    fn special_characters_are_escaped_and_others_kept() {
        for (bytes, expected) in [
            (
                &b"IAMAT kiwi +34.0-118.4 1.5"[..],
                "IAMAT kiwi +34.0-118.4 1.5",
            ),
            (b"", ""),
            (b"a\\nb", "a\\\\nb"),
            (b"a\nb\r\tc", "a\\nb\\r\\tc"),
            (b"\x00\x1b[31m\x7f", "\\x00\\x1b[31m\\x7f"),
            (b"\xff\xc3", "\\xff\\xc3"),
            ("Zürich 東京 🦀".as_bytes(), "Zürich 東京 🦀"),
            ("\u{85}\u{9b}\u{2028}".as_bytes(), "\\u{85}\\u{9b}\\u{2028}"),
            ("\u{202e}txt\u{200b}".as_bytes(), "\\u{202e}txt\\u{200b}"),
        ] {
            assert_eq!(escaped(bytes), expected);
        }
    }

    #[test]
    fn quoted_text_has_its_quotation_marks_escaped() {
        let mut out = Vec::new();
        quote_into(&mut out, b"say \"a\\b\"\n");
        assert_eq!(out, br#""say \"a\\b\"\n""#);
    }

    /// Arbitrary bytes, and text rich in characters to be escaped.
    fn anything() -> impl Strategy<Value = Vec<u8>> {
        let characters = prop_oneof![
            any::<char>(),
            prop::char::range('\0', '\u{ff}'),
            prop::char::range('\u{2000}', '\u{2070}'),
        ];
        let text = prop::collection::vec(characters, 0..60)
            .prop_map(|text| text.into_iter().collect::<String>().into_bytes());
        prop_oneof![prop::collection::vec(any::<u8>(), 0..200), text]
    }

    proptest! {
        #[test]
        fn escaped_text_is_visible_and_lossless(bytes in anything()) {
            let text = escaped(&bytes);
            prop_assert!(!text.chars().any(|c| c.is_control() || is_invisible(c)));
            prop_assert!(text.len() <= 4 * bytes.len());
            prop_assert_eq!(unescape(&text), bytes);
        }
    }
}

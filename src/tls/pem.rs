//! The sections of a PEM file (RFC 7468), by its raw text.
//!
//! A lenient parser passes over what it does not understand, and a bundle has a certificate fewer
//! without a word. Here every marker in the text belongs to a section that is read, or is a fault.
//! Sections may be indented, follow a byte order mark or other text, or follow each other without a
//! line end. The bytes of a section may be a key: no fault repeats them.

use std::borrow::Cow;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The dashes on either side of a marker.
const DASHES: &[u8] = b"-----";

/// Maximum length of a label, in bytes. Longer ones are no label of any format.
const MAX_LABEL_BYTES: usize = 64;

/// What lies between a BEGIN and its END.
pub(super) struct Section {
    /// The kind of content that the markers name, as in `CERTIFICATE`.
    pub(super) label: String,
    /// The decoded content, or the fault of its text.
    pub(super) content: Result<Vec<u8>, PemFault>,
    /// The line of the BEGIN, counted from 1.
    pub(super) line: usize,
    /// True if its BEGIN is not at the start of a line, where other programs look for it.
    pub(super) is_inside_a_line: bool,
    /// True if its headers say that a passphrase encrypts the content (RFC 1421).
    pub(super) is_encrypted: bool,
}

/// A fault in the text.
#[derive(Clone, Debug)]
pub(super) struct PemFault {
    /// The line, counted from 1.
    pub(super) line: usize,
    /// The cause, and the correction.
    pub(super) message: String,
}

/// Returns the sections of a text, and the faults of its markers, each in the order of the text.
/// A fault names a label in lower case: a file with the label of a key is searched for secrets.
pub(super) fn sections(text: &[u8]) -> (Vec<Section>, Vec<PemFault>) {
    let (mut sections, mut faults) = (Vec::new(), Vec::new());
    let mut fault = |marker: &Marker<'_>, message: String| {
        let line = line_of(text, marker.start);
        faults.push(PemFault { line, message });
    };
    let mut open: Option<Marker<'_>> = None;
    // The END of a damaged BEGIN is no second fault.
    let mut follows_damage = false;
    for marker in markers(text) {
        let before = open.take();
        let Some(label) = marker.label else {
            fault(&marker, damaged(marker.is_begin));
            follows_damage = marker.is_begin;
            continue;
        };
        let kind = label.to_ascii_lowercase();
        match (marker.is_begin, before) {
            (true, before) => {
                if let Some(before) = before {
                    fault(&before, UNENDED.to_owned());
                }
                (open, follows_damage) = (Some(marker), false);
            }
            (false, Some(begin)) if begin.label == Some(label) => {
                sections.push(section(text, label, &begin, &marker));
            }
            (false, Some(begin)) => {
                let line = line_of(text, begin.start);
                let message = format!(
                    "the end of a section of another kind ({kind}) than begins on line {line}; \
                     copy both anew"
                );
                fault(&marker, message);
            }
            (false, None) if follows_damage => follows_damage = false,
            (false, None) => {
                let message = format!(
                    "the end of a section ({kind}) without its BEGIN line; copy the section anew"
                );
                fault(&marker, message);
            }
        }
    }
    if let Some(begin) = open {
        fault(&begin, UNENDED.to_owned());
    }
    (sections, faults)
}

/// The fault of a BEGIN without an END.
const UNENDED: &str = "the file ends in the middle of a PEM section that begins here, or the END \
                       line of the section is missing; copy the section anew";

/// Describes a damaged marker.
fn damaged(is_begin: bool) -> String {
    let what = if is_begin { "BEGIN" } else { "END" };
    format!(
        "a damaged {what} line; it must read -----{what} CERTIFICATE-----, or another kind, with \
         five dashes on either side"
    )
}

/// A BEGIN or END in the text.
struct Marker<'a> {
    is_begin: bool,
    /// The kind of content; `None` if the marker is damaged.
    label: Option<&'a str>,
    /// The offset of its dashes, or of its word if it is damaged.
    start: usize,
    /// The offset after the dashes that end it.
    end: usize,
}

/// Returns all markers, also damaged ones.
fn markers(text: &[u8]) -> Vec<Marker<'_>> {
    let mut markers = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match marker(text, at) {
            Some(marker) => {
                at = marker.end;
                markers.push(marker);
            }
            None => at += 1,
        }
    }
    markers
}

/// Returns the marker whose word is at `at`.
fn marker(text: &[u8], at: usize) -> Option<Marker<'_>> {
    let word = [&b"BEGIN"[..], b"END"].into_iter().find(|word| {
        let here = text.get(at..at + word.len());
        here.is_some_and(|here| here.eq_ignore_ascii_case(word))
    })?;
    let after = at + word.len();
    let is_word = text
        .get(after)
        .is_none_or(|&byte| !byte.is_ascii_alphanumeric());
    if !is_word || !follows_dashes(&text[..at]) {
        return None;
    }
    let damaged = Marker {
        is_begin: word.len() == b"BEGIN".len(),
        label: None,
        start: at,
        end: after,
    };
    let is_exact = text[..at].ends_with(DASHES) && text[at..].starts_with(word);
    let label = is_exact.then(|| label(&text[after..])).flatten();
    Some(match label {
        Some((label, length)) => Marker {
            label: Some(label),
            start: at - DASHES.len(),
            end: after + length,
            ..damaged
        },
        None => damaged,
    })
}

/// Returns whether a text ends with dashes as those before a marker, or such as are left of them:
/// at least two, or those of a word processor, with or without spaces after them.
fn follows_dashes(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let is_typographic = |dash: &str| before.ends_with(dash.as_bytes());
    before.ends_with(b"--") || ["\u{2013}", "\u{2014}"].into_iter().any(is_typographic)
}

/// Returns the label after the word of a marker, and the length up to the end of the marker.
fn label(after: &[u8]) -> Option<(&str, usize)> {
    let text = after.strip_prefix(b" ")?;
    let length = text.iter().position(|&byte| byte == b'-')?;
    let is_label = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ';
    let (label, rest) = text.split_at(length);
    let is_valid = (1..=MAX_LABEL_BYTES).contains(&length)
        && label.iter().all(is_label)
        && rest.starts_with(DASHES);
    let label = is_valid
        .then(|| std::str::from_utf8(label).ok())
        .flatten()?;
    Some((label, 1 + length + DASHES.len()))
}

fn section(text: &[u8], label: &str, begin: &Marker<'_>, end: &Marker<'_>) -> Section {
    let body = &text[begin.end..end.start];
    let headers = headers(body);
    let is_encrypted = String::from_utf8_lossy(&body[..headers]).contains("ENCRYPTED");
    let content = decode(&body[headers..]).map_err(|(at, message)| PemFault {
        line: line_of(text, begin.end + headers + at),
        message,
    });
    Section {
        label: label.to_owned(),
        content,
        line: line_of(text, begin.start),
        is_inside_a_line: begin.start > 0 && !matches!(text[begin.start - 1], b'\n' | b'\r'),
        is_encrypted,
    }
}

/// Returns the length of the headers at the start of a section, up to the blank line after them
/// (RFC 1421). Base64 has no colon.
fn headers(body: &[u8]) -> usize {
    let mut lines = body.split_inclusive(|&byte| byte == b'\n');
    let is_blank = |line: &&[u8]| line.trim_ascii().is_empty();
    let mut length = lines
        .by_ref()
        .take(1)
        .filter(is_blank)
        .map(<[u8]>::len)
        .sum();
    let after_marker = &body[length..];
    let first = after_marker.split(|&byte| byte == b'\n').next();
    if !first.is_some_and(|line| line.contains(&b':')) {
        return 0;
    }
    for line in after_marker.split_inclusive(|&byte| byte == b'\n') {
        length += line.len();
        if is_blank(&line) {
            return length;
        }
    }
    0
}

/// Decodes base64 with white space anywhere. An error has its offset.
fn decode(text: &[u8]) -> Result<Vec<u8>, (usize, String)> {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let foreign = |byte: u8| !is_base64(byte) && !is_space(byte);
    if let Some(at) = text.iter().position(|&byte| foreign(byte)) {
        let message = "a character that is not base64; copy the section anew";
        return Err((at, message.to_owned()));
    }
    let digits: Vec<u8> = text
        .iter()
        .copied()
        .filter(|&byte| !is_space(byte))
        .collect();
    if digits.is_empty() {
        return Err((0, "an empty section; copy it anew".to_owned()));
    }
    // The decoder of keys takes the same time for all of them. It is part of the parser of PEM.
    let normal = [
        &b"-----BEGIN CERTIFICATE-----\n"[..],
        &digits,
        b"\n-----END CERTIFICATE-----\n",
    ];
    CertificateDer::from_pem_slice(&normal.concat())
        .map(|content| content.to_vec())
        .map_err(|_| {
            let message = "invalid base64: a part is missing or changed; copy the section anew";
            (0, message.to_owned())
        })
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Returns the number of the line of an offset, counted from 1. Lines end with LF, CR LF or CR.
fn line_of(text: &[u8], at: usize) -> usize {
    let before = &text[..at];
    let ends = |at: &(usize, &u8)| {
        let (i, byte) = (at.0, *at.1);
        byte == b'\n' || byte == b'\r' && text.get(i + 1) != Some(&b'\n')
    };
    1 + before.iter().enumerate().filter(ends).count()
}

/// Returns what a text without any section seems to be, for the person who named the file.
pub(super) fn other_format(text: &[u8]) -> Option<Cow<'static, str>> {
    match text {
        [] => Some("it is empty".into()),
        // The first bytes of a DER sequence of more than 127 bytes.
        [0x30, 0x81..=0x84, ..] => Some(
            "it is binary (DER or PKCS #12); convert it to PEM with openssl x509, openssl pkey or \
             openssl pkcs12"
                .into(),
        ),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Some("it is UTF-16; save it as plain ASCII or UTF-8".into())
        }
        text if text.contains(&0) => Some("it is not text".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";

    /// The label and the line of each section, and the line and the message of each fault.
    type Found = (Vec<(String, usize)>, Vec<(usize, String)>);

    fn read(text: &str) -> Found {
        let (sections, mut faults) = sections(text.as_bytes());
        let mut found = Vec::new();
        for section in sections {
            match section.content {
                Ok(content) => {
                    assert_eq!(content, [1, 2, 3], "{text}");
                    found.push((section.label, section.line));
                }
                Err(fault) => faults.push(fault),
            }
        }
        let faults = faults.into_iter().map(|fault| (fault.line, fault.message));
        (found, faults.collect())
    }

    #[test]
    fn every_section_is_read_whatever_is_around_it() {
        let glued = ONE.trim_end().to_owned() + ONE;
        let indented: String = ONE.lines().map(|line| format!("  {line}\n")).collect();
        for (text, lines) in [
            (ONE.to_owned(), &[1][..]),
            (glued, &[1, 3]),
            (format!("\u{feff}{ONE}\u{feff}{ONE}"), &[1, 4]),
            (format!("{ONE}{indented}"), &[1, 4]),
            (ONE.replace('\n', "\r\n") + ONE, &[1, 4]),
            (ONE.replace('\n', "\r") + ONE, &[1, 4]),
            (ONE.replace('\n', " "), &[1]),
            (
                format!("Bag Attributes\n  friendlyName: the end\n{ONE}# end\n"),
                &[3],
            ),
            (ONE.replace("AQID", "A Q\n\n\tID"), &[1]),
            (ONE.replace("AQID", "Comment: of 1989\n\nAQID"), &[1]),
        ] {
            let expected: Vec<_> = lines
                .iter()
                .map(|&n| ("CERTIFICATE".to_owned(), n))
                .collect();
            assert_eq!(read(&text), (expected, Vec::new()), "{text}");
        }
        let other = ONE.replace("CERTIFICATE", "X509 CRL");
        assert_eq!(read(&other).0, [("X509 CRL".to_owned(), 1)]);
    }

    #[test]
    fn a_section_that_is_not_read_is_a_fault_with_its_line() {
        for (text, line, message) in [
            (
                ONE.replace("-----END CERTIFICATE-----\n", ""),
                4,
                "the file ends in the middle",
            ),
            (
                ONE.replace("-----BEGIN CERTIFICATE-----\n", ""),
                5,
                "the end of a section (certificate) without",
            ),
            (
                ONE.replace("-----BEGIN", "----BEGIN"),
                4,
                "a damaged BEGIN line",
            ),
            (
                ONE.replace("-----BEGIN", "----- BEGIN"),
                4,
                "a damaged BEGIN line",
            ),
            (
                ONE.replace("-----BEGIN", "\u{2013}BEGIN"),
                4,
                "a damaged BEGIN line",
            ),
            (ONE.replace("BEGIN", "Begin"), 4, "a damaged BEGIN line"),
            (ONE.replace("E-----\nA", "E\nA"), 4, "a damaged BEGIN line"),
            (
                ONE.replace("END CERTIFICATE", "END KEY"),
                6,
                "the end of a section of another",
            ),
            (
                ONE.replace("END CERTIFICATE--", "END CERTIFICATE"),
                6,
                "a damaged END line",
            ),
            (
                ONE.replace("AQID", "AQ!D"),
                5,
                "a character that is not base64",
            ),
            (ONE.replace("AQID", "AQIDA"), 4, "invalid base64"),
            (ONE.replace("AQID", ""), 4, "an empty section"),
        ] {
            let (sections, faults) = read(&format!("{ONE}{text}"));
            assert_eq!(sections.len(), 1, "{text}");
            let [(at, found)] = &faults[..] else {
                panic!("{text}: {faults:?}");
            };
            assert!(
                *at == line && found.starts_with(message),
                "{text}: {faults:?}"
            );
        }
        // The next section is read after each of them.
        let cut = ONE.replace("-----END CERTIFICATE-----\n", "");
        let (sections, faults) = read(&(cut + ONE));
        assert_eq!((sections.len(), faults.len(), faults[0].0), (1, 1, 1));
    }

    #[test]
    fn headers_tell_that_a_key_is_encrypted() {
        let text = ONE.replace(
            "AQID",
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAQID",
        );
        assert!(sections(text.as_bytes()).0[0].is_encrypted);
        assert!(!sections(ONE.as_bytes()).0[0].is_encrypted);
    }
}

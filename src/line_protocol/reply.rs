//! Formatting of replies. Each function appends to the output.

use crate::model::report::Report;

/// Appends an AT line: `AT`, the origin, the skew, and the report's fields as the client wrote
/// them, with LF.
pub fn at(out: &mut Vec<u8>, report: &Report<'_>) {
    let skew = report.skew.text();
    let fields = [
        b"AT",
        report.origin.bytes(),
        skew.as_bytes(),
        report.client.bytes(),
        report.position.bytes(),
        report.time.bytes(),
    ];
    let length: usize = fields.iter().map(|field| field.len() + 1).sum();
    let start = out.len();
    out.resize(start + length, b' ');
    let mut room = &mut out[start..];
    for field in fields {
        let (place, rest) = room.split_at_mut(field.len());
        place.copy_from_slice(field);
        room = &mut rest[1..];
    }
    out[start + length - 1] = b'\n';
}

/// Appends the reply to an invalid command: `?`, a space and an exact copy of the line, with LF.
pub fn invalid(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(b"? ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// Appends the places after their AT line: JSON that neither begins nor ends with a newline, then
/// two newlines.
pub fn places(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client::ClientId;
    use crate::model::position::Position;
    use crate::model::report::Origin;
    use crate::model::timestamp::{Skew, Timestamp};

    #[test]
    fn replies_have_the_form_of_the_protocol() {
        let report = Report {
            client: ClientId::parse(b"kiwi.cs.ucla.edu").unwrap(),
            origin: Origin::parse(b"Riley").unwrap(),
            position: Position::parse(b"+34.068930-118.445127").unwrap(),
            time: Timestamp::parse(b"1621464827.959498503").unwrap(),
            skew: Skew(263_873_386),
        };
        let mut out = Vec::new();
        at(&mut out, &report);
        places(&mut out, "{\n}");
        invalid(&mut out, b" \xffwhat? ");
        let want: &[u8] = b"AT Riley +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 \
            1621464827.959498503\n{\n}\n\n?  \xffwhat? \n";
        assert_eq!(out, want);
    }
}

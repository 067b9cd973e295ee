//! The text of requests: each report has its own time and the position of its client then.
//!
//! Client number and time determine the whole report. The text of a report can therefore be
//! written again when an answer is checked.

use super::digits::write_digits;
use super::walk::Walk;

/// The maximum number of digits of a client's number in its ID.
pub(super) const MAX_DIGITS: usize = 8;

/// The command of a report. Its AT line has the same fields after the server's name and skew.
const COMMAND: &[u8] = b"IAMAT";

/// The templates of a load's requests. All IDs have one length, and so have all reports.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    iamat: Vec<u8>,
    whatsat: Vec<u8>,
    walk: Walk,
    digits: usize,
    /// The end of the client's number in `iamat`.
    iamat_id_end: usize,
    /// The end of the client's number in `whatsat`.
    whatsat_id_end: usize,
}

impl Payload {
    /// Creates templates with IDs of `id_length` bytes: `prefix` and a number of at least
    /// one digit. Queries end in `radius` and `limit`.
    pub(super) fn new(prefix: &str, id_length: usize, radius: &str, limit: u32) -> Self {
        let number = id_length.saturating_sub(prefix.len());
        let id = format!("{prefix}{}", "0".repeat(number));
        let iamat = format!("IAMAT {id} +00.000000+000.000000 0000000000.000000000\n");
        Self {
            iamat: iamat.into_bytes(),
            whatsat: format!("WHATSAT {id} {radius} {limit}\n").into_bytes(),
            walk: Walk::default(),
            digits: number.min(MAX_DIGITS),
            iamat_id_end: "IAMAT ".len() + id.len(),
            whatsat_id_end: "WHATSAT ".len() + id.len(),
        }
    }

    /// Returns the same templates for clients that move in this way.
    pub(super) fn with_walk(self, walk: &Walk) -> Self {
        let walk = walk.clone();
        Self { walk, ..self }
    }

    /// Returns the number of distinct IDs of `id_length` bytes that start with `prefix`.
    pub(super) fn max_clients(prefix: &str, id_length: usize) -> u64 {
        let digits = id_length.saturating_sub(prefix.len()).min(MAX_DIGITS);
        10_u64.pow(digits as u32)
    }

    /// Appends the report of a client at a time, in nanoseconds since 1970.
    pub(super) fn iamat(&self, out: &mut Vec<u8>, client: u32, nanos: u64) {
        let start = out.len();
        out.extend_from_slice(&self.iamat);
        let line = &mut out[start..];
        self.write_id(line, self.iamat_id_end, client);
        let rest = &mut line[self.iamat_id_end + 1..];
        let (latitude, longitude) = self.walk.position(client, nanos);
        write_degrees(&mut rest[..10], latitude);
        write_degrees(&mut rest[10..21], longitude);
        write_digits(&mut rest[22..32], nanos / 1_000_000_000);
        write_digits(&mut rest[33..42], nanos % 1_000_000_000);
    }

    /// Appends a query of the places near a client.
    pub(super) fn whatsat(&self, out: &mut Vec<u8>, client: u32) {
        let start = out.len();
        out.extend_from_slice(&self.whatsat);
        self.write_id(&mut out[start..], self.whatsat_id_end, client);
    }

    /// Returns the required end of the AT line that answers `iamat`: a space and the three
    /// fields. `iamat` is the report as it was sent, with its LF.
    pub(super) fn fields(iamat: &[u8]) -> &[u8] {
        let line = iamat.strip_suffix(b"\n").unwrap_or(iamat);
        line.get(COMMAND.len()..).unwrap_or_default()
    }

    fn write_id(&self, line: &mut [u8], end: usize, client: u32) {
        write_digits(&mut line[end - self.digits..end], client.into());
    }
}

/// Fills `out` with a sign, whole degrees with leading zeros, a point and six decimals.
fn write_degrees(out: &mut [u8], microdegrees: i64) {
    let point = out.len() - 7;
    out[0] = if microdegrees < 0 { b'-' } else { b'+' };
    let microdegrees = microdegrees.unsigned_abs();
    write_digits(&mut out[1..point], microdegrees / 1_000_000);
    write_digits(&mut out[point + 1..], microdegrees % 1_000_000);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line_protocol::command::Command;

    const NANOS: u64 = 1_621_464_827_959_498_503;

    fn iamat(payload: &Payload, client: u32, nanos: u64) -> String {
        let mut out = b"before".to_vec();
        payload.iamat(&mut out, client, nanos);
        let text = String::from_utf8(out).unwrap();
        text.strip_prefix("before").unwrap().to_owned()
    }

    #[test]
    fn requests_are_valid_and_have_one_length() {
        let payload = Payload::new("bench-", 20, "10", 5);
        for client in [0, 1, 7, 4321, 99_999_999] {
            let line = iamat(&payload, client, NANOS);
            let Some(Command::Iamat {
                client: id, time, ..
            }) = Command::parse(line.trim_end().as_bytes())
            else {
                panic!("{line}");
            };
            assert_eq!(id.text(), format!("bench-{client:014}"));
            assert_eq!(time.text(), "1621464827.959498503");
            assert_eq!(line.len(), payload.iamat.len());

            let mut line = Vec::new();
            payload.whatsat(&mut line, client);
            let line = String::from_utf8(line).unwrap();
            assert_eq!(line, format!("WHATSAT bench-{client:014} 10 5\n"));
            assert!(Command::parse(line.trim_end().as_bytes()).is_some());
        }
    }

    #[test]
    fn ids_of_three_and_of_255_bytes_are_valid() {
        assert_eq!(Payload::max_clients("bench-", 20), 100_000_000);
        assert_eq!(Payload::max_clients("b", 3), 100);
        assert_eq!(Payload::max_clients("bench", 5), 1);
        let line = iamat(&Payload::new("b", 3, "0", 0), 42, NANOS);
        assert!(line.starts_with("IAMAT b42 "), "{line}");
        let line = iamat(&Payload::new("", 255, "0", 0), 42, NANOS);
        assert!(Command::parse(line.trim_end().as_bytes()).is_some());
    }

    #[test]
    fn fields_are_the_end_of_the_at_line() {
        let fields = Payload::fields(b"IAMAT kiwi +1+2 3.5\n");
        assert_eq!(fields, b" kiwi +1+2 3.5");
    }
}

//! The text of requests: clients that move about in cities, each report at its
//! own time.
//!
//! All that a report holds follows from its client's number and its time, so
//! that what was sent can be written again when an answer is checked.

use super::digits::write_digits;

/// Where clients are, in microdegrees: latitude and longitude. In the order of
/// Los Angeles, New York, London, Paris, Tokyo, Sao Paulo, Sydney, Nairobi.
const CITIES: [(i64, i64); 8] = [
    (34_068_930, -118_445_127),
    (40_712_776, -74_005_974),
    (51_507_351, -127_758),
    (48_856_613, 2_352_222),
    (35_689_487, 139_691_711),
    (-23_550_520, -46_633_308),
    (-33_868_820, 151_209_290),
    (-1_292_066, 36_821_945),
];

/// Most digits of a client's number in its ID.
pub(super) const MAX_DIGITS: usize = 8;

/// `IAMAT` and `AT` differ in what stands before the client's ID only.
const COMMAND: &[u8] = b"IAMAT";

/// What the requests of a load look like. IDs have one length, and so have all
/// reports.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    iamat: Vec<u8>,
    whatsat: Vec<u8>,
    digits: usize,
    /// Where the digits of a client's number end in each of the two.
    iamat_id_end: usize,
    whatsat_id_end: usize,
}

impl Payload {
    /// IDs are `prefix` and a number, `id_length` bytes in all, which must
    /// leave room for a digit. Questions end in `radius` and `most`.
    pub(super) fn new(prefix: &str, id_length: usize, radius: &str, most: u32) -> Self {
        let number = id_length.saturating_sub(prefix.len());
        let id = format!("{prefix}{}", "0".repeat(number));
        let iamat = format!("IAMAT {id} +00.000000+000.000000 0000000000.000000000\n");
        Self {
            iamat: iamat.into_bytes(),
            whatsat: format!("WHATSAT {id} {radius} {most}\n").into_bytes(),
            digits: number.min(MAX_DIGITS),
            iamat_id_end: "IAMAT ".len() + id.len(),
            whatsat_id_end: "WHATSAT ".len() + id.len(),
        }
    }

    /// How many clients have an ID of this length.
    pub(super) fn most_clients(prefix: &str, id_length: usize) -> u64 {
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
        let (latitude, longitude) = position(client, nanos);
        write_degrees(&mut rest[..10], latitude);
        write_degrees(&mut rest[10..21], longitude);
        write_digits(&mut rest[22..32], nanos / 1_000_000_000);
        write_digits(&mut rest[33..42], nanos % 1_000_000_000);
    }

    /// Appends the question what is near a client.
    pub(super) fn whatsat(&self, out: &mut Vec<u8>, client: u32) {
        let start = out.len();
        out.extend_from_slice(&self.whatsat);
        self.write_id(&mut out[start..], self.whatsat_id_end, client);
    }

    /// What a report's `AT` line must end in: a space and the three fields. Of
    /// the report with its LF, as it was sent.
    pub(super) fn fields(iamat: &[u8]) -> &[u8] {
        let line = iamat.strip_suffix(b"\n").unwrap_or(iamat);
        line.get(COMMAND.len()..).unwrap_or_default()
    }

    fn write_id(&self, line: &mut [u8], end: usize, client: u32) {
        write_digits(&mut line[end - self.digits..end], client.into());
    }
}

/// A sign, whole degrees in what room there is, a point and six decimals.
fn write_degrees(out: &mut [u8], micros: i64) {
    let point = out.len() - 7;
    out[0] = if micros < 0 { b'-' } else { b'+' };
    let micros = micros.unsigned_abs();
    write_digits(&mut out[1..point], micros / 1_000_000);
    write_digits(&mut out[point + 1..], micros % 1_000_000);
}

/// Within 15 km of a city's middle, to and fro along some hundred metres at the
/// speed of a car.
fn position(client: u32, nanos: u64) -> (i64, i64) {
    let (latitude, longitude) = CITIES[client as usize % CITIES.len()];
    let scattered = scatter(client.into());
    let step = (nanos >> 23 & 0x1fff) as i64;
    let way = step.min(0x1fff - step);
    let offset = |bits: u64| (bits & 0x3_ffff) as i64 - 0x2_0000 + way;
    (
        latitude + offset(scattered),
        longitude + offset(scattered >> 32),
    )
}

/// The finalizer of splitmix64: near numbers become far ones.
pub(super) fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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
    fn requests_are_valid_and_of_one_length() {
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
    fn ids_may_be_short_and_long() {
        assert_eq!(Payload::most_clients("bench-", 20), 100_000_000);
        assert_eq!(Payload::most_clients("b", 3), 100);
        assert_eq!(Payload::most_clients("bench", 5), 1);
        let line = iamat(&Payload::new("b", 3, "0", 0), 42, NANOS);
        assert!(line.starts_with("IAMAT b42 "), "{line}");
        let line = iamat(&Payload::new("", 255, "0", 0), 42, NANOS);
        assert!(Command::parse(line.trim_end().as_bytes()).is_some());
    }

    #[test]
    fn clients_move_and_stay_near_their_city() {
        for client in 0..1000 {
            let (latitude, longitude) = CITIES[client as usize % CITIES.len()];
            let (north, east) = position(client, NANOS);
            assert!((north - latitude).abs() < 140_000);
            assert!((east - longitude).abs() < 140_000);
            let later = position(client, NANOS + 1_000_000_000);
            assert!((1..200).contains(&(later.0 - north).abs()), "{later:?}");
        }
    }

    #[test]
    fn fields_are_what_an_answer_ends_in() {
        let fields = Payload::fields(b"IAMAT kiwi +1+2 3.5\n");
        assert_eq!(fields, b" kiwi +1+2 3.5");
    }
}

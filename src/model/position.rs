//! Positions: decimal degrees in ISO 6709 notation.

use memchr::memchr2;

use super::decimal::Decimal;
use super::text::Utf8Bytes;

/// Maximum length of a latitude or a longitude, in bytes, sign included.
pub const MAX_COORDINATE_BYTES: usize = 32;

/// Maximum length of a position, in bytes: both coordinates and the closing `/`.
pub const MAX_POSITION_BYTES: usize = 2 * MAX_COORDINATE_BYTES + 1;

/// A latitude and a longitude as a client wrote them, such as
/// `+34.068930-118.445127` (ISO 6709, annex H, decimal degrees), with or
/// without the standard's closing `/`.
///
/// Invariant: `latitude` is the byte length of the first coordinate, and both
/// coordinates are signed decimals within ±90 and ±180.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    text: Utf8Bytes<'a>,
    latitude: u8,
}

impl<'a> Position<'a> {
    /// Parses a position. Returns `None` if it breaks the protocol's rules: both coordinates signed
    /// and at most [`MAX_COORDINATE_BYTES`] long, digits with at most one inner point, bounds
    /// compared exactly.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let both = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let second_sign = memchr2(b'+', b'-', both.get(1..)?)? + 1;
        let (latitude, longitude) = both.split_at(second_sign);
        if !is_coordinate(latitude, 90) || !is_coordinate(longitude, 180) {
            return None;
        }
        Some(Self::restore(bytes, u8::try_from(second_sign).ok()?))
    }

    /// Creates a position from parts that were parsed before.
    pub(crate) fn restore(bytes: &'a [u8], latitude: u8) -> Self {
        Self {
            text: Utf8Bytes::restore(bytes),
            latitude,
        }
    }

    /// Returns the length of the latitude in the text, in bytes.
    pub(crate) fn latitude_bytes(self) -> u8 {
        self.latitude
    }

    /// Returns the position as the client wrote it.
    pub fn text(self) -> &'a str {
        self.text.as_str()
    }

    /// Returns the position as bytes, without validating them again.
    pub fn bytes(self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// Returns the signed latitude as the client wrote it.
    pub fn latitude(self) -> &'a str {
        &self.text()[..usize::from(self.latitude)]
    }

    /// Returns the signed longitude as the client wrote it, without the closing `/`.
    pub fn longitude(self) -> &'a str {
        self.text()[usize::from(self.latitude)..].trim_end_matches('/')
    }

    /// Returns latitude and longitude as the nearest floats, for calculations. The coordinates
    /// themselves are never compared through these.
    pub fn degrees(self) -> (f64, f64) {
        (self.latitude_degrees(), float(self.longitude()))
    }

    /// Returns the latitude as [`degrees`](Self::degrees) does.
    pub fn latitude_degrees(self) -> f64 {
        float(self.latitude())
    }
}

fn float(coordinate: &str) -> f64 {
    coordinate
        .parse()
        .expect("a coordinate is a signed decimal number, which reads as a float")
}

fn is_sign(byte: u8) -> bool {
    matches!(byte, b'+' | b'-')
}

fn is_coordinate(text: &[u8], bound: u64) -> bool {
    let Some((sign, digits)) = text.split_first() else {
        return false;
    };
    is_sign(*sign)
        && text.len() <= MAX_COORDINATE_BYTES
        && Decimal::parse(digits).is_some_and(|degrees| degrees.at_most(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_splits_into_its_coordinates() {
        let position = Position::parse(b"+34.068930-118.445127/").unwrap();
        assert_eq!(position.text(), "+34.068930-118.445127/");
        assert_eq!(position.latitude(), "+34.068930");
        assert_eq!(position.longitude(), "-118.445127");
        assert_eq!(position.degrees(), (34.068930, -118.445127));
    }

    #[test]
    fn bounds_and_forms_are_exact() {
        for good in [
            "+90-180",
            "-90.000+180.000",
            "+0-0",
            "+00000000000000000000000000090.0+1",
            "+1+1/",
            "+0.00000000000000000000000000001+0",
        ] {
            assert!(Position::parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "",
            "/",
            "+",
            "++",
            "+1",
            "34-118",
            "+34",
            "+34.-118",
            "+.5-118",
            "+34,-118",
            "+34-",
            "+90.00000000000000000001-118",
            "-90.1+0",
            "+0+180.0000001",
            "+0-181",
            "+34-118//",
            "+34/-118",
            "+34-118+5",
            "+1e1+1",
            "+34 -118",
            "+34-118 ",
            "+000000000000000000000000000000034-118",
            "\u{ff0b}34-118",
        ] {
            assert!(Position::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}

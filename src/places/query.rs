//! Queries for places: a point, a radius and a maximum number.
//!
//! A query holds digits, not floats. A remote provider receives the digits that the client sent,
//! however many, and they are parsed as a float only for calculations.

use crate::model::decimal::Decimal;
use crate::model::position::Position;

/// A query for the places near a point.
///
/// Two queries are equal if their digits are equal: one response serves both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlacesQuery {
    /// Latitude, longitude and radius, concatenated: every WHATSAT makes a query, so this is one
    /// allocation.
    digits: String,
    /// The offset at which the latitude ends.
    latitude: usize,
    /// The offset at which the longitude ends.
    longitude: usize,
    /// The maximum number of places, 0 to 20. With 0 no provider is called.
    pub limit: usize,
}

impl PlacesQuery {
    /// Creates a query for the places within `radius_km`, 0 to 50 kilometres along the ground, of a
    /// position. A place at exactly this distance is included. A radius out of bounds yields
    /// meaningless places, never a panic.
    pub fn new(position: Position<'_>, radius_km: Decimal<'_>, limit: usize) -> Self {
        let mut digits = String::with_capacity(TYPICAL_BYTES);
        digits.push_str(position.latitude().trim_start_matches('+'));
        let latitude = digits.len();
        digits.push_str(position.longitude().trim_start_matches('+'));
        let longitude = digits.len();
        push_times_1000(&mut digits, radius_km);
        PlacesQuery {
            digits,
            latitude,
            longitude,
            limit,
        }
    }

    /// Returns the degrees north as the client sent them, without a plus sign: `34.068930`, `-0`,
    /// `007.10`.
    pub fn latitude(&self) -> &str {
        &self.digits[..self.latitude]
    }

    /// Returns the degrees east, formatted like the latitude.
    pub fn longitude(&self) -> &str {
        &self.digits[self.latitude..self.longitude]
    }

    /// Returns the radius in metres, in the fewest digits that keep the client's value exactly:
    /// `500` for 0.50 km.
    pub fn radius(&self) -> &str {
        &self.digits[self.longitude..]
    }

    /// Returns latitude and longitude as the nearest floats.
    pub fn degrees(&self) -> (f64, f64) {
        (float(self.latitude()), float(self.longitude()))
    }

    /// Returns the radius in metres as the nearest float.
    pub fn radius_metres(&self) -> f64 {
        float(self.radius())
    }
}

/// The capacity for two coordinates of nine decimals and a radius.
const TYPICAL_BYTES: usize = 32;

fn float(digits: &str) -> f64 {
    digits
        .parse()
        .expect("the digits of a query are decimal numbers, which parse as floats")
}

/// Appends the number times 1000: the decimal point three places to the right, without redundant
/// zeros.
fn push_times_1000(text: &mut String, number: Decimal<'_>) {
    let zeros = number.fraction().iter().rev();
    let significant = number.fraction().len() - zeros.take_while(|&&digit| digit == b'0').count();
    let fraction = &number.fraction()[..significant];
    let (thousandths, rest) = fraction.split_at(fraction.len().min(3));
    let padding = &b"000"[thousandths.len()..];
    let whole = number.whole().iter().chain(thousandths).chain(padding);
    let start = text.len();
    text.extend(
        whole
            .skip_while(|&&digit| digit == b'0')
            .map(|&digit| char::from(digit)),
    );
    if text.len() == start {
        text.push('0');
    }
    if !rest.is_empty() {
        text.push('.');
        text.extend(rest.iter().map(|&digit| char::from(digit)));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Creates a query from the digits of a client.
    pub(in crate::places) fn query(position: &str, radius_km: &str, limit: usize) -> PlacesQuery {
        let position = Position::parse(position.as_bytes()).unwrap();
        PlacesQuery::new(
            position,
            Decimal::parse(radius_km.as_bytes()).unwrap(),
            limit,
        )
    }

    #[test]
    fn keeps_the_digits_of_coordinates() {
        for (position, latitude, longitude) in [
            ("+34.068930-118.445127", "34.068930", "-118.445127"),
            ("-0+0/", "-0", "0"),
            ("-007.10+000", "-007.10", "000"),
            (
                "+0.0000000000000000000000000001-180.000",
                "0.0000000000000000000000000001",
                "-180.000",
            ),
        ] {
            let query = query(position, "1", 1);
            assert_eq!(query.latitude(), latitude);
            assert_eq!(query.longitude(), longitude);
        }
        let ucla = query("+34.068930-118.445127", "10", 5);
        assert_eq!(ucla.degrees(), (34.068930, -118.445127));
        assert_eq!(ucla.radius_metres(), 10_000.0);
    }

    #[test]
    fn converts_a_radius_to_metres_exactly() {
        for (km, metres) in [
            ("10", "10000"),
            ("50.000", "50000"),
            ("0.5", "500"),
            ("0.50", "500"),
            ("0.0001", "0.1"),
            ("1.2345", "1234.5"),
            ("1.23450", "1234.5"),
            ("00012.040", "12040"),
            ("0", "0"),
            ("000.000", "0"),
            ("0.0000000000000000000001", "0.0000000000000000001"),
            (
                "0.1000000000000000055511151231257827",
                "100.0000000000000055511151231257827",
            ),
        ] {
            assert_eq!(query("+0+0", km, 1).radius(), metres, "{km}");
        }
    }

    #[test]
    fn equal_digits_make_equal_queries() {
        let first = query("+1.5+2", "0.5", 3);
        assert_eq!(first, query("+1.5+2/", "00.500", 3));
        assert_ne!(first, query("+1.50+2", "0.5", 3));
        assert_ne!(first, query("+1.5+2", "0.5", 4));
        assert_ne!(query("+1+12", "1", 3), query("+1+1", "21", 3));
    }

    proptest! {
        #[test]
        fn metres_are_1000_times_the_kilometres(km in "[0-9]{1,3}(\\.[0-9]{1,9})?") {
            let metres = query("+0+0", &km, 1).radius_metres();
            let expected = km.parse::<f64>().unwrap() * 1000.0;
            prop_assert!((metres - expected).abs() <= expected * 1e-12, "{metres} {expected}");
        }
    }
}

//! Distances along the ground, on a sphere of the earth's mean radius.
//!
//! The chord between two points of a sphere grows with the distance along its
//! surface, so the nearest by chord in space are the nearest on the ground,
//! everywhere, poles and 180th meridian included. Distances are true to about a
//! nanometre on that sphere (near the far side of the earth, to a few
//! centimetres), which itself differs from the real earth by up to half a
//! percent.

use std::f64::consts::FRAC_PI_2;

/// The mean radius of the earth (IUGG), in metres.
pub const EARTH_RADIUS_METRES: f64 = 6_371_008.8;

/// Added to a radius, in metres: far more than the arithmetic is off by, so that what is at exactly the radius is in.
const RADIUS_TOLERANCE_METRES: f64 = 1e-6;

/// A point given by its latitude and longitude in degrees, on the unit sphere.
pub fn on_unit_sphere((latitude, longitude): (f64, f64)) -> [f64; 3] {
    let (sin_latitude, cos_latitude) = sin_cos(latitude);
    let (sin_longitude, cos_longitude) = sin_cos(longitude);
    [
        cos_latitude * cos_longitude,
        cos_latitude * sin_longitude,
        sin_latitude,
    ]
}

/// The square of the chord between two points on the unit sphere, in earth
/// radii: compares as the distance does.
pub fn chord_squared(one: [f64; 3], other: [f64; 3]) -> f64 {
    let [x, y, z] = std::array::from_fn(|axis| one[axis] - other[axis]);
    x * x + y * y + z * z
}

/// The square of the longest chord, in earth radii, that is within so many
/// metres along the ground; half the globe at most.
pub fn reach_squared(metres: f64) -> f64 {
    let half_angle =
        ((metres + RADIUS_TOLERANCE_METRES) / (2.0 * EARTH_RADIUS_METRES)).clamp(0.0, FRAC_PI_2);
    (2.0 * half_angle.sin()).powi(2)
}

/// How many metres along the ground a chord spans, from its square in earth
/// radii.
pub fn metres(chord_squared: f64) -> f64 {
    2.0 * EARTH_RADIUS_METRES * (chord_squared.sqrt() / 2.0).min(1.0).asin()
}

/// Sine and cosine of an angle in degrees. Exactly zero where they are: a pole has every longitude and the 180th
/// meridian has two names, and each is one point all the same, or points there would not be as far as one another.
fn sin_cos(degrees: f64) -> (f64, f64) {
    let (sine, cosine) = degrees.to_radians().sin_cos();
    match degrees.abs() {
        180.0 => (0.0, cosine),
        90.0 => (sine, 0.0),
        _ => (sine, cosine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_of_many_names_is_one_point() {
        for names in [
            [(90.0, 0.0), (90.0, 135.0), (90.0, -180.0)],
            [(-90.0, 0.0), (-90.0, 90.0), (-90.0, 12.3)],
            [(34.5, 180.0), (34.5, -180.0), (34.5, 180.0)],
        ] {
            let images = names.map(on_unit_sphere);
            assert_eq!(images, [images[0]; 3]);
        }
    }

    #[test]
    fn a_degree_of_the_equator_and_half_the_globe_are_as_long_as_they_are() {
        let from = on_unit_sphere((0.0, 0.0));
        let away = |to| metres(chord_squared(from, on_unit_sphere(to)));
        let degree = EARTH_RADIUS_METRES * 1_f64.to_radians();
        assert!((away((0.0, 1.0)) - degree).abs() < 1e-8);
        assert!((away((1.0, 0.0)) - degree).abs() < 1e-8);
        assert_eq!(
            away((0.0, 180.0)),
            EARTH_RADIUS_METRES * std::f64::consts::PI
        );
        assert_eq!(away((0.0, 0.0)), 0.0);
    }

    #[test]
    fn what_is_at_exactly_a_distance_is_within_it() {
        let degree = EARTH_RADIUS_METRES * 1_f64.to_radians();
        let chord = chord_squared(on_unit_sphere((0.0, 0.0)), on_unit_sphere((0.0, 1.0)));
        assert!(chord <= reach_squared(degree));
        assert!(chord > reach_squared(degree - 1e-4));
        assert_eq!(reach_squared(f64::INFINITY), 4.0);
    }
}

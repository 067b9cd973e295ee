//! Distances along the ground, on a sphere of the earth's mean radius.
//!
//! The chord between two points of a sphere grows with the distance along its
//! surface, so the nearest by chord in space are the nearest on the ground,
//! everywhere, poles and 180th meridian included. Distances are true to about a
//! nanometre on that sphere (near the far side of the earth, to a few
//! centimetres), which itself differs from the real earth by up to half a
//! percent.

use std::f64::consts::FRAC_PI_2;

/// Mean radius of the earth (IUGG), in metres.
pub const EARTH_RADIUS_METRES: f64 = 6_371_008.8;

/// Tolerance added to a radius, in metres: far more than the rounding error, so that a point at
/// exactly the radius is within it.
const RADIUS_TOLERANCE_METRES: f64 = 1e-6;

/// Returns the point on the unit sphere for a latitude and a longitude in degrees.
pub fn on_unit_sphere((latitude, longitude): (f64, f64)) -> [f64; 3] {
    let (sin_latitude, cos_latitude) = sin_cos(latitude);
    let (sin_longitude, cos_longitude) = sin_cos(longitude);
    [
        cos_latitude * cos_longitude,
        cos_latitude * sin_longitude,
        sin_latitude,
    ]
}

/// Returns the square of the chord between two points on the unit sphere, in earth radii. It has
/// the same order as the distance.
pub fn chord_squared(one: [f64; 3], other: [f64; 3]) -> f64 {
    let [x, y, z] = std::array::from_fn(|axis| one[axis] - other[axis]);
    x * x + y * y + z * z
}

/// Returns the square of the longest chord, in earth radii, that spans at most `metres` along the
/// ground; half the globe at most.
pub fn reach_squared(metres: f64) -> f64 {
    let half_angle =
        ((metres + RADIUS_TOLERANCE_METRES) / (2.0 * EARTH_RADIUS_METRES)).clamp(0.0, FRAC_PI_2);
    (2.0 * half_angle.sin()).powi(2)
}

/// Returns the metres along the ground that a chord spans, from its square in earth radii.
pub fn metres(chord_squared: f64) -> f64 {
    2.0 * EARTH_RADIUS_METRES * (chord_squared.sqrt() / 2.0).min(1.0).asin()
}

/// Returns sine and cosine of an angle in degrees, exactly zero where they are. A pole has every
/// longitude, and the 180th meridian has two names; each must be one point, so that distances from
/// it are equal.
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
    fn a_point_with_several_coordinates_is_one_point() {
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
    fn distances_on_the_equator_and_across_the_globe_are_exact() {
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
    fn a_point_at_exactly_the_radius_is_within_it() {
        let degree = EARTH_RADIUS_METRES * 1_f64.to_radians();
        let chord = chord_squared(on_unit_sphere((0.0, 0.0)), on_unit_sphere((0.0, 1.0)));
        assert!(chord <= reach_squared(degree));
        assert!(chord > reach_squared(degree - 1e-4));
        assert_eq!(reach_squared(f64::INFINITY), 4.0);
    }
}

//! The nearest places to a point: an R*-tree over points on the unit sphere.
//!
//! The nearest by chord in space are the nearest on the ground; [`sphere`](crate::model::sphere)
//! explains why.
//!
//! The index refers to places by number only. Places that share a point, for example where
//! addresses were geocoded by town, are one entry.

use std::ops::Range;

use rstar::RTree;
use rstar::primitives::GeomWithData;

use crate::model::sphere::{on_unit_sphere, reach_squared};

/// The index of the places of a catalogue by their coordinates.
pub(super) struct Index {
    tree: RTree<PointEntry>,
}

/// A point on the unit sphere and the numbers of the places on it.
type PointEntry = GeomWithData<[f64; 3], Range<u32>>;

/// A point found by a search.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IndexHit {
    /// The numbers of the places on the point.
    pub(super) numbers: Range<u32>,
    /// The square of the chord to the point, in earth radii. It orders points as the distance does,
    /// at no further cost.
    pub(super) chord_squared: f64,
}

impl Index {
    /// Indexes places by their (latitude, longitude) in degrees, numbered in the order of the
    /// iterator.
    ///
    /// Consecutive places that share a point share an entry, so a caller should group such places.
    pub(super) fn new(points: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut entries: Vec<PointEntry> = Vec::new();
        let mut previous = None;
        for (number, point) in (0..).zip(points) {
            match entries.last_mut() {
                Some(entry) if previous == Some(point) => entry.data.end = number + 1,
                _ => entries.push(PointEntry::new(on_unit_sphere(point), number..number + 1)),
            }
            previous = Some(point);
        }
        Index {
            tree: RTree::bulk_load(entries),
        }
    }

    /// Returns the nearest points within a radius in metres, nearest first: enough of them for
    /// `limit` places, or all.
    ///
    /// Points at exactly the distance of the last one needed are included. The caller decides which
    /// of them to prefer.
    pub(super) fn nearest(
        &self,
        latitude: f64,
        longitude: f64,
        radius: f64,
        limit: usize,
    ) -> Vec<IndexHit> {
        let max_squared = reach_squared(radius);
        let from = on_unit_sphere((latitude, longitude));
        let mut found: Vec<IndexHit> = Vec::new();
        let mut remaining = limit;
        let mut last = 0.0;
        for (entry, chord_squared) in self.tree.nearest_neighbor_iter_with_distance_2(from) {
            // The inverse test, `chord_squared > max_squared`, would accept a NaN.
            let near = chord_squared <= max_squared;
            if !near || remaining == 0 && chord_squared > last {
                break;
            }
            let numbers = entry.data.clone();
            remaining = remaining.saturating_sub(numbers.len());
            last = chord_squared;
            found.push(IndexHit {
                numbers,
                chord_squared,
            });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::sphere::EARTH_RADIUS_METRES;

    /// Returns the great-circle distance in metres by the haversine formula, which is independent
    /// of the index.
    fn haversine(a: (f64, f64), b: (f64, f64)) -> f64 {
        let (lat_a, lat_b) = (a.0.to_radians(), b.0.to_radians());
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lon = (b.1 - a.1).to_radians() / 2.0;
        let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_METRES * h.min(1.0).sqrt().asin()
    }

    /// Returns the numbers of the places found.
    fn nearest(points: &[(f64, f64)], from: (f64, f64), radius: f64, limit: usize) -> Vec<u32> {
        let index = Index::new(points.iter().copied());
        let found = index.nearest(from.0, from.1, radius, limit);
        found.into_iter().flat_map(|found| found.numbers).collect()
    }

    /// Generates points everywhere, with a preference for edge cases: poles, meridians and
    /// duplicates.
    fn point() -> impl Strategy<Value = (f64, f64)> {
        let latitude = prop_oneof![
            -90.0..=90.0,
            Just(90.0),
            Just(-90.0),
            89.7..=90.0,
            -90.0..=-89.7,
            -0.2..=0.2,
            (-4..=4).prop_map(|steps| f64::from(steps) * 0.1),
        ];
        let longitude = prop_oneof![
            -180.0..=180.0,
            Just(180.0),
            Just(-180.0),
            179.8..=180.0,
            -180.0..=-179.8,
            -0.2..=0.2,
            (-4..=4).prop_map(|steps| f64::from(steps) * 0.1),
        ];
        (latitude, longitude)
    }

    /// Asserts that a result omits no nearer point, holds no duplicate and no point beyond the
    /// radius, and is sorted by distance.
    fn check(points: &[(f64, f64)], from: (f64, f64), radius: f64, limit: usize) {
        // The error of both measures is smaller than this, in metres, at up to 50 km.
        const TOLERANCE: f64 = 1e-5;
        let mut numbers = nearest(points, from, radius, limit);
        let away: Vec<f64> = numbers
            .iter()
            .map(|&number| haversine(from, points[number as usize]))
            .collect();
        assert!(away.windows(2).all(|pair| pair[0] <= pair[1] + TOLERANCE));
        assert!(away.iter().all(|&away| away <= radius + TOLERANCE));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), away.len());

        let mut all: Vec<f64> = points.iter().map(|&point| haversine(from, point)).collect();
        all.sort_by(f64::total_cmp);
        let surely_in = all
            .iter()
            .filter(|&&away| away <= radius - TOLERANCE)
            .count();
        assert!(away.len() >= surely_in.min(limit));
        for (away, nearest) in away.iter().zip(&all) {
            assert!(
                (away - nearest).abs() <= TOLERANCE,
                "{away} is not {nearest}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn agrees_with_a_scan_of_every_point(
            points in proptest::collection::vec(point(), 0..120),
            from in point(),
            radius in prop_oneof![Just(0.0), 0.0..=50_000.0, Just(50_000.0)],
            limit in 1..=20_usize,
        ) {
            check(&points, from, radius, limit);
        }
    }

    #[test]
    fn a_pole_has_every_longitude() {
        let points = [(90.0, 0.0), (90.0, 135.0), (-90.0, 0.0)];
        assert_eq!(nearest(&points, (90.0, -77.0), 0.0, 20).len(), 2);
    }

    #[test]
    fn the_180th_meridian_is_no_boundary() {
        let points = [(0.0, 180.0), (0.0, -180.0), (0.0, -179.9)];
        assert_eq!(nearest(&points, (0.0, 180.0), 0.0, 20).len(), 2);
        assert_eq!(nearest(&points, (0.0, 179.9), 25_000.0, 20).len(), 3);
    }

    #[test]
    fn includes_a_place_at_exactly_the_radius() {
        // One degree along the equator.
        let radius = EARTH_RADIUS_METRES * 1_f64.to_radians();
        let points = [(0.0, 1.0)];
        assert_eq!(nearest(&points, (0.0, 0.0), radius, 1), [0]);
        assert!(nearest(&points, (0.0, 0.0), radius - 1e-4, 1).is_empty());
    }

    #[test]
    fn returns_all_ties_with_the_last_place() {
        let (near, far) = ((0.0, 0.0), (1.0, 1.0));
        let points = [far, near, far, far];
        assert_eq!(nearest(&points, near, 200_000.0, 1), [1]);
        let mut all = nearest(&points, near, 200_000.0, 2);
        all[1..].sort_unstable();
        assert_eq!(all, [1, 0, 2, 3]);
    }

    #[test]
    fn places_on_one_point_share_an_entry() {
        let (here, there) = ((1.0, 1.0), (2.0, 2.0));
        let index = Index::new([here, here, there, here].into_iter());
        assert_eq!(index.tree.size(), 3);
        let found = index.nearest(2.0, 2.0, 0.0, 20);
        assert_eq!(found[0].numbers, 2..3);
    }

    #[test]
    fn an_invalid_point_has_no_places() {
        let points = [(0.0, 0.0), (1.0, 1.0)];
        assert!(nearest(&points, (f64::NAN, 0.0), 50_000.0, 20).is_empty());
        assert!(nearest(&points, (0.0, f64::INFINITY), 50_000.0, 20).is_empty());
        assert!(nearest(&points, (0.0, 0.0), f64::NAN, 20).is_empty());
    }
}

//! Clients near a point, nearest first.

use crate::model::sphere::{
    EARTH_RADIUS_METRES, chord_squared, metres, on_unit_sphere, reach_squared,
};
use crate::model::timestamp::UnixNanos;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::scan_visible;
use super::top_k::TopK;

/// Tolerance of the band of latitudes, in degrees: far more than the rounding error of a chord, at
/// the antipode too. It costs nothing, since every chord in the band is computed.
const BAND_TOLERANCE_DEGREES: f64 = 1e-4;

/// A query for clients near a point.
#[derive(Clone, Debug)]
pub struct NearbyQuery {
    /// Latitude and longitude of the point, in degrees.
    pub centre: (f64, f64),
    /// Maximum distance along the ground, in metres.
    pub radius_metres: f64,
    /// Maximum number of clients in the answer.
    pub limit: usize,
    /// A client that is left out of the answer.
    pub exclude: Option<String>,
}

/// A client near the point, with the value that the caller made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NearbyClient<T> {
    /// Distance along the ground, in metres.
    pub metres: f64,
    /// The caller's value.
    pub client: T,
}

/// Returns the clients near the point whose report is not expired at `now`: nearest first, and at
/// equal distance in the order of their IDs. `make` makes the value of a client; it must be quick,
/// since it runs under a lock. `between` is called while no lock is held.
pub fn scan<T>(
    replica: &Replica,
    now: UnixNanos,
    query: &NearbyQuery,
    mut make: impl FnMut(&StoredReport<'_>) -> T,
    between: impl FnMut(),
) -> Vec<NearbyClient<T>> {
    let centre = on_unit_sphere(query.centre);
    let mut nearest = TopK::<(Chord, String), T>::new(query.limit);
    let mut reach = Reach::new(reach_squared(query.radius_metres));
    let add = |stored: &StoredReport<'_>| {
        let report = &stored.report;
        if !reach.has_latitude(query.centre.0, report.position.latitude_degrees()) {
            return;
        }
        let id = report.client.text();
        let chord = chord_squared(centre, on_unit_sphere(report.position.degrees()));
        let is_match = chord <= reach.chord && query.exclude.as_deref() != Some(id);
        let chord = Chord(chord);
        if is_match && nearest.has_room(|(last, last_id)| (chord, id) < (*last, last_id)) {
            nearest.push((chord, id.to_owned()), make(stored));
            reach.shorten(nearest.last().map(|&(Chord(last), _)| last));
        }
    };
    scan_visible(replica, now, add, between);
    let found = |((Chord(chord), _), client)| NearbyClient {
        metres: metres(chord),
        client,
    };
    nearest.into_sorted().into_iter().map(found).collect()
}

/// The longest chord of a match, as the square in earth radii, and the difference of latitude that
/// it spans at most: the distance along the ground, in degrees. Comparing latitudes first saves
/// most of the trigonometry.
struct Reach {
    chord: f64,
    band: f64,
}

impl Reach {
    fn new(chord: f64) -> Self {
        let angle = (metres(chord) / EARTH_RADIUS_METRES).to_degrees();
        Self {
            chord,
            band: angle + BAND_TOLERANCE_DEGREES,
        }
    }

    fn has_latitude(&self, centre: f64, latitude: f64) -> bool {
        (latitude - centre).abs() <= self.band
    }

    /// Shortens the reach to `chord`, the last one that may be in the answer.
    fn shorten(&mut self, chord: Option<f64>) {
        if let Some(chord) = chord
            && chord < self.chord
        {
            *self = Self::new(chord);
        }
    }
}

/// The square of a chord: a number that is never NaN, so it has a total order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Chord(f64);

impl Eq for Chord {}

impl Ord for Chord {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Chord {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::TestServer;
    use super::*;

    fn answer(server: &TestServer, query: &NearbyQuery) -> Vec<(f64, String)> {
        let make = |stored: &StoredReport<'_>| stored.report.client.text().to_owned();
        let found = scan(&server.replica, server.now, query, make, || ());
        found.into_iter().map(|it| (it.metres, it.client)).collect()
    }

    /// Computes the answer from the distances of all clients.
    fn expected(server: &TestServer, query: &NearbyQuery) -> Vec<(f64, String)> {
        let from = on_unit_sphere(query.centre);
        let mut all = server.visible(server.now, |report| {
            let chord = chord_squared(from, on_unit_sphere(report.position.degrees()));
            (chord, report.client.text().to_owned())
        });
        all.retain(|(chord, id)| {
            *chord <= reach_squared(query.radius_metres) && query.exclude.as_ref() != Some(id)
        });
        all.sort_by(|one, other| one.0.total_cmp(&other.0).then_with(|| one.1.cmp(&other.1)));
        all.truncate(query.limit);
        all.into_iter()
            .map(|(chord, id)| (metres(chord), id))
            .collect()
    }

    /// Returns whole degrees, with a preference for the poles, the 180th meridian and the origin.
    fn point() -> impl Strategy<Value = (i32, i32)> {
        let latitude = prop_oneof![-90..=90, Just(90), Just(-90), -2..=2];
        let longitude = prop_oneof![-180..=180, Just(180), Just(-180), -2..=2];
        (latitude, longitude)
    }

    fn any_query() -> impl Strategy<Value = NearbyQuery> {
        let radius = prop_oneof![
            Just(f64::INFINITY),
            (0u32..500_000).prop_map(f64::from),
            (0u32..20_100_000).prop_map(f64::from),
        ];
        let exclude = prop::option::of(0u16..400);
        (point(), radius, 0usize..40, exclude).prop_map(|((lat, lon), radius_metres, limit, id)| {
            NearbyQuery {
                centre: (f64::from(lat), f64::from(lon)),
                radius_metres,
                limit,
                exclude: id.map(|id| format!("c{id}")),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn the_answer_has_the_nearest_clients_that_are_not_expired(
            expire_after in prop::option::of(0u64..40),
            reports in prop::collection::vec((0u16..400, point(), 0u64..60), 0..500),
            now in 0u64..100,
            queries in prop::collection::vec(any_query(), 10),
        ) {
            let mut server = TestServer::new(expire_after);
            for (client, (lat, lon), time) in reports {
                server.report(&format!("c{client}"), &format!("{lat:+}{lon:+}"), time);
            }
            server.set_now(now);
            for query in queries {
                prop_assert_eq!(answer(&server, &query), expected(&server, &query));
            }
        }
    }

    #[test]
    fn clients_at_one_point_are_returned_in_the_order_of_their_ids() {
        let server = TestServer::new(None);
        for client in (0..3000).rev() {
            server.report(&format!("c{client:04}"), "+0+180", 1);
        }
        for radius_metres in [0.0, f64::INFINITY] {
            let query = NearbyQuery {
                centre: (0.0, -180.0),
                radius_metres,
                limit: 3,
                exclude: None,
            };
            let ids: Vec<_> = answer(&server, &query).into_iter().map(|it| it.1).collect();
            assert_eq!(ids, ["c0000", "c0001", "c0002"]);
        }
    }
}

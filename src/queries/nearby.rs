//! Clients near a point, nearest first.
//!
//! Clients that have not moved for a while are in an R-tree over points of the unit sphere (see
//! [`sphere`](crate::model::sphere)). Clients that changed since the tree was built are *pending*:
//! they are scanned one by one, a few nanoseconds each, and their old points in the tree are
//! ignored. The tree is rebuilt when more than a quarter of all clients are pending. A change costs
//! one write to a table, even if many clients have the same position; removing each change from an
//! R-tree would be slow then.

use rstar::RTree;
use rstar::primitives::GeomWithData;

use crate::model::sphere::{chord_squared, metres, on_unit_sphere, reach_squared};
use crate::model::timestamp::{OrderTime, UnixNanos};
use crate::replication::RecordId;
use crate::replication::feed_reader::FeedReader;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::read_changes;
use super::top_k::TopK;

/// Number of pending clients that never causes a rebuild.
const MIN_PENDING: usize = 1024;

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

/// The positions of the clients of one server at the time of the last query.
///
/// Invariant: each client is in the tree with its newest point and sequence number, or it is
/// pending.
///
/// Memory: 56 bytes for each client, and about 70 in the tree.
#[derive(Debug)]
pub struct Nearby {
    reader: FeedReader,
    queried_at: UnixNanos,
    points: Vec<Option<ClientPoint>>,
    tree: RTree<TreePoint>,
    pending: Vec<RecordId>,
    /// Whether the tree has so many expired points that the next query rebuilds it.
    needs_rebuild: bool,
}

/// A client's point, since the change with the sequence number `number`.
#[derive(Clone, Copy, Debug)]
struct ClientPoint {
    point: [f64; 3],
    number: u64,
    time: OrderTime,
    is_pending: bool,
}

/// A point in the tree, with its record and sequence number.
type TreePoint = GeomWithData<[f64; 3], (RecordId, u64)>;

/// The square of the chord to a client that may be near, and the client's record.
type Candidate = (f64, RecordId);

impl Default for Nearby {
    fn default() -> Self {
        Self {
            reader: FeedReader::after(0),
            queried_at: UnixNanos(i64::MIN),
            points: Vec::new(),
            tree: RTree::new(),
            pending: Vec::new(),
            needs_rebuild: false,
        }
    }
}

impl Nearby {
    /// Returns the clients near the point at `now`, by the server's clock: nearest first, and at
    /// equal distance in the order of their IDs. `make` makes the value of a client; it must be
    /// quick (see [`Store::find`]).
    ///
    /// [`Store::find`]: crate::replication::store::Store::find
    pub fn query<T>(
        &mut self,
        replica: &Replica,
        now: UnixNanos,
        query: &NearbyQuery,
        mut make: impl FnMut(&StoredReport<'_>) -> T,
    ) -> Vec<NearbyClient<T>> {
        self.catch_up(replica, now);
        let (from, reach) = (
            on_unit_sphere(query.centre),
            reach_squared(query.radius_metres),
        );
        let mut nearest = TopK::<(Chord, String), T>::new(query.limit);
        for (_, id) in self.candidates(replica, now, query) {
            // The client may have moved since it was found; its current position counts.
            replica.store().get(id, |stored| {
                let report = &stored.report;
                let id = report.client.text();
                let chord = chord_squared(from, on_unit_sphere(report.position.degrees()));
                let is_match = chord <= reach
                    && query.exclude.as_deref() != Some(id)
                    && !replica.is_expired(report.order_time(), now);
                let chord = Chord(chord);
                if is_match && nearest.has_room(|(last, last_id)| (chord, id) < (*last, last_id)) {
                    nearest.push((chord, id.to_owned()), make(&stored));
                }
            });
        }
        let found = |((Chord(chord), _), client)| NearbyClient {
            metres: metres(chord),
            client,
        };
        nearest.into_sorted().into_iter().map(found).collect()
    }

    fn catch_up(&mut self, replica: &Replica, now: UnixNanos) {
        // An expired report may be valid again after the clock went back.
        if now < self.queried_at {
            *self = Self::default();
        }
        self.queried_at = now;
        let mut reader = self.reader;
        let extract = |id, stored: &StoredReport<'_>| {
            let report = &stored.report;
            let degrees = report.position.degrees();
            (id, stored.number, degrees, report.order_time())
        };
        read_changes(
            &mut reader,
            replica,
            extract,
            |(id, number, degrees, time)| {
                let point = on_unit_sphere(degrees);
                self.apply(id, point, number, time);
            },
        );
        self.reader = reader;
        let max_pending = MIN_PENDING.max(self.tree.size() / 4);
        if self.pending.len() > max_pending || self.needs_rebuild {
            self.rebuild(replica, now);
        }
    }

    fn apply(&mut self, id: RecordId, point: [f64; 3], number: u64, time: OrderTime) {
        let index = id.0 as usize;
        if index >= self.points.len() {
            self.points.resize(index + 1, None);
        }
        let client_point = ClientPoint {
            point,
            number,
            time,
            is_pending: true,
        };
        let was_pending = self.points[index]
            .replace(client_point)
            .is_some_and(|old| old.is_pending);
        if !was_pending {
            self.pending.push(id);
        }
    }

    /// Rebuilds the tree from the points that are not expired. Expired points are dropped: they can
    /// only become valid again if the clock goes back.
    fn rebuild(&mut self, replica: &Replica, now: UnixNanos) {
        let mut tree_points = Vec::new();
        for (id, entry) in (0..).map(RecordId).zip(&mut self.points) {
            let Some(client_point) = entry else { continue };
            client_point.is_pending = false;
            if is_expired(client_point, replica, now) {
                *entry = None
            } else {
                tree_points.push(TreePoint::new(
                    client_point.point,
                    (id, client_point.number),
                ))
            }
        }
        self.pending.clear();
        self.tree = RTree::bulk_load(tree_points);
        self.needs_rebuild = false;
    }

    /// Returns the nearest clients by the view's points: as many as the query's limit, one more for
    /// the excluded client, and all that are as far away as the last.
    fn candidates(
        &mut self,
        replica: &Replica,
        now: UnixNanos,
        query: &NearbyQuery,
    ) -> Vec<Candidate> {
        let from = on_unit_sphere(query.centre);
        let reach = reach_squared(query.radius_metres);
        let limit = query.limit + usize::from(query.exclude.is_some());
        let mut found = self.tree_candidates(from, reach, limit, |client_point| {
            !is_expired(client_point, replica, now)
        });
        found.extend(self.pending.iter().filter_map(|&id| {
            let client_point = self.points[id.0 as usize].as_ref()?;
            let chord = chord_squared(from, client_point.point);
            (chord <= reach && !is_expired(client_point, replica, now)).then_some((chord, id))
        }));
        nearest_of(found, limit)
    }

    fn tree_candidates(
        &mut self,
        from: [f64; 3],
        reach: f64,
        limit: usize,
        is_valid: impl Fn(&ClientPoint) -> bool,
    ) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        let mut expired = 0;
        for (tree_point, chord) in self.tree.nearest_neighbor_iter_with_distance_2(from) {
            let last = found.last().map_or(0.0, |&(chord, _)| chord);
            if chord > reach || found.len() >= limit && chord > last {
                break;
            }
            let (id, number) = tree_point.data;
            match &self.points[id.0 as usize] {
                Some(client_point) if client_point.number != number => {}
                Some(client_point) if is_valid(client_point) => found.push((chord, id)),
                _ => expired += 1,
            }
        }
        self.needs_rebuild = expired > MIN_PENDING.max(self.tree.size() / 4);
        found
    }
}

fn is_expired(client_point: &ClientPoint, replica: &Replica, now: UnixNanos) -> bool {
    replica.is_expired(client_point.time, now)
}

/// Returns the `limit` nearest candidates, and all that are as far away as the last of them.
fn nearest_of(mut candidates: Vec<Candidate>, limit: usize) -> Vec<Candidate> {
    if candidates.len() <= limit {
        return candidates;
    }
    let Some(last) = limit.checked_sub(1) else {
        return Vec::new();
    };
    let (_, &mut (last, _), _) =
        candidates.select_nth_unstable_by(last, |one, other| one.0.total_cmp(&other.0));
    candidates.retain(|&(chord, _)| chord <= last);
    candidates
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

    const UNLIMITED: f64 = f64::INFINITY;

    fn near(centre: (f64, f64), radius: f64, limit: usize) -> NearbyQuery {
        NearbyQuery {
            centre,
            radius_metres: radius,
            limit,
            exclude: None,
        }
    }

    fn run_query(
        nearby: &mut Nearby,
        server: &TestServer,
        query: &NearbyQuery,
    ) -> Vec<(f64, String)> {
        let make = |stored: &StoredReport<'_>| stored.report.client.text().to_owned();
        let found = nearby.query(&server.replica, server.now, query, make);
        found.into_iter().map(|it| (it.metres, it.client)).collect()
    }

    /// Computes the answer by a scan of all clients.
    fn expected(server: &TestServer, query: &NearbyQuery) -> Vec<(f64, String)> {
        let from = on_unit_sphere(query.centre);
        let mut all = server.unexpired(|report| {
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

    #[derive(Clone, Debug)]
    enum NearbyStep {
        /// Clients report: first client, number of clients, position, time.
        Report(u16, u16, (i32, i32), u64),
        Advance(u64),
        SetClock(u64),
        Purge,
        Query((i32, i32), Option<u32>, usize, Option<u16>),
    }

    /// Returns whole degrees, with a preference for the poles, the 180th meridian and the origin,
    /// and with many clients on one point.
    fn point() -> impl Strategy<Value = (i32, i32)> {
        let latitude = prop_oneof![-90..=90, Just(90), Just(-90), -2..=2];
        let longitude = prop_oneof![-180..=180, Just(180), Just(-180), -2..=2];
        (latitude, longitude)
    }

    fn any_step() -> impl Strategy<Value = NearbyStep> {
        let radius = prop::option::of(prop_oneof![0u32..500_000, 0u32..20_000_000]);
        let exclude = prop::option::of(0u16..400);
        prop_oneof![
            8 => (0u16..4000, prop_oneof![1u16..4, Just(1500)], point(), 0u64..100)
                .prop_map(|(first, count, at, time)| NearbyStep::Report(first, count, at, time)),
            2 => (0u64..4).prop_map(NearbyStep::Advance),
            1 => (0u64..60).prop_map(NearbyStep::SetClock),
            1 => Just(NearbyStep::Purge),
            3 => (point(), radius, 0usize..40, exclude)
                .prop_map(|(centre, radius, limit, exclude)| {
                    NearbyStep::Query(centre, radius, limit, exclude)
                }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn the_answer_equals_that_of_a_full_scan(
            expire_after in prop::option::of(0u64..40),
            steps in prop::collection::vec(any_step(), 1..60),
        ) {
            let (mut server, mut nearby) = (TestServer::new(expire_after), Nearby::default());
            let mut seconds = 0;
            for step in steps {
                match step {
                    NearbyStep::Report(first, count, (lat, lon), time) => {
                        for client in first..first + count {
                            let lat = (lat + i32::from(client % 3)).clamp(-90, 90);
                            server.report(&format!("c{client}"), &format!("{lat:+}{lon:+}"), time);
                        }
                    }
                    NearbyStep::Advance(more) => seconds += more,
                    NearbyStep::SetClock(to) => {
                        nearby.catch_up(&server.replica, server.now);
                        seconds = to;
                    }
                    NearbyStep::Purge => server.purge(),
                    NearbyStep::Query((lat, lon), radius, limit, exclude) => {
                        let query = NearbyQuery {
                            centre: (f64::from(lat), f64::from(lon)),
                            radius_metres: radius.map_or(UNLIMITED, f64::from),
                            limit,
                            exclude: exclude.map(|client| format!("c{client}")),
                        };
                        let found = run_query(&mut nearby, &server, &query);
                        prop_assert_eq!(found, expected(&server, &query));
                    }
                }
                server.set_now(seconds);
            }
        }
    }

    #[test]
    fn clients_at_one_point_are_returned_in_the_order_of_their_ids() {
        let (mut server, mut nearby) = (TestServer::new(None), Nearby::default());
        for round in 1..4 {
            for client in 0..3000 {
                server.report(&format!("c{client:04}"), "+0+180", round);
            }
            let ids: Vec<_> = run_query(&mut nearby, &server, &near((0.0, -180.0), 0.0, 3))
                .into_iter()
                .map(|(_, id)| id)
                .collect();
            assert_eq!(ids, ["c0000", "c0001", "c0002"]);
        }
        assert!(
            nearby.pending.len() <= MIN_PENDING.max(3000 / 4),
            "the tree was rebuilt"
        );
    }

    #[test]
    fn a_tree_of_expired_points_is_rebuilt() {
        let (mut server, mut nearby) = (TestServer::new(Some(10)), Nearby::default());
        for client in 0..4000 {
            server.report(&format!("c{client}"), "+1+1", 5);
        }
        assert_eq!(
            run_query(&mut nearby, &server, &near((0.0, 0.0), UNLIMITED, 1)).len(),
            1
        );
        assert_eq!(nearby.tree.size(), 4000);
        server.set_now(100);
        for _ in 0..2 {
            assert_eq!(
                run_query(&mut nearby, &server, &near((0.0, 0.0), UNLIMITED, 1)),
                []
            );
        }
        assert_eq!(nearby.tree.size(), 0);
    }
}

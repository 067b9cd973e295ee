//! Which clients are near, nearest first.
//!
//! Clients that have not moved for a while stand in an R-tree over points of
//! the unit sphere ([`sphere`](crate::model::sphere) tells why that is right).
//! The others, which changed since the tree was made, are *pending*: they are
//! looked at one by one, which costs a few nanoseconds each, and what the tree
//! still says of them is passed over. When a quarter of all are pending the tree
//! is made anew. So keeping up costs a write into a table for each change, and
//! no crowd on one point makes it dearer, as it would make an R-tree from which
//! each change is taken out.

use rstar::RTree;
use rstar::primitives::GeomWithData;

use crate::model::sphere::{chord_squared, metres, on_unit_sphere, reach_squared};
use crate::model::timestamp::{ClientTime, Timestamp, UnixNanos};
use crate::replication::RecordId;
use crate::replication::feed_reader::FeedReader;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::read_changes;
use super::top_k::TopK;

/// So max_pending may always be pending.
const MIN_PENDING: usize = 1024;

/// What is near?
#[derive(Clone, Debug)]
pub struct NearbyQuery {
    /// Near this latitude and longitude, in degrees.
    pub centre: (f64, f64),
    /// Within so max_pending metres along the ground.
    pub radius_metres: f64,
    /// So max_pending at limit.
    pub limit: usize,
    /// This client is not meant.
    pub exclude: Option<String>,
}

/// A client that is near, as the asker wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct NearbyClient<T> {
    /// How far it is, in metres along the ground.
    pub metres: f64,
    /// What was made of it.
    pub client: T,
}

/// Where the clients of one server are, as of the last query.
///
/// Invariant: of each client, either the tree holds its newest point under its
/// newest number, or it is pending.
///
/// Memory: 56 bytes for each client, and about 70 in the tree.
#[derive(Debug)]
pub struct Nearby {
    reader: FeedReader,
    queried_at: UnixNanos,
    client_points: Vec<Option<ClientPoint>>,
    tree: RTree<TreePoint>,
    pending: Vec<RecordId>,
    /// The tree holds so max_pending that are expired that it had better be made anew.
    needs_rebuild: bool,
}

/// Where a client is, since the change `number`.
#[derive(Clone, Copy, Debug)]
struct ClientPoint {
    point: [f64; 3],
    number: u64,
    time: ClientTime,
    is_pending: bool,
}

/// A point in the tree: whose, and as of which change.
type TreePoint = GeomWithData<[f64; 3], (RecordId, u64)>;

/// A id whose client may be near, and the square of the chord to it.
type Candidate = (f64, RecordId);

impl Default for Nearby {
    fn default() -> Self {
        Self {
            reader: FeedReader::after(0),
            queried_at: UnixNanos(i64::MIN),
            client_points: Vec::new(),
            tree: RTree::new(),
            pending: Vec::new(),
            needs_rebuild: false,
        }
    }
}

impl Nearby {
    /// The clients that are near at `now`, by the server's clock: nearest first,
    /// and of those as far, by their IDs. `make` makes of each what is query,
    /// and must be quick (see [`Store::find`]).
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
            // It may have moved on since it was looked up: what counts is where
            // it is now.
            replica.store().get(id, |stored| {
                let report = &stored.report;
                let id = report.client.text();
                let chord = chord_squared(from, on_unit_sphere(report.position.degrees()));
                let is_match = chord <= reach
                    && query.exclude.as_deref() != Some(id)
                    && !replica.is_expired(report.time, now);
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
        // What was expired may be shown again where the clock went back.
        if now < self.queried_at {
            *self = Self::default();
        }
        self.queried_at = now;
        let mut reader = self.reader;
        let extract = |id, stored: &StoredReport<'_>| {
            let report = &stored.report;
            let degrees = report.position.degrees();
            (id, stored.number, degrees, report.time.instant())
        };
        read_changes(
            &mut reader,
            replica,
            extract,
            |(id, number, degrees, time)| {
                let point = on_unit_sphere(degrees);
                self.push(id, point, number, time);
            },
        );
        self.reader = reader;
        let max_pending = MIN_PENDING.max(self.tree.size() / 4);
        if self.pending.len() > max_pending || self.needs_rebuild {
            self.rebuild(replica, now);
        }
    }

    fn push(&mut self, id: RecordId, point: [f64; 3], number: u64, time: ClientTime) {
        let index = id.0 as usize;
        if index >= self.client_points.len() {
            self.client_points.resize(index + 1, None);
        }
        let client_point = ClientPoint {
            point,
            number,
            time,
            is_pending: true,
        };
        let was_pending = self.client_points[index]
            .replace(client_point)
            .is_some_and(|old| old.is_pending);
        if !was_pending {
            self.pending.push(id);
        }
    }

    /// Makes the tree anew, of all that is shown. What is expired is dropped: it
    /// is never shown again but where the clock goes back.
    fn rebuild(&mut self, replica: &Replica, now: UnixNanos) {
        let mut points = Vec::new();
        for (id, index) in (0..).map(RecordId).zip(&mut self.client_points) {
            let Some(client_point) = index else { continue };
            client_point.is_pending = false;
            match is_expired(client_point, replica, now) {
                true => *index = None,
                false => points.push(TreePoint::new(
                    client_point.point,
                    (id, client_point.number),
                )),
            }
        }
        self.pending.clear();
        self.tree = RTree::bulk_load(points);
        self.needs_rebuild = false;
    }

    /// The nearest by what is known here: as max_pending as are query, one more for
    /// the client that is not meant, and all that are as far as the last.
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
            let client_point = self.client_points[id.0 as usize].as_ref()?;
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
        is_shown: impl Fn(&ClientPoint) -> bool,
    ) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        let mut expired = 0;
        for (tree_point, chord) in self.tree.nearest_neighbor_iter_with_distance_2(from) {
            let last = found.last().map_or(0.0, |&(chord, _)| chord);
            if chord > reach || found.len() >= limit && chord > last {
                break;
            }
            let (id, number) = tree_point.data;
            match &self.client_points[id.0 as usize] {
                Some(client_point) if client_point.number != number => {}
                Some(client_point) if is_shown(client_point) => found.push((chord, id)),
                _ => expired += 1,
            }
        }
        self.needs_rebuild = expired > MIN_PENDING.max(self.tree.size() / 4);
        found
    }
}

fn is_expired(client_point: &ClientPoint, replica: &Replica, now: UnixNanos) -> bool {
    replica.is_expired(Timestamp::restore(b"", client_point.time), now)
}

/// The nearest so max_pending, and all that are as far as the last of them.
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

/// The square of a chord, which is a number and so has an order.
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

    fn ask(nearby: &mut Nearby, server: &TestServer, query: &NearbyQuery) -> Vec<(f64, String)> {
        let make = |stored: &StoredReport<'_>| stored.report.client.text().to_owned();
        let found = nearby.query(&server.replica, server.now, query, make);
        found.into_iter().map(|it| (it.metres, it.client)).collect()
    }

    /// The answer, by looking at everyone who is shown.
    fn expected(server: &TestServer, query: &NearbyQuery) -> Vec<(f64, String)> {
        let from = on_unit_sphere(query.centre);
        let mut all = server.shown(|report| {
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
        /// Clients report from here: which, where, when.
        Report(u16, u16, (i32, i32), u64),
        Advance(u64),
        SetClock(u64),
        Purge,
        Query((i32, i32), Option<u32>, usize, Option<u16>),
    }

    /// Whole degrees, with a liking for where things go wrong, so that max_pending are
    /// on one point.
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
                .prop_map(|(from, radius, limit, exclude)| NearbyStep::Query(from, radius, limit, exclude)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn agrees_with_looking_at_everyone_whatever_happened(
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
                        let found = ask(&mut nearby, &server, &query);
                        prop_assert_eq!(found, expected(&server, &query));
                    }
                }
                server.set_now(seconds);
            }
        }
    }

    #[test]
    fn a_crowd_on_one_point_is_found_in_the_order_of_its_ids() {
        let (mut server, mut nearby) = (TestServer::new(None), Nearby::default());
        for round in 1..4 {
            for client in 0..3000 {
                server.report(&format!("c{client:04}"), "+0+180", round);
            }
            let ids: Vec<_> = ask(&mut nearby, &server, &near((0.0, -180.0), 0.0, 3))
                .into_iter()
                .map(|(_, id)| id)
                .collect();
            assert_eq!(ids, ["c0000", "c0001", "c0002"]);
        }
        assert!(
            nearby.pending.len() <= MIN_PENDING.max(3000 / 4),
            "the tree was made"
        );
    }

    #[test]
    fn a_tree_of_the_hidden_is_made_anew() {
        let (mut server, mut nearby) = (TestServer::new(Some(10)), Nearby::default());
        for client in 0..4000 {
            server.report(&format!("c{client}"), "+1+1", 5);
        }
        assert_eq!(
            ask(&mut nearby, &server, &near((0.0, 0.0), UNLIMITED, 1)).len(),
            1
        );
        assert_eq!(nearby.tree.size(), 4000);
        server.set_now(100);
        for _ in 0..2 {
            assert_eq!(
                ask(&mut nearby, &server, &near((0.0, 0.0), UNLIMITED, 1)),
                []
            );
        }
        assert_eq!(nearby.tree.size(), 0);
    }
}

//! Which clients are near, nearest first.
//!
//! Clients that have not moved for a while stand in an R-tree over points of
//! the unit sphere ([`sphere`](crate::model::sphere) tells why that is right).
//! The others, which changed since the tree was made, are *loose*: they are
//! looked at one by one, which costs a few nanoseconds each, and what the tree
//! still says of them is passed over. When a quarter of all are loose the tree
//! is made anew. So keeping up costs a write into a table for each change, and
//! no crowd on one point makes it dearer, as it would make an R-tree from which
//! each change is taken out.

use rstar::RTree;
use rstar::primitives::GeomWithData;

use crate::model::sphere::{chord_squared, metres, on_unit_sphere, reach_squared};
use crate::model::timestamp::{Timestamp, UnixNanos};
use crate::replication::RecordId;
use crate::replication::feed_reader::FeedReader;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::read_on;
use super::top_k::TopK;

/// So many may always be loose.
const FEW: usize = 1024;

/// What is near?
#[derive(Clone, Debug)]
pub struct NearbyQuery {
    /// Near this latitude and longitude, in degrees.
    pub from: (f64, f64),
    /// Within so many metres along the ground.
    pub radius: f64,
    /// So many at most.
    pub most: usize,
    /// This client is not meant.
    pub but: Option<String>,
}

/// A client that is near, as the asker wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct NearbyClient<T> {
    /// How far it is, in metres along the ground.
    pub metres: f64,
    /// What was made of it.
    pub client: T,
}

/// Where the clients of one server are, as of the last question.
///
/// Invariant: of each client, either the tree holds its newest point under its
/// newest number, or it is loose.
///
/// Memory: 56 bytes for each client, and about 70 in the tree.
#[derive(Debug)]
pub struct Nearby {
    tail: FeedReader,
    asked_at: UnixNanos,
    spots: Vec<Option<Spot>>,
    tree: RTree<Planted>,
    loose: Vec<RecordId>,
    /// The tree holds so many that are hidden that it had better be made anew.
    is_worn: bool,
}

/// Where a client is, since the change `number`.
#[derive(Clone, Copy, Debug)]
struct Spot {
    point: [f64; 3],
    number: u64,
    time: (u64, u32),
    is_loose: bool,
}

/// A point in the tree: whose, and as of which change.
type Planted = GeomWithData<[f64; 3], (RecordId, u64)>;

/// A slot whose client may be near, and the square of the chord to it.
type Candidate = (f64, RecordId);

impl Default for Nearby {
    fn default() -> Self {
        Self {
            tail: FeedReader::behind(0),
            asked_at: UnixNanos(i64::MIN),
            spots: Vec::new(),
            tree: RTree::new(),
            loose: Vec::new(),
            is_worn: false,
        }
    }
}

impl Nearby {
    /// The clients that are near at `now`, by the server's clock: nearest first,
    /// and of those as far, by their IDs. `make` makes of each what is wanted,
    /// and must be quick (see [`Store::find`]).
    ///
    /// [`Store::find`]: crate::replication::store::Store::find
    pub fn ask<T>(
        &mut self,
        replica: &Replica,
        now: UnixNanos,
        question: &NearbyQuery,
        mut make: impl FnMut(&StoredReport<'_>) -> T,
    ) -> Vec<NearbyClient<T>> {
        self.catch_up(replica, now);
        let (from, reach) = (
            on_unit_sphere(question.from),
            reach_squared(question.radius),
        );
        let mut nearest = TopK::<(Chord, String), T>::new(question.most);
        for (_, slot) in self.candidates(replica, now, question) {
            // It may have moved on since it was looked up: what counts is where
            // it is now.
            replica.store().at(slot, |held| {
                let report = &held.report;
                let id = report.client.text();
                let chord = chord_squared(from, on_unit_sphere(report.position.degrees()));
                let is_meant = chord <= reach
                    && question.but.as_deref() != Some(id)
                    && !replica.hides(report.time, now);
                let chord = Chord(chord);
                if is_meant && nearest.has_room(|(last, last_id)| (chord, id) < (*last, last_id)) {
                    nearest.put((chord, id.to_owned()), make(&held));
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
        // What was hidden may be shown again where the clock went back.
        if now < self.asked_at {
            *self = Self::default();
        }
        self.asked_at = now;
        let mut tail = self.tail;
        let note = |slot, held: &StoredReport<'_>| {
            let report = &held.report;
            let degrees = report.position.degrees();
            (slot, held.number, degrees, report.time.instant())
        };
        read_on(&mut tail, replica, note, |(slot, number, degrees, time)| {
            let point = on_unit_sphere(degrees);
            self.put(slot, point, number, time);
        });
        self.tail = tail;
        let many = FEW.max(self.tree.size() / 4);
        if self.loose.len() > many || self.is_worn {
            self.plant(replica, now);
        }
    }

    fn put(&mut self, slot: RecordId, point: [f64; 3], number: u64, time: (u64, u32)) {
        let place = slot.0 as usize;
        if place >= self.spots.len() {
            self.spots.resize(place + 1, None);
        }
        let spot = Spot {
            point,
            number,
            time,
            is_loose: true,
        };
        let was_loose = self.spots[place]
            .replace(spot)
            .is_some_and(|old| old.is_loose);
        if !was_loose {
            self.loose.push(slot);
        }
    }

    /// Makes the tree anew, of all that is shown. What is hidden is dropped: it
    /// is never shown again but where the clock goes back.
    fn plant(&mut self, replica: &Replica, now: UnixNanos) {
        let mut points = Vec::new();
        for (slot, place) in (0..).map(RecordId).zip(&mut self.spots) {
            let Some(spot) = place else { continue };
            spot.is_loose = false;
            match is_hidden(spot, replica, now) {
                true => *place = None,
                false => points.push(Planted::new(spot.point, (slot, spot.number))),
            }
        }
        self.loose.clear();
        self.tree = RTree::bulk_load(points);
        self.is_worn = false;
    }

    /// The nearest by what is known here: as many as are wanted, one more for
    /// the client that is not meant, and all that are as far as the last.
    fn candidates(
        &mut self,
        replica: &Replica,
        now: UnixNanos,
        question: &NearbyQuery,
    ) -> Vec<Candidate> {
        let from = on_unit_sphere(question.from);
        let reach = reach_squared(question.radius);
        let most = question.most + usize::from(question.but.is_some());
        let mut found = self.planted_near(from, reach, most, |spot| !is_hidden(spot, replica, now));
        found.extend(self.loose.iter().filter_map(|&slot| {
            let spot = self.spots[slot.0 as usize].as_ref()?;
            let chord = chord_squared(from, spot.point);
            (chord <= reach && !is_hidden(spot, replica, now)).then_some((chord, slot))
        }));
        nearest_of(found, most)
    }

    fn planted_near(
        &mut self,
        from: [f64; 3],
        reach: f64,
        most: usize,
        is_shown: impl Fn(&Spot) -> bool,
    ) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        let mut hidden = 0;
        for (planted, chord) in self.tree.nearest_neighbor_iter_with_distance_2(from) {
            let last = found.last().map_or(0.0, |&(chord, _)| chord);
            if chord > reach || found.len() >= most && chord > last {
                break;
            }
            let (slot, number) = planted.data;
            match &self.spots[slot.0 as usize] {
                Some(spot) if spot.number != number => {}
                Some(spot) if is_shown(spot) => found.push((chord, slot)),
                _ => hidden += 1,
            }
        }
        self.is_worn = hidden > FEW.max(self.tree.size() / 4);
        found
    }
}

fn is_hidden(spot: &Spot, replica: &Replica, now: UnixNanos) -> bool {
    replica.hides(Timestamp::restore(b"", spot.time), now)
}

/// The nearest so many, and all that are as far as the last of them.
fn nearest_of(mut candidates: Vec<Candidate>, most: usize) -> Vec<Candidate> {
    if candidates.len() <= most {
        return candidates;
    }
    let Some(last) = most.checked_sub(1) else {
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

    use super::super::samples::Herd;
    use super::*;

    const ALL: f64 = f64::INFINITY;

    fn near(from: (f64, f64), radius: f64, most: usize) -> NearbyQuery {
        NearbyQuery {
            from,
            radius,
            most,
            but: None,
        }
    }

    fn ask(nearby: &mut Nearby, herd: &Herd, question: &NearbyQuery) -> Vec<(f64, String)> {
        let make = |held: &StoredReport<'_>| held.report.client.text().to_owned();
        let found = nearby.ask(&herd.replica, herd.now, question, make);
        found.into_iter().map(|it| (it.metres, it.client)).collect()
    }

    /// The answer, by looking at everyone who is shown.
    fn expected(herd: &Herd, question: &NearbyQuery) -> Vec<(f64, String)> {
        let from = on_unit_sphere(question.from);
        let mut all = herd.shown(|report| {
            let chord = chord_squared(from, on_unit_sphere(report.position.degrees()));
            (chord, report.client.text().to_owned())
        });
        all.retain(|(chord, id)| {
            *chord <= reach_squared(question.radius) && question.but.as_ref() != Some(id)
        });
        all.sort_by(|one, other| one.0.total_cmp(&other.0).then_with(|| one.1.cmp(&other.1)));
        all.truncate(question.most);
        all.into_iter()
            .map(|(chord, id)| (metres(chord), id))
            .collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Clients report from here: which, where, when.
        Tell(u16, u16, (i32, i32), u64),
        Wait(u64),
        Back(u64),
        Forget,
        Ask((i32, i32), Option<u32>, usize, Option<u16>),
    }

    /// Whole degrees, with a liking for where things go wrong, so that many are
    /// on one point.
    fn point() -> impl Strategy<Value = (i32, i32)> {
        let latitude = prop_oneof![-90..=90, Just(90), Just(-90), -2..=2];
        let longitude = prop_oneof![-180..=180, Just(180), Just(-180), -2..=2];
        (latitude, longitude)
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let radius = prop::option::of(prop_oneof![0u32..500_000, 0u32..20_000_000]);
        let but = prop::option::of(0u16..400);
        prop_oneof![
            8 => (0u16..4000, prop_oneof![1u16..4, Just(1500)], point(), 0u64..100)
                .prop_map(|(first, count, at, time)| Step::Tell(first, count, at, time)),
            2 => (0u64..4).prop_map(Step::Wait),
            1 => (0u64..60).prop_map(Step::Back),
            1 => Just(Step::Forget),
            3 => (point(), radius, 0usize..40, but)
                .prop_map(|(from, radius, most, but)| Step::Ask(from, radius, most, but)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn agrees_with_looking_at_everyone_whatever_happened(
            expire_after in prop::option::of(0u64..40),
            steps in prop::collection::vec(any_step(), 1..60),
        ) {
            let (mut herd, mut nearby) = (Herd::new(expire_after), Nearby::default());
            let mut seconds = 0;
            for step in steps {
                match step {
                    Step::Tell(first, count, (lat, lon), time) => {
                        for client in first..first + count {
                            let lat = (lat + i32::from(client % 3)).clamp(-90, 90);
                            herd.tell(&format!("c{client}"), &format!("{lat:+}{lon:+}"), time);
                        }
                    }
                    Step::Wait(more) => seconds += more,
                    Step::Back(to) => {
                        nearby.catch_up(&herd.replica, herd.now);
                        seconds = to;
                    }
                    Step::Forget => herd.forget(),
                    Step::Ask((lat, lon), radius, most, but) => {
                        let question = NearbyQuery {
                            from: (f64::from(lat), f64::from(lon)),
                            radius: radius.map_or(ALL, f64::from),
                            most,
                            but: but.map(|client| format!("c{client}")),
                        };
                        let found = ask(&mut nearby, &herd, &question);
                        prop_assert_eq!(found, expected(&herd, &question));
                    }
                }
                herd.set_now(seconds);
            }
        }
    }

    #[test]
    fn a_crowd_on_one_point_is_found_in_the_order_of_its_ids() {
        let (mut herd, mut nearby) = (Herd::new(None), Nearby::default());
        for round in 1..4 {
            for client in 0..3000 {
                herd.tell(&format!("c{client:04}"), "+0+180", round);
            }
            let ids: Vec<_> = ask(&mut nearby, &herd, &near((0.0, -180.0), 0.0, 3))
                .into_iter()
                .map(|(_, id)| id)
                .collect();
            assert_eq!(ids, ["c0000", "c0001", "c0002"]);
        }
        assert!(nearby.loose.len() <= FEW.max(3000 / 4), "the tree was made");
    }

    #[test]
    fn a_tree_of_the_hidden_is_made_anew() {
        let (mut herd, mut nearby) = (Herd::new(Some(10)), Nearby::default());
        for client in 0..4000 {
            herd.tell(&format!("c{client}"), "+1+1", 5);
        }
        assert_eq!(ask(&mut nearby, &herd, &near((0.0, 0.0), ALL, 1)).len(), 1);
        assert_eq!(nearby.tree.size(), 4000);
        herd.set_now(100);
        for _ in 0..2 {
            assert_eq!(ask(&mut nearby, &herd, &near((0.0, 0.0), ALL, 1)), []);
        }
        assert_eq!(nearby.tree.size(), 0);
    }
}

//! Sums over the reports of a server: equal states give equal sums, whatever
//! the way that led there.
//!
//! Each client's newest report counts with a fixed hash of its AT line, and the
//! sum of those is kept for each of [`RANGES`] ranges of the clients' hashes: a
//! change adds the new and takes off the old. So a question over whole ranges
//! costs nothing for each client, one over a part of a range looks at the
//! clients of that range only, and two servers that disagree find out where by
//! asking for ever narrower ranges. That a sum shows every difference rests
//! on hashes that nobody set out to make collide: this is a proof against
//! mistakes and not against a server that lies.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use twox_hash::{XxHash3_64, XxHash3_128};

use crate::line_protocol::reply;
use crate::model::report::Report;
use crate::model::timestamp::{Timestamp, UnixNanos};
use crate::replication::RecordId;
use crate::replication::expiry::Expiry;
use crate::replication::feed_reader::FeedReader;
use crate::replication::replica::Replica;

use super::read_on;

/// How many ranges there are whose sums are kept. All are as wide.
pub const RANGES: usize = 1 << RANGE_BITS;
const RANGE_BITS: u32 = 12;

/// How many hashes one range holds.
const WIDTH: u64 = 1 << (u64::BITS - RANGE_BITS);

/// A question about parts of more ranges than this goes over all clients in
/// the order in which they are stored: that takes less time for each of them.
const FEW_RANGES: usize = RANGES / 16;

/// The hash by which clients are parted: XXH3-64 of the ID, with seed 0.
pub fn client_hash(client: &str) -> u64 {
    XxHash3_64::oneshot(client.as_bytes())
}

/// How many reports there are, and the sum of their hashes: XXH3-128 with seed 0
/// of each AT line without its line end, modulo 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub clients: u64,
    /// The sum.
    pub hashes: u128,
}

impl Sum {
    fn add(&mut self, hash: u128) {
        self.clients += 1;
        self.hashes = self.hashes.wrapping_add(hash);
    }

    fn take_off(&mut self, hash: u128) {
        self.clients -= 1;
        self.hashes = self.hashes.wrapping_sub(hash);
    }

    fn join(&mut self, other: Self) {
        self.clients += other.clients;
        self.hashes = self.hashes.wrapping_add(other.hashes);
    }
}

/// A range of hashes in buckets of one width, or as nearly as can be.
///
/// Invariants: `first <= last`; `count` is at least 1 and at most the number of
/// hashes, so that no bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    first: u64,
    last: u64,
    count: usize,
}

impl Buckets {
    /// The hashes from `first` to `last` in `count` buckets; `None` where there
    /// is no hash for each of them, or no bucket.
    pub fn new(first: u64, last: u64, count: usize) -> Option<Self> {
        let hashes = u128::from(last.checked_sub(first)?) + 1;
        (count > 0 && count as u128 <= hashes).then_some(Self { first, last, count })
    }

    /// The least and the greatest hash of each, in order.
    pub fn bounds(self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.count).map(move |bucket| {
            let next = bucket + 1;
            let last = match next == self.count {
                true => self.last,
                false => self.start(next) - 1,
            };
            (self.start(bucket), last)
        })
    }

    fn start(self, bucket: usize) -> u64 {
        let hashes = u128::from(self.last - self.first) + 1;
        // At most 2^64 * 2^63 / 2^0, and the quotient is below the number of hashes.
        self.first + (hashes * bucket as u128 / self.count as u128) as u64
    }

    /// Is each of them a number of whole ranges?
    fn are_whole(self) -> bool {
        self.bounds()
            .all(|(first, last)| first.is_multiple_of(WIDTH) && last % WIDTH == WIDTH - 1)
    }
}

/// The sums of one server, as of when they were last asked for.
///
/// Invariants: each of `ranges` is the sum over those of `clients` in it that are
/// shown; `calendar` holds these by their time, where any report is ever hidden;
/// each slot that holds a client stands once in `members`, in its range.
///
/// Memory: 55 bytes for each client, and about 40 more where reports are hidden.
#[derive(Debug)]
pub struct Digest {
    tail: FeedReader,
    asked_at: UnixNanos,
    clients: Vec<Option<Client>>,
    ranges: Box<[Sum]>,
    members: Box<[Vec<RecordId>]>,
    calendar: BTreeSet<(Instant, RecordId)>,
}

/// A client's time, in whole seconds and the nanoseconds past them.
type Instant = (u64, u32);

#[derive(Clone, Copy, Debug)]
struct Client {
    hash: u64,
    report: u128,
    time: Instant,
    is_shown: bool,
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            tail: FeedReader::behind(0),
            asked_at: UnixNanos(i64::MIN),
            clients: Vec::new(),
            ranges: vec![Sum::default(); RANGES].into(),
            members: vec![Vec::new(); RANGES].into(),
            calendar: BTreeSet::new(),
        }
    }
}

impl Digest {
    /// Takes in what has changed until `now`, by the server's clock, and leaves
    /// out what is hidden by then. Gives the number up to which the server's
    /// changes are in the sums.
    pub fn catch_up(&mut self, replica: &Replica, now: UnixNanos) -> u64 {
        // What was hidden may be shown again where the clock went back.
        if now < self.asked_at {
            *self = Self::default();
        }
        self.asked_at = now;
        let expiry = replica.expiry();
        let (mut tail, mut line) = (self.tail, Vec::new());
        let note = |slot, held: &crate::replication::store::StoredReport<'_>| {
            (slot, Client::of(&held.report, &mut line))
        };
        read_on(&mut tail, replica, note, |(slot, client)| {
            self.put(slot, client, expiry.is_some());
        });
        self.tail = tail;
        if let Some(expiry) = expiry {
            self.hide(expiry, now);
        }
        self.tail.seen()
    }

    /// The sum over each bucket.
    pub fn sums(&self, buckets: Buckets) -> Vec<Sum> {
        match buckets.are_whole() {
            true => self.sums_of_ranges(buckets),
            false => self.sums_of_clients(buckets),
        }
    }

    fn sums_of_ranges(&self, buckets: Buckets) -> Vec<Sum> {
        let sum = |(first, last)| {
            let ranges = &self.ranges[range_of(first)..=range_of(last)];
            let mut sum = Sum::default();
            ranges.iter().for_each(|&range| sum.join(range));
            sum
        };
        buckets.bounds().map(sum).collect()
    }

    fn sums_of_clients(&self, buckets: Buckets) -> Vec<Sum> {
        let starts: Vec<u64> = buckets.bounds().map(|(first, _)| first).collect();
        let mut sums = vec![Sum::default(); starts.len()];
        let hashes = buckets.first..=buckets.last;
        let count = |client: &Client| {
            if hashes.contains(&client.hash) && client.is_shown {
                let bucket = starts.partition_point(|&start| start <= client.hash) - 1;
                sums[bucket].add(client.report);
            }
        };
        match are_few(&hashes) {
            true => {
                let at = |slot: RecordId| self.clients[slot.0 as usize].as_ref();
                self.slots(&hashes).filter_map(at).for_each(count);
            }
            false => self.clients.iter().flatten().for_each(count),
        }
        sums
    }

    /// Where the store keeps the clients of these hashes, and of some beside
    /// them.
    pub fn slots(&self, hashes: &RangeInclusive<u64>) -> impl Iterator<Item = RecordId> {
        let ranges = range_of(*hashes.start())..=range_of(*hashes.end());
        self.members[ranges].iter().flatten().copied()
    }

    fn put(&mut self, slot: RecordId, client: Client, may_hide: bool) {
        let place = slot.0 as usize;
        if place >= self.clients.len() {
            self.clients.resize(place + 1, None);
        }
        let old = self.clients[place].replace(client);
        if let Some(old) = old
            && old.is_shown
        {
            self.ranges[range_of(old.hash)].take_off(old.report);
            self.calendar.remove(&(old.time, slot));
        }
        self.ranges[range_of(client.hash)].add(client.report);
        if may_hide {
            self.calendar.insert((client.time, slot));
        }
        self.move_member(
            slot,
            old.map(|old| range_of(old.hash)),
            range_of(client.hash),
        );
    }

    /// A slot comes to a range. It leaves another only where its client was
    /// forgotten and it was given to another.
    fn move_member(&mut self, slot: RecordId, from: Option<usize>, to: usize) {
        if from == Some(to) {
            return;
        }
        if let Some(from) = from {
            let old = &mut self.members[from];
            if let Some(place) = old.iter().position(|&it| it == slot) {
                old.swap_remove(place);
            }
        }
        self.members[to].push(slot);
    }

    /// Takes off what is too old to be shown.
    fn hide(&mut self, expiry: Expiry, now: UnixNanos) {
        while let Some(&(time, slot)) = self.calendar.first() {
            if !expiry.hides(Timestamp::restore(b"", time), now) {
                return;
            }
            self.calendar.pop_first();
            if let Some(client) = &mut self.clients[slot.0 as usize] {
                client.is_shown = false;
                self.ranges[range_of(client.hash)].take_off(client.report);
            }
        }
    }
}

impl Client {
    fn of(report: &Report<'_>, line: &mut Vec<u8>) -> Self {
        line.clear();
        reply::at(line, report);
        Self {
            hash: client_hash(report.client.text()),
            report: XxHash3_128::oneshot(line.strip_suffix(b"\n").unwrap_or(line)),
            time: report.time.instant(),
            is_shown: true,
        }
    }
}

/// Are these hashes in so few ranges that their clients are better looked up one
/// by one than found among all?
pub fn are_few(hashes: &RangeInclusive<u64>) -> bool {
    range_of(*hashes.end()) - range_of(*hashes.start()) < FEW_RANGES
}

fn range_of(hash: u64) -> usize {
    (hash / WIDTH) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::Herd;
    use super::*;

    fn buckets(first: u64, last: u64, count: usize) -> Buckets {
        Buckets::new(first, last, count).unwrap()
    }

    fn total(digest: &Digest) -> Sum {
        digest.sums(buckets(0, u64::MAX, 1))[0]
    }

    /// The sums, worked out from nothing but what is shown now.
    fn expected(herd: &Herd, buckets: Buckets) -> Vec<Sum> {
        let mut sums = vec![Sum::default(); buckets.count];
        let clients = herd.shown(|report| Client::of(report, &mut Vec::new()));
        for client in clients {
            let mut bounds = buckets.bounds();
            let is_in = |(first, last)| (first..=last).contains(&client.hash);
            if let Some(bucket) = bounds.position(is_in) {
                sums[bucket].add(client.report);
            }
        }
        sums
    }

    #[test]
    fn hashes_are_those_of_the_protocol() {
        // By the reference implementation (python-xxhash).
        assert_eq!(client_hash(""), 0x2d06_8005_38d3_94c2);
        assert_eq!(
            XxHash3_128::oneshot(b""),
            0x99aa_06d3_0147_98d8_6001_c324_468d_497f
        );
    }

    #[test]
    fn the_sum_is_that_of_the_at_lines() {
        let mut herd = Herd::new(None);
        herd.tell("kiwi", "+1-2", 5);
        herd.tell("plum", "+3-4", 6);
        let mut digest = Digest::default();
        assert_eq!(digest.catch_up(&herd.replica, herd.now), 2);
        let line = |text: &[u8]| XxHash3_128::oneshot(text);
        let kiwi = line(b"AT Riley +0.000000000 kiwi +1-2 5");
        let plum = line(b"AT Riley +0.000000000 plum +3-4 6");
        let want = Sum {
            clients: 2,
            hashes: kiwi.wrapping_add(plum),
        };
        assert_eq!(total(&digest), want);
    }

    #[test]
    fn buckets_are_as_the_protocol_says() {
        let bounds: Vec<_> = buckets(10, 20, 4).bounds().collect();
        assert_eq!(bounds, [(10, 11), (12, 14), (15, 17), (18, 20)]);
        let all: Vec<_> = buckets(0, u64::MAX, 4096).bounds().collect();
        assert_eq!(all[0], (0, WIDTH - 1));
        assert_eq!(all[4095], (u64::MAX - WIDTH + 1, u64::MAX));
        assert!(buckets(0, u64::MAX, 4096).are_whole());
        assert!(buckets(WIDTH, 3 * WIDTH - 1, 2).are_whole());
        assert!(!buckets(WIDTH, 2 * WIDTH - 1, 2).are_whole());
        let one: Vec<_> = buckets(7, 7, 1).bounds().collect();
        assert_eq!(one, [(7, 7)]);
        assert_eq!(Buckets::new(7, 7, 2), None);
        assert_eq!(Buckets::new(8, 7, 1), None);
        assert_eq!(Buckets::new(0, 7, 0), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// A client reports: which, where, when.
        Tell(u8, u8, u64),
        /// The clock goes on by so much, or back to this.
        Wait(u64),
        Back(u64),
        /// What is too old is forgotten.
        Forget,
        /// Somebody asks.
        Ask(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            10 => (0u8..30, 0u8..3, 0u64..100).prop_map(|(c, p, t)| Step::Tell(c, p, t)),
            3 => (0u64..4).prop_map(Step::Wait),
            1 => (0u64..60).prop_map(Step::Back),
            2 => Just(Step::Forget),
            3 => prop::sample::select(vec![1usize, 2, 64, 4096]).prop_map(Step::Ask),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn sums_are_those_of_what_is_shown_whatever_happened(
            expire_after in prop::option::of(0u64..20),
            steps in prop::collection::vec(any_step(), 1..200),
            cut in any::<u64>(),
        ) {
            let (mut herd, mut digest) = (Herd::new(expire_after), Digest::default());
            let mut seconds = 0;
            for step in steps {
                match step {
                    Step::Tell(client, position, time) => {
                        herd.tell(&format!("c{client}"), &format!("+{position}-1"), time);
                    }
                    Step::Wait(more) => seconds += more,
                    // Somebody asks before the clock goes back, and so before
                    // anything is forgotten by a time that never was.
                    Step::Back(to) => {
                        digest.catch_up(&herd.replica, herd.now);
                        seconds = to;
                    }
                    Step::Forget => herd.forget(),
                    Step::Ask(count) => {
                        let last = digest.catch_up(&herd.replica, herd.now);
                        prop_assert_eq!(last, herd.replica.store().last());
                        for buckets in [
                            buckets(0, u64::MAX, count),
                            buckets(cut / 2, cut / 2 + u64::MAX / 2, count),
                            buckets(cut / 2, cut / 2 + u64::MAX / 64, count),
                        ] {
                            prop_assert_eq!(digest.sums(buckets), expected(&herd, buckets));
                        }
                    }
                }
                herd.set_now(seconds);
            }
            digest.catch_up(&herd.replica, herd.now);
            let mut fresh = Digest::default();
            fresh.catch_up(&herd.replica, herd.now);
            prop_assert_eq!(total(&digest), total(&fresh));
        }
    }
}

//! Queries while reports change: seeded changes between any two locks of a scan, and what an answer
//! may then contain.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use crate::model::timestamp::UnixNanos;
use crate::replication::store::StoredReport;

use super::digest::tests::{all_hashes, expected};
use super::digest::{self, BucketSum};
use super::double_collect::is_proof;
use super::hash_range::{HashRange, client_hash};
use super::nearby::{self, NearbyQuery};
use super::page::{self, PageQuery};
use super::samples::TestServer;

const EXPIRE_AFTER: u64 = 10;

/// The time at which a query begins, in seconds since 1970.
const START: u64 = 20;

/// Number of locks of two scans of so few clients, which is one for each shard, and one more at
/// each end.
const LOCKS: usize = 130;

#[derive(Clone, Debug)]
enum Change {
    /// A client reports: client, latitude, time.
    Report(u8, u8, u64),
    /// Purges the reports that are expired when the query begins.
    Purge,
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        // Clients of which some are new, and times of which some are expired.
        6 => (0u8..60, 0u8..80, 5u64..START + 5).prop_map(|(c, p, t)| Change::Report(c, p, t)),
        1 => Just(Change::Purge),
    ]
}

/// Changes, each with the lock before which it happens.
fn any_changes() -> impl Strategy<Value = Vec<(usize, Change)>> {
    let changes = prop::collection::vec((0..LOCKS, any_change()), 0..40);
    changes.prop_map(|mut changes| {
        changes.sort_by_key(|&(lock, _)| lock);
        changes
    })
}

/// The reports of clients that exist before the query.
fn any_clients() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
    prop::collection::vec((0u8..50, 0u8..80, 5..START), 0..100)
}

/// A server on which changes happen between the locks of a scan.
struct ChangingServer {
    server: TestServer,
    changes: VecDeque<(usize, Change)>,
    locks: usize,
}

impl ChangingServer {
    fn new(clients: &[(u8, u8, u64)], changes: Vec<(usize, Change)>) -> Self {
        let mut server = TestServer::new(Some(EXPIRE_AFTER));
        for &(client, latitude, time) in clients {
            report(&server, client, latitude, time);
        }
        server.set_now(START);
        Self {
            server,
            changes: changes.into(),
            locks: 0,
        }
    }

    /// Runs a query, and returns its result with a value for each state that the server had
    /// meanwhile.
    fn run<T, S>(
        &mut self,
        query: impl FnOnce(&TestServer, UnixNanos, &mut dyn FnMut()) -> T,
        state: impl Fn(&TestServer) -> S,
    ) -> (T, Vec<S>) {
        let Self {
            server,
            changes,
            locks,
        } = self;
        let now = server.now;
        let mut states = vec![state(server)];
        let mut between = || {
            while let Some((_, change)) = changes.pop_front_if(|(lock, _)| lock <= locks) {
                apply(server, &change);
                states.push(state(server));
            }
            *locks += 1;
        };
        (query(server, now, &mut between), states)
    }
}

fn report(server: &TestServer, client: u8, latitude: u8, time: u64) {
    server.report(&format!("c{client:02}"), &format!("+{latitude}+1"), time);
}

fn apply(server: &TestServer, change: &Change) {
    match *change {
        Change::Report(client, latitude, time) => report(server, client, latitude, time),
        Change::Purge => server.purge(),
    }
}

/// The visible clients with their positions.
fn positions(server: &TestServer) -> BTreeMap<String, String> {
    let all = server.visible(server.now, |report| {
        let (client, position) = (report.client.text(), report.position.text());
        (client.to_owned(), position.to_owned())
    });
    all.into_iter().collect()
}

/// Returns the clients that are in every state.
fn always_known(states: &[BTreeMap<String, String>]) -> BTreeSet<&String> {
    let in_all = |client: &&String| states.iter().all(|state| state.contains_key(*client));
    states[0].keys().filter(in_all).collect()
}

/// Returns the hashes of the clients whose report has a sequence number after this one.
fn changed_after(server: &TestServer, sequence: u64) -> BTreeSet<u64> {
    let mut changed = BTreeSet::new();
    let add = |stored: &StoredReport<'_>| {
        if stored.number > sequence {
            changed.insert(client_hash(stored.report.client.text()));
        }
    };
    server.replica.store().scan(add, || ());
    changed
}

fn client_and_position(stored: &StoredReport<'_>) -> (String, String) {
    let report = &stored.report;
    (
        report.client.text().to_owned(),
        report.position.text().to_owned(),
    )
}

/// Checks that an answer has every client that was known throughout, no client twice, and no
/// position that its client did not have.
fn check_answer(
    answer: &[(String, String)],
    states: &[BTreeMap<String, String>],
) -> Result<(), TestCaseError> {
    let clients: BTreeSet<&String> = answer.iter().map(|(client, _)| client).collect();
    prop_assert_eq!(clients.len(), answer.len(), "each once");
    let missing: Vec<_> = always_known(states).difference(&clients).cloned().collect();
    prop_assert!(missing.is_empty(), "{:?} are missing", missing);
    for (client, position) in answer {
        let mut held = states.iter().filter_map(|state| state.get(client));
        prop_assert!(held.any(|it| it == position), "{} at {}", client, position);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_settled_sum_is_of_a_state_that_existed(
        clients in any_clients(),
        changes in any_changes(),
        buckets in prop::sample::select(vec![1, 4, 64]),
    ) {
        let buckets = all_hashes(buckets);
        let mut server = ChangingServer::new(&clients, changes);
        let start = server.server.replica.store().last();
        let (digest, states) = server.run(
            |server, now, between| digest::scan(&server.replica, now, &buckets, between),
            |server| (expected(server, server.now, &buckets), changed_after(server, start)),
        );
        prop_assert_eq!(digest.sequence, start);
        let changed: BTreeSet<u64> = states.iter().flat_map(|(_, changed)| changed).copied().collect();
        for (at, (sum, range)) in digest.sums.into_iter().zip(buckets.ranges()).enumerate() {
            let hashes = range.first()..=range.last();
            let is_changed = changed.iter().any(|hash| hashes.contains(hash));
            prop_assert!(is_changed || !sum.is_unsettled, "bucket {} did not change", at);
            let held: Vec<BucketSum> = states.iter().map(|(sums, _)| sums[at]).collect();
            prop_assert!(sum.is_unsettled || held.contains(&sum), "bucket {}: {:?}", at, sum);
        }
    }

    #[test]
    fn every_client_that_is_there_throughout_is_nearby(
        clients in any_clients(),
        changes in any_changes(),
    ) {
        let query = NearbyQuery {
            centre: (40.0, 1.0),
            radius_metres: f64::INFINITY,
            limit: 100,
            exclude: None,
        };
        let mut server = ChangingServer::new(&clients, changes);
        let (answer, states) = server.run(
            |server, now, between| {
                nearby::scan(&server.replica, now, &query, client_and_position, between)
            },
            positions,
        );
        let answer: Vec<_> = answer.into_iter().map(|it| it.client).collect();
        check_answer(&answer, &states)?;
    }

    #[test]
    fn every_client_that_is_there_throughout_is_on_a_page(
        clients in any_clients(),
        changes in any_changes(),
        limit in 1usize..20,
    ) {
        let mut server = ChangingServer::new(&clients, changes);
        let (answer, states) = server.run(
            |server, now, between| {
                let (mut answer, mut after) = (Vec::new(), String::new());
                loop {
                    let query = PageQuery {
                        prefix: "c".to_owned(),
                        after,
                        ranges: HashRange::ALL.into(),
                        limit,
                    };
                    let found =
                        page::scan(&server.replica, now, &query, client_and_position, &mut *between);
                    let Some((last, _)) = found.last() else { return answer };
                    after = last.clone();
                    answer.extend(found.into_iter().map(|(_, found)| found));
                }
            },
            positions,
        );
        prop_assert!(answer.is_sorted());
        check_answer(&answer, &states)?;
    }
}

/// Changes of a herd, each with the lock before which it happens: a server, a client, a time. The
/// reports of one client and time are the same on all servers.
fn any_herd_changes() -> impl Strategy<Value = Vec<(usize, (usize, u8, u64))>> {
    let change = (0..SERVERS, 0u8..4, 11u64..16);
    let changes = prop::collection::vec((0..4 * SERVERS * LOCKS, change), 0..60);
    changes.prop_map(|mut changes| {
        changes.sort_by_key(|&(lock, _)| lock);
        changes
    })
}

const SERVERS: usize = 3;

fn report_in_herd(server: &TestServer, client: u8, time: u64) {
    report(server, client, time as u8, time);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn two_collects_prove_only_what_all_servers_held_at_one_moment(
        changes in any_herd_changes(),
        order in Just(vec![0, 1, 2]).prop_shuffle(),
        buckets in prop::sample::select(vec![1, 4]),
    ) {
        let buckets = all_hashes(buckets);
        let herd: Vec<TestServer> = (0..SERVERS).map(|_| TestServer::new(None)).collect();
        for server in &herd {
            (0..4).for_each(|client| report_in_herd(server, client, 10));
        }
        let sums_of_all = || -> Vec<Vec<BucketSum>> {
            herd.iter().map(|server| expected(server, server.now, &buckets)).collect()
        };
        let is_unchanged = changes.is_empty();
        let (mut changes, mut locks) = (VecDeque::from(changes), 0);
        let mut states = vec![sums_of_all()];
        let mut between = || {
            while let Some((_, (server, client, time))) =
                changes.pop_front_if(|(lock, _)| *lock <= locks)
            {
                report_in_herd(&herd[server], client, time);
                states.push(sums_of_all());
            }
            locks += 1;
        };
        let mut collect = || -> Vec<Vec<BucketSum>> {
            let mut scan = |&at: &usize| {
                let server: &TestServer = &herd[at];
                digest::scan(&server.replica, server.now, &buckets, &mut between).sums
            };
            order.iter().map(&mut scan).collect()
        };
        let [first, second] = [collect(), collect()];
        for at in 0..buckets.count() {
            let [one, other] = [&first, &second].map(|sums| sums.iter().map(|sums| &sums[at]));
            let is_proven = is_proof(one, other);
            let is_equal = |sums: &Vec<Vec<BucketSum>>| sums.iter().all(|it| it[at] == sums[0][at]);
            prop_assert!(!is_proven || states.iter().any(is_equal), "bucket {}", at);
            prop_assert!(is_proven || !is_unchanged, "bucket {}", at);
        }
    }
}

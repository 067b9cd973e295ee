//! Queries of operators, each a scan of all clients: the time of one client.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use proxyherd::model::position::Position;
use proxyherd::model::report::Report;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::queries::digest::{self, Buckets};
use proxyherd::queries::hash_range::HashRange;
use proxyherd::queries::nearby::{self, NearbyQuery};
use proxyherd::queries::page::{self, PageQuery};
use proxyherd::replication::replica::Replica;

use crate::samples::{CLIENTS, TIME, admit, ids, report, server};

const NOW: UnixNanos = UnixNanos(0);

/// The sums that `proxyherd verify` begins with, and narrower ones.
#[divan::bench(args = [4096, 65_536])]
fn digest(bencher: Bencher<'_, '_>, buckets: usize) {
    let buckets = Buckets::new(HashRange::ALL.into(), buckets).unwrap();
    bench(bencher, |replica| {
        digest::scan(replica, NOW, black_box(&buckets), || ())
    });
}

/// The ten nearest of clients that are spread over a degree, within some metres.
#[divan::bench(args = [1_000.0, f64::INFINITY])]
fn nearby(bencher: Bencher<'_, '_>, radius_metres: f64) {
    let query = NearbyQuery {
        centre: (33.5, -118.5),
        radius_metres,
        limit: 10,
        exclude: None,
    };
    bench(bencher, |replica| {
        nearby::scan(replica, NOW, black_box(&query), |held| held.number, || ())
    });
}

/// The first page of this many clients.
#[divan::bench(args = [1_000, 10_000])]
fn page(bencher: Bencher<'_, '_>, limit: usize) {
    let query = PageQuery {
        prefix: String::new(),
        after: String::new(),
        ranges: HashRange::ALL.into(),
        limit,
    };
    bench(bencher, |replica| {
        page::scan(replica, NOW, black_box(&query), |held| held.number, || ())
    });
}

fn bench<T>(bencher: Bencher<'_, '_>, scan: impl Fn(&Replica) -> T) {
    let riley = server("Riley");
    for (n, id) in ids().iter().enumerate() {
        let position = format!("+33.{:06}-118.{:06}", n * 7919 % 1_000_000, n * 10);
        let position = Position::parse(position.as_bytes()).unwrap();
        let report = report(id, TIME);
        admit(riley.replica(), &Report { position, ..report });
    }
    let scan = || scan(riley.replica());
    bencher.counter(ItemsCount::new(CLIENTS)).bench_local(scan);
}

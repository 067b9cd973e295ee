//! Merging reports into a store: a comparison, and for newer ones a copy and an entry in the
//! feed.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use proxyherd::model::client::ClientId;
use proxyherd::model::report::Report;
use proxyherd::replication::replica::Replica;

use crate::samples::{CLIENTS, TIME, admit, full_server, ids, report, server};

#[divan::bench]
fn new_clients(bencher: Bencher<'_, '_>) {
    let ids = ids();
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .with_inputs(|| server("Riley"))
        .bench_local_values(|riley| {
            report_all(riley.replica(), &ids, TIME);
            riley
        });
}

#[divan::bench]
fn newer(bencher: Bencher<'_, '_>) {
    let (ids, riley) = (ids(), full_server());
    let mut seconds = 2_000_000_000_u64;
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .with_inputs(|| {
            seconds += 1;
            format!("{seconds}.959498503")
        })
        .bench_local_refs(|time| report_all(riley.replica(), &ids, time));
}

#[divan::bench]
fn duplicate(bencher: Bencher<'_, '_>) {
    unchanged(bencher, TIME);
}

#[divan::bench]
fn stale(bencher: Bencher<'_, '_>) {
    unchanged(bencher, "1621464826.959498503");
}

#[divan::bench]
fn find(bencher: Bencher<'_, '_>) {
    let (ids, riley) = (ids(), full_server());
    let store = riley.replica().store();
    bencher.counter(ItemsCount::new(CLIENTS)).bench_local(|| {
        for id in &ids {
            let client = ClientId::parse(id.as_bytes()).unwrap();
            black_box(store.find(client, |report| report.skew));
        }
    });
}

/// Merges reports that change nothing.
fn unchanged(bencher: Bencher<'_, '_>, time: &str) {
    let (ids, riley) = (ids(), full_server());
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .bench_local(|| report_all(riley.replica(), &ids, time));
}

fn report_all(replica: &Replica, ids: &[String], time: &str) {
    let first = report(&ids[0], time);
    for id in ids {
        let client = ClientId::parse(id.as_bytes()).unwrap();
        admit(replica, &Report { client, ..first });
    }
}

//! The changes after a neighbour's cursor, without their encoding.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use proxyherd::model::report::Report;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::replication::replica::Replica;
use proxyherd::replication::send_cursor::{
    BatchBuilder, MAX_BATCH_BYTES, MAX_BATCH_REPORTS, SendCursor,
};
use proxyherd::replication::tag::Tag;
use proxyherd::replication::{Incarnation, NeighbourId};

use crate::samples::{CLIENTS, admit, full_server, ids, report};

/// A batch that accepts and discards every report.
struct Sink;

impl BatchBuilder for Sink {
    fn add(&mut self, report: &Report<'_>, _: Tag, _: usize) -> bool {
        black_box(report);
        true
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// All changes, for an empty neighbour.
#[divan::bench]
fn all(bencher: Bencher<'_, '_>) {
    let riley = full_server();
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .with_inputs(|| new_cursor(0))
        .bench_local_values(|cursor| catch_up(cursor, riley.replica()));
}

/// A check at the end of the feed.
#[divan::bench]
fn none(bencher: Bencher<'_, '_>) {
    let riley = full_server();
    let mut cursor = new_cursor(riley.replica().store().last());
    bencher.bench_local(|| {
        cursor.fill(
            riley.replica(),
            UnixNanos(0),
            (MAX_BATCH_BYTES, u64::MAX),
            &mut Sink,
        )
    });
}

/// One change and the path to it, on a server with many clients: the cost of a report on an
/// idle link.
#[divan::bench]
fn one(bencher: Bencher<'_, '_>) {
    let (ids, riley) = (ids(), full_server());
    let replica = riley.replica();
    let mut cursor = new_cursor(replica.store().last());
    let mut rounds = 0;
    bencher
        .with_inputs(|| {
            rounds += 1;
            (&ids[rounds % CLIENTS], (2_000_000_000 + rounds).to_string())
        })
        .bench_local_refs(|(id, time)| {
            admit(replica, &report(id, time));
            let span = cursor.fill(
                replica,
                UnixNanos(0),
                (MAX_BATCH_BYTES, u64::MAX),
                &mut Sink,
            );
            cursor.acknowledged(span.to);
        });
}

/// Returns a neighbour's cursor at sequence number `applied`.
fn new_cursor(applied: u64) -> SendCursor {
    let mut cursor = SendCursor::new(NeighbourId(0), MAX_BATCH_REPORTS);
    cursor.start_at(Incarnation::new(2).unwrap(), applied);
    cursor
}

fn catch_up(mut cursor: SendCursor, replica: &Replica) {
    while !cursor.is_at_end(replica) {
        let span = cursor.fill(
            replica,
            UnixNanos(0),
            (MAX_BATCH_BYTES, u64::MAX),
            &mut Sink,
        );
        cursor.acknowledged(span.to);
    }
}

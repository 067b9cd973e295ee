//! What stands behind a neighbour's cursor, handed over and not encoded.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use proxyherd::model::report::Report;
use proxyherd::replication::replica::Replica;
use proxyherd::replication::send_cursor::{Batch, MAX_BATCH_REPORTS, SendCursor};
use proxyherd::replication::{Incarnation, NeighbourId};

use crate::samples::{CLIENTS, admit, full_server, ids, report};

/// Takes everything and keeps nothing.
struct Sink;

impl Batch for Sink {
    fn add(&mut self, report: &Report<'_>) -> bool {
        black_box(report);
        true
    }
}

/// Catching up, from an empty neighbour to the end.
#[divan::bench]
fn all(bencher: Bencher<'_, '_>) {
    let riley = full_server();
    bencher
        .counter(ItemsCount::new(CLIENTS))
        .with_inputs(|| cursor(riley.replica(), 0))
        .bench_local_values(|outbox| go_on(outbox, riley.replica()));
}

/// Looking whether there is anything, where there is nothing.
#[divan::bench]
fn none(bencher: Bencher<'_, '_>) {
    let riley = full_server();
    let mut outbox = cursor(riley.replica(), riley.replica().store().last());
    bencher.bench_local(|| outbox.fill(riley.replica(), &mut Sink));
}

/// One change and the way to it, on a server that knows many clients: the
/// price of a report on a quiet link.
#[divan::bench]
fn one(bencher: Bencher<'_, '_>) {
    let (ids, riley) = (ids(), full_server());
    let replica = riley.replica();
    let mut outbox = cursor(replica, replica.store().last());
    let mut rounds = 0;
    bencher
        .with_inputs(|| {
            rounds += 1;
            (&ids[rounds % CLIENTS], (2_000_000_000 + rounds).to_string())
        })
        .bench_local_refs(|(id, time)| {
            admit(replica, &report(id, time));
            let span = outbox.fill(replica, &mut Sink);
            outbox.acknowledged(replica, span, span.to);
        });
}

/// A neighbour's cursor behind number `applied`.
fn cursor(replica: &Replica, applied: u64) -> SendCursor {
    let mut outbox = SendCursor::new(NeighbourId(0), MAX_BATCH_REPORTS);
    outbox.start_at(replica, Incarnation::new(2).unwrap(), applied);
    outbox
}

fn go_on(mut outbox: SendCursor, replica: &Replica) {
    while !outbox.is_at_end(replica) {
        let span = outbox.fill(replica, &mut Sink);
        outbox.acknowledged(replica, span, span.to);
        outbox.grow(span);
    }
}

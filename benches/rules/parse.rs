//! The line protocol: bytes to lines and commands, reports to answers.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use proxyherd::line_protocol::command::Command;
use proxyherd::line_protocol::lines::LineBuffer;
use proxyherd::line_protocol::reply;

use crate::samples::{TIME, report};

const IAMAT: &[u8] = b"IAMAT bench-00000000000000 +34.068930-118.445127 1621464827.959498503\n";

/// The number of lines of one read.
const READ_LINES: usize = 256;

#[divan::bench(args = [
    "IAMAT bench-00000000000000 +34.068930-118.445127 1621464827.959498503",
    "WHATSAT bench-00000000000000 10 5",
    "IAMAT bench-00000000000000 +34.068930-118.445127 yesterday",
])]
fn command(bencher: Bencher<'_, '_>, line: &str) {
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench(|| Command::parse(black_box(line.as_bytes())).is_some());
}

/// The lines of a stream, without parsing them.
#[divan::bench]
fn lines(bencher: Bencher<'_, '_>) {
    let stream = IAMAT.repeat(READ_LINES);
    let mut lines = LineBuffer::new(4096);
    bencher
        .counter(ItemsCount::new(READ_LINES))
        .counter(BytesCount::of_slice(&stream))
        .bench_local(|| {
            lines.read_buffer().extend_from_slice(&stream);
            lines.take(false).for_each(|line| {
                black_box(line);
            });
        });
}

#[divan::bench]
fn answer(bencher: Bencher<'_, '_>) {
    let report = report("bench-00000000000000", TIME);
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        out.clear();
        reply::at(&mut out, black_box(&report));
    });
}

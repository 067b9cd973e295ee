//! The calls of the `Operator` service over gRPC: results, rejections with their messages, and
//! that watches delay no other caller.

mod caller;
mod digest;
mod list;
mod locate;
mod nearby;
mod status;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::common::{ALONE, CLASSIC, Client, Herd, LIMIT, Mode, PAIR, eventually};
use caller::{Operator, Watch};
use proxyherd::gateway::Clock;
use proxyherd::log::Log;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::proto::nearby_request::Center;
use proxyherd::proto::time::timestamp;
use proxyherd::proto::watch_request::{Filter, Start};
use proxyherd::proto::{
    Bucket, Circle, DigestRequest, HashRange, KnownReport, ListClientsRequest, NearbyClient,
    NearbyRequest, Point, Resume, WatchRequest,
};
use proxyherd::queries::hash_range::client_hash;
use tonic::{Code, Status};

const SECOND: i64 = 1_000_000_000;

fn id_of(known: &KnownReport) -> &str {
    &known.report.as_ref().unwrap().client
}

fn place_of(known: &KnownReport) -> (String, String) {
    let report = known.report.as_ref().unwrap();
    (report.client.clone(), report.position.clone())
}

/// Makes ranges of hashes, each from its lowest hash and its level.
fn hash_ranges(ranges: &[(u64, u32)]) -> Vec<HashRange> {
    let range = |&(first, level)| HashRange { first, level };
    ranges.iter().map(range).collect()
}

fn pair(client: &str, position: &str) -> (String, String) {
    (client.to_owned(), position.to_owned())
}

fn nanos(span: Option<prost_types::Duration>) -> i64 {
    let span = span.expect("a duration");
    span.seconds * SECOND + i64::from(span.nanos)
}

#[track_caller]
fn assert_rejected<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, message: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(message), "{status}");
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(answer: Result<T, Status>, message: &str) {
    assert_rejected(answer, Code::InvalidArgument, message);
}

/// Sends IAMATs, a few hundred at a time, and reads their replies.
fn tell_all(client: &mut Client, lines: &[String]) {
    for some in lines.chunks(200) {
        client.send(format!("{}\n", some.join("\n")));
        for line in some {
            assert!(client.text().starts_with("AT "), "{line}");
        }
    }
}

/// Starts a server with `expire_after` of ten seconds, and a clock that the test sets.
fn forgetful() -> (Herd, Arc<AtomicI64>) {
    let after = Some(Duration::from_secs(10));
    let mut herd = Herd::new(ALONE).adjust(move |plan| plan.gateway.expire_after = after);
    let now = Arc::new(AtomicI64::new(100 * SECOND));
    let clock = now.clone();
    let clock = Clock::new(move || UnixNanos(clock.load(SeqCst)));
    herd.launch_with("Riley", clock, Log::off());
    (herd, now)
}

//! What this server and a neighbour hold, compared, and the reports of the ranges that
//! differ: the scans and the call behind [`crate::replication::anti_entropy`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::yield_now;

use tower::{Service, ServiceExt};

use crate::gateway::Gateway;
use crate::model::report::Report;
use crate::model::timestamp::UnixNanos;
use crate::proto::time::timestamp;
use crate::proto::{Bucket, DigestRequest, DigestResponse};
use crate::queries::digest::{self, BucketSum, Buckets};
use crate::queries::hash_range::{HashRange, HashRanges, client_hash};
use crate::queries::scan_visible;
use crate::replication::Incarnation;
use crate::replication::anti_entropy::{CollectedSize, ComparedRange, RangeDigest};
use crate::replication::replica::Replica;
use crate::replication::send_cursor::BatchBuilder;
use crate::replication::store::StoredReport;
use crate::replication::tag::Tag;

use super::batch::RecordedBatch;
use super::policy::{Caller, PeerRequest, PeerResponse};

/// Number of ranges that are compared, a power of two. More find less to push again;
/// each costs 50 bytes of the neighbour's response.
pub(super) const COMPARED_RANGES: usize = 4096;

/// A batch to be pushed again.
#[derive(Debug)]
pub(super) struct CollectedBatch {
    pub(super) batch: RecordedBatch,
    reports: usize,
}

impl CollectedBatch {
    /// Returns the size of the batch.
    pub(super) fn size(&self) -> CollectedSize {
        CollectedSize {
            reports: self.reports,
            bytes: self.batch.bytes(),
        }
    }
}

fn ranges() -> Buckets {
    let ranges = Buckets::new(HashRange::ALL.into(), COMPARED_RANGES);
    ranges.expect("there are as many hashes")
}

/// Compares all ranges with the neighbour, as of one time. Both servers scan their
/// store for this: a million reports take 0.15 s of CPU time.
///
/// # Errors
///
/// The reason why there is no comparison.
pub(super) async fn compare(
    gateway: Arc<Gateway>,
    caller: Caller,
    greeted: Option<Incarnation>,
) -> Result<Vec<ComparedRange>, String> {
    let as_of = gateway.clock().now();
    let scan = move |replica: &Replica| digest::scan(replica, as_of, &ranges(), yield_now);
    let (theirs, ours) = tokio::join!(digest_of(caller, as_of), gateway.scan(scan));
    let (theirs, ours) = (theirs?, ours.map_err(|error| error.to_string())?);
    if Incarnation::new(theirs.incarnation) != greeted {
        return Err("it has restarted".to_owned());
    }
    if theirs.buckets.len() != COMPARED_RANGES {
        let number = theirs.buckets.len();
        return Err(format!("it answered with {number} ranges"));
    }
    let pairs = ours.sums.iter().zip(&theirs.buckets);
    Ok(pairs.map(|(ours, theirs)| compared(ours, theirs)).collect())
}

async fn digest_of(mut caller: Caller, as_of: UnixNanos) -> Result<DigestResponse, String> {
    let request = DigestRequest {
        ranges: Vec::new(),
        buckets: COMPARED_RANGES as u32,
        as_of: Some(timestamp(as_of.0)),
    };
    let call = async {
        let request = PeerRequest::Digest(Arc::new(request));
        caller.ready().await?.call(request).await
    };
    match call.await {
        Ok(PeerResponse::Digest(response)) => Ok(response),
        Ok(_) => unreachable!("a digest has the response of one"),
        Err(error) => Err(error.to_string()),
    }
}

fn compared(ours: &BucketSum, theirs: &Bucket) -> ComparedRange {
    let hashes = <[u8; 16]>::try_from(theirs.sum.as_ref()).map(u128::from_be_bytes);
    ComparedRange {
        ours: RangeDigest {
            clients: ours.clients,
            hashes: ours.hashes,
        },
        theirs: RangeDigest {
            clients: theirs.clients,
            hashes: hashes.unwrap_or_default(),
        },
        is_settled: !ours.is_unsettled && !theirs.unsettled && hashes.is_ok(),
    }
}

/// Collects all reports of some ranges that are not expired, in batches of at most
/// `max_bytes` and `max_reports`. Their lines are written if `is_recorded`. Returns no
/// batch if the scan panics, which is logged.
pub(super) async fn collect(
    gateway: Arc<Gateway>,
    wanted: Vec<usize>,
    (max_bytes, max_reports): (usize, usize),
    is_recorded: bool,
) -> VecDeque<CollectedBatch> {
    let as_of = gateway.clock().now();
    let scan = move |replica: &Replica| {
        let all: Vec<HashRange> = ranges().ranges().collect();
        let wanted: Vec<HashRange> = wanted.iter().map(|&range| all[range]).collect();
        let wanted = HashRanges::new(wanted).expect("they are in order");
        let mut batches = VecDeque::new();
        let add = |stored: &StoredReport<'_>| {
            let report = &stored.report;
            if wanted.find(client_hash(report.client.text())).is_some() {
                add(&mut batches, report, (max_bytes, max_reports), is_recorded);
            }
        };
        scan_visible(replica, as_of, add, yield_now);
        batches
    };
    gateway.scan(scan).await.unwrap_or_default()
}

/// Adds a report to the last batch, or to a new one if it does not fit.
fn add(
    batches: &mut VecDeque<CollectedBatch>,
    report: &Report<'_>,
    (max_bytes, max_reports): (usize, usize),
    is_recorded: bool,
) {
    let last = batches.back_mut().filter(|it| it.reports < max_reports);
    if let Some(last) = last
        && last.batch.add(report, Tag::default(), max_bytes)
    {
        last.reports += 1;
        return;
    }
    let mut batch = RecordedBatch::new(0, Vec::new(), is_recorded);
    // A single report may exceed the limit of the link.
    batch.add(report, Tag::default(), usize::MAX);
    batches.push_back(CollectedBatch { batch, reports: 1 });
}

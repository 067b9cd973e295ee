//! Messages of operators into model types and back.

use tokio::task::JoinError;
use tonic::Status;

use crate::model::client::{ClientId, MAX_CLIENT_BYTES};
use crate::model::report::Report;
use crate::model::timestamp::{Timestamp, UnixNanos};
use crate::proto::time::{signed_duration, timestamp, unix_nanos};
use crate::proto::{self, KnownReport, Point, rfc3339};
use crate::queries::hash_range::{HashRange, HashRanges};
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

/// Maximum number of ranges in a request.
const MAX_RANGES: usize = 1024;

/// Makes the message of a stored report.
pub(super) fn known_report(replica: &Replica, stored: &StoredReport<'_>) -> KnownReport {
    let receipt = stored.receipt();
    let from = receipt.from.map(|id| replica.name_of(id));
    KnownReport {
        report: Some(report(&stored.report)),
        sequence: stored.number,
        learned_at: Some(timestamp(receipt.at.0)),
        learned_from: from.map_or_else(String::new, ToString::to_string),
    }
}

fn report(report: &Report<'_>) -> proto::Report {
    proto::Report {
        client: report.client.text().to_owned(),
        position: report.position.text().to_owned(),
        time: report.time.text().to_owned(),
        origin: report.origin.text().to_owned(),
        skew_nanos: report.skew.0,
    }
}

/// Returns the server's time minus a client's time.
pub(super) fn age(time: Timestamp<'_>, now: UnixNanos) -> prost_types::Duration {
    signed_duration(i128::from(now.0) - time.instant().as_nanos())
}

/// Reads a client's ID.
pub(super) fn client<'a>(field: &str, text: &'a str) -> Result<ClientId<'a>, Status> {
    ClientId::parse(text.as_bytes()).ok_or_else(|| {
        invalid(format!(
            "{field} must be a client ID: 1 to {MAX_CLIENT_BYTES} bytes without white space"
        ))
    })
}

/// Reads a latitude and a longitude in degrees.
pub(super) fn degrees(field: &str, point: Option<Point>) -> Result<(f64, f64), Status> {
    let point = point.ok_or_else(|| invalid(format!("{field} is missing")))?;
    let Point {
        latitude,
        longitude,
    } = point;
    if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
        return Err(invalid(format!(
            "{field} must have a latitude from -90 to 90 and a longitude from -180 to 180, in degrees"
        )));
    }
    Ok((latitude, longitude))
}

/// Reads a number of results: 0 stands for `default`.
pub(super) fn limit(
    field: &str,
    requested: u32,
    default: usize,
    max: usize,
) -> Result<usize, Status> {
    match requested as usize {
        0 => Ok(default),
        requested if requested <= max => Ok(requested),
        _ => Err(invalid(format!("{field} must be at most {max}"))),
    }
}

/// Reads ranges of hashes: none stand for all hashes.
pub(super) fn ranges(ranges: &[proto::HashRange]) -> Result<HashRanges, Status> {
    if ranges.is_empty() {
        return Ok(HashRange::ALL.into());
    }
    if ranges.len() > MAX_RANGES {
        return Err(invalid(format!("ranges must be at most {MAX_RANGES}")));
    }
    let range = |range: &proto::HashRange| HashRange::new(range.first, range.level);
    let ranges: Option<Vec<HashRange>> = ranges.iter().map(range).collect();
    let ranges = ranges.ok_or_else(|| {
        invalid(
            "a range must have a level of at most 64 and a first hash whose bits after the first \
             `level` are 0",
        )
    })?;
    HashRanges::new(ranges).ok_or_else(|| {
        invalid("ranges must be in ascending order, and no two may have a hash in common")
    })
}

/// Reads the time at which reports count as expired: the server's clock, `now`, if absent.
pub(super) fn as_of(
    requested: Option<&prost_types::Timestamp>,
    replica: &Replica,
    now: UnixNanos,
) -> Result<UnixNanos, Status> {
    let Some(requested) = requested else {
        return Ok(now);
    };
    let as_of = unix_nanos(requested).map(UnixNanos);
    let as_of = as_of.ok_or_else(|| invalid("as_of must be a time from 1678 to 2261"))?;
    let expiry = replica.expiry();
    if expiry.is_some_and(|expiry| expiry.may_purge_unexpired(as_of, now)) {
        return Err(invalid(format!(
            "as_of must be at most a day before the server's clock, {}: older reports may be \
             purged at any moment",
            rfc3339(&timestamp(now.0))
        )));
    }
    Ok(as_of)
}

/// Returns the status for work that panicked on another thread. The panic itself is logged.
pub(super) fn panicked(_: JoinError) -> Status {
    Status::internal("internal error: the server's log has the cause")
}

/// Returns the status of an invalid request.
pub(super) fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_a_clock_that_is_ahead_has_a_negative_age() {
        let age = |time: &str, now| {
            let time = Timestamp::parse(time.as_bytes()).unwrap();
            let age = super::age(time, UnixNanos(now));
            (age.seconds, age.nanos)
        };
        assert_eq!(age("1.5", 2_000_000_000), (0, 500_000_000));
        assert_eq!(age("3.5", 2_000_000_000), (-1, -500_000_000));
        let far = age("9223372036854775807", i64::MIN);
        assert_eq!(far, (-315_576_000_000, 0));
    }
}

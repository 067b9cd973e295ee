//! Messages of operators into model types and back.

use tokio::task::JoinError;
use tonic::Status;

use crate::model::client::{ClientId, MAX_CLIENT_BYTES};
use crate::model::timestamp::UnixNanos;
use crate::proto::time::{timestamp, unix_nanos};
use crate::proto::{self, Point, rfc3339};
use crate::queries::hash_range::{HashRange, HashRanges};
use crate::replication::replica::Replica;

/// Maximum number of ranges in a request.
const MAX_RANGES: usize = 1024;

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

//! Messages of operators into model types and back.

use tonic::Status;

use crate::model::client::{ClientId, MAX_CLIENT_BYTES};
use crate::model::report::Report;
use crate::model::timestamp::{Timestamp, UnixNanos};
use crate::proto::time::{signed_duration, timestamp};
use crate::proto::{self, KnownReport, Point};
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

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

/// Reads the first and the last hash of a range: 0 as the last stands for the maximum.
pub(super) fn hashes(first: u64, last: u64) -> Result<(u64, u64), Status> {
    let last = if last == 0 { u64::MAX } else { last };
    if first <= last {
        Ok((first, last))
    } else {
        Err(invalid("first_hash must not be greater than last_hash"))
    }
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

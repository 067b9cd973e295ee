//! Messages of operators into model types and back; nobody else does.

use std::time::Duration;

use tonic::Status;

use crate::model::client::{ClientId, MAX_CLIENT_BYTES};
use crate::model::report::Report;
use crate::model::timestamp::{NANOS_PER_SECOND, Timestamp, UnixNanos};
use crate::proto::{self, KnownReport, Point};
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

/// Most seconds of a protobuf duration, either way: 10,000 years.
const MAX_SECONDS: i64 = 315_576_000_000;

pub(super) fn known_report(replica: &Replica, held: &StoredReport<'_>) -> KnownReport {
    let learned = held.receipt();
    let from = learned.from.map(|id| replica.name_of(id));
    KnownReport {
        report: Some(report(&held.report)),
        sequence: held.number,
        learned_at: Some(timestamp(learned.at)),
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

pub(super) fn timestamp(at: UnixNanos) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.0.div_euclid(NANOS_PER_SECOND),
        // The remainder of a division by a billion.
        nanos: at.0.rem_euclid(NANOS_PER_SECOND) as i32,
    }
}

pub(super) fn duration(span: Duration) -> prost_types::Duration {
    signed_duration(i128::try_from(span.as_nanos()).unwrap_or(i128::MAX))
}

/// The server's clock less a client's time.
pub(super) fn age(time: Timestamp<'_>, now: UnixNanos) -> prost_types::Duration {
    signed_duration(i128::from(now.0) - time.instant().as_nanos())
}

/// Both parts of a duration have its sign.
fn signed_duration(nanos: i128) -> prost_types::Duration {
    let second = i128::from(NANOS_PER_SECOND);
    let longest = i128::from(MAX_SECONDS) * second;
    let nanos = nanos.clamp(-longest, longest);
    prost_types::Duration {
        // Both fit by the bounds above.
        seconds: (nanos / second) as i64,
        nanos: (nanos % second) as i32,
    }
}

pub(super) fn client<'a>(field: &str, text: &'a str) -> Result<ClientId<'a>, Status> {
    ClientId::parse(text.as_bytes()).ok_or_else(|| {
        invalid(format!(
            "{field} must be a client's ID: 1 to {MAX_CLIENT_BYTES} bytes without white space"
        ))
    })
}

/// Latitude and longitude in degrees.
pub(super) fn degrees(field: &str, point: Option<Point>) -> Result<(f64, f64), Status> {
    let point = point.ok_or_else(|| invalid(format!("{field} is missing: where is it?")))?;
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

/// How many are wanted: `usual` if that is not said, and no more than `most`.
pub(super) fn how_many(
    field: &str,
    wanted: u32,
    usual: usize,
    most: usize,
) -> Result<usize, Status> {
    match wanted as usize {
        0 => Ok(usual),
        wanted if wanted <= most => Ok(wanted),
        _ => Err(invalid(format!("{field} must be at most {most}"))),
    }
}

/// The first and the last hash of a range; 0 stands for the greatest there is.
pub(super) fn hashes(first: u64, last: u64) -> Result<(u64, u64), Status> {
    let last = if last == 0 { u64::MAX } else { last };
    match first <= last {
        true => Ok((first, last)),
        false => Err(invalid("first_hash must not be greater than last_hash")),
    }
}

pub(super) fn invalid(words: impl Into<String>) -> Status {
    Status::invalid_argument(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_spans_below_0_are_as_protobuf_wants_them() {
        let before = timestamp(UnixNanos(-1));
        assert_eq!((before.seconds, before.nanos), (-1, 999_999_999));
        let age = |time: &str, now| {
            let time = Timestamp::parse(time.as_bytes()).unwrap();
            let age = super::age(time, UnixNanos(now));
            (age.seconds, age.nanos)
        };
        assert_eq!(age("1.5", 2_000_000_000), (0, 500_000_000));
        assert_eq!(age("3.5", 2_000_000_000), (-1, -500_000_000));
        assert_eq!(age("9223372036854775807", i64::MIN), (-MAX_SECONDS, 0));
        let long = duration(Duration::MAX);
        assert_eq!((long.seconds, long.nanos), (MAX_SECONDS, 0));
    }
}

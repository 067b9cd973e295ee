//! Reports that a server holds, as messages.

use crate::model::report::Report;
use crate::model::timestamp::{Timestamp, UnixNanos};
use crate::proto::time::{signed_duration, timestamp};
use crate::proto::{self, KnownReport};
use crate::replication::replica::Replica;
use crate::replication::store::{ReportSource, StoredReport};

/// Makes the message of a stored report.
pub fn known_report(replica: &Replica, stored: &StoredReport<'_>) -> KnownReport {
    let receipt = stored.receipt();
    let from = match receipt.from {
        ReportSource::Neighbour(id) => replica.name_of(id).to_string(),
        ReportSource::Client | ReportSource::Storage => String::new(),
    };
    KnownReport {
        report: Some(report(&stored.report)),
        sequence: stored.number,
        learned_at: Some(timestamp(receipt.at.0)),
        learned_from: from,
        recovered: receipt.from == ReportSource::Storage,
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
pub fn age(time: Timestamp<'_>, now: UnixNanos) -> prost_types::Duration {
    signed_duration(i128::from(now.0) - time.instant().as_nanos())
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

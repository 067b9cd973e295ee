//! Times and durations of protobuf.

use std::time::Duration;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Maximum seconds of a protobuf duration in both directions: 10,000 years.
const MAX_DURATION_SECONDS: i64 = 315_576_000_000;

/// Converts nanoseconds since 1970.
pub fn timestamp(unix_nanos: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: unix_nanos.div_euclid(NANOS_PER_SECOND),
        // The remainder of a division by a billion fits.
        nanos: unix_nanos.rem_euclid(NANOS_PER_SECOND) as i32,
    }
}

/// Returns the nanoseconds since 1970; `None` for a malformed time, and before 1677 or after 2262.
pub fn unix_nanos(timestamp: &prost_types::Timestamp) -> Option<i64> {
    let nanos = i64::from(timestamp.nanos);
    let is_fraction = (0..NANOS_PER_SECOND).contains(&nanos);
    // Before 1970 the product alone may be below the range of the sum.
    let nanos = i128::from(timestamp.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(nanos);
    i64::try_from(nanos).ok().filter(|_| is_fraction)
}

/// Converts a duration, at most 10,000 years.
pub fn duration(duration: Duration) -> prost_types::Duration {
    signed_duration(i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX))
}

/// Converts nanoseconds, at most 10,000 years in both directions.
pub fn signed_duration(nanos: i128) -> prost_types::Duration {
    let second = i128::from(NANOS_PER_SECOND);
    let max = i128::from(MAX_DURATION_SECONDS) * second;
    let nanos = nanos.clamp(-max, max);
    // Both parts have the sign of the duration, and fit by the bounds above.
    prost_types::Duration {
        seconds: (nanos / second) as i64,
        nanos: (nanos % second) as i32,
    }
}

/// Returns the seconds since 1970.
pub fn timestamp_seconds(timestamp: &prost_types::Timestamp) -> f64 {
    timestamp.seconds as f64 + f64::from(timestamp.nanos) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nanoseconds_of_a_time_before_1970_are_positive() {
        let before = timestamp(-1);
        assert_eq!((before.seconds, before.nanos), (-1, 999_999_999));
        assert_eq!(timestamp_seconds(&timestamp(-500_000_000)), -0.5);
    }

    #[test]
    fn a_time_is_converted_back_if_it_is_well_formed_and_within_range() {
        for nanos in [0, -1, 1_700_000_000_123_456_789, i64::MIN, i64::MAX] {
            assert_eq!(unix_nanos(&timestamp(nanos)), Some(nanos));
        }
        let last = timestamp(i64::MAX).seconds;
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (last + 1, 0), (i64::MIN, 0)] {
            let wrong = prost_types::Timestamp { seconds, nanos };
            assert_eq!(unix_nanos(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn both_parts_of_a_duration_have_its_sign_and_it_is_at_most_10_000_years() {
        let parts = |nanos| {
            let duration = signed_duration(nanos);
            (duration.seconds, duration.nanos)
        };
        assert_eq!(parts(500_000_000), (0, 500_000_000));
        assert_eq!(parts(-1_500_000_000), (-1, -500_000_000));
        assert_eq!(parts(i128::MIN), (-MAX_DURATION_SECONDS, 0));
        assert_eq!(duration(Duration::MAX).seconds, MAX_DURATION_SECONDS);
    }
}

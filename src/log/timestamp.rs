//! The time at the head of every entry: UTC, microseconds, fixed width.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Position of the six digits of the microseconds in the text.
const MICROS: std::ops::Range<usize> = 20..26;

/// A time as text, such as `2026-11-22T09:31:05.123456Z`. It caches the text of its second, so a
/// change within one second rewrites six digits and computes no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogTimestamp {
    text: [u8; LogTimestamp::LEN],
    second: u64,
}

impl LogTimestamp {
    /// Length of the text in bytes.
    pub(super) const LEN: usize = 27;

    /// Creates a timestamp of `unix_nanos`, nanoseconds since 1970 in UTC, cut to microseconds. A
    /// time before 1970 counts as 1970.
    pub(super) fn new(unix_nanos: i64) -> LogTimestamp {
        let mut timestamp = LogTimestamp {
            text: [0; LogTimestamp::LEN],
            // No i64 of nanoseconds reaches it, so the first `set` writes the text.
            second: u64::MAX,
        };
        timestamp.set(unix_nanos);
        timestamp
    }

    /// Creates a timestamp of the system's clock.
    pub(super) fn now() -> LogTimestamp {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since_1970.unwrap_or_default().as_nanos();
        LogTimestamp::new(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// Sets the timestamp to `unix_nanos`.
    pub(super) fn set(&mut self, unix_nanos: i64) {
        let nanos = u64::try_from(unix_nanos).unwrap_or(0);
        let second = nanos / NANOS_PER_SECOND;
        if second != self.second {
            self.write_second(second);
        }
        let mut micros = nanos % NANOS_PER_SECOND / 1000;
        for digit in self.text[MICROS].iter_mut().rev() {
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8; LogTimestamp::LEN] {
        &self.text
    }

    fn write_second(&mut self, second: u64) {
        let time = UNIX_EPOCH + Duration::from_secs(second);
        let text = humantime::format_rfc3339_micros(time);
        write!(&mut self.text[..], "{text}")
            .expect("years 1970 to 2262, all that an i64 of nanoseconds reaches, have four digits");
        self.second = second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(timestamp: LogTimestamp) -> String {
        String::from_utf8(timestamp.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn times_are_formatted_as_rfc_3339_with_microseconds() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001_999, "2000-02-29T00:00:00.000001Z"),
            (1_795_339_865_123_456_789, "2026-11-22T09:31:05.123456Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775Z"),
        ] {
            assert_eq!(text(LogTimestamp::new(nanos)), expected);
        }
    }

    proptest! {
        #[test]
        fn a_changed_timestamp_equals_a_new_one(times in prop::collection::vec(
            prop_oneof![any::<i64>(), 1_795_339_864_000_000_000..1_795_339_867_000_000_000i64],
            1..20,
        )) {
            let mut changed = LogTimestamp::new(0);
            for time in times {
                changed.set(time);
                prop_assert_eq!(changed, LogTimestamp::new(time));
                let whole = UNIX_EPOCH + Duration::from_nanos(time.max(0) as u64);
                prop_assert_eq!(text(changed), humantime::format_rfc3339_micros(whole).to_string());
            }
        }
    }
}

//! Times, spans and numbers as people read them, and text from the network as
//! they may see it.

use std::time::{Duration, UNIX_EPOCH};

pub(super) use crate::format::{count, grouped, list};
use crate::log;
use crate::model::timestamp::NANOS_PER_SECOND;

/// Text from outside, with all that a terminal would obey made visible.
pub(super) fn escaped(text: &str) -> String {
    let mut bytes = Vec::new();
    log::escape_into(&mut bytes, text.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A number in five columns: `99999`, `123k`, `4.57M`.
pub(super) fn short(number: f64) -> String {
    if number < 99_999.5 {
        return format!("{number:.0}");
    }
    let (scaled, unit) = [(1e3, "k"), (1e6, "M"), (1e9, "G")]
        .into_iter()
        .map(|(size, unit)| (number / size, unit))
        .find(|&(scaled, _)| scaled < 999.5)
        .unwrap_or((number / 1e12, "T"));
    let decimals = if scaled < 9.995 {
        2
    } else {
        usize::from(scaled < 99.95)
    };
    format!("{scaled:.decimals$}{unit}")
}

/// A span of time in five columns or so: `85ms`, `2.1s`, `3m12s`, `12d4h`.
pub(super) fn span(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    sign.to_owned() + &unsigned_span(seconds.abs())
}

fn unsigned_span(seconds: f64) -> String {
    let whole = seconds as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match whole {
        0 if seconds < 0.000_000_5 => "0s".to_owned(),
        0 if seconds < 0.001 => format!("{:.0}us", seconds * 1e6),
        0 => format!("{:.0}ms", seconds * 1e3),
        1..=9 => format!("{seconds:.1}s"),
        10..=59 => format!("{whole}s"),
        60..=3_599 => format!("{minutes}m{:02}s", whole % 60),
        3_600..=86_399 => format!("{hours}h{:02}m", minutes % 60),
        86_400..=31_557_599 => format!("{days}d{}h", hours % 24),
        _ => format!("{:.1}y", seconds / 31_557_600.0),
    }
}

/// How far, in metres: `850m`, `12.4km`.
pub(super) fn distance(meters: f64) -> String {
    match meters {
        ..999.5 => format!("{meters:.0}m"),
        ..99_950.0 => format!("{:.2}km", meters / 1000.0),
        _ => format!("{:.0}km", meters / 1000.0),
    }
}

/// Returns the nanoseconds since 1970 of a time that a server sent.
pub(super) fn unix_nanos(time: &prost_types::Timestamp) -> i128 {
    i128::from(time.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(time.nanos)
}

/// Seconds of a span that a server sent.
pub(super) fn seconds(span: &prost_types::Duration) -> f64 {
    span.seconds as f64 + f64::from(span.nanos) / 1e9
}

/// A time that a server sent, by RFC 3339 to the millisecond; as seconds where
/// that has no such form.
pub(super) fn instant(time: &prost_types::Timestamp) -> String {
    /// The last second of the year 9999.
    const LAST: u64 = 253_402_300_799;
    let whole = u64::try_from(time.seconds).ok().filter(|&s| s <= LAST);
    let nanos = u32::try_from(time.nanos)
        .ok()
        .filter(|&n| n < 1_000_000_000);
    match whole.zip(nanos) {
        Some((whole, nanos)) => {
            let since = Duration::new(whole, nanos);
            humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
        }
        None => format!("{}s after 1970", time.seconds),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn spans_take_few_columns() {
        for (seconds, text) in [
            (0.0, "0s"),
            (0.000_2, "200us"),
            (0.085, "85ms"),
            (-2.14, "-2.1s"),
            (59.9, "59s"),
            (192.0, "3m12s"),
            (3_600.0, "1h00m"),
            (1_051_200.0, "12d4h"),
            (173_878_799.6, "5.5y"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn numbers_take_few_columns() {
        for (number, text) in [
            (0.0, "0"),
            (99_999.0, "99999"),
            (99_999.7, "100k"),
            (123_456.0, "123k"),
            (999_600.0, "1.00M"),
            (4_567_890.0, "4.57M"),
            (12_345_678.0, "12.3M"),
            (2e12, "2.00T"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn any_time_that_a_server_may_send_has_words() {
        let at = |seconds, nanos| instant(&Timestamp { seconds, nanos });
        assert_eq!(at(1_621_464_827, 959_498_503), "2021-05-19T22:53:47.959Z");
        assert_eq!(at(-1, 0), "-1s after 1970");
        assert_eq!(at(i64::MAX, -7), format!("{}s after 1970", i64::MAX));
    }
}

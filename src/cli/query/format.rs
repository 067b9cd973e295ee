//! Spans, distances and numbers for people, and text from the network made safe for a
//! terminal.

pub(super) use crate::format::{count, grouped, list};
use crate::log;
use crate::model::timestamp::NANOS_PER_SECOND;

/// Escapes every character of a text from the network that a terminal would interpret.
pub(super) fn escaped(text: &str) -> String {
    let mut bytes = Vec::new();
    log::escape_into(&mut bytes, text.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Formats a number in at most five columns: `99999`, `123k`, `4.57M`.
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

/// Formats a span of time in about five columns: `85ms`, `2.1s`, `3m12s`, `12d4h`.
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

/// Formats a distance in metres: `850m`, `12.40km`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_take_at_most_six_columns() {
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
    fn numbers_take_at_most_five_columns() {
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
}

//! Spans, distances and numbers for people, and text from the network made safe for a
//! terminal.

pub(super) use crate::format::{count, grouped, list, span};
pub(super) use crate::log::escaped;
use crate::model::timestamp::NANOS_PER_SECOND;

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

//! Numbers as decimal digits, without `fmt`: every request contains three.

/// All numbers of two digits in order.
const PAIRS: [u8; 200] = pairs();

const fn pairs() -> [u8; 200] {
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[2 * number] = b'0' + (number / 10) as u8;
        pairs[2 * number + 1] = b'0' + (number % 10) as u8;
        number += 1;
    }
    pairs
}

/// Fills `out` with the last digits of `value`, padded with leading zeros.
pub(super) fn write_digits(out: &mut [u8], mut value: u64) {
    let mut places = out.rchunks_exact_mut(2);
    for pair in &mut places {
        let at = 2 * (value % 100) as usize;
        pair.copy_from_slice(&PAIRS[at..at + 2]);
        value /= 100;
    }
    if let [first] = places.into_remainder() {
        *first = b'0' + (value % 10) as u8;
    }
}

/// Formats a time in at most eight characters: `87.3 us`, `1.23 ms`, `12.3 s`.
pub(super) fn time(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000_000 => (nanos as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    match value {
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_fill_their_places() {
        for (width, value, text) in [
            (8, 1234, "00001234"),
            (9, 987_654_321, "987654321"),
            (3, 7, "007"),
            (1, 4, "4"),
            (2, 12345, "45"),
            (0, 5, ""),
        ] {
            let mut out = vec![b'x'; width];
            write_digits(&mut out, value);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn times_are_for_people() {
        for (nanos, text) in [
            (250, "0.25 us"),
            (87_340, "87.3 us"),
            (99_960, "100 us"),
            (1_234_000, "1.23 ms"),
            (999_999_999, "1000 ms"),
            (12_340_000_000, "12.3 s"),
            (0, "0.00 us"),
        ] {
            assert_eq!(time(nanos), text);
            assert!(text.len() <= 8);
        }
    }
}

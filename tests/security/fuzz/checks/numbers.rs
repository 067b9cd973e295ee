//! Exact arithmetic of times, skews and bounds, compared with schoolbook arithmetic.

use proxyherd::model::decimal::Decimal;
use proxyherd::model::position::Position;
use proxyherd::model::timestamp::{ClientTime, Skew, Timestamp, UnixNanos};

use super::reference::{decimal, is_at_most, position, skew, time};

/// Checks eight bytes of a clock or a bound, followed by a text that may be a number.
pub(crate) fn check(bytes: &[u8]) {
    let (clock, text) = bytes.split_at(bytes.len().min(8));
    let mut number = [0; 8];
    number[..clock.len()].copy_from_slice(clock);
    check_time(i64::from_le_bytes(number), text);
    check_decimal(u64::from_le_bytes(number), text);
    check_position(text);
    check_skew(i64::from_le_bytes(number));
}

fn check_time(clock: i64, text: &[u8]) {
    let parsed = Timestamp::parse(text);
    let expected = std::str::from_utf8(text).ok().and_then(time);
    assert_eq!(
        parsed.is_some(),
        expected.is_some(),
        "{parsed:?}, {expected:?}"
    );
    let (Some(parsed), Some(expected)) = (parsed, expected) else {
        return;
    };
    assert_eq!(parsed.text().as_bytes(), text);
    let ClientTime { seconds, nanos } = parsed.instant();
    assert_eq!((seconds.to_string(), format!("{nanos:09}")), expected);
    let between = Skew::between(UnixNanos(clock), parsed);
    assert_eq!(between.map(|skew| skew.to_string()), skew(clock, &expected));
}

fn check_decimal(bound: u64, text: &[u8]) {
    let parsed = Decimal::parse(text);
    let expected = std::str::from_utf8(text).ok().and_then(decimal);
    assert_eq!(
        parsed.is_some(),
        expected.is_some(),
        "{parsed:?}, {expected:?}"
    );
    let (Some(parsed), Some(expected)) = (parsed, expected) else {
        return;
    };
    // The number itself, and bounds next to it.
    let whole = parsed.whole_number();
    assert_eq!(
        whole.is_some(),
        is_at_most((expected.0, None), &u64::MAX.to_string())
    );
    let near = whole.unwrap_or(u64::MAX);
    for bound in [
        bound,
        near,
        near.saturating_sub(1),
        near.saturating_add(1),
        0,
        20,
        50,
    ] {
        assert_eq!(
            parsed.at_most(bound),
            is_at_most(expected, &bound.to_string()),
            "{bound}"
        );
    }
}

fn check_position(text: &[u8]) {
    let parsed = Position::parse(text);
    let expected = std::str::from_utf8(text).ok().and_then(position);
    let both = parsed.map(|parsed| (parsed.latitude(), parsed.longitude()));
    assert_eq!(both, expected);
    assert!(parsed.is_none_or(|parsed| parsed.text().as_bytes() == text));
}

/// Checks that a skew is printed as the difference to a client's time of 0.
fn check_skew(nanos: i64) {
    let zero = ("0".to_owned(), "000000000".to_owned());
    assert_eq!(Some(Skew(nanos).to_string()), skew(nanos, &zero));
}

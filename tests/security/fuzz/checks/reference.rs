//! The forms of the protocol, parsed in the plainest way: strings of digits, and schoolbook
//! arithmetic on them.

use std::cmp::Ordering;

/// Returns the fields of a line, which are separated by space, tab, CR, LF, FF and VT.
pub(super) fn fields(line: &[u8]) -> Vec<&[u8]> {
    let white = |byte: &u8| [0x20, 0x09, 0x0a, 0x0b, 0x0c, 0x0d].contains(byte);
    line.split(white)
        .filter(|field| !field.is_empty())
        .collect()
}

pub(super) fn is_client(text: &str) -> bool {
    let white = ['\x20', '\x09', '\x0a', '\x0b', '\x0c', '\x0d'];
    (1..=255).contains(&text.len()) && !text.contains(white)
}

/// Returns whether a text is a name: 1 to 63 ASCII letters, digits and inner hyphens.
pub(super) fn is_name(text: &str) -> bool {
    let letters = text
        .chars()
        .all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-'));
    letters && (1..=63).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-')
}

/// Returns the whole digits of an unsigned decimal number and those of its fraction, which is
/// `None` without a point.
pub(super) fn decimal(text: &str) -> Option<(&str, Option<&str>)> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && fraction.is_none_or(digits)).then_some((whole, fraction))
}

/// Compares two whole numbers of any length.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Returns whether a decimal number is at most a whole one.
pub(super) fn is_at_most((whole, fraction): (&str, Option<&str>), bound: &str) -> bool {
    match compare(whole, bound) {
        Ordering::Less => true,
        Ordering::Equal => fraction.unwrap_or("").trim_matches('0').is_empty(),
        Ordering::Greater => false,
    }
}

/// Returns latitude and longitude of a position with their signs.
pub(super) fn position(text: &str) -> Option<(&str, &str)> {
    let both = text.strip_suffix('/').unwrap_or(text);
    let signs: Vec<usize> = both.match_indices(['+', '-']).map(|(at, _)| at).collect();
    let [0, second] = signs[..] else { return None };
    let (latitude, longitude) = both.split_at(second);
    let fits = |text: &str, bound| {
        text.len() <= 32 && decimal(&text[1..]).is_some_and(|number| is_at_most(number, bound))
    };
    (fits(latitude, "90") && fits(longitude, "180")).then_some((latitude, longitude))
}

/// Returns the whole seconds of a time without leading zeros, and its first nine decimals.
pub(super) fn time(text: &str) -> Option<(String, String)> {
    let (whole, fraction) = decimal(text)?;
    let fraction = fraction.unwrap_or("");
    let fits = text.len() <= 32 && fraction.len() <= 18;
    if !fits || compare(whole, "9223372036854775808") != Ordering::Less {
        return None;
    }
    let seconds = whole.trim_start_matches('0');
    let seconds = if seconds.is_empty() { "0" } else { seconds };
    let nanos: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(9)
        .collect();
    Some((seconds.to_owned(), nanos))
}

/// Returns the difference of a server's clock and a client's time as in an AT line, or `None` if it
/// does not fit in 64 bits.
pub(super) fn skew(server: i64, time: &(String, String)) -> Option<String> {
    let client = format!("{}{}", time.0, time.1);
    let clock = server.unsigned_abs().to_string();
    let (sign, digits) = match (server < 0, compare(&clock, &client)) {
        (true, _) => ('-', add(&clock, &client)),
        (false, Ordering::Less) => ('-', subtract(&client, &clock)),
        (false, _) => ('+', subtract(&clock, &client)),
    };
    let bound = if sign == '-' {
        "9223372036854775808"
    } else {
        "9223372036854775807"
    };
    if compare(&digits, bound) == Ordering::Greater {
        return None;
    }
    // Zero has a plus sign.
    let sign = if digits.trim_matches('0').is_empty() {
        '+'
    } else {
        sign
    };
    let digits = format!("{:0>10}", digits.trim_start_matches('0'));
    let (seconds, nanos) = digits.split_at(digits.len() - 9);
    Some(format!("{sign}{seconds}.{nanos}"))
}

fn add(a: &str, b: &str) -> String {
    by_columns(a, b, |a, b, carry| {
        let sum = a + b + carry;
        (sum % 10, sum / 10)
    })
}

/// Subtracts `b` from `a`, which is not less.
fn subtract(a: &str, b: &str) -> String {
    by_columns(a, b, |a, b, borrowed| {
        let digit = a - b - borrowed;
        (digit.rem_euclid(10), i8::from(digit < 0))
    })
}

fn by_columns(a: &str, b: &str, column: impl Fn(i8, i8, i8) -> (i8, i8)) -> String {
    let width = a.len().max(b.len()) + 1;
    let digits = |text: &str| -> Vec<i8> {
        let padded = format!("{text:0>width$}");
        padded.bytes().map(|digit| (digit - b'0') as i8).collect()
    };
    let (a, b) = (digits(a), digits(b));
    let (mut carry, mut result) = (0, vec![0; width]);
    for place in (0..width).rev() {
        (result[place], carry) = column(a[place], b[place], carry);
    }
    result
        .iter()
        .map(|digit| (b'0' + *digit as u8) as char)
        .collect()
}

//! Numbers, lists and spans of time in text for people.

/// Formats a number of things: `1 server`, `2 servers`, `1,000 servers`.
pub fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// Formats a number with its thousands separated: `100,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Joins items with commas and a `conjunction`: `a`, `a and b`, `a, b and c`. Returns
/// `none` if there are no items.
pub fn list(items: impl IntoIterator<Item: AsRef<str>>, conjunction: &str) -> String {
    let mut items = items.into_iter().peekable();
    let Some(first) = items.next() else {
        return "none".to_owned();
    };
    let mut text = first.as_ref().to_owned();
    while let Some(item) = items.next() {
        if items.peek().is_some() {
            text.push_str(", ");
        } else {
            text.extend([" ", conjunction, " "]);
        }
        text.push_str(item.as_ref());
    }
    text
}

/// Formats a span of time in about five columns: `85ms`, `2.1s`, `3m12s`, `12d4h`.
pub fn span(seconds: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated_by_commas() {
        for (number, text) in [
            (7, "7"),
            (999, "999"),
            (1_234, "1,234"),
            (123_456_789, "123,456,789"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_count_of_one_is_singular_and_any_other_is_plural() {
        let links = [0, 1, 1000].map(|number| count(number, "link"));
        assert_eq!(links, ["0 links", "1 link", "1,000 links"]);
    }
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
    fn lists_have_commas_and_one_conjunction() {
        assert_eq!(list(["a"], "and"), "a");
        assert_eq!(list(["a", "b"], "or"), "a or b");
        assert_eq!(
            list(["a", "b", "c"].map(str::to_owned), "and"),
            "a, b and c"
        );
        assert_eq!(list([""; 0], "and"), "none");
    }
}

//! Numbers and lists in text for people.

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

//! Numbers as people read them.

/// `1 server`, `2 servers`, `1,000 servers`.
pub fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// A number with its thousands apart: `100,000`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
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
    fn one_is_one_and_all_else_is_many() {
        let links = [0, 1, 1000].map(|number| count(number, "link"));
        assert_eq!(links, ["0 links", "1 link", "1,000 links"]);
    }
}

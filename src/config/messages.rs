//! How messages quote, list and guess.

use crate::model::name::MAX_NAME_BYTES;

/// Longest quotation from a file, in characters. Every name fits.
const MAX_QUOTED: usize = 64;

/// Most items of one list in a message.
const MAX_LISTED: usize = 20;

/// The first line of `text`, cut to a readable length and without anything
/// that a terminal would obey.
pub(super) fn excerpt(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line
        .chars()
        .take(MAX_QUOTED)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if line.len() < text.len() || line.chars().nth(MAX_QUOTED).is_some() {
        shown.push_str("...");
    }
    shown
}

/// An excerpt in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

/// `a`, `a and b`, `a, b and c`, with the `conjunction` that is given;
/// `none` where there are no items.
pub(super) fn list<'a>(items: impl IntoIterator<Item = &'a str>, conjunction: &str) -> String {
    let mut items: Vec<String> = items.into_iter().map(str::to_owned).collect();
    if items.len() > MAX_LISTED {
        let more = items.len() - MAX_LISTED;
        items.truncate(MAX_LISTED);
        items.push(format!("{more} more"));
    }
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {conjunction} {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}

/// `; did you mean "Jaquez"?` where one of the known words is near to `word`,
/// else nothing. Stands at the end of a message.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known) {
        Some(near) if near.eq_ignore_ascii_case(word) => {
            format!("; did you mean {} (case counts)?", quoted(near))
        }
        Some(near) => format!("; did you mean {}?", quoted(near)),
        None => String::new(),
    }
}

/// The known word that is nearest to `word`, if it is near enough that it may
/// have been meant: about a third of its letters may differ, and case does not
/// count.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_NAME_BYTES {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() + 1) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many bytes must be put in, left out or changed to get from one word to
/// the other (Levenshtein's distance), whatever the case.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, want) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("Jaques", "jaquez", 1),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_word_is_guessed_and_far_ones_are_not() {
        let known = ["dir", "level", "max_bytes", "keep"];
        assert_eq!(nearest("levle", known), Some("level"));
        assert_eq!(nearest("leve", known), Some("level"));
        assert_eq!(nearest("max-byte", known), Some("max_bytes"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"l".repeat(10_000), known), None);
        assert_eq!(
            did_you_mean("KEEP", known),
            "; did you mean \"keep\" (case counts)?"
        );
    }

    #[test]
    fn lists_read_as_people_write_them() {
        assert_eq!(list(["a"], "and"), "a");
        assert_eq!(list(["a", "b"], "or"), "a or b");
        assert_eq!(list(["a", "b", "c"], "and"), "a, b and c");
        assert!(list(["a"; 25], "and").ends_with("a and 5 more"));
    }

    #[test]
    fn quotations_are_short_and_tame() {
        assert_eq!(quoted("Zoë"), "\"Zoë\"");
        assert_eq!(quoted("a\nb"), "\"a...\"");
        assert_eq!(quoted("\u{1b}[31m"), "\"\u{fffd}[31m\"");
        assert_eq!(excerpt(&"é".repeat(65)), format!("{}...", "é".repeat(64)));
    }
}

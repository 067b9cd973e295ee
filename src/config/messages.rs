//! Quotations, lists and guesses in messages.

use crate::format;
use crate::model::name::MAX_NAME_BYTES;

/// Maximum length of a quotation from a file, in characters. Every name fits.
const MAX_QUOTED_CHARS: usize = 64;

/// Maximum number of items in a list of a message.
const MAX_LISTED_ITEMS: usize = 20;

/// Returns the first line of `text`, truncated to a readable length and without control
/// characters.
pub(super) fn excerpt(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line
        .chars()
        .take(MAX_QUOTED_CHARS)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if line.len() < text.len() || line.chars().nth(MAX_QUOTED_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Returns an excerpt in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", excerpt(text))
}

/// Joins at most [`MAX_LISTED_ITEMS`] items as [`format::list`] does; the rest are counted.
pub(super) fn short_list<'a>(
    items: impl IntoIterator<Item = &'a str>,
    conjunction: &str,
) -> String {
    let mut items: Vec<String> = items.into_iter().map(str::to_owned).collect();
    if items.len() > MAX_LISTED_ITEMS {
        let more = items.len() - MAX_LISTED_ITEMS;
        items.truncate(MAX_LISTED_ITEMS);
        items.push(format!("{more} more"));
    }
    format::list(items, conjunction)
}

/// Returns `; did you mean "Jaquez"?` if one of the `known` words is similar to `word`,
/// otherwise nothing. It ends a message.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, known) {
        Some(near) if near.eq_ignore_ascii_case(word) => {
            format!("; did you mean {} (case counts)?", quoted(near))
        }
        Some(near) => format!("; did you mean {}?", quoted(near)),
        None => String::new(),
    }
}

/// Returns the known word with the least edit distance to `word`, ignoring case, if about
/// a third of its characters or fewer differ.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_NAME_BYTES {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let distance = |known: &str| strsim::levenshtein(&word, &known.to_ascii_lowercase());
    known
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() + 1) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_word_is_guessed_and_a_different_one_is_not() {
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
    fn long_lists_are_truncated() {
        assert_eq!(short_list(["a", "b"], "or"), "a or b");
        assert!(short_list(["a"; 25], "and").ends_with("a and 5 more"));
    }

    #[test]
    fn quotations_are_short_and_have_no_control_characters() {
        assert_eq!(quoted("Zoë"), "\"Zoë\"");
        assert_eq!(quoted("a\nb"), "\"a...\"");
        assert_eq!(quoted("\u{1b}[31m"), "\"\u{fffd}[31m\"");
        assert_eq!(excerpt(&"é".repeat(65)), format!("{}...", "é".repeat(64)));
    }
}

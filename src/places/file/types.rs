//! A list of types in one text.
//!
//! Separators are `|`, `;`, `,` and line ends. The list may be in the brackets of JSON, Python or
//! PostgreSQL, and its items in quotes: `["bar", "food"]`, `['bar', 'food']`, `{bar,food}`. Numpy
//! writes no comma: `['bar' 'food']`.

use super::excerpt;
use crate::places::place::TYPE_SEPARATOR;

const SEPARATORS: [char; 5] = [TYPE_SEPARATOR, ';', ',', '\n', '\r'];

const QUOTES: [char; 2] = ['"', '\''];

/// Converts a list to the form of a [`Place`](crate::places::place::Place).
///
/// # Errors
///
/// The text is no list of types: quotes or brackets are missing, are within a type, or are
/// followed by something else. The error names the correction.
pub(super) fn types_from(text: &str) -> Result<String, String> {
    let types = split(text.trim()).ok_or_else(|| {
        format!(
            "the types {} are no list: write them with \"|\" between them, such as bar|food",
            excerpt(text)
        )
    })?;
    Ok(join(types))
}

/// Joins types in the form of a [`Place`](crate::places::place::Place).
pub(super) fn join<'a>(types: impl IntoIterator<Item = &'a str>) -> String {
    let types = types.into_iter().map(str::trim);
    let types: Vec<&str> = types.filter(|kind| !kind.is_empty()).collect();
    types.join(&TYPE_SEPARATOR.to_string())
}

fn split(text: &str) -> Option<Vec<&str>> {
    // Escapes would need a parser for each of the languages; no type of Google needs one.
    if text.contains('\\') {
        return None;
    }
    let bracketed = without_brackets(text);
    let mut rest = bracketed.unwrap_or(text).trim_start();
    let mut types = Vec::new();
    while !rest.is_empty() {
        let (kind, after) = match rest.strip_prefix(QUOTES) {
            Some(quoted) => quoted_type(quoted, &rest[..1])?,
            None => plain_type(rest, bracketed.is_some())?,
        };
        types.push(kind);
        rest = after.trim_start();
    }
    Some(types)
}

fn without_brackets(text: &str) -> Option<&str> {
    let within = |open, close| text.strip_prefix(open)?.strip_suffix(close);
    let tuple = || within('(', ')').filter(|items| items.trim_start().starts_with(QUOTES));
    within('[', ']').or_else(|| within('{', '}')).or_else(tuple)
}

/// Splits off a type and its closing quote, and the separator if there is one.
fn quoted_type<'a>(text: &'a str, quote: &str) -> Option<(&'a str, &'a str)> {
    let (kind, rest) = text.split_once(quote)?;
    let rest = rest.trim_start_matches([' ', '\t']);
    match rest.strip_prefix(SEPARATORS) {
        Some(after) => Some((kind, after)),
        None => (rest.is_empty() || rest.starts_with(QUOTES)).then_some((kind, rest)),
    }
}

/// Splits off a type without quotes and its separator.
fn plain_type(text: &str, in_brackets: bool) -> Option<(&str, &str)> {
    let (kind, rest) = text.split_once(SEPARATORS).unwrap_or((text, ""));
    // Outside brackets a single quote is an apostrophe.
    let misplaced = if in_brackets { "\"'[]{}" } else { "\"[]{}" };
    let is_plain = !kind.contains(|c| misplaced.contains(c));
    is_plain.then_some((kind, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_as_spreadsheets_json_python_and_postgresql_write_them() {
        for (text, types) in [
            ("", ""),
            ("bar", "bar"),
            (" bar ; food|;cafe", "bar|food|cafe"),
            ("bar,food", "bar|food"),
            ("bar, food", "bar|food"),
            ("bar;food", "bar|food"),
            ("bar|food", "bar|food"),
            ("bar\nfood\r\ncafe", "bar|food|cafe"),
            ("night club,driver's rest", "night club|driver's rest"),
            ("'bar','food'", "bar|food"),
            ("\"bar\" | \"food\"", "bar|food"),
            (r#"["bar","food"]"#, "bar|food"),
            ("[\n  \"bar\",\n  \"food\"\n]", "bar|food"),
            (
                r#"["bar, grill", "driver's rest"]"#,
                "bar, grill|driver's rest",
            ),
            ("['bar', 'food']", "bar|food"),
            ("['bar' 'food'\n 'cafe']", "bar|food|cafe"),
            ("['bar']", "bar"),
            ("[bar, food]", "bar|food"),
            ("('bar', 'food')", "bar|food"),
            ("('bar',)", "bar"),
            ("{'bar', 'food'}", "bar|food"),
            ("{bar,food}", "bar|food"),
            ("{bar,\"night club\"}", "bar|night club"),
            ("bar (irish), food", "bar (irish)|food"),
            ("[]", ""),
            ("{}", ""),
            (" [ ] ", ""),
        ] {
            assert_eq!(types_from(text).as_deref(), Ok(types), "{text}");
        }
    }

    #[test]
    fn rejects_what_is_no_list() {
        for text in [
            "['bar', 'food'",
            "'bar, food",
            "bar, food]",
            "[['bar'], ['food']]",
            "{\"bar\": true}",
            "[u'bar', u'food']",
            "[\"caf\\u00e9\"]",
            "bar\\, food",
            "\\N",
            "[\"bar\"food]",
            "frozenset({'bar'})",
            "array(['bar'], dtype=object)",
        ] {
            let error = types_from(text).unwrap_err();
            assert!(error.contains("such as bar|food"), "{text}: {error}");
        }
    }
}

//! The rows of a CSV text, read strictly by RFC 4180.
//!
//! The crate `csv` accepts every text: to it, a quote that is not closed begins a value of several
//! lines, and a misplaced quote is a character. That loses rows silently, so this reader rejects
//! what the RFC does not define: a quote begins only a value, and its closing quote is followed by
//! a comma, a line end or the end of the text. Lines end in LF, CR LF or CR.
//!
//! After a fault it continues with the next line. No part of the text is read more than twice:
//! between the quote that begins a value and the one that closes it are only pairs of quotes, and
//! those begin no value of several lines when they are read again.

use std::borrow::Cow;

/// The characters of line ends.
pub(super) const LINE_END: [char; 2] = ['\n', '\r'];

/// A row of at least one value.
#[derive(Debug)]
pub(super) struct CsvRow<'a> {
    /// The values without their quotes, and with the white space around them.
    pub(super) values: Vec<Cow<'a, str>>,
    /// The line on which the row begins, counted from 1.
    pub(super) line: usize,
    /// The line on which it ends.
    pub(super) last_line: usize,
    /// The text from the row on.
    start: &'a str,
}

/// A misplaced quote, or a missing one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QuoteFault {
    /// The line on which the value begins, counted from 1.
    pub(super) line: usize,
    /// The index of the value in its row.
    pub(super) column: usize,
    /// The kind of the fault.
    pub(super) kind: QuoteFaultKind,
}

/// The kinds of faults in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuoteFaultKind {
    /// The quote that begins a value is not closed.
    Unclosed,
    /// White space precedes the quote that seems to begin a value.
    AfterSpace,
    /// A quote is within a value that does not begin with one.
    Inside {
        /// Whether a backslash precedes it.
        backslash: bool,
    },
    /// A character follows the quote that closes a value.
    Followed {
        /// The character.
        by: char,
        /// The line of the quote.
        line: usize,
        /// Whether a backslash precedes the quote.
        backslash: bool,
    },
}

/// The rows of a text. Blank lines are skipped.
pub(super) struct CsvRows<'a> {
    rest: &'a str,
    /// The line on which `rest` begins.
    line: usize,
}

impl<'a> CsvRows<'a> {
    /// Returns the rows of a text.
    pub(super) fn new(text: &'a str) -> Self {
        CsvRows {
            rest: text,
            line: 1,
        }
    }

    /// Continues after the line on which a value of `row` begins, and returns the number of that
    /// line.
    pub(super) fn reread_after(&mut self, row: &CsvRow<'a>, column: usize) -> usize {
        (self.rest, self.line) = (row.start, row.line);
        let before = row.values[..column].iter();
        let line = row.line + before.map(|value| line_ends(value)).sum::<usize>();
        while self.line <= line {
            self.skip_line();
        }
        line
    }

    fn value(&mut self) -> Result<Cow<'a, str>, QuoteFaultKind> {
        match self.rest.strip_prefix('"') {
            Some(quoted) => self.quoted_value(quoted),
            None => self.plain_value(),
        }
    }

    fn plain_value(&mut self) -> Result<Cow<'a, str>, QuoteFaultKind> {
        let end = self.rest.find([',', '\n', '\r', '"']);
        let (value, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if rest.starts_with('"') {
            return Err(match value.trim() {
                "" => QuoteFaultKind::AfterSpace,
                _ => QuoteFaultKind::Inside {
                    backslash: value.ends_with('\\'),
                },
            });
        }
        self.rest = rest;
        Ok(value.into())
    }

    /// Returns the value whose opening quote precedes `text`.
    fn quoted_value(&mut self, text: &'a str) -> Result<Cow<'a, str>, QuoteFaultKind> {
        let end = closing_quote(text).ok_or(QuoteFaultKind::Unclosed)?;
        let (value, rest) = (&text[..end], &text[end + 1..]);
        let next = rest.chars().next();
        if let Some(by) = next.filter(|next| *next != ',' && !LINE_END.contains(next)) {
            return Err(QuoteFaultKind::Followed {
                by,
                line: self.line + line_ends(value),
                backslash: value.ends_with('\\'),
            });
        }
        self.line += line_ends(value);
        self.rest = rest;
        Ok(if value.contains('"') {
            value.replace("\"\"", "\"").into()
        } else {
            value.into()
        })
    }

    /// Skips the rest of the line with its line end.
    fn skip_line(&mut self) {
        let end = self.rest.find(LINE_END).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
        self.skip_line_end();
    }

    /// Skips a line end and returns true, if the rest begins with one.
    fn skip_line_end(&mut self) -> bool {
        let rest = self.rest.strip_prefix("\r\n");
        let Some(rest) = rest.or_else(|| self.rest.strip_prefix(LINE_END)) else {
            return false;
        };
        self.rest = rest;
        self.line += 1;
        true
    }
}

impl<'a> Iterator for CsvRows<'a> {
    type Item = Result<CsvRow<'a>, QuoteFault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.skip_line_end() {}
        if self.rest.is_empty() {
            return None;
        }
        let mut row = CsvRow {
            values: Vec::new(),
            line: self.line,
            last_line: self.line,
            start: self.rest,
        };
        loop {
            match self.value() {
                Ok(value) => row.values.push(value),
                Err(kind) => {
                    let (line, column) = (self.line, row.values.len());
                    self.skip_line();
                    return Some(Err(QuoteFault { line, column, kind }));
                }
            }
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None => break,
            }
        }
        row.last_line = self.line;
        self.skip_line_end();
        Some(Ok(row))
    }
}

/// Returns the index of the first quote that is not one of a pair.
fn closing_quote(text: &str) -> Option<usize> {
    let mut start = 0;
    loop {
        let end = start + text[start..].find('"')?;
        if !text[end + 1..].starts_with('"') {
            return Some(end);
        }
        start = end + 2;
    }
}

/// Returns the number of line ends in a text.
fn line_ends(text: &str) -> usize {
    let ends = text.matches(LINE_END).count();
    ends - text.matches("\r\n").count()
}

#[cfg(test)]
mod tests {
    use super::QuoteFaultKind::{AfterSpace, Followed, Inside, Unclosed};
    use super::*;

    /// A row with its first and last line, or a fault.
    type Read = Result<(usize, usize, Vec<String>), QuoteFault>;

    fn rows(text: &str) -> Vec<Read> {
        let row = |row: CsvRow<'_>| {
            let values = row.values.into_iter().map(Cow::into_owned).collect();
            (row.line, row.last_line, values)
        };
        CsvRows::new(text).map(|read| read.map(row)).collect()
    }

    fn row(line: usize, last_line: usize, values: &[&str]) -> Read {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        Ok((line, last_line, values))
    }

    #[test]
    fn splits_rows_and_values() {
        for (text, expected) in [
            ("", vec![]),
            ("\r\n\n\r", vec![]),
            ("a", vec![row(1, 1, &["a"])]),
            (",", vec![row(1, 1, &["", ""])]),
            (
                "a,b\nc,",
                vec![row(1, 1, &["a", "b"]), row(2, 2, &["c", ""])],
            ),
            (
                "a\r\n\r\nb\rc\r",
                vec![row(1, 1, &["a"]), row(3, 3, &["b"]), row(4, 4, &["c"])],
            ),
            (" a , b ", vec![row(1, 1, &[" a ", " b "])]),
            ("\"\",\" a \"", vec![row(1, 1, &["", " a "])]),
            ("\"a,b\",\"\"\"\"", vec![row(1, 1, &["a,b", "\""])]),
            ("\"a \"\"b\"\"\"", vec![row(1, 1, &["a \"b\""])]),
            ("\"C:\\\",1", vec![row(1, 1, &["C:\\", "1"])]),
            (
                "\"a\nb\r\nc\rd\",\"e\n\"\nf",
                vec![row(1, 5, &["a\nb\r\nc\rd", "e\n"]), row(6, 6, &["f"])],
            ),
        ] {
            assert_eq!(rows(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_misplaced_quote_is_a_fault_and_the_next_line_is_read() {
        let followed = |by, line, backslash| Followed {
            by,
            line,
            backslash,
        };
        for (text, column, kind) in [
            ("\"a", 0, Unclosed),
            ("a,\"b\"\"", 1, Unclosed),
            ("a, \"b\"", 1, AfterSpace),
            ("\t\"a\"", 0, AfterSpace),
            ("a\"", 0, Inside { backslash: false }),
            ("5\" disk", 0, Inside { backslash: false }),
            ("a,b \\\"c\\\"", 1, Inside { backslash: true }),
            ("\"a\"b", 0, followed('b', 2, false)),
            ("\"a\" ,b", 0, followed(' ', 2, false)),
            ("\"a \\\"b\\\"\"", 0, followed('b', 2, true)),
            ("\"a \"b\"\"", 0, followed('b', 2, false)),
        ] {
            // A quote in the third line would close the one that is not closed.
            let fault = Err(QuoteFault {
                line: 2,
                column,
                kind,
            });
            let expected = [row(1, 1, &["x"]), fault, row(3, 3, &["y", "z"])];
            assert_eq!(rows(&format!("x\r\n{text}\r\ny,z")), expected, "{text:?}");
        }
    }

    #[test]
    fn a_quote_that_a_later_line_closes_costs_only_its_own_line() {
        let kind = Followed {
            by: 'd',
            line: 2,
            backslash: false,
        };
        let fault = QuoteFault {
            line: 1,
            column: 1,
            kind,
        };
        assert_eq!(rows("a,\"b\nc,\"d\""), [Err(fault), row(2, 2, &["c", "d"])]);
    }

    #[test]
    fn rows_after_a_value_can_be_read_again() {
        let mut rows = CsvRows::new("\"a\nb\",\"c\nd\",e\nf");
        let row = rows.next().unwrap().unwrap();
        for (column, line, next) in [(0, 1, "b\""), (1, 2, "d\""), (2, 3, "f")] {
            assert_eq!(rows.reread_after(&row, column), line);
            assert!(rows.rest.starts_with(next), "{column}");
            assert_eq!(rows.line, line + 1);
        }
    }
}

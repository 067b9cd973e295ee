//! Collects the errors of a text, so that all are reported at once.

use std::ops::Range;
use std::path::Path;

use super::error::{ConfigError, ConfigProblem};

/// The errors found in a text so far.
///
/// Offsets are in bytes, as the parser gives them; they become lines here. An offset
/// past the end counts as in the last line.
pub(super) struct Problems {
    text: String,
    /// The offset at which each line begins, in order.
    lines: Vec<usize>,
    found: Vec<(usize, ConfigProblem)>,
}

impl Problems {
    /// Creates an empty list for `text`.
    pub(super) fn new(text: &str) -> Self {
        let after = text.match_indices('\n').map(|(end, _)| end + 1);
        Self {
            text: text.to_owned(),
            lines: std::iter::once(0).chain(after).collect(),
            found: Vec::new(),
        }
    }

    /// Returns whether there are no errors.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Adds an error on the line of `at`.
    pub(super) fn add(&mut self, at: usize, message: impl Into<String>) {
        let line = Some(self.line(at));
        self.push(at, line, None, message.into());
    }

    /// Adds an error at `at`, with line and column.
    pub(super) fn exact(&mut self, at: usize, message: impl Into<String>) {
        let line = Some(self.line(at));
        let column = Some(self.column(at));
        self.push(at, line, column, message.into());
    }

    /// Adds an error of the text as a whole.
    pub(super) fn general(&mut self, message: impl Into<String>) {
        self.push(0, None, None, message.into());
    }

    /// Returns the line of an offset, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at)
    }

    /// Returns the text of a range, as written.
    pub(super) fn written(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    /// Returns all errors, in the order of the text.
    pub(super) fn into_error(mut self, path: &Path) -> ConfigError {
        self.found.sort_by_key(|(at, _)| *at);
        ConfigError::Invalid {
            path: path.to_owned(),
            problems: self.found.into_iter().map(|(_, problem)| problem).collect(),
        }
    }

    fn push(&mut self, at: usize, line: Option<usize>, column: Option<usize>, message: String) {
        let problem = ConfigProblem {
            line,
            column,
            message,
        };
        self.found.push((at, problem));
    }

    fn column(&self, at: usize) -> usize {
        // Lines count from 1, and the first begins at offset 0.
        let start = self.lines[self.line(at) - 1];
        1 + self.written(start..at).chars().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns_in_order() {
        let mut problems = Problems::new("é = 1\nb = é\n");
        problems.exact(13, "last");
        problems.add(7, "middle");
        problems.exact(3, "first");
        problems.general("whole");
        problems.add(99, "past the end");
        let text = problems.into_error(Path::new("h")).to_string();
        assert_eq!(
            text,
            "h: whole\nh:1:3: first\nh:2: middle\nh:2:6: last\nh:3: past the end"
        );
    }
}

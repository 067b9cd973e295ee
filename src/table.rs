//! Tables for people: columns two spaces apart, without borders.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

pub(crate) use comfy_table::CellAlignment::{Left, Right};

/// Spaces between two columns.
const GAP: u16 = 2;

/// Minimum width of a last column that is broken into lines.
const MIN_LAST_WIDTH: u16 = 24;

/// A table whose first row is its titles. A row may have fewer cells than there are
/// columns.
#[derive(Debug)]
pub(crate) struct TextTable(Table);

impl TextTable {
    /// A table with these titles, each with the alignment of its column.
    pub(crate) fn new(columns: &[(&str, CellAlignment)]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(columns.iter().map(|(title, _)| *title));
        let last = columns.len().saturating_sub(1);
        for (i, (column, (_, alignment))) in table.column_iter_mut().zip(columns).enumerate() {
            column.set_cell_alignment(*alignment);
            column.set_padding((0, if i == last { 0 } else { GAP }));
        }
        Self(table)
    }

    /// Breaks the last column at its spaces, so that lines have at most `width` columns.
    /// They are wider if the other columns leave less than [`MIN_LAST_WIDTH`].
    pub(crate) fn wrap(&mut self, width: u16) {
        self.0.set_content_arrangement(ContentArrangement::Dynamic);
        self.0.set_width(width);
        let last = self.0.column_iter().count().saturating_sub(1);
        for (i, column) in self.0.column_iter_mut().enumerate() {
            column.set_constraint(if i == last {
                ColumnConstraint::LowerBoundary(Width::Fixed(MIN_LAST_WIDTH))
            } else {
                ColumnConstraint::ContentWidth
            });
        }
    }

    /// Adds a row.
    pub(crate) fn row<T: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.0
            .add_row(cells.into_iter().map(Into::into).collect::<Vec<Cell>>());
    }

    /// The lines of the table after `indent`, without line ends and trailing spaces.
    pub(crate) fn lines(&self, indent: &str) -> impl Iterator<Item = String> {
        self.0
            .lines()
            .map(move |line| format!("{indent}{line}").trim_end().to_owned())
    }

    /// The whole table after `indent`, each line with its line end. Empty if there is no row.
    pub(crate) fn text(&self, indent: &str) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        self.lines(indent).map(|line| line + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned_with_their_column() {
        let mut table = TextTable::new(&[("server", Left), ("n", Right)]);
        table.row(["a", "100"]);
        table.row(["длинное имя", "7"]);
        assert_eq!(
            table.text(" "),
            " server         n\n a            100\n длинное имя    7\n"
        );
    }

    #[test]
    fn wide_and_combining_characters_take_the_columns_that_a_terminal_gives_them() {
        let mut table = TextTable::new(&[("client", Left), ("n", Right)]);
        // Two columns each; and an e with a combining acute accent.
        for client in ["東京", "cafe\u{301}", "한국어"] {
            table.row([client, "7"]);
        }
        assert_eq!(
            table.text(""),
            "client  n\n東京    7\ncafe\u{301}    7\n한국어  7\n"
        );
    }

    #[test]
    fn a_row_may_end_early() {
        let mut table = TextTable::new(&[("a", Left), ("b", Left), ("c", Right)]);
        table.row(["x"]);
        table.row(["y", "1", "2"]);
        assert_eq!(table.text(""), "a  b  c\nx\ny  1  2\n");
    }

    #[test]
    fn a_table_without_rows_is_empty() {
        let table = TextTable::new(&[("a", Left)]);
        assert_eq!(table.text(""), "");
    }

    #[test]
    fn the_last_column_is_broken_into_lines() {
        let mut table = TextTable::new(&[("server", Left), ("neighbours", Left)]);
        table.row(["Riley", "one, two, three, four, five, six, seven"]);
        table.wrap(34);
        assert_eq!(
            table.text("  "),
            "  server  neighbours\n  Riley   one, two, three, four,\n          five, six, seven\n"
        );
        table.wrap(10);
        assert!(table.text("").contains("one, two, three, four,\n"));
    }
}

//! Columns, of as many as a terminal gives each text: two for a character of
//! Chinese, none for an accent that stands by itself.

use unicode_width::UnicodeWidthStr;

use super::screen::{Paint, Screen};

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A cell: a text without line ends, and perhaps its colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    paint: Option<Paint>,
}

impl Cell {
    pub(super) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self {
            text: text.into(),
            paint: Some(paint),
        }
    }

    fn width(&self) -> usize {
        self.text.width()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            paint: None,
        }
    }
}

/// Rows whose cells stand below each other, two columns apart. The last cell of
/// a row may go on as far as it likes.
#[derive(Clone, Debug)]
pub(super) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these titles.
    pub(super) fn new(columns: &[(&str, Side)]) -> Self {
        let title = |&(title, _): &(&str, Side)| Cell::painted(title, Paint::Title);
        Self {
            sides: columns.iter().map(|&(_, side)| side).collect(),
            rows: vec![columns.iter().map(title).collect()],
        }
    }

    /// Adds a row, which may have fewer cells than there are columns.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The rows as lines, each after `indent`.
    pub(super) fn print(&self, screen: &Screen, indent: &str) -> String {
        let widths: Vec<usize> = (0..self.sides.len()).map(|i| self.width(i)).collect();
        let line = |row: &Vec<Cell>| indent.to_owned() + &self.line(row, &widths, screen) + "\n";
        self.rows.iter().map(line).collect()
    }

    /// Width of a column. A text that ends a row early needs none.
    fn width(&self, column: usize) -> usize {
        let counts = |row: &&Vec<Cell>| column + 1 < row.len() || row.len() == self.sides.len();
        let rows = self.rows.iter().filter(counts);
        rows.map(|row| row[column].width()).max().unwrap_or(0)
    }

    fn line(&self, row: &[Cell], widths: &[usize], screen: &Screen) -> String {
        let last = row.len().saturating_sub(1);
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let gap = widths[i].saturating_sub(cell.width());
            let is_end = i == last && (self.sides[i] == Side::Left || row.len() < self.sides.len());
            let (before, behind) = match self.sides[i] {
                _ if is_end => (0, 0),
                Side::Right => (gap, 0),
                Side::Left => (0, gap),
            };
            let text = match cell.paint {
                Some(paint) => screen.paint(paint, &cell.text),
                None => cell.text.clone(),
            };
            line += &format!("{:before$}{text}{:behind$}", "", "");
            line += if i == last { "" } else { "  " };
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        let mut table = Table::new(&[("server", Side::Left), ("n", Side::Right)]);
        table.row(vec!["a".into(), "100".into()]);
        table.row(vec!["длинное имя".into(), Cell::painted("7", Paint::Bad)]);
        let text = table.print(&Screen::stdout(), " ");
        assert_eq!(
            text,
            " server         n\n a            100\n длинное имя    7\n"
        );
    }

    #[test]
    fn wide_and_combining_characters_take_the_columns_that_they_take() {
        let mut table = Table::new(&[("client", Side::Left), ("n", Side::Right)]);
        // Two columns each; and an e with an acute accent of its own.
        for client in ["東京", "cafe\u{301}", "한국어"] {
            table.row(vec![client.into(), "7".into()]);
        }
        let text = table.print(&Screen::stdout(), "");
        assert_eq!(text, "client  n\n東京    7\ncafe\u{301}    7\n한국어  7\n");
    }

    #[test]
    fn a_row_that_ends_early_widens_no_column() {
        let mut table = Table::new(&[("a", Side::Left), ("b", Side::Right), ("c", Side::Right)]);
        table.row(vec!["x".into(), "a long reason".into()]);
        table.row(vec!["y".into(), "1".into(), "2".into()]);
        let text = table.print(&Screen::stdout(), "");
        assert_eq!(text, "a  b  c\nx  a long reason\ny  1  2\n");
    }
}

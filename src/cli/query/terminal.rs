//! Standard output: colours and redrawing for terminals that have them, and readers that leave
//! early.

use std::env;
use std::future::pending;
use std::io::{self, IsTerminal};
use std::thread;

use tokio::sync::oneshot;
use tokio::task;

use crate::format::grouped;
use crate::output::{self, Reader};

/// The meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Highlight {
    Title,
    Good,
    Bad,
    Caution,
}

impl Highlight {
    /// The parameters of its control sequence (ECMA-48, Select Graphic Rendition).
    fn code(self) -> &'static str {
        match self {
            Self::Title => "1",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Caution => "33",
        }
    }
}

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// True for a terminal that understands control sequences.
    has_controls: bool,
    has_colours: bool,
}

impl Screen {
    /// Standard output as it is now. Colours and redrawing need a terminal that has them, and
    /// colours no `NO_COLOR` in the environment (<https://no-color.org>).
    pub(super) fn stdout() -> Self {
        let has_controls = io::stdout().is_terminal() && output::terminal_has_controls();
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        Self {
            has_controls,
            has_colours: has_controls && !is_set("NO_COLOR"),
        }
    }

    /// Returns the text in a colour.
    pub(super) fn paint(&self, highlight: Highlight, text: &str) -> String {
        if self.has_colours && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", highlight.code())
        } else {
            text.to_owned()
        }
    }

    /// Prints whole lines. Writes in a thread of its own, so that the caller can be
    /// cancelled while the reader takes nothing.
    pub(super) async fn print(&self, text: String) -> io::Result<Reader> {
        task::spawn_blocking(move || output::print(&text)).await?
    }

    /// Resolves when the reader leaves, also while nothing is printed.
    pub(super) async fn reader_left(&self) {
        let (leave, left) = oneshot::channel();
        let wait = move || {
            if output::wait_until_reader_leaves().is_ok() {
                let _ = leave.send(());
            }
        };
        let thread = thread::Builder::new().name("reader".to_owned());
        // Without the thread, the next text that is printed shows that the reader has left.
        if thread.spawn(wait).is_err() || left.await.is_err() {
            pending().await
        }
    }

    /// Prints a text in place of the previous one: over it on a terminal, cut to its height,
    /// otherwise below it, after an empty line.
    pub(super) async fn refresh(&self, text: &str, is_first: bool) -> io::Result<Reader> {
        self.print(match (self.has_controls, is_first) {
            (true, first) => overwrite(&fit(text, output::terminal_height()), first),
            (false, true) => text.to_owned(),
            (false, false) => format!("\n{text}"),
        })
        .await
    }
}

/// Returns a text that overwrites the screen from its upper left corner. Each line is
/// cleared after its text and not before, so that nothing flickers. Lines wider than
/// the terminal are cut: a wrapped line would push the first ones out.
fn overwrite(text: &str, is_first: bool) -> String {
    const NO_WRAP: &str = "\x1b[?7l";
    const WRAP: &str = "\x1b[?7h";
    let clear = if is_first { "\x1b[2J" } else { "" };
    let lines = text.replace('\n', "\x1b[K\n");
    format!("{clear}\x1b[H{NO_WRAP}{lines}\x1b[J{WRAP}")
}

/// Cuts a text to a terminal of this many lines. Lines in the middle give way to their number: the
/// first lines are the heading, and the last ones the problems.
fn fit(text: &str, height: Option<usize>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    // The cursor takes a line of its own.
    let Some(room) = height.map(|height| height.saturating_sub(1)) else {
        return text.to_owned();
    };
    if lines.len() <= room {
        return text.to_owned();
    }
    let kept = room.saturating_sub(1);
    let (first, last) = (kept - kept / 2, kept / 2);
    let cut = grouped((lines.len() - kept) as u64);
    let note = format!("... {cut} more lines: enlarge the terminal");
    let shown = [&lines[..first], &[&note], &lines[lines.len() - last..]];
    shown.concat().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_that_has_them() {
        let screen = |has_colours| Screen {
            has_controls: true,
            has_colours,
        };
        assert_eq!(screen(false).paint(Highlight::Bad, "DOWN"), "DOWN");
        assert_eq!(
            screen(true).paint(Highlight::Good, "up"),
            "\x1b[32mup\x1b[0m"
        );
        assert_eq!(screen(true).paint(Highlight::Good, ""), "");
    }

    #[test]
    fn a_text_higher_than_the_terminal_loses_lines_in_the_middle() {
        let text = "1\n2\n3\n4\n5\n6\n";
        assert_eq!(fit(text, None), text);
        assert_eq!(fit(text, Some(7)), text);
        let cut = "1\n2\n... 3 more lines: enlarge the terminal\n6\n";
        assert_eq!(fit(text, Some(5)), cut);
        let note = "... 6 more lines: enlarge the terminal\n";
        assert_eq!([fit(text, Some(2)), fit(text, Some(1))], [note, note]);
    }

    #[test]
    fn a_text_overwrites_the_previous_one() {
        assert_eq!(
            overwrite("a\nb\n", true),
            "\x1b[2J\x1b[H\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h"
        );
        assert_eq!(
            overwrite("c\n", false),
            "\x1b[H\x1b[?7lc\x1b[K\n\x1b[J\x1b[?7h"
        );
    }
}

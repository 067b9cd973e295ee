//! Standard output: colours for terminals that have them, and readers that leave early.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};

use tokio::task;

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

/// The state of the reader of standard output after printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Open,
    /// The reader closed its end of the pipe, as `head` does.
    Closed,
}

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    is_terminal: bool,
    has_colours: bool,
}

impl Screen {
    /// Standard output as it is now. Colours need a terminal that has them, and no
    /// `NO_COLOR` in the environment (<https://no-color.org>).
    pub(super) fn stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_terminal,
            has_colours: is_terminal && !is_set("NO_COLOR") && !is_dumb,
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
        let write = move || {
            let mut stdout = io::stdout();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()
        };
        match task::spawn_blocking(write).await? {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Closed),
            printed => printed.map(|()| Reader::Open),
        }
    }

    /// Prints a text in place of the previous one: over it on a terminal, otherwise
    /// below it, after an empty line.
    pub(super) async fn refresh(&self, text: &str, is_first: bool) -> io::Result<Reader> {
        self.print(match (self.is_terminal, is_first) {
            (true, first) => overwrite(text, first),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_that_has_them() {
        let screen = |has_colours| Screen {
            is_terminal: true,
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

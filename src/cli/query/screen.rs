//! Standard output: colour where a terminal shows it, and readers that leave.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};

use tokio::task;

/// What a colour stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Title,
    Good,
    Bad,
    Caution,
}

impl Paint {
    /// Its code (ECMA-48, Select Graphic Rendition).
    fn code(self) -> &'static str {
        match self {
            Self::Title => "1",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Caution => "33",
        }
    }
}

/// Did the reader stay?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Stays,
    /// It has closed its end of the pipe: `| head` has all that it wanted.
    Gone,
}

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    is_terminal: bool,
    has_colours: bool,
}

impl Screen {
    /// Colours need a terminal that has some, and nobody who minds them
    /// (<https://no-color.org>).
    pub(super) fn stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_terminal,
            has_colours: is_terminal && !is_set("NO_COLOR") && !is_dumb,
        }
    }

    /// The text in a colour.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        match self.has_colours && !text.is_empty() {
            true => format!("\x1b[{}m{text}\x1b[0m", paint.code()),
            false => text.to_owned(),
        }
    }

    /// Prints a text, whole lines. Waits in a thread of its own while the
    /// reader takes nothing, so that whoever waits can still be told to stop.
    pub(super) async fn print(&self, text: String) -> io::Result<Reader> {
        let write = move || {
            let mut stdout = io::stdout();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()
        };
        match task::spawn_blocking(write).await? {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            printed => printed.map(|()| Reader::Stays),
        }
    }

    /// Prints a text in the place of the one before: on a terminal over it, and
    /// else below it, after an empty line.
    pub(super) async fn refresh(&self, text: &str, is_first: bool) -> io::Result<Reader> {
        self.print(match (self.is_terminal, is_first) {
            (true, first) => over(text, first),
            (false, true) => text.to_owned(),
            (false, false) => format!("\n{text}"),
        })
        .await
    }
}

/// From the upper left corner on, each line and what is below cleared behind the
/// text and not before it, so that nothing flickers. What is wider than the
/// terminal is cut: a line that went on below would push the first ones out.
fn over(text: &str, is_first: bool) -> String {
    const WRAP_NOT: &str = "\x1b[?7l";
    const WRAP: &str = "\x1b[?7h";
    let clear = if is_first { "\x1b[2J" } else { "" };
    let lines = text.replace('\n', "\x1b[K\n");
    format!("{clear}\x1b[H{WRAP_NOT}{lines}\x1b[J{WRAP}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_have_some() {
        let screen = |has_colours| Screen {
            is_terminal: true,
            has_colours,
        };
        assert_eq!(screen(false).paint(Paint::Bad, "DOWN"), "DOWN");
        assert_eq!(screen(true).paint(Paint::Good, "up"), "\x1b[32mup\x1b[0m");
        assert_eq!(screen(true).paint(Paint::Good, ""), "");
    }

    #[test]
    fn a_text_is_put_over_the_one_before() {
        assert_eq!(
            over("a\nb\n", true),
            "\x1b[2J\x1b[H\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h"
        );
        assert_eq!(over("c\n", false), "\x1b[H\x1b[?7lc\x1b[K\n\x1b[J\x1b[?7h");
    }
}

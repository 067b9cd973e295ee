//! Standard output and standard error: what may be behind them, and what it can do.
//!
//! Whoever shares a stream may make it non-blocking, and whoever reads it may leave. The standard
//! library reports the first as an error in the middle of a text, and the second only at the next
//! write, which on a quiet herd never comes.

use std::env;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

use indicatif::ProgressDrawTarget;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::tcgetwinsize;

/// The state of the reader of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// It reads, as far as is known.
    Open,
    /// It closed its end of the pipe, as `head` does.
    Closed,
}

/// Prints a text to standard output, however long its reader takes.
///
/// # Errors
///
/// The output takes no more, as on a full disk. A reader that leaves is no error.
pub(crate) fn print(text: &str) -> io::Result<Reader> {
    // Locked, so that no other thread writes into the text.
    match PatientWriter(io::stdout().lock()).write_all(text.as_bytes()) {
        Ok(()) => Ok(Reader::Open),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Closed),
        Err(error) => {
            let message = format!("cannot write to standard output: {error}");
            Err(io::Error::new(error.kind(), message))
        }
    }
}

/// Blocks until the reader of standard output leaves, without writing anything. Never returns if
/// there is no reader, as for a file.
///
/// # Errors
///
/// The system cannot tell.
pub(crate) fn wait_until_reader_leaves() -> io::Result<()> {
    // Errors and hang-ups are reported without being asked for.
    wait_for(&io::stdout(), PollFlags::empty())
}

/// Returns true if terminals understand control sequences, by `TERM` in the environment.
pub(crate) fn terminal_has_controls() -> bool {
    env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Returns the number of lines of the terminal at standard output; `None` if it is no terminal or
/// does not know.
pub(crate) fn terminal_height() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0).then_some(size.ws_row.into())
}

/// Returns where progress is shown: on standard error, if it is a terminal that can redraw a line.
pub(crate) fn progress_target() -> ProgressDrawTarget {
    if terminal_has_controls() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// A writer that waits while a non-blocking stream takes nothing. Does not buffer.
#[derive(Debug)]
pub(crate) struct PatientWriter<T>(pub(crate) T);

impl<T: AsFd> Write for PatientWriter<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, bytes) {
                Err(Errno::AGAIN) => wait_for(&self.0, PollFlags::OUT)?,
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait_for(stream: &impl AsFd, events: PollFlags) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(stream, events)], None) {
            Ok(0) | Err(Errno::INTR) => {}
            ready => return ready.map(drop).map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn a_text_reaches_the_reader_of_a_non_blocking_stream_whole() {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let text = vec![b'x'; 4 << 20];
        let expected = text.len();
        let writing = thread::spawn(move || PatientWriter(near).write_all(&text));
        let mut read = Vec::new();
        far.read_to_end(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        assert_eq!(read.len(), expected);
    }

    #[test]
    fn a_reader_that_leaves_is_noticed_without_a_write() {
        let (reader, writer) = io::pipe().unwrap();
        let waiting = thread::spawn(move || wait_for(&writer, PollFlags::empty()));
        drop(reader);
        waiting.join().unwrap().unwrap();
    }
}

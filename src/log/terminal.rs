//! Messages on the terminal (stderr), which must not be able to block the server.
//!
//! A write to stderr blocks for as long as its pipe is not read or the terminal is held with
//! Ctrl-S. So messages go through the same queue as lines to a log file, and a thread of its own
//! writes them, at once and in order.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use crate::format::count;
use crate::output::PatientWriter;

use super::queue::{LogBlock, LogQueue};

/// Maximum time that [`flush_terminal`] waits. Much shorter: on a busy machine the last messages of
/// a process, such as an error, are lost. Longer: the process does not end while a terminal is
/// stuck.
const MAX_FLUSH_WAIT: Duration = Duration::from_secs(1);

/// `None` if its thread cannot be started.
static STDERR: LazyLock<Option<Arc<LogQueue>>> = LazyLock::new(|| start(stderr()).ok());

/// Writes `line`, which is escaped and ends with a line end, to stderr. Never fails and never
/// waits: while stderr is stuck, up to 16 MiB of messages wait, and further ones are dropped and
/// counted. A stderr that is closed or fails is ignored.
pub fn print_to_terminal(line: &[u8]) {
    match STDERR.as_ref() {
        Some(queue) => queue.push(line, 1),
        None => drop(stderr().write_all(line)),
    }
}

fn stderr() -> PatientWriter<io::Stderr> {
    PatientWriter(io::stderr())
}

/// Waits until all messages are written, at most a second: for the end of a process.
pub fn flush_terminal() {
    flush_terminal_within(MAX_FLUSH_WAIT);
}

/// Flushes as [`flush_terminal`] does, with another limit.
pub(super) fn flush_terminal_within(limit: Duration) {
    if let Some(queue) = STDERR.as_ref() {
        queue.flush(limit);
    }
}

/// Starts the thread that writes the messages of a queue, until the queue is closed.
fn start(output: impl Write + Send + 'static) -> io::Result<Arc<LogQueue>> {
    let queue = Arc::new(LogQueue::new(Duration::ZERO));
    let messages = Arc::clone(&queue);
    let thread = thread::Builder::new().name("terminal".to_owned());
    thread.spawn(move || run(output, &messages))?;
    Ok(queue)
}

fn run(mut output: impl Write, messages: &LogQueue) {
    let mut block = LogBlock::default();
    while messages.take_into(&mut block) {
        if block.dropped > 0 {
            let note = format!(
                "warning: left out {} here; the logs have all\n",
                count(block.dropped, "message")
            );
            block.lines.extend_from_slice(note.as_bytes());
        }
        let _ = output.write_all(&block.lines);
        messages.settle();
        block.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::queue::MAX_WAITING_BYTES;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::{Mutex, MutexGuard};

    /// A terminal that accepts nothing while its text is locked.
    #[derive(Clone, Default)]
    struct Screen {
        text: Arc<Mutex<Vec<u8>>>,
        begun: Arc<AtomicUsize>,
    }

    impl Screen {
        fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
            self.text.lock().unwrap()
        }

        /// Returns the number of writes that have begun.
        fn begun(&self) -> usize {
            self.begun.load(SeqCst)
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.begun.fetch_add(1, SeqCst);
            self.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_terminal_blocks_no_caller_and_the_number_of_missing_messages_is_printed() {
        let limit = Duration::from_secs(30);
        let screen = Screen::default();
        let queue = start(screen.clone()).unwrap();
        queue.push(b"one\n", 1);
        assert!(queue.flush(limit));
        assert_eq!(*screen.lock(), b"one\n");

        let stuck = screen.lock();
        queue.push(b"two\n", 1);
        // The terminal has taken it, and no message with it.
        while screen.begun() < 2 {
            thread::yield_now();
        }
        assert!(!queue.flush(Duration::from_millis(1)));
        let large = vec![b'\n'; MAX_WAITING_BYTES - b"two\n".len()];
        for _ in 0..3 {
            queue.push(&large, 1);
        }
        drop(stuck);
        assert!(queue.flush(limit));
        let text = screen.lock();
        assert!(text.starts_with(b"one\ntwo\n"));
        let note = b"warning: left out 2 messages here; the logs have all\n";
        assert!(text.ends_with(note));
        queue.close();
    }
}

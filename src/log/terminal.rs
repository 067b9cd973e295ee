//! Messages on the terminal, which must not be able to block the server.
//!
//! A write to stderr blocks for as long as its pipe is not read or the terminal is held with
//! Ctrl-S. So one thread writes, and a caller waits for it only briefly, and not at all while it is
//! stuck. In normal operation a message is written when [`tell`] returns, in order with the other
//! output of the process, and there is nothing to flush at exit.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

/// Maximum number of messages that wait for a stuck terminal; more are dropped and counted.
const QUEUE: usize = 256;

/// Maximum time that a caller waits for its message to be written, once for each time that the
/// terminal gets stuck.
const PATIENCE: Duration = Duration::from_millis(50);

/// Maximum time that a process waits at its end for all messages to be written. Much shorter: on a
/// busy machine its last messages, such as an error, are lost. Longer: the process does not end
/// while a terminal is stuck.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

static STDERR: LazyLock<Terminal> = LazyLock::new(|| Terminal::new(io::stderr()));

/// Writes `line`, which is escaped and ends with a line end, to stderr. Never fails and never
/// blocks for long. A stderr that is closed or refuses the write is ignored.
pub fn tell(line: &[u8]) {
    STDERR.tell(line);
}

/// Waits until all messages are written, at most a second: for the end of a process.
pub fn finish_telling() {
    STDERR.finish();
}

/// A thread that writes messages one by one, and its health.
struct Terminal {
    queue: SyncSender<Message>,
    health: Arc<Health>,
}

struct Message {
    line: Vec<u8>,
    /// Dropped when the line is written, which ends the caller's wait.
    _out: Sender<()>,
}

impl Message {
    /// Returns a message, and a receiver that disconnects when it is written.
    fn new(line: &[u8]) -> (Message, Receiver<()>) {
        let (out, is_out) = mpsc::channel();
        let message = Message {
            line: line.to_vec(),
            _out: out,
        };
        (message, is_out)
    }
}

#[derive(Default)]
struct Health {
    /// Set while a message has waited in vain and none has been written since.
    stuck: AtomicBool,
    /// Number of messages that were dropped and not reported yet.
    missed: AtomicU64,
}

impl Terminal {
    fn new(output: impl Write + Send + 'static) -> Terminal {
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let health = Arc::new(Health::default());
        let thread = thread::Builder::new().name("terminal".to_owned());
        let its_health = Arc::clone(&health);
        // If the thread cannot be started the channel is closed, and `tell` writes the line itself.
        let _ = thread.spawn(move || show(output, messages, &its_health));
        Terminal { queue, health }
    }

    fn tell(&self, line: &[u8]) {
        let (message, is_out) = Message::new(line);
        match self.queue.try_send(message) {
            Ok(()) => self.wait_for(&is_out),
            Err(TrySendError::Full(_)) => {
                self.health.missed.fetch_add(1, Relaxed);
            }
            Err(TrySendError::Disconnected(_)) => {
                let _ = io::stderr().write_all(line);
            }
        }
    }

    fn finish(&self) {
        let (last, is_out) = Message::new(b"");
        // If the queue is full the terminal has been stuck for a long time.
        if self.queue.try_send(last).is_ok() {
            let _ = is_out.recv_timeout(LAST_PATIENCE);
        }
    }

    fn wait_for(&self, is_out: &Receiver<()>) {
        if self.health.stuck.load(Relaxed) {
            return;
        }
        if is_out.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            self.health.stuck.store(true, Relaxed);
        }
    }
}

fn show(mut output: impl Write, messages: Receiver<Message>, health: &Health) {
    for message in messages {
        let _ = output.write_all(&message.line);
        health.stuck.store(false, Relaxed);
        let missed = health.missed.swap(0, Relaxed);
        if missed > 0 {
            let words = format!("warning: {missed} messages were not shown; the logs have them\n");
            let _ = output.write_all(words.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::Instant;

    /// A terminal that accepts nothing while its gate is locked.
    #[derive(Clone, Default)]
    struct Screen {
        gate: Arc<Mutex<()>>,
        text: Arc<Mutex<Vec<u8>>>,
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.text.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_is_out_when_it_was_told() {
        let is_out_when_told = |_| {
            let screen = Screen::default();
            let terminal = Terminal::new(screen.clone());
            terminal.tell(b"one\n");
            terminal.tell(b"two\n");
            screen.text() == "one\ntwo\n"
        };
        // On a busy machine the terminal's thread may be scheduled later than the caller's limit.
        assert!((0..10).any(is_out_when_told));
    }

    #[test]
    fn at_the_end_slow_words_are_waited_for_and_stuck_ones_given_up() {
        let screen = Screen::default();
        let terminal = Terminal::new(screen.clone());
        let gate = screen.gate.lock().unwrap();
        let start = Instant::now();
        terminal.tell(b"one\n");
        terminal.finish();
        assert!(start.elapsed() >= LAST_PATIENCE);
        assert!(start.elapsed() < LAST_PATIENCE * 5, "{:?}", start.elapsed());
        assert_eq!(screen.text(), "");
        thread::scope(|scope| {
            let finished = scope.spawn(|| terminal.finish());
            drop(gate);
            finished.join().unwrap();
            assert_eq!(screen.text(), "one\n");
        });
    }

    #[test]
    fn a_stuck_terminal_holds_nobody_up_and_says_what_is_missing() {
        let screen = Screen::default();
        let terminal = Terminal::new(screen.clone());
        let gate = screen.gate.lock().unwrap();
        let start = Instant::now();
        for n in 0..2 * QUEUE {
            terminal.tell(format!("{n}\n").as_bytes());
        }
        // Far less than one wait for each message.
        assert!(start.elapsed() < PATIENCE * 20, "{:?}", start.elapsed());
        drop(gate);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !screen.text().contains(&format!("\n{}\n", QUEUE - 1)) {
            assert!(Instant::now() < deadline, "{}", screen.text());
            thread::yield_now();
        }
        assert!(screen.text().contains("messages were not shown"));
    }
}

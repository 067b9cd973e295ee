//! The person at the terminal, who must not be able to stop the server.
//!
//! A write to stderr blocks for as long as nobody reads its pipe or somebody holds the terminal
//! with Ctrl-S. So one thread writes, and whoever tells something waits for it only briefly, and not
//! at all once it is known to be stuck. While all is well a message is out when [`tell`] returns, in
//! order with whatever else the process prints, and there is nothing to flush at exit.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

/// Messages that may wait for a stuck terminal; past it they are dropped and counted.
const QUEUE: usize = 256;

/// How long a message waits to be out, once for each time that the terminal gets stuck.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a process that ends waits for its last words to be out. On a busy machine the thread that
/// writes them may not run at once, and what is not out then is lost.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

static STDERR: LazyLock<Terminal> = LazyLock::new(|| Terminal::new(io::stderr()));

/// Shows `line`, which is escaped and ends with a line end, on stderr. Never fails and never blocks
/// for long. A stderr that is closed or refuses the write is ignored.
pub(super) fn tell(line: &[u8]) {
    STDERR.tell(line);
}

/// As [`tell`], for whoever ends the process next: waits longer, up to a second.
pub fn tell_at_last(line: &[u8]) {
    if let Some(is_out) = STDERR.hand_over(line) {
        // Nothing is left to try where it is not.
        let _ = is_out.recv_timeout(LAST_PATIENCE);
    }
}

/// A thread that writes messages one by one, and how it fares.
struct Terminal {
    queue: SyncSender<Message>,
    health: Arc<Health>,
}

struct Message {
    line: Vec<u8>,
    /// Dropped when the line is out, which is what its teller waits for.
    _out: Sender<()>,
}

#[derive(Default)]
struct Health {
    /// A message has waited in vain, and none has come out since.
    stuck: AtomicBool,
    /// Messages that found the queue full, and of which nobody knows yet.
    missed: AtomicU64,
}

impl Terminal {
    fn new(output: impl Write + Send + 'static) -> Terminal {
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let health = Arc::new(Health::default());
        let thread = thread::Builder::new().name("terminal".to_owned());
        let its_health = Arc::clone(&health);
        // Where no thread can be had the channel is closed, and `tell` does what it can.
        let _ = thread.spawn(move || show(output, messages, &its_health));
        Terminal { queue, health }
    }

    fn tell(&self, line: &[u8]) {
        if let Some(is_out) = self.hand_over(line) {
            self.wait_for(&is_out);
        }
    }

    /// Gives what ends when the line is out, if it is on its way.
    fn hand_over(&self, line: &[u8]) -> Option<Receiver<()>> {
        let (out, is_out) = mpsc::channel();
        let message = Message {
            line: line.to_vec(),
            _out: out,
        };
        match self.queue.try_send(message) {
            Ok(()) => return Some(is_out),
            Err(TrySendError::Full(_)) => {
                self.health.missed.fetch_add(1, Relaxed);
            }
            Err(TrySendError::Disconnected(_)) => {
                let _ = io::stderr().write_all(line);
            }
        }
        None
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

    /// A terminal that takes nothing while its gate is locked.
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
        let screen = Screen::default();
        let terminal = Terminal::new(screen.clone());
        terminal.tell(b"one\n");
        terminal.tell(b"two\n");
        assert_eq!(screen.text(), "one\ntwo\n");
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

//! The thread that owns a log's file.
//!
//! It takes the gathered lines from the queue by swapping an empty buffer for the full one, and
//! writes them with one call. Only this thread waits for the disk.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use super::backlog::{self, Block};
use super::escape::escape_into;
use super::outage::Outage;
use super::queue::Queue;
use super::rotation::LogFile;
use super::stamp::Stamp;

/// The output for messages on the terminal; takes a whole line, escaped.
pub(super) type Tell = Box<dyn Fn(&[u8]) + Send>;

/// The thread that owns the file. It reports faults of the log on the terminal only: an event would
/// be written to the log itself.
pub(super) struct Writer {
    server: String,
    queue: Arc<Queue>,
    file: LogFile,
    episode: Outage,
    tell: Tell,
}

impl Writer {
    /// Starts the thread, which ends when `queue` is closed and empty. The returned receiver
    /// disconnects then.
    pub(super) fn start(
        server: &str,
        queue: Arc<Queue>,
        file: LogFile,
        tell: Tell,
    ) -> io::Result<Receiver<Infallible>> {
        let (alive, ended) = mpsc::channel();
        let writer = Writer {
            server: server.to_owned(),
            queue,
            file,
            episode: Outage::default(),
            tell,
        };
        let thread = thread::Builder::new().name(format!("log {server}"));
        thread.spawn(move || {
            writer.run();
            drop(alive);
        })?;
        Ok(ended)
    }

    fn run(mut self) {
        let mut block = Block::default();
        // The end of an outage is reported even if no line follows.
        while self
            .queue
            .take_into(&mut block, self.episode.rest(Instant::now()))
        {
            self.note_drops(&mut block);
            if let Err(fault) = self.write(&block.lines) {
                self.give_up(block, &fault);
                return;
            }
            self.queue.settle();
            self.report_health(block.dropped);
            block.clear();
        }
    }

    /// Adds the line that gives the number of lines missing after those of the block.
    fn note_drops(&mut self, block: &mut Block) {
        let dropped = block.dropped;
        if dropped == 0 {
            return;
        }
        block.lines.extend_from_slice(Stamp::now().as_bytes());
        let words = format!(" WARN  {dropped} lines are missing here: the disk did not keep up\n");
        block.lines.extend_from_slice(words.as_bytes());
        if self.episode.trouble(Instant::now(), dropped) {
            let limit = backlog::LIMIT / (1024 * 1024);
            self.tell(&format!(
                "warning: {}: the log is not written as fast as it grows; past a backlog of {limit} MiB its lines are dropped, and it says how many",
                self.server
            ));
        }
    }

    /// Writes `lines` however long it takes, unless no handle is left: then it gives up at the next
    /// fault. Appenders fill the backlog meanwhile and do not wait.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while let Err(fault) = self.file.append(lines, &mut done) {
            if self.episode.trouble(Instant::now(), 0) {
                self.tell(&format!(
                    "warning: {}: cannot write the log {}: {fault}; serving goes on, and it is tried again until it works",
                    self.server,
                    self.file.path().display()
                ));
            }
            if !self.queue.wait_to_retry() {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Reports a failed rotation, or the end of an outage.
    fn report_health(&mut self, dropped: u64) {
        let now = Instant::now();
        if let Some(fault) = self.file.take_rotation_fault() {
            if self.episode.trouble(now, 0) {
                let path = self.file.path().display();
                self.tell(&format!(
                    "warning: {}: cannot rename the full log {path}: {fault}; it grows on",
                    self.server
                ));
            }
        } else if dropped == 0
            && let Some(dropped) = self.episode.fine(now)
        {
            self.tell(&format!(
                "{}: the log is written again; {dropped} lines are missing",
                self.server
            ));
        }
    }

    /// Reports the lines lost when a log is closed on a disk that does not accept them.
    fn give_up(&self, mut block: Block, fault: &io::Error) {
        let mut lost = block.count + block.dropped;
        block.clear();
        if self.queue.take_into(&mut block, None) {
            lost += block.count + block.dropped;
        }
        self.tell(&format!(
            "warning: {}: up to {lost} last lines of the log are lost: {fault}",
            self.server
        ));
    }

    fn tell(&self, words: &str) {
        let mut line = Vec::with_capacity(words.len() + 1);
        escape_into(&mut line, words.as_bytes());
        line.push(b'\n');
        (self.tell)(&line);
    }
}

//! The thread that writes a log to its file or to standard output.
//!
//! It takes the gathered lines from the queue by swapping an empty buffer for the full one, and
//! writes them with one call. Only this thread waits for the disk, or for a reader.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::escape::escape_into;
use super::line::LineStyle;
use super::queue::{LogBlock, LogQueue};
use super::target::LogTarget;
use super::throttle::LogThrottle;

/// Minimum time between two reports of faults on the terminal. Shorter: an intermittent disk floods
/// it; longer: a new fault may stay unreported for that long.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The output for messages on the terminal; takes a whole line, escaped.
pub(super) type Print = Box<dyn Fn(&[u8]) + Send>;

/// The thread that writes. It reports faults of the log on the terminal only: an event would
/// be written to the log itself.
pub(super) struct LogWriter {
    server: String,
    queue: Arc<LogQueue>,
    target: LogTarget,
    style: Arc<LineStyle>,
    reports: LogThrottle,
    /// Set while a fault is reported and nothing has been written since.
    is_failing: bool,
    /// Number of dropped lines that were reported.
    reported_drops: u64,
    print: Print,
}

impl LogWriter {
    /// Starts the thread, which ends when `queue` is closed and empty. The returned receiver
    /// disconnects then.
    pub(super) fn start(
        server: &str,
        queue: Arc<LogQueue>,
        target: LogTarget,
        style: Arc<LineStyle>,
        print: Print,
    ) -> io::Result<Receiver<Infallible>> {
        let (alive, ended) = mpsc::channel();
        let writer = LogWriter {
            server: server.to_owned(),
            queue,
            target,
            style,
            reports: LogThrottle::new(REPORT_INTERVAL),
            is_failing: false,
            reported_drops: 0,
            print,
        };
        let thread = thread::Builder::new().name(format!("log {server}"));
        thread.spawn(move || {
            writer.run();
            drop(alive);
        })?;
        Ok(ended)
    }

    fn run(mut self) {
        let mut block = LogBlock::default();
        while self.queue.take_into(&mut block) {
            self.mark_gap(&mut block);
            if let Err(fault) = self.write(&block.lines) {
                self.report_loss(block, &fault);
                return;
            }
            self.queue.settle();
            self.report_health();
            block.clear();
        }
    }

    /// Adds the line that gives the number of lines missing after those of the block.
    fn mark_gap(&self, block: &mut LogBlock) {
        let dropped = block.dropped;
        if dropped > 0 {
            let slow = self.target.bottleneck();
            let gap = format!("{dropped} lines are missing here: {slow} did not keep up");
            block.lines.extend_from_slice(&self.style.warning(&gap));
        }
    }

    /// Writes `lines` however long it takes, unless no handle is left: then it gives up at the next
    /// fault. Appenders fill the queue meanwhile and do not wait.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while let Err(fault) = self.target.append(lines, &mut done) {
            if !self.is_failing && self.reports.admit().is_some() {
                self.is_failing = true;
                self.print(&format!(
                    "warning: {}: cannot write the log {}: {fault}; the server continues and \
                     retries",
                    self.server, self.target
                ));
            }
            if !self.queue.wait_to_retry() {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Reports a failed rotation, the end of a failure, and dropped lines.
    fn report_health(&mut self) {
        if let Some(fault) = self.target.take_rotation_fault()
            && self.reports.admit().is_some()
        {
            self.print(&format!(
                "warning: {}: cannot rename the full log {}: {fault}; it continues to grow",
                self.server, self.target
            ));
        }
        let dropped = self.queue.dropped();
        let missing = dropped - self.reported_drops;
        if self.is_failing {
            self.print(&format!(
                "{}: the log is written again; {missing} lines are missing",
                self.server
            ));
        } else if missing > 0 && self.reports.admit().is_some() {
            self.print(&format!(
                "warning: {}: {missing} lines of the log are missing: {} did not keep up",
                self.server,
                self.target.bottleneck()
            ));
        } else {
            return;
        }
        self.is_failing = false;
        self.reported_drops = dropped;
    }

    /// Reports the lines lost when a log is closed on a disk that does not accept them.
    fn report_loss(&self, mut block: LogBlock, fault: &io::Error) {
        let mut lost = block.count + block.dropped;
        block.clear();
        if self.queue.take_into(&mut block) {
            lost += block.count + block.dropped;
        }
        self.print(&format!(
            "warning: {}: up to {lost} last lines of the log are lost: {fault}",
            self.server
        ));
    }

    fn print(&self, message: &str) {
        let mut line = Vec::with_capacity(message.len() + 1);
        escape_into(&mut line, message.as_bytes());
        line.push(b'\n');
        (self.print)(&line);
    }
}

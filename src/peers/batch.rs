//! A batch of reports as the bytes of a push, and as lines of the transcript.

use crate::line_protocol::reply;
use crate::model::report::Report;
use crate::replication::send_cursor::BatchBuilder;
use crate::replication::tag::Tag;

use crate::wire::PushWriter;

/// A batch under construction.
#[derive(Debug)]
pub(super) struct RecordedBatch {
    pub(super) push: PushWriter,
    /// The lines of its reports, if they are recorded.
    pub(super) lines: Vec<u8>,
    is_recorded: bool,
}

impl RecordedBatch {
    /// Creates an empty batch, with room for `capacity` bytes, whose lines are written to
    /// the empty buffer `lines` if `is_recorded`.
    pub(super) fn new(capacity: usize, lines: Vec<u8>, is_recorded: bool) -> Self {
        Self {
            push: PushWriter::with_capacity(capacity),
            lines,
            is_recorded,
        }
    }
}

impl BatchBuilder for RecordedBatch {
    fn add(&mut self, report: &Report<'_>, tag: Tag, max_bytes: usize) -> bool {
        let added = self.push.add(report, tag, max_bytes);
        if added && self.is_recorded {
            reply::at(&mut self.lines, report);
        }
        added
    }

    fn bytes(&self) -> usize {
        self.push.bytes()
    }
}

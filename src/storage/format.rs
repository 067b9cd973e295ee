//! The frames of a file, and the messages in them: `proto/proxyherd/v1/storage.proto` describes
//! both.
//!
//! A [`FrameReader`] finds every whole frame of a file, whatever is between them: after damage it
//! searches for the mark with which the next frame begins.

use std::io::{self, Read};
use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use prost::Message;

use crate::proto::{NeighbourProgress, PushFrame, StorageFacts, StorageHeader};
use crate::replication::Incarnation;
use crate::replication::lineage::{Lineage, NeighbourFacts};
use crate::replication::messages::PushHeader;
use crate::replication::send_cursor::MAX_BATCH_BYTES;
use crate::wire;

/// The version of the format.
pub const FORMAT_VERSION: u8 = 1;

/// The first bytes of each frame.
const MARK: [u8; 3] = [0xff, b'P', b'H'];

/// Number of bytes before the message of a frame.
const PREFIX_BYTES: usize = 13;

/// Maximum size of a message, in bytes. It is part of the format.
const MAX_MESSAGE_BYTES: usize = MAX_BATCH_BYTES;

/// Number of bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// The last sequence number that a file may name: far more than a server ever assigns, and far from
/// an overflow.
const MAX_SEQUENCE: u64 = 1 << 62;

/// The kind of a frame's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Header = b'H' as isize,
    Changes = b'C' as isize,
    Facts = b'F' as isize,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all = [Self::Header, Self::Changes, Self::Facts];
        all.into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// The server that wrote a part of a file, and its incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name of its herd.
    pub herd: String,
    /// Its name.
    pub server: String,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The earlier incarnations whose feed this one restored.
    pub lineage: Lineage,
}

impl Header {
    /// Appends the frame of this header to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let message = StorageHeader {
            herd: self.herd.clone(),
            server: self.server.clone(),
            incarnation: self.incarnation.get(),
            earlier_incarnations: self.lineage.iter().map(Incarnation::get).collect(),
        };
        put_frame(out, Kind::Header, &message.encode_to_vec());
    }

    fn read(message: &[u8]) -> Option<Self> {
        let message = StorageHeader::decode(message).ok()?;
        let earlier = message.earlier_incarnations.into_iter();
        Some(Self {
            incarnation: Incarnation::new(message.incarnation)?,
            lineage: earlier.filter_map(Incarnation::new).collect(),
            herd: message.herd,
            server: message.server,
        })
    }
}

/// Appends the frame of facts about neighbours to `out`.
pub fn write_facts(out: &mut Vec<u8>, facts: &[NeighbourFacts]) {
    let progress = |facts: &NeighbourFacts| NeighbourProgress {
        neighbour: facts.neighbour.clone(),
        applied: facts
            .applied
            .iter()
            .copied()
            .map(wire::acknowledged_message)
            .collect(),
        acknowledged: facts.acknowledged.map(wire::acknowledged_message),
    };
    let message = StorageFacts {
        neighbours: facts.iter().map(progress).collect(),
    };
    put_frame(out, Kind::Facts, &message.encode_to_vec());
}

fn read_facts(message: &[u8]) -> Option<Vec<NeighbourFacts>> {
    let facts = |progress: NeighbourProgress| {
        let applied = progress.applied.iter().map(wire::acknowledged);
        Some(NeighbourFacts {
            neighbour: progress.neighbour,
            applied: applied.collect::<Option<_>>()?,
            acknowledged: progress.acknowledged.as_ref().and_then(wire::acknowledged),
        })
    };
    let message = StorageFacts::decode(message).ok()?;
    message.neighbours.into_iter().map(facts).collect()
}

/// Appends the frame of some changes to `out`.
pub(crate) fn write_changes(out: &mut Vec<u8>, push: &PushFrame) {
    put_frame(out, Kind::Changes, &push.0);
}

fn put_frame(out: &mut Vec<u8>, kind: Kind, message: &[u8]) {
    debug_assert!(message.len() <= MAX_MESSAGE_BYTES);
    // The assertion holds for all messages that are written here.
    let length = (message.len() as u32).to_le_bytes();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[FORMAT_VERSION, kind as u8]);
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum([FORMAT_VERSION, kind as u8], length, message).to_le_bytes());
    out.extend_from_slice(message);
}

pub(super) fn checksum(version_and_kind: [u8; 2], length: [u8; 4], message: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&version_and_kind);
    hasher.update(&length);
    hasher.update(message);
    hasher.finalize()
}

/// Some changes of a feed, whose reports are not yet read.
#[derive(Clone, Debug)]
pub struct Changes {
    push: PushFrame,
}

impl Changes {
    /// Returns the message, if it is well-formed.
    pub(crate) fn push(&self) -> Option<&PushFrame> {
        self.read(|_, _, _| ())?;
        Some(&self.push)
    }

    /// Passes the reports to `read`, with the number that the first of them counts as. Returns
    /// `None` if the message is malformed: nothing of it was passed.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&PushHeader<'_>, &[crate::model::report::Report<'_>], u64) -> T,
    ) -> Option<T> {
        let push = wire::read_push(&self.push).ok()?;
        let reports = push.reports().ok()?;
        let PushHeader { from, to, .. } = push.header;
        let first = (to + 1).checked_sub(reports.len() as u64)?;
        let is_possible = to <= MAX_SEQUENCE && first > from;
        is_possible.then(|| read(&push.header, &reports, first))
    }
}

/// The message of a frame.
#[derive(Clone, Debug)]
pub enum Content {
    /// A header.
    Header(Header),
    /// Changes.
    Changes(Changes),
    /// What the server knew of its neighbours.
    Facts(Vec<NeighbourFacts>),
    /// A message of an unknown kind, or a malformed one. Its checksum is right.
    Unknown,
}

/// A whole frame of a file.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The version of the format. The content of another version is [`Content::Unknown`].
    pub version: u8,
    /// The message.
    pub content: Content,
    /// The offset after the frame.
    pub end: u64,
    /// Whether bytes before this frame were skipped, since the one before it.
    pub is_after_damage: bool,
}

/// A reader of the whole frames of a file, in order.
#[derive(Debug)]
pub struct FrameReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The part of the buffer that is not consumed.
    rest: Range<usize>,
    /// The offset of the rest in the file.
    offset: u64,
    is_at_end: bool,
    is_damaged: bool,
}

impl<R: Read> FrameReader<R> {
    /// Creates a reader from the beginning of a file.
    pub fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            rest: 0..0,
            offset: 0,
            is_at_end: false,
            is_damaged: false,
        }
    }

    /// Returns the size of the file, once it was read to its end.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next whole frame; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// Returns the error of the input. The frames before it were returned.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        self.is_damaged = false;
        loop {
            if !self.fill(PREFIX_BYTES)? {
                self.consume(self.rest.len());
                return Ok(None);
            }
            if let Some(frame) = self.whole_frame()? {
                return Ok(Some(frame));
            }
            self.is_damaged = true;
            self.skip_to_mark();
        }
    }

    /// Returns the frame with which the rest begins; `None` if it begins with none.
    fn whole_frame(&mut self) -> io::Result<Option<Frame>> {
        let prefix = &self.buffer[self.rest.start..];
        let [m, a, r, version, kind, l0, l1, l2, l3, c0, c1, c2, c3] = *prefix
            .first_chunk::<PREFIX_BYTES>()
            .expect("the caller filled in as many bytes");
        let length = [l0, l1, l2, l3];
        let message_bytes = u32::from_le_bytes(length) as usize;
        if [m, a, r] != MARK
            || message_bytes > MAX_MESSAGE_BYTES
            || !self.fill(PREFIX_BYTES + message_bytes)?
        {
            return Ok(None);
        }
        let at = self.rest.start + PREFIX_BYTES;
        let message = &self.buffer[at..at + message_bytes];
        if checksum([version, kind], length, message) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Ok(None);
        }
        let content = match Kind::of(kind) {
            _ if version != FORMAT_VERSION => None,
            Some(Kind::Header) => Header::read(message).map(Content::Header),
            Some(Kind::Facts) => read_facts(message).map(Content::Facts),
            Some(Kind::Changes) => Some(Content::Changes(Changes {
                push: PushFrame(Bytes::copy_from_slice(message)),
            })),
            None => None,
        };
        self.consume(PREFIX_BYTES + message_bytes);
        Ok(Some(Frame {
            version,
            content: content.unwrap_or(Content::Unknown),
            end: self.offset,
            is_after_damage: self.is_damaged,
        }))
    }

    /// Consumes at least one byte, up to the next mark, or to the end of what was read.
    fn skip_to_mark(&mut self) {
        let rest = &self.buffer[self.rest.start + 1..self.rest.end];
        let skipped = match memmem::find(rest, &MARK) {
            Some(at) => 1 + at,
            // The last bytes may be the beginning of a mark.
            None if self.is_at_end => self.rest.len(),
            None => self.rest.len() - (MARK.len() - 1),
        };
        self.consume(skipped);
    }

    fn consume(&mut self, bytes: usize) {
        self.rest.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads until the rest has at least `bytes`. Returns `false` if the file ends before that.
    fn fill(&mut self, bytes: usize) -> io::Result<bool> {
        while self.rest.len() < bytes && !self.is_at_end {
            self.buffer.copy_within(self.rest.clone(), 0);
            self.rest = 0..self.rest.len();
            self.buffer.resize(self.rest.end + READ_BYTES, 0);
            let read = self.input.read(&mut self.buffer[self.rest.end..]);
            match read {
                Ok(0) => self.is_at_end = true,
                Ok(read) => self.rest.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.rest.len() >= bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::replication::lineage::Acknowledged;

    fn header(server: &str) -> Header {
        let incarnation = Incarnation::new(7).unwrap();
        Header {
            herd: "test".to_owned(),
            server: server.to_owned(),
            incarnation,
            lineage: Lineage::default().extended(incarnation),
        }
    }

    /// Returns the servers of the headers, each with a `!` if it is after damage.
    fn servers(bytes: &[u8]) -> Vec<String> {
        let mut reader = FrameReader::new(bytes);
        let mut found = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            let damage = if frame.is_after_damage { "!" } else { "" };
            match frame.content {
                Content::Header(header) => found.push(header.server + damage),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(reader.offset(), bytes.len() as u64);
        found
    }

    fn file(servers: &[&str]) -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        servers
            .iter()
            .for_each(|name| header(name).write(&mut bytes));
        let frame = bytes.len() / servers.len();
        (bytes, frame)
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        header("Riley").write(&mut bytes);
        let [by, of] = [9, 7].map(|number| Incarnation::new(number).unwrap());
        let facts = |acknowledged| NeighbourFacts {
            neighbour: "Jaquez".to_owned(),
            applied: vec![Acknowledged {
                by: of,
                of: by,
                through: 4,
            }],
            acknowledged,
        };
        let through = 3;
        let facts = vec![facts(None), facts(Some(Acknowledged { by, of, through }))];
        write_facts(&mut bytes, &facts);
        let mut reader = FrameReader::new(&bytes[..]);
        let first = reader.next_frame().unwrap().unwrap();
        assert!(matches!(first.content, Content::Header(read) if read == header("Riley")));
        let second = reader.next_frame().unwrap().unwrap();
        assert_eq!(second.end, bytes.len() as u64);
        assert!(matches!(second.content, Content::Facts(read) if read == facts));
        assert!(reader.next_frame().unwrap().is_none());
    }

    #[test]
    fn every_whole_frame_is_found_whatever_byte_of_another_is_wrong() {
        let (bytes, frame) = file(&["A", "B", "C"]);
        for at in 0..frame {
            let mut damaged = bytes.clone();
            damaged[frame + at] ^= 0x10;
            assert_eq!(servers(&damaged), ["A", "C!"], "byte {at}");
            let removed = [&bytes[..frame + at], &bytes[2 * frame..]].concat();
            let damage = if at == 0 { "C" } else { "C!" };
            assert_eq!(servers(&removed), ["A", damage]);
            assert_eq!(servers(&bytes[..2 * frame + at]), ["A", "B"], "a torn tail");
        }
        assert_eq!(servers(&[]), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn random_bytes_between_frames_hide_none(
            garbage in prop::collection::vec(any::<u8>(), 1..100),
        ) {
            let (bytes, frame) = file(&["A", "B"]);
            let mixed = [&bytes[..frame], &garbage, &bytes[frame..]].concat();
            prop_assert_eq!(servers(&mixed), ["A", "B!"]);
        }
    }
}

//! Messages between servers to model types and back, and the pushes that storage keeps.
//!
//! Greetings use the structs that prost generates. A push does not: it is written from
//! the store into the bytes that are sent, and read in place from the bytes that arrived.
//! With prost's structs each report costs 1.52 times the CPU time (five processes,
//! pipeline 16, measured): three strings are allocated for each report that passes. A
//! test holds both readers equal.

mod protobuf;

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use crate::model::client::ClientId;
use crate::model::name::is_name;
use crate::model::position::Position;
use crate::model::report::{Origin, Report};
use crate::model::timestamp::{Skew, Timestamp, UnixNanos};
use crate::proto::{
    Acknowledgement, GreetRequest, GreetResponse, PushFrame, PushMark, PushResponse, VectorEntry,
};
use crate::replication::Incarnation;
use crate::replication::feed_reader::FeedReader;
use crate::replication::lineage::Acknowledged;
use crate::replication::messages::{
    GreetReply, Greeting, PushAnswer, PushHeader, VERSION, Version,
};
use crate::replication::replica::Replica;
use crate::replication::send_cursor::{BatchBuilder, MAX_BATCH_BYTES, MAX_BATCH_REPORTS};
use crate::replication::sent_pushes::{self, PushProgress};
use crate::replication::spanning_tree::TreePosition;
use crate::replication::tag::{OriginIndex, PushOrigins, Tag, TaggedReport};
use crate::replication::version_vector::{MAX_VECTOR_ENTRIES, OriginNumber};

use protobuf::{
    FieldValue, MessageFields, WireError, bytes_len, put_bytes, put_fixed32, put_fixed64,
    put_sint64, put_uint64, put_varint, sint64_len, uint64_len, unzigzag,
};

/// Maximum size of an encoded push, in bytes.
pub(super) const MAX_PUSH_BYTES: usize = MAX_BATCH_BYTES;

/// Maximum number of origins in a push. Reports of further ones have no tag. It is part of
/// the protocol: a receiver rejects more.
const MAX_PUSH_ORIGINS: usize = MAX_VECTOR_ENTRIES;

/// Size of the names and numbers of a push, in bytes: two names of 63 bytes, five numbers,
/// and their keys.
const MAX_NAMES_BYTES: usize = 192;

/// Maximum size of a push without its reports, in bytes: with 8 bytes for each origin, and
/// 22 for each entry of the vector.
const MAX_HEADER_BYTES: usize =
    MAX_NAMES_BYTES + 8 + 8 * MAX_PUSH_ORIGINS + 22 * MAX_VECTOR_ENTRIES;

pub(super) fn greet_request(greeting: &Greeting<'_>) -> GreetRequest {
    GreetRequest {
        version_major: greeting.version.major,
        version_minor: greeting.version.minor,
        herd: greeting.herd.to_owned(),
        sender: greeting.sender.to_owned(),
        sender_incarnation: greeting.incarnation,
        receiver: greeting.receiver.to_owned(),
        expire_after_nanos: nanos(greeting.expire_after),
        acknowledged: greeting.acknowledged.map(acknowledged_message),
    }
}

pub(super) fn greeting(request: &GreetRequest) -> Greeting<'_> {
    Greeting {
        version: Version {
            major: request.version_major,
            minor: request.version_minor,
        },
        herd: &request.herd,
        sender: &request.sender,
        incarnation: request.sender_incarnation,
        receiver: &request.receiver,
        expire_after: duration(request.expire_after_nanos),
        acknowledged: request.acknowledged.as_ref().and_then(acknowledged),
    }
}

pub(super) fn acknowledged_message(acknowledged: Acknowledged) -> Acknowledgement {
    Acknowledgement {
        by_incarnation: acknowledged.by.get(),
        of_incarnation: acknowledged.of.get(),
        through_sequence: acknowledged.through,
    }
}

/// Reads an acknowledgement. One of the incarnation 0 is ignored.
pub(super) fn acknowledged(message: &Acknowledgement) -> Option<Acknowledged> {
    Some(Acknowledged {
        by: Incarnation::new(message.by_incarnation)?,
        of: Incarnation::new(message.of_incarnation)?,
        through: message.through_sequence,
    })
}

/// Makes the response to a greeting of a server whose clock shows `now`.
pub(super) fn greet_response(
    replica: &Replica,
    reply: GreetReply,
    now: UnixNanos,
) -> GreetResponse {
    GreetResponse {
        herd: replica.herd().to_string(),
        receiver: replica.name().to_string(),
        receiver_incarnation: reply.incarnation.get(),
        applied_sequence: reply.progress.applied,
        version_major: VERSION.major,
        version_minor: VERSION.minor,
        expire_after_nanos: nanos(replica.expire_after()),
        clock_nanos: now.0,
        pushes: marks(reply.progress),
    }
}

/// Makes the acknowledgement of a server whose clock shows `now`.
pub(super) fn push_response(answer: PushAnswer, now: UnixNanos) -> PushResponse {
    let position = answer.position;
    let number = |of: fn(TreePosition) -> Incarnation| position.map_or(0, |it| of(it).get());
    PushResponse {
        applied_sequence: answer.progress.applied,
        clock_nanos: now.0,
        other_pushes: marks(answer.progress),
        vector: answer.vector.into_iter().map(vector_entry).collect(),
        redundant_reports: answer.redundant as u64,
        root_incarnation: number(|it| it.root),
        root_distance: position.map_or(0, |it| it.distance),
        parent_incarnation: number(|it| it.parent),
    }
}

/// Reads an acknowledgement.
///
/// # Errors
///
/// Returns the reason if it is malformed.
pub(super) fn push_answer(response: &PushResponse) -> Result<PushAnswer, String> {
    if response.vector.len() > MAX_VECTOR_ENTRIES {
        return Err(format!(
            "it acknowledged with a vector of over {MAX_VECTOR_ENTRIES} entries"
        ));
    }
    let entry = |it: &VectorEntry| origin_number(it.origin_incarnation, it.through_sequence);
    let vector: Option<Vec<_>> = response.vector.iter().map(entry).collect();
    let root = Incarnation::new(response.root_incarnation);
    let parent = Incarnation::new(response.parent_incarnation);
    let position = |(root, parent)| TreePosition {
        root,
        distance: response.root_distance,
        parent,
    };
    Ok(PushAnswer {
        progress: progress(response.applied_sequence, &response.other_pushes),
        vector: vector.ok_or("it acknowledged with a vector of the incarnation 0")?,
        redundant: usize::try_from(response.redundant_reports).unwrap_or(usize::MAX),
        position: root.zip(parent).map(position),
    })
}

fn vector_entry(entry: OriginNumber) -> VectorEntry {
    VectorEntry {
        origin_incarnation: entry.origin.get(),
        through_sequence: entry.number,
    }
}

fn origin_number(origin: u64, number: u64) -> Option<OriginNumber> {
    let origin = Incarnation::new(origin)?;
    Some(OriginNumber { origin, number })
}

fn marks(progress: PushProgress) -> Vec<PushMark> {
    let marks = progress.others.into_iter();
    let mark = |push: sent_pushes::PushMark| PushMark {
        to_sequence: push.to,
        check: push.check,
    };
    marks.map(mark).collect()
}

/// Returns what a neighbour that answered has applied.
pub(super) fn progress(applied: u64, pushes: &[PushMark]) -> PushProgress {
    let mark = |push: &PushMark| sent_pushes::PushMark {
        to: push.to_sequence,
        check: push.check,
    };
    PushProgress {
        applied,
        others: pushes.iter().map(mark).collect(),
    }
}

/// Returns the `expire_after` of the server that responded.
pub(super) fn expire_after(response: &GreetResponse) -> Option<Duration> {
    duration(response.expire_after_nanos)
}

/// 0 stands for never. The config's maximum is far below what fits.
fn nanos(expire_after: Option<Duration>) -> u64 {
    let nanos = |after: Duration| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    expire_after.map_or(0, nanos)
}

fn duration(nanos: u64) -> Option<Duration> {
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

/// Returns the name of the server that responded to a greeting, as part of a message.
/// Only valid names are repeated: anything may listen at an address, and send any text.
pub(super) fn name_of(response: &GreetResponse) -> String {
    let GreetResponse { receiver, herd, .. } = response;
    if is_name(receiver.as_bytes()) && is_name(herd.as_bytes()) {
        format!("{receiver:?} of the herd {herd:?}")
    } else {
        "something that is no server of a herd".to_owned()
    }
}

/// A push under construction. The reports are encoded first, since the span of the push is
/// known only when it is full. protobuf permits any order.
#[derive(Debug)]
pub(super) struct PushWriter {
    bytes: Vec<u8>,
    /// The tags of the reports, encoded.
    tags: Vec<u8>,
    origins: TagOrigins,
}

/// The origins of the tags in a push.
#[derive(Debug, Default)]
struct TagOrigins {
    all: Vec<OriginIndex>,
    /// The place of each origin in `all`, counted from 1, by its index; 0 if it is not there.
    places: Vec<u16>,
}

impl TagOrigins {
    /// Returns the place of a tag's origin, counted from 1; `None` without a tag, or without room.
    fn place(&mut self, tag: Tag) -> Option<u16> {
        let at = tag.origin().get()?;
        if self.places.len() <= at {
            self.places.resize(at + 1, 0);
        }
        if self.places[at] == 0 {
            if self.all.len() == MAX_PUSH_ORIGINS {
                return None;
            }
            self.all.push(tag.origin());
            self.places[at] = self.all.len() as u16;
        }
        Some(self.places[at])
    }
}

impl PushWriter {
    /// Returns an empty push, with room for `capacity` bytes before it must grow.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity.min(MAX_PUSH_BYTES) + MAX_NAMES_BYTES),
            tags: Vec::new(),
            origins: TagOrigins::default(),
        }
    }

    /// Returns a checksum of the push, if it covers a change.
    pub(super) fn check(&self, (from, to): (u64, u64)) -> Option<u32> {
        (from < to).then(|| {
            let mut check = crc32fast::Hasher::new();
            check.update(&self.bytes);
            check.update(&from.to_le_bytes());
            check.update(&to.to_le_bytes());
            check.finalize()
        })
    }

    /// Completes a push with the tags of its reports and entries of this server's version
    /// vector.
    pub(super) fn finish_tagged(
        mut self,
        header: &PushHeader<'_>,
        vector: &[OriginNumber],
        replica: &Replica,
    ) -> PushFrame {
        let origins = std::mem::take(&mut self.origins.all);
        if !origins.is_empty() {
            put_bytes(&mut self.bytes, 11, &self.tags);
            put_varint(&mut self.bytes, 9 << 3 | 2);
            put_varint(&mut self.bytes, 8 * origins.len() as u64);
            for origin in origins {
                let origin = replica.origin(origin);
                let origin = origin.expect("a tag has an origin");
                self.bytes.extend_from_slice(&origin.get().to_le_bytes());
            }
        }
        for entry in vector {
            let length = 9 + uint64_len(entry.number);
            put_varint(&mut self.bytes, 10 << 3 | 2);
            put_varint(&mut self.bytes, length as u64);
            put_fixed64(&mut self.bytes, 1, entry.origin.get());
            put_uint64(&mut self.bytes, 2, entry.number);
        }
        self.finish(header)
    }

    /// Completes a push whose reports have no tags.
    pub(super) fn finish(mut self, header: &PushHeader<'_>) -> PushFrame {
        let before = self.bytes.len();
        put_bytes(&mut self.bytes, 1, header.herd.as_bytes());
        put_bytes(&mut self.bytes, 2, header.sender.as_bytes());
        put_fixed64(&mut self.bytes, 3, header.sender_incarnation);
        put_fixed64(&mut self.bytes, 4, header.receiver_incarnation);
        put_uint64(&mut self.bytes, 5, header.from);
        put_uint64(&mut self.bytes, 6, header.to);
        if let Some(check) = header.check {
            put_fixed32(&mut self.bytes, 8, check);
        }
        debug_assert!(self.bytes.len() - before <= MAX_NAMES_BYTES);
        debug_assert!(self.origins.all.is_empty());
        PushFrame(Bytes::from(self.bytes))
    }
}

impl BatchBuilder for PushWriter {
    fn add(&mut self, report: &Report<'_>, tag: Tag, max_bytes: usize) -> bool {
        let texts = texts_of(report);
        let length =
            texts.iter().map(|text| bytes_len(text)).sum::<usize>() + sint64_len(report.skew.0);
        // The key and the length of a report take four bytes at most, and a tag ten.
        if self.bytes() + 14 + length > max_bytes.min(MAX_PUSH_BYTES - MAX_HEADER_BYTES) {
            return false;
        }
        put_varint(&mut self.bytes, 7 << 3 | 2);
        put_varint(&mut self.bytes, length as u64);
        for (field, text) in (1..).zip(texts) {
            put_bytes(&mut self.bytes, field, text);
        }
        put_sint64(&mut self.bytes, 5, report.skew.0);
        let place = self.origins.place(tag);
        let number = place.map_or(0, |_| tag.number());
        put_varint(&mut self.tags, u64::from(place.unwrap_or_default()));
        put_varint(&mut self.tags, number);
        true
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + self.tags.len()
    }
}

/// Room for the changes of a quiet server, in bytes.
const USUAL_CHANGES_BYTES: usize = 64 * 1024;

/// Some changes of a feed, as a message of a server's storage.
#[derive(Debug)]
pub(super) struct StoredChanges {
    pub(super) push: PushFrame,
    /// Number of reports in it: none if there are no further changes.
    pub(super) reports: usize,
    /// Whether the reader reached the end of the feed.
    pub(super) is_end: bool,
}

/// Returns the next changes of a feed as a message of a server's storage, which is a push of this
/// incarnation to itself: at most `max_reports` and `max_bytes` of them, and of a message.
pub(super) fn next_changes(
    replica: &Replica,
    incarnation: Incarnation,
    reader: &mut FeedReader,
    (max_reports, max_bytes): (usize, usize),
) -> StoredChanges {
    let from = reader.position();
    let (mut changes, mut reports) = (PushWriter::with_capacity(USUAL_CHANGES_BYTES), 0);
    let is_end = reader.read(replica.store(), usize::MAX, |stored| {
        let is_full = reports == max_reports;
        if is_full || !changes.add(&stored.report, Tag::default(), max_bytes) {
            return ControlFlow::Break(());
        }
        reports += 1;
        ControlFlow::Continue(())
    });
    let push = changes.finish(&PushHeader {
        herd: replica.herd().as_str(),
        sender: replica.name().as_str(),
        sender_incarnation: incarnation.get(),
        receiver_incarnation: 0,
        from,
        to: reader.position(),
        check: None,
    });
    StoredChanges {
        push,
        reports,
        is_end,
    }
}

/// Maximum number and size of the reports in a message of an export.
const MAX_EXPORT: (usize, usize) = (MAX_BATCH_REPORTS, 256 * 1024);

/// Returns the next message of an export. It has no reports if there are no further changes.
pub(super) fn next_export(replica: &Replica, reader: &mut FeedReader) -> PushFrame {
    next_changes(replica, replica.incarnation(), reader, MAX_EXPORT).push
}

fn texts_of<'a>(report: &Report<'a>) -> [&'a [u8]; 4] {
    [
        report.client.bytes(),
        report.position.bytes(),
        report.time.bytes(),
        report.origin.bytes(),
    ]
}

/// Why the bytes of a push were rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PushError {
    /// It holds more reports than allowed.
    TooMany(usize),
    /// The message, or one of its reports (counted from 1), is malformed.
    Malformed {
        report: Option<usize>,
        cause: String,
    },
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany(reports) => write!(
                f,
                "a push of {reports} reports exceeds the maximum of {MAX_BATCH_REPORTS}: send the rest in further pushes"
            ),
            Self::Malformed { report, cause } => {
                match report {
                    Some(number) => write!(f, "report {number} of the push is invalid: {cause}")?,
                    None => write!(f, "the push is malformed: {cause}")?,
                }
                f.write_str("; nothing of the push was applied")
            }
        }
    }
}

impl From<WireError> for PushError {
    fn from(error: WireError) -> Self {
        Self::Malformed {
            report: None,
            cause: error.to_string(),
        }
    }
}

/// A push whose reports are counted and not yet read.
#[derive(Debug)]
pub(super) struct EncodedPush<'a> {
    pub(super) header: PushHeader<'a>,
    /// The origins of the tags of its reports.
    pub(super) origins: Vec<Incarnation>,
    /// Entries of the sender's version vector.
    pub(super) vector: Vec<OriginNumber>,
    /// Two numbers for each report, or none.
    tags: Vec<u64>,
    bytes: &'a [u8],
    reports: usize,
}

/// Reads the header of a push and counts its reports.
///
/// # Errors
///
/// The message is malformed, or has too many reports.
pub(super) fn read_push(frame: &PushFrame) -> Result<EncodedPush<'_>, PushError> {
    let mut reports = 0;
    let (mut origins, mut vector, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    let mut header = PushHeader {
        herd: "",
        sender: "",
        sender_incarnation: 0,
        receiver_incarnation: 0,
        from: 0,
        to: 0,
        check: None,
    };
    for field in MessageFields(&frame.0) {
        match field? {
            (1, value) => header.herd = text(1, value)?,
            (2, value) => header.sender = text(2, value)?,
            (3, FieldValue::Fixed64(number)) => header.sender_incarnation = number,
            (4, FieldValue::Fixed64(number)) => header.receiver_incarnation = number,
            (5, FieldValue::Varint(number)) => header.from = number,
            (6, FieldValue::Varint(number)) => header.to = number,
            (7, FieldValue::Bytes(_)) => reports += 1,
            (8, FieldValue::Fixed32(check)) => header.check = Some(check),
            (9, value) => read_origins(value, &mut origins)?,
            (10, FieldValue::Bytes(bytes)) => vector.push(read_entry(bytes)?),
            (11, value) => read_tags(value, &mut tags)?,
            (field @ 3..=10, _) => return Err(WireError::WrongType(field).into()),
            _ => {}
        }
        if origins.len() > MAX_PUSH_ORIGINS || vector.len() > MAX_VECTOR_ENTRIES {
            let cause = format!("over {MAX_VECTOR_ENTRIES} origins or entries of a vector");
            return Err(malformed(cause));
        }
    }
    if reports > MAX_BATCH_REPORTS {
        return Err(PushError::TooMany(reports));
    }
    if !tags.is_empty() && tags.len() != 2 * reports {
        let cause = "there must be two numbers in tags for each report, or none";
        return Err(malformed(cause.to_owned()));
    }
    let places = tags.iter().step_by(2);
    if places
        .max()
        .is_some_and(|&place| place > origins.len() as u64)
    {
        let cause = "a place in tags exceeds the number of origins";
        return Err(malformed(cause.to_owned()));
    }
    Ok(EncodedPush {
        header,
        origins,
        vector,
        tags,
        bytes: &frame.0,
        reports,
    })
}

impl<'a> EncodedPush<'a> {
    /// Reads all reports.
    ///
    /// # Errors
    ///
    /// The first invalid report, and why.
    pub(super) fn reports(&self) -> Result<Vec<Report<'a>>, PushError> {
        let mut reports = Vec::with_capacity(self.reports);
        for field in MessageFields(self.bytes) {
            if let (7, FieldValue::Bytes(bytes)) = field? {
                let report = read_report(bytes).map_err(|cause| PushError::Malformed {
                    report: Some(reports.len() + 1),
                    cause,
                })?;
                reports.push(report);
            }
        }
        Ok(reports)
    }

    /// Reads all reports with their tags.
    ///
    /// # Errors
    ///
    /// As [`reports`](Self::reports).
    pub(super) fn tagged_reports(
        &self,
        origins: &PushOrigins,
    ) -> Result<Vec<TaggedReport<'a>>, PushError> {
        let mut tags = self.tags.chunks_exact(2);
        let mut tag = || {
            let &[place, number] = tags.next()? else {
                return None;
            };
            let at = usize::try_from(place).ok()?.checked_sub(1)?;
            Some(origins.tag(at, number))
        };
        let reports = self.reports()?.into_iter();
        let tagged = reports.map(|report| TaggedReport {
            report,
            tag: tag().unwrap_or_default(),
        });
        Ok(tagged.collect())
    }
}

fn malformed(cause: String) -> PushError {
    PushError::Malformed {
        report: None,
        cause,
    }
}

/// Reads origins, packed or one by one.
fn read_origins(value: FieldValue<'_>, origins: &mut Vec<Incarnation>) -> Result<(), PushError> {
    let bytes = match &value {
        FieldValue::Fixed64(number) => &number.to_le_bytes(),
        FieldValue::Bytes(bytes) => *bytes,
        _ => return Err(WireError::WrongType(9).into()),
    };
    let (numbers, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(WireError::Truncated.into());
    }
    for number in numbers.iter().take(MAX_PUSH_ORIGINS + 1) {
        let origin = Incarnation::new(u64::from_le_bytes(*number));
        origins.push(origin.ok_or_else(|| malformed("an origin must not be 0".to_owned()))?);
    }
    Ok(())
}

/// Reads tags, packed or one by one.
fn read_tags(value: FieldValue<'_>, tags: &mut Vec<u64>) -> Result<(), PushError> {
    match value {
        FieldValue::Varint(number) => tags.push(number),
        FieldValue::Bytes(bytes) => {
            let mut numbers = MessageFields(bytes);
            while !numbers.0.is_empty() && tags.len() <= 2 * MAX_BATCH_REPORTS {
                tags.push(numbers.varint()?);
            }
        }
        _ => return Err(WireError::WrongType(11).into()),
    }
    Ok(())
}

fn read_entry(bytes: &[u8]) -> Result<OriginNumber, PushError> {
    let (mut origin, mut number) = (0, 0);
    for field in MessageFields(bytes) {
        match field? {
            (1, FieldValue::Fixed64(it)) => origin = it,
            (2, FieldValue::Varint(it)) => number = it,
            (1..=2, _) => return Err(WireError::WrongType(10).into()),
            _ => {}
        }
    }
    let entry = origin_number(origin, number);
    entry.ok_or_else(|| malformed("a vector must not have the incarnation 0".to_owned()))
}

fn text(field: u32, value: FieldValue<'_>) -> Result<&str, WireError> {
    match value {
        FieldValue::Bytes(bytes) => {
            std::str::from_utf8(bytes).map_err(|_| WireError::WrongType(field))
        }
        _ => Err(WireError::WrongType(field)),
    }
}

fn read_report(bytes: &[u8]) -> Result<Report<'_>, String> {
    let mut texts = [&b""[..]; 4];
    let mut skew = 0;
    for field in MessageFields(bytes) {
        match field.map_err(|error| error.to_string())? {
            (field @ 1..=4, FieldValue::Bytes(bytes)) => {
                // The last one counts and is parsed below; others must be UTF-8 too.
                let before = std::mem::replace(&mut texts[field as usize - 1], bytes);
                text(field, FieldValue::Bytes(before)).map_err(|error| error.to_string())?;
            }
            (5, FieldValue::Varint(number)) => skew = unzigzag(number),
            (field @ 1..=5, _) => return Err(WireError::WrongType(field).to_string()),
            _ => {}
        }
    }
    let [client, position, time, origin] = texts;
    Ok(Report {
        client: ClientId::parse(client)
            .ok_or("its client must be 1 to 255 bytes of UTF-8 without white space")?,
        position: Position::parse(position).ok_or(
            "its position must be two signed decimals within 90 and 180 degrees, as in +34.068930-118.445127",
        )?,
        time: Timestamp::parse(time)
            .ok_or("its time must be unsigned decimal seconds, as in 1621464827.959498503")?,
        origin: Origin::parse(origin)
            .ok_or("its origin must be a server name: ASCII letters, digits and inner hyphens")?,
        skew: Skew(skew),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::model::name::Name;
    use crate::replication::replica::ServerIdentity;

    /// The message of a push as prost reads and writes it: the reference.
    #[derive(Clone, PartialEq, prost::Message)]
    struct PushRequest {
        #[prost(string, tag = "1")]
        herd: String,
        #[prost(string, tag = "2")]
        sender: String,
        #[prost(fixed64, tag = "3")]
        sender_incarnation: u64,
        #[prost(fixed64, tag = "4")]
        receiver_incarnation: u64,
        #[prost(uint64, tag = "5")]
        from_sequence: u64,
        #[prost(uint64, tag = "6")]
        to_sequence: u64,
        #[prost(message, repeated, tag = "7")]
        reports: Vec<crate::proto::Report>,
        #[prost(fixed32, optional, tag = "8")]
        check: Option<u32>,
        #[prost(fixed64, repeated, tag = "9")]
        origins: Vec<u64>,
        #[prost(message, repeated, tag = "10")]
        vector: Vec<VectorEntry>,
        #[prost(uint64, repeated, tag = "11")]
        tags: Vec<u64>,
    }

    fn message(client: &str, skew_nanos: i64) -> crate::proto::Report {
        crate::proto::Report {
            client: client.to_owned(),
            position: "+34.068930-118.445127".to_owned(),
            time: "1621464827.959498503".to_owned(),
            origin: "Riley".to_owned(),
            skew_nanos,
        }
    }

    fn push(reports: Vec<crate::proto::Report>) -> PushRequest {
        PushRequest {
            herd: "classic".to_owned(),
            sender: "Riley".to_owned(),
            sender_incarnation: u64::MAX,
            receiver_incarnation: 1,
            from_sequence: 300,
            to_sequence: u64::MAX,
            reports,
            check: Some(0),
            origins: Vec::new(),
            vector: Vec::new(),
            tags: Vec::new(),
        }
    }

    /// A server with the incarnation 9.
    fn replica() -> Replica {
        let name = |text| Name::parse(text).unwrap();
        let identity = ServerIdentity {
            herd: name("classic"),
            name: name("Riley"),
            incarnation: Incarnation::new(9).unwrap(),
        };
        Replica::new(identity, Vec::new(), Vec::new(), [1, 2, 3, 4])
    }

    #[test]
    fn prost_reads_tags_and_vectors_that_are_written_here_and_the_reverse() {
        let mut theirs = push(vec![message("kiwi", 5); 4]);
        theirs.origins = vec![u64::MAX, 7];
        theirs.tags = vec![1, 300, 2, 1, 0, 0, 1, 1 << 40];
        theirs.vector = vec![
            VectorEntry {
                origin_incarnation: u64::MAX,
                through_sequence: 1 << 40,
            },
            VectorEntry {
                origin_incarnation: 9,
                through_sequence: 1,
            },
        ];
        let (bytes, replica) = (frame(&theirs), replica());
        let read = read_push(&bytes).unwrap();
        let origins = replica.push_origins(&read.origins);
        let mut writer = PushWriter::with_capacity(0);
        for TaggedReport { report, tag } in read.tagged_reports(&origins).unwrap() {
            assert!(writer.add(&report, tag, MAX_PUSH_BYTES));
        }
        let ours = writer.finish_tagged(&read.header, &read.vector, &replica);
        assert_eq!(PushRequest::decode(ours.0).unwrap(), theirs);
    }

    #[test]
    fn malformed_tags_and_vectors_are_rejected() {
        let spoil: [fn(&mut PushRequest); 6] = [
            |push| push.origins = vec![0],
            |push| push.origins = vec![1; MAX_PUSH_ORIGINS + 1],
            |push| push.vector = vec![VectorEntry::default()],
            |push| push.vector = vec![VectorEntry::default(); MAX_VECTOR_ENTRIES + 1],
            |push| (push.origins, push.tags) = (vec![1], vec![1, 1]),
            |push| (push.origins, push.tags) = (vec![1], vec![1, 1, 2, 1]),
        ];
        for (at, spoil) in spoil.into_iter().enumerate() {
            let mut push = push(vec![message("kiwi", 5); 2]);
            spoil(&mut push);
            assert!(read_push(&frame(&push)).is_err(), "{at}");
        }
    }

    fn frame(push: &PushRequest) -> PushFrame {
        PushFrame(push.encode_to_vec().into())
    }

    #[test]
    fn prost_reads_what_is_written_here_and_the_reverse() {
        let theirs = push(vec![
            message("kiwi", 263_873_386),
            message(&"ü".repeat(127), i64::MIN),
        ]);
        let bytes = frame(&theirs);
        let read = read_push(&bytes).unwrap();
        let mut writer = PushWriter::with_capacity(0);
        for report in read.reports().unwrap() {
            assert!(writer.add(&report, Tag::default(), MAX_PUSH_BYTES));
        }
        let ours = writer.finish(&read.header);
        assert_eq!(PushRequest::decode(ours.0).unwrap(), theirs);
    }

    fn any_message() -> impl Strategy<Value = crate::proto::Report> {
        let text = |texts: &'static [&'static str]| prop::sample::select(texts);
        let client = prop_oneof![
            "[a-zа-я\u{a0}\0]{1,60}",
            (1..=255_usize).prop_map(|length| "k".repeat(length)),
        ];
        let position = text(&["+1+1", "-90-180.0/", "+0.00000000000000000000000000001+0"]);
        let time = text(&["0", "9223372036854775807.999999999999", "0001.5"]);
        let origin = prop_oneof!["[a-zA-Z0-9]{1,63}"];
        (client, position, time, origin, any::<i64>()).prop_map(
            |(client, position, time, origin, skew_nanos)| crate::proto::Report {
                client,
                position: position.to_owned(),
                time: time.to_owned(),
                origin,
                skew_nanos,
            },
        )
    }

    proptest! {
        #[test]
        fn any_push_reads_the_same_here_and_by_prost(
            reports in prop::collection::vec(any_message(), 0..8),
            numbers: [u64; 4],
            check: Option<u32>,
        ) {
            let mut theirs = push(reports);
            theirs.check = check;
            [theirs.sender_incarnation, theirs.receiver_incarnation, theirs.from_sequence, theirs.to_sequence] = numbers;
            let bytes = frame(&theirs);
            let read = read_push(&bytes).unwrap();
            let mut writer = PushWriter::with_capacity(0);
            for report in read.reports().unwrap() {
                prop_assert!(writer.add(&report, Tag::default(), MAX_PUSH_BYTES));
            }
            let ours = writer.finish(&read.header);
            prop_assert_eq!(PushRequest::decode(ours.0.clone()).unwrap(), theirs);
            let again = read_push(&ours).unwrap();
            prop_assert_eq!(format!("{:?}", again.header), format!("{:?}", read.header));
            prop_assert_eq!(again.reports().unwrap(), read.reports().unwrap());
        }
    }

    #[test]
    fn a_batch_ends_before_the_size_limit() {
        let theirs = push(vec![message(&"k".repeat(255), -1)]);
        let bytes = frame(&theirs);
        let read = read_push(&bytes).unwrap();
        let report = read.reports().unwrap()[0];
        let mut writer = PushWriter::with_capacity(0);
        let mut reports = 0;
        while writer.add(&report, Tag::default(), MAX_PUSH_BYTES) {
            reports += 1;
        }
        let size = writer.finish(&read.header).0.len();
        assert!(reports < MAX_BATCH_REPORTS);
        // Each report has room for a tag of at least two bytes, and none has one.
        let least = MAX_PUSH_BYTES - MAX_HEADER_BYTES - 2 * reports - 1000;
        assert!((least..=MAX_PUSH_BYTES).contains(&size), "{size}");
    }

    #[test]
    fn too_many_reports_are_counted_and_not_read() {
        let push = PushFrame([7 << 3 | 2, 0].repeat(500_000).into());
        assert_eq!(read_push(&push).unwrap_err(), PushError::TooMany(500_000));
    }

    #[test]
    fn an_invalid_report_is_named_by_its_number_and_cause() {
        type Spoil = fn(&mut crate::proto::Report);
        let spoils: [(Spoil, &str); 6] = [
            (|r| r.client.clear(), "client"),
            (|r| r.client = "a b".to_owned(), "client"),
            (|r| r.client = "k".repeat(256), "client"),
            (|r| r.position = "+91+0".to_owned(), "position"),
            (|r| r.time = "-1".to_owned(), "time"),
            (|r| r.origin = "Ri ley".to_owned(), "origin"),
        ];
        for (spoil, cause) in spoils {
            let mut bad = message("kiwi", 0);
            spoil(&mut bad);
            let bytes = frame(&push(vec![message("kiwi", 0), bad]));
            let error = read_push(&bytes)
                .unwrap()
                .reports()
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("report 2 of the push is invalid: its "),
                "{error}"
            );
            assert!(error.contains(cause), "{error}");
        }
    }

    #[test]
    fn truncated_and_corrupted_bytes_never_panic() {
        let whole = push(vec![message("kiwi", 5); 3]).encode_to_vec();
        for end in 0..whole.len() {
            let cut = PushFrame(whole[..end].to_vec().into());
            if let Ok(push) = read_push(&cut) {
                let _ = push.reports();
            }
            for bit in 0..8 {
                let mut spoilt = whole.clone();
                spoilt[end] ^= 1 << bit;
                if let Ok(push) = read_push(&PushFrame(spoilt.into())) {
                    let _ = push.reports();
                }
            }
        }
        let wrong = PushFrame(vec![3 << 3, 5].into());
        let error = read_push(&wrong).unwrap_err().to_string();
        assert!(error.contains("field 3"), "{error}");
    }
}

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
    Acknowledgement, GreetRequest, GreetResponse, PushFrame, PushMark, PushResponse,
};
use crate::replication::Incarnation;
use crate::replication::feed_reader::FeedReader;
use crate::replication::lineage::Acknowledged;
use crate::replication::messages::{GreetReply, Greeting, PushHeader, VERSION, Version};
use crate::replication::replica::Replica;
use crate::replication::send_cursor::{BatchBuilder, MAX_BATCH_BYTES, MAX_BATCH_REPORTS};
use crate::replication::sent_pushes::{self, PushProgress};

use protobuf::{
    FieldValue, MessageFields, WireError, bytes_len, put_bytes, put_fixed32, put_fixed64,
    put_sint64, put_uint64, put_varint, sint64_len, unzigzag,
};

/// Maximum size of an encoded push, in bytes.
pub(super) const MAX_PUSH_BYTES: usize = MAX_BATCH_BYTES;

/// Maximum size of a push without its reports, in bytes: two names of 63 bytes, five
/// numbers, and their keys.
const MAX_HEADER_BYTES: usize = 192;

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
pub(super) fn push_response(progress: PushProgress, now: UnixNanos) -> PushResponse {
    PushResponse {
        applied_sequence: progress.applied,
        clock_nanos: now.0,
        other_pushes: marks(progress),
    }
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
}

impl PushWriter {
    /// Returns an empty push, with room for `capacity` bytes before it must grow.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity.min(MAX_PUSH_BYTES) + MAX_HEADER_BYTES),
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

    /// Completes the push.
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
        debug_assert!(self.bytes.len() - before <= MAX_HEADER_BYTES);
        PushFrame(Bytes::from(self.bytes))
    }
}

impl BatchBuilder for PushWriter {
    fn add(&mut self, report: &Report<'_>, max_bytes: usize) -> bool {
        let texts = texts_of(report);
        let length =
            texts.iter().map(|text| bytes_len(text)).sum::<usize>() + sint64_len(report.skew.0);
        // The key and the length of a report take four bytes at most.
        if self.bytes.len() + 4 + length > max_bytes.min(MAX_PUSH_BYTES - MAX_HEADER_BYTES) {
            return false;
        }
        put_varint(&mut self.bytes, 7 << 3 | 2);
        put_varint(&mut self.bytes, length as u64);
        for (field, text) in (1..).zip(texts) {
            put_bytes(&mut self.bytes, field, text);
        }
        put_sint64(&mut self.bytes, 5, report.skew.0);
        true
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
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
        if reports == max_reports || !changes.add(&stored.report, max_bytes) {
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
            (field @ 3..=8, _) => return Err(WireError::WrongType(field).into()),
            _ => {}
        }
    }
    if reports > MAX_BATCH_REPORTS {
        return Err(PushError::TooMany(reports));
    }
    Ok(EncodedPush {
        header,
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
            assert!(writer.add(&report, MAX_PUSH_BYTES));
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
                prop_assert!(writer.add(&report, MAX_PUSH_BYTES));
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
        while writer.add(&report, MAX_PUSH_BYTES) {
            reports += 1;
        }
        let size = writer.finish(&read.header).0.len();
        assert!(reports < MAX_BATCH_REPORTS);
        assert!(
            (MAX_PUSH_BYTES - 1000..=MAX_PUSH_BYTES).contains(&size),
            "{size}"
        );
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

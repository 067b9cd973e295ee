//! Pushes: accepted if prost can decode them and every rule of form holds; then the store holds the
//! newest report of each client.

use std::collections::BTreeMap;

use prost::Message;
use proxyherd::model::client::ClientId;
use proxyherd::proto::{Report, VectorEntry};
use tonic::{Code, Status};

use super::reference::{is_client, is_name, position, time};
use super::server::{HERD, JAQUEZ, JAQUEZ_INCARNATION, RILEYS_INCARNATION, Server};

/// The maximum number of reports of a push.
const MAX_REPORTS: usize = 10_000;

/// The maximum number of origins, and of entries of a vector.
const MAX_ORIGINS: usize = 1024;

/// `PushRequest` of `proto/`, as a message of prost.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PushRequest {
    #[prost(string, tag = "1")]
    pub(crate) herd: String,
    #[prost(string, tag = "2")]
    pub(crate) sender: String,
    #[prost(fixed64, tag = "3")]
    pub(crate) sender_incarnation: u64,
    #[prost(fixed64, tag = "4")]
    pub(crate) receiver_incarnation: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) from_sequence: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) to_sequence: u64,
    #[prost(message, repeated, tag = "7")]
    pub(crate) reports: Vec<Report>,
    #[prost(fixed32, optional, tag = "8")]
    pub(crate) check: Option<u32>,
    #[prost(fixed64, repeated, tag = "9")]
    pub(crate) origins: Vec<u64>,
    #[prost(message, repeated, tag = "10")]
    pub(crate) vector: Vec<VectorEntry>,
    #[prost(uint64, repeated, tag = "11")]
    pub(crate) tags: Vec<u64>,
}

/// Returns a push without reports that Riley accepts.
pub(crate) fn heartbeat() -> PushRequest {
    PushRequest {
        herd: HERD.to_owned(),
        sender: JAQUEZ.to_owned(),
        sender_incarnation: JAQUEZ_INCARNATION,
        receiver_incarnation: RILEYS_INCARNATION,
        from_sequence: 0,
        to_sequence: 3,
        reports: Vec::new(),
        check: None,
        origins: Vec::new(),
        vector: Vec::new(),
        tags: Vec::new(),
    }
}

/// Checks received bytes of a push.
pub(crate) fn check(bytes: &[u8]) {
    let server = Server::greeted();
    let answer = server.push(bytes);
    let push = PushRequest::decode(bytes);
    // The two readers have different recursion limits.
    if push
        .as_ref()
        .is_err_and(|error| error.to_string().contains("recursion limit"))
    {
        return;
    }
    let wanted = push
        .as_ref()
        .ok()
        .filter(|push| is_for_riley(push) && is_valid(push));
    match (&answer, wanted) {
        (Ok(applied), Some(push)) => {
            assert_eq!(*applied, push.to_sequence);
            compare(&server, &push.reports);
        }
        (Err(status), None) => {
            assert_eq!((server.store().clients(), server.store().last()), (0, 0));
            check_rejection(status, push.as_ref().ok());
        }
        (answer, wanted) => panic!("{answer:?} to {push:?}, of which to be taken: {wanted:?}"),
    }
    // A repeated push has the same result and changes nothing.
    let before = server.store().last();
    assert_eq!(server.push(bytes).ok(), answer.ok());
    assert_eq!(server.store().last(), before);
}

/// Checks that the status fits the fault: in the message, or in its sender. `push` is `None` if the
/// bytes are not a message: then the header may be rejected before the fault is reached.
fn check_rejection(status: &Status, push: Option<&PushRequest>) {
    assert!(!status.message().contains(char::is_control), "{status:?}");
    let codes = match push {
        None => &[
            Code::InvalidArgument,
            Code::ResourceExhausted,
            Code::PermissionDenied,
            Code::FailedPrecondition,
        ][..],
        Some(push) if push.reports.len() > MAX_REPORTS && has_form(push) => {
            &[Code::ResourceExhausted]
        }
        Some(push) if is_for_riley(push) => &[Code::InvalidArgument],
        Some(push) if has_form(push) => &[Code::PermissionDenied, Code::FailedPrecondition],
        // The first fault determines the status.
        Some(_) => &[
            Code::InvalidArgument,
            Code::ResourceExhausted,
            Code::PermissionDenied,
            Code::FailedPrecondition,
        ],
    };
    assert!(codes.contains(&status.code()), "{status:?}");
}

fn has_form(push: &PushRequest) -> bool {
    is_name(&push.herd)
        && is_name(&push.sender)
        && push.sender_incarnation != 0
        && push.from_sequence <= push.to_sequence
        && has_valid_tags(push)
}

fn has_valid_tags(push: &PushRequest) -> bool {
    let is_origin = |&origin: &u64| origin != 0;
    let mut claimed = push.vector.iter().map(|entry| entry.origin_incarnation);
    push.origins.len() <= MAX_ORIGINS
        && push.vector.len() <= MAX_ORIGINS
        && push.origins.iter().all(is_origin)
        && claimed.all(|origin| is_origin(&origin))
        && (push.tags.is_empty() || push.tags.len() == 2 * push.reports.len())
        && push
            .tags
            .chunks(2)
            .all(|tag| tag[0] <= push.origins.len() as u64)
}

fn is_for_riley(push: &PushRequest) -> bool {
    let heartbeat = heartbeat();
    has_form(push)
        && (&push.herd, &push.sender) == (&heartbeat.herd, &heartbeat.sender)
        && push.sender_incarnation == JAQUEZ_INCARNATION
        && push.receiver_incarnation == RILEYS_INCARNATION
        && push.from_sequence == 0
}

fn is_valid(push: &PushRequest) -> bool {
    push.reports.len() <= MAX_REPORTS && push.reports.iter().all(is_valid_report)
}

fn is_valid_report(report: &Report) -> bool {
    is_client(&report.client)
        && position(&report.position).is_some()
        && time(&report.time).is_some()
        && is_name(&report.origin)
}

/// Checks that the store holds exactly the newest report of each client.
fn compare(server: &Server, reports: &[Report]) {
    let mut newest: BTreeMap<&str, &Report> = BTreeMap::new();
    for report in reports {
        let known = newest.entry(&report.client).or_insert(report);
        if order(report) > order(known) {
            *known = report;
        }
    }
    assert_eq!(server.store().clients(), newest.len());
    for (client, expected) in newest {
        let id = ClientId::parse(client.as_bytes()).unwrap();
        let stored = server.store().find(id, |stored| Report {
            client: stored.client.text().to_owned(),
            position: stored.position.text().to_owned(),
            time: stored.time.text().to_owned(),
            origin: stored.origin.text().to_owned(),
            skew_nanos: stored.skew.0,
        });
        assert_eq!(stored.as_ref(), Some(expected));
    }
}

/// Returns a key by which the newer of two reports is greater.
fn order(report: &Report) -> impl Ord {
    const MAX_LEAD_NANOS: i128 = 10_000_000_000;
    let (seconds, nanos) = time(&report.time).unwrap();
    let instant: i128 = format!("{seconds}{nanos}").parse().unwrap();
    let skew = i128::from(report.skew_nanos);
    let order_time = instant.min(instant + skew + MAX_LEAD_NANOS);
    let texts = (report.origin.clone(), report.position.clone());
    ((order_time, instant), texts, -skew, report.time.clone())
}

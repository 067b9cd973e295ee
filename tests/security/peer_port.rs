//! The peer port and its callers, over real gRPC: rejected calls have a status and a cause, and
//! change nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::{
    FakeNeighbour, FakeSender, Herd, PeerClient, PushRequest, ResponseMode, eventually, report,
};
use proxyherd::proto::{GreetRequest, PushFrame};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

const MIB: usize = 1 << 20;

/// Riley is the server under test. Jaquez is its fake neighbour. Bernard is
/// a server of the herd that is not a neighbour.
const RILEY: crate::common::Topology<'static> =
    (&["Riley", "Jaquez", "Bernard"], &[("Riley", "Jaquez")]);

fn riley() -> (Herd, PeerClient) {
    riley_with(|_| {})
}

fn riley_with(
    adjust: impl Fn(&mut proxyherd::peers::PeerSettings) + Send + 'static,
) -> (Herd, PeerClient) {
    let mut herd = Herd::new(RILEY).adjust(move |plan| adjust(&mut plan.peers));
    herd.launch("Riley");
    let caller = PeerClient::dial(herd.peers_address("Riley"));
    (herd, caller)
}

/// Returns Jaquez after a greeting.
fn jaquez(through: &PeerClient) -> FakeSender {
    let mut sender = FakeSender::new("Jaquez", 7, "Riley");
    assert_eq!(sender.greet(through), 0);
    sender
}

#[track_caller]
fn assert_rejected<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, message: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(message), "{status}");
}

/// Returns the last sequence number of Riley's store and its number of clients.
fn holdings(herd: &Herd) -> (u64, usize) {
    let store = herd.gateway("Riley").replica().store();
    (store.last(), store.clients())
}

#[test]
fn an_invalid_greeting_is_rejected_with_its_cause_and_registers_nothing() {
    type Spoil = fn(&mut GreetRequest);
    let long: Spoil = |g| g.sender = "J".repeat(64);
    let cases: [(Spoil, Code, &str); 15] = [
        (
            |g| g.herd = "other".to_owned(),
            Code::PermissionDenied,
            "does not belong to the herd \"other\"",
        ),
        (
            |g| g.sender = "Mallory".to_owned(),
            Code::PermissionDenied,
            "no server named \"Mallory\"",
        ),
        (
            |g| g.sender = "jaquez".to_owned(),
            Code::PermissionDenied,
            "no server named \"jaquez\"",
        ),
        (
            |g| g.sender = "Bernard".to_owned(),
            Code::PermissionDenied,
            "\"Bernard\" is not a neighbour",
        ),
        (
            |g| g.sender = "Riley".to_owned(),
            Code::PermissionDenied,
            "this server's own name",
        ),
        (
            |g| g.receiver = "Bernard".to_owned(),
            Code::PermissionDenied,
            "this server is not \"Bernard\"",
        ),
        (
            |g| g.version_major = 1,
            Code::FailedPrecondition,
            "protocol version 1.0 is incompatible with version 2.2",
        ),
        (
            |g| g.version_major = 0,
            Code::FailedPrecondition,
            "protocol version 0.0 is incompatible with version 2.2",
        ),
        (
            |g| g.sender_incarnation = 0,
            Code::InvalidArgument,
            "incarnation must be the sender's incarnation, not 0",
        ),
        (
            |g| g.herd.clear(),
            Code::InvalidArgument,
            "herd must be a name",
        ),
        (
            |g| g.herd = "te st".to_owned(),
            Code::InvalidArgument,
            "herd must be a name",
        ),
        (
            |g| g.sender = "-Jaquez".to_owned(),
            Code::InvalidArgument,
            "sender must be a name",
        ),
        (long, Code::InvalidArgument, "sender must be a name"),
        (
            |g| g.receiver = "Riley\n".to_owned(),
            Code::InvalidArgument,
            "receiver must be a name",
        ),
        (
            |g| g.receiver.clear(),
            Code::InvalidArgument,
            "receiver must be a name",
        ),
    ];
    let (herd, caller) = riley();
    let mut sender = FakeSender::new("Jaquez", 7, "Riley");
    for (spoil, code, message) in cases {
        let mut greeting = sender.greeting();
        spoil(&mut greeting);
        assert_rejected(caller.greet(&greeting), code, message);
    }
    // With the right incarnation of the receiver a push is still rejected.
    let me = herd.gateway("Riley").replica().incarnation();
    sender.receiver_incarnation = me.get();
    let push = sender.push(0, 1, vec![report("kiwi", "+1+1", "1")]);
    assert_rejected(caller.push(&push), Code::FailedPrecondition, "greet first");
    assert_eq!(holdings(&herd), (0, 0));
}

#[test]
fn an_error_repeats_a_text_of_the_caller_only_if_it_is_a_name() {
    let (_herd, caller) = riley();
    for evil in [
        "\x1b[31mred",
        "Jaquez\r\nforged: yes",
        "ü",
        &"x".repeat(10_000),
    ] {
        let mut greeting = FakeSender::new(evil, 7, "Riley").greeting();
        let status = caller.greet(&greeting).unwrap_err();
        assert!(!status.message().contains(evil), "{status}");
        greeting.sender = "Jaquez".to_owned();
        greeting.herd = evil.to_owned();
        let status = caller.greet(&greeting).unwrap_err();
        assert!(!status.message().contains(evil), "{status}");
    }
}

#[test]
fn an_invalid_push_is_rejected_with_its_cause_and_changes_nothing() {
    type Spoil = fn(&mut PushRequest);
    let cases: [(Spoil, Code, &str); 12] = [
        (
            |p| p.herd = "other".to_owned(),
            Code::PermissionDenied,
            "does not belong to the herd \"other\"",
        ),
        (
            |p| p.sender = "Mallory".to_owned(),
            Code::PermissionDenied,
            "no server named \"Mallory\"",
        ),
        (
            |p| p.sender = "Bernard".to_owned(),
            Code::PermissionDenied,
            "\"Bernard\" is not a neighbour",
        ),
        (
            |p| p.sender = "Riley".to_owned(),
            Code::PermissionDenied,
            "this server's own name",
        ),
        (
            |p| p.sender = "Jaq uez".to_owned(),
            Code::InvalidArgument,
            "sender must be a name",
        ),
        (|p| p.sender_incarnation = 0, Code::InvalidArgument, "not 0"),
        (
            |p| p.sender_incarnation = 8,
            Code::FailedPrecondition,
            "greet first",
        ),
        (
            |p| p.receiver_incarnation ^= 1,
            Code::FailedPrecondition,
            "it has restarted, or was not greeted",
        ),
        (
            |p| p.receiver_incarnation = 0,
            Code::FailedPrecondition,
            "it has restarted, or was not greeted",
        ),
        (
            |p| (p.from_sequence, p.to_sequence) = (1, 2),
            Code::FailedPrecondition,
            "begins after sequence number 1, but only 0",
        ),
        (
            |p| (p.from_sequence, p.to_sequence) = (u64::MAX, u64::MAX),
            Code::FailedPrecondition,
            "greet again",
        ),
        (
            |p| (p.from_sequence, p.to_sequence) = (1, 0),
            Code::InvalidArgument,
            "cannot begin after sequence number 1 and end with 0",
        ),
    ];
    let (herd, caller) = riley();
    let mut sender = jaquez(&caller);
    for (spoil, code, message) in cases {
        let mut push = sender.push(0, 1, vec![report("kiwi", "+1+1", "1")]);
        spoil(&mut push);
        assert_rejected(caller.push(&push), code, message);
        assert_eq!(holdings(&herd), (0, 0), "{message}");
    }
    assert_eq!(sender.greet(&caller), 0, "the applied watermark stays 0");
    let push = sender.push(0, 1, vec![report("kiwi", "+1+1", "1")]);
    assert_eq!(caller.push(&push).unwrap(), 1);
    assert_eq!(holdings(&herd), (1, 1));
}

#[test]
fn bytes_that_are_not_a_message_are_rejected_as_invalid() {
    let (herd, caller) = riley();
    let sender = jaquez(&caller);
    let whole = sender
        .push(0, 1, vec![report("kiwi", "+1+1", "1")])
        .frame()
        .0;
    let wrong_type = [&[3 << 3, 5], &whole[..]].concat();
    let not_utf8 = [&[1 << 3 | 2, 1, 0xff], &whole[..]].concat();
    let cases: [(Vec<u8>, &str); 5] = [
        (whole[..whole.len() - 1].to_vec(), "ends within a field"),
        (vec![0xff; 32], "more than 64 bits"),
        (vec![0x07], "no valid number and type"),
        (wrong_type, "field 3"),
        ([&whole[..], &not_utf8[..3]].concat(), "field 1"),
    ];
    for (bytes, message) in cases {
        let answer = caller.push_frame(PushFrame(bytes.into()));
        assert_rejected(answer, Code::InvalidArgument, message);
    }
    assert_eq!(holdings(&herd), (0, 0));
    for bytes in [&[0xff; 32][..], &[3 << 3 | 2, 100], &[3 << 3 | 2, 1, 0xff]] {
        assert_rejected(caller.send("Greet", bytes), Code::InvalidArgument, "");
    }
    assert_rejected(caller.send("Pull", &[]), Code::Unimplemented, "");
}

#[test]
fn a_push_with_one_invalid_report_is_rejected_whole() {
    let (herd, caller) = riley();
    let sender = jaquez(&caller);
    let spoils: [fn(&mut proxyherd::proto::Report); 5] = [
        |r| r.client = "a b".to_owned(),
        |r| r.position = "+90.00000000000000000001+0".to_owned(),
        |r| r.time = "9223372036854775808".to_owned(),
        |r| r.origin = "Ri.ley".to_owned(),
        |r| *r = Default::default(),
    ];
    // Several of the batches in which reports are merged.
    const REPORTS: usize = 1200;
    for spoil in spoils {
        for place in [0, REPORTS / 2, REPORTS - 1] {
            let good = |n| report(&format!("client-{n}"), "+1+1", "1");
            let mut reports: Vec<_> = (0..REPORTS).map(good).collect();
            spoil(&mut reports[place]);
            let message = format!("report {} of the push is invalid: its ", place + 1);
            let answer = caller.push(&sender.push(0, 1, reports));
            assert_rejected(answer, Code::InvalidArgument, &message);
            assert_eq!(holdings(&herd), (0, 0));
        }
    }
}

#[test]
fn reports_of_neighbours_are_checked_by_their_form_only() {
    let (herd, caller) = riley();
    let sender = jaquez(&caller);
    let far_ahead = report("ahead", "+1+1", "9223372036854775807");
    let mut odd = report("odd\0клиент", "-90-180/", "0000.000000000000000001");
    (odd.origin, odd.skew_nanos) = ("x".repeat(63), i64::MIN);
    let push = sender.push(0, 2, vec![far_ahead, odd]);
    assert_eq!(caller.push(&push).unwrap(), 2);
    assert_eq!(
        herd.at_line("Riley", "odd\0клиент").unwrap(),
        format!(
            "AT {} -9223372036.854775808 odd\0клиент -90-180/ 0000.000000000000000001",
            "x".repeat(63)
        )
    );
    assert_eq!(herd.position("Riley", "ahead").unwrap(), "+1+1");
}

#[test]
fn a_push_at_both_limits_is_accepted_and_one_beyond_either_is_rejected() {
    let (herd, caller) = riley();
    let sender = jaquez(&caller);
    let reports = |count| {
        let report = |n| report(&format!("client-{n}"), "+1+1", "1");
        (0..count).map(report).collect()
    };
    let too_many = sender.push(0, 10_001, reports(10_001));
    assert_rejected(
        caller.push(&too_many),
        Code::ResourceExhausted,
        "a push of 10001 reports exceeds the maximum of 10000",
    );
    let too_long = sender.push(0, 10_000, reports(10_000)).padded_to(MIB + 1);
    assert_rejected(
        caller.push(&too_long),
        Code::OutOfRange,
        "found 1048577 bytes, the limit is: 1048576",
    );
    assert_eq!(holdings(&herd), (0, 0));
    let just = sender.push(0, 10_000, reports(10_000)).padded_to(MIB);
    assert_eq!(caller.push(&just).unwrap(), 10_000);
    assert_eq!(holdings(&herd), (10_000, 10_000));
}

#[test]
fn pushes_of_too_many_empty_reports_are_rejected_by_the_limits() {
    let (herd, caller) = riley();
    let sender = jaquez(&caller);
    let header = sender.push(0, 1, Vec::new()).frame().0;
    let empty = |count: usize| [header.to_vec(), [7 << 3 | 2, 0].repeat(count)].concat();

    let fit = (MIB - header.len()) / 2;
    let answer = caller.push_frame(PushFrame(empty(fit).into()));
    let message = format!("a push of {fit} reports exceeds the maximum of 10000");
    assert_rejected(answer, Code::ResourceExhausted, &message);

    let answer = caller.push_frame(PushFrame(empty(10_000_000).into()));
    assert_rejected(answer, Code::OutOfRange, "the limit is: 1048576 bytes");

    // The connection and the server still work.
    assert_eq!(caller.push(&sender.push(0, 1, Vec::new())).unwrap(), 1);
    assert_eq!(holdings(&herd), (0, 0));
}

#[test]
fn a_repeated_push_changes_nothing() {
    let (herd, caller) = riley();
    let mut sender = jaquez(&caller);
    let first = sender.push(
        0,
        2,
        vec![report("a", "+1+1", "1"), report("b", "+1+1", "1")],
    );
    let second = sender.push(2, 5, vec![report("a", "+2+2", "2")]);
    assert_eq!(caller.push(&first).unwrap(), 2);
    assert_eq!(caller.push(&first).unwrap(), 2);
    assert_eq!(caller.push(&second).unwrap(), 5);
    for _ in 0..3 {
        assert_eq!(caller.push(&second).unwrap(), 5);
        assert_eq!(
            caller.push(&first).unwrap(),
            5,
            "the watermark never decreases"
        );
    }
    assert_eq!(holdings(&herd), (3, 2));
    assert_eq!(herd.position("Riley", "a").unwrap(), "+2+2");
    assert_eq!(sender.greet(&caller), 5);
}

#[test]
fn a_greeting_of_an_old_incarnation_never_lowers_the_watermark_of_another() {
    let (_herd, caller) = riley();
    let mut old = jaquez(&caller);
    assert_eq!(caller.push(&old.push(0, 9, Vec::new())).unwrap(), 9);
    let mut new = FakeSender::new("Jaquez", 8, "Riley");
    assert_eq!(new.greet(&caller), 0);
    assert_eq!(caller.push(&new.push(0, 3, Vec::new())).unwrap(), 3);

    assert_eq!(old.greet(&caller), 9);
    assert_eq!(caller.push(&old.push(9, 12, Vec::new())).unwrap(), 12);
    assert_eq!(caller.push(&new.push(3, 4, Vec::new())).unwrap(), 4);
    assert_eq!((new.greet(&caller), old.greet(&caller)), (4, 12));
}

/// Keeps this number of calls open, and replaces those that have ended.
fn keep_holding(held: &mut Vec<JoinHandle<Status>>, through: &PeerClient, calls: usize) {
    held.retain(|call| !call.is_finished());
    held.resize_with(calls, || through.hold("Push"));
}

/// Repeats `each` and an empty push until the push ends with this code, and returns its status.
#[track_caller]
fn await_push(
    sender: &FakeSender,
    through: &PeerClient,
    code: Code,
    mut each: impl FnMut(),
) -> Status {
    eventually(&format!("a push ends with {code:?}"), || {
        each();
        let status = through.push(&sender.push(0, 0, Vec::new())).err();
        let status = status.unwrap_or_else(|| Status::ok(""));
        (status.code() == code).then_some(status)
    })
}

#[test]
fn calls_of_neighbours_beyond_the_limit_are_rejected_until_others_end() {
    let (_herd, neighbour) = riley_with(|peers| peers.max_pushes = 3);
    let sender = jaquez(&neighbour);
    for _ in 0..3 {
        let mut held = Vec::new();
        let status = await_push(&sender, &neighbour, Code::Unavailable, || {
            // The previous push may have taken the slot of one of them.
            keep_holding(&mut held, &neighbour, 3);
        });
        assert_eq!(
            status.message(),
            "3 calls are under way on this port: try again later"
        );
        held.iter().for_each(JoinHandle::abort);
        await_push(&sender, &neighbour, Code::Ok, || {});
    }
}

#[test]
fn the_oldest_call_of_a_stranger_is_evicted_for_a_new_one() {
    let (herd, caller) = riley_with(|peers| {
        peers.max_pushes = 3;
        // Longer than the test waits, so that no call ends by itself.
        peers.attempt = Duration::from_secs(60);
    });
    let held: Vec<_> = (0..4).map(|_| caller.hold("Push")).collect();
    eventually("the oldest has ended", || {
        held.iter().any(JoinHandle::is_finished).then_some(())
    });
    let next = PeerClient::dial(herd.peers_address("Riley"));
    jaquez(&next);
    eventually("the next has ended too", || {
        let ended = held.iter().filter(|call| call.is_finished()).count();
        (ended == 2).then_some(())
    });
    assert_eq!(herd.counters("Riley").peer_calls_evicted.get(), 2);
    for call in held {
        if call.is_finished() {
            let status = caller.run(call).unwrap();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            let message = "3 calls of strangers are under way on this port: try again later";
            assert_eq!(status.message(), message);
        }
    }
}

#[test]
fn calls_of_strangers_do_not_take_the_slots_of_neighbours() {
    let (herd, neighbour) = riley_with(|peers| peers.max_pushes = 1);
    let sender = jaquez(&neighbour);
    let caller = PeerClient::dial(herd.peers_address("Riley"));
    let mut held = Vec::new();
    for (number, time) in (1..).zip(["1", "2", "3"]) {
        keep_holding(&mut held, &caller, 3);
        let push = sender.push(number - 1, number, vec![report("kiwi", "+1+1", time)]);
        assert_eq!(neighbour.push(&push).unwrap(), number);
    }
    held.iter().for_each(JoinHandle::abort);
}

#[test]
fn a_new_connection_of_a_neighbour_is_recognized_by_its_first_push() {
    let (herd, first) = riley_with(|peers| peers.max_pushes = 1);
    let sender = jaquez(&first);
    let again = PeerClient::dial(herd.peers_address("Riley"));
    assert_eq!(again.push(&sender.push(0, 1, Vec::new())).unwrap(), 1);
    let mut held = Vec::new();
    let status = await_push(&sender, &again, Code::Unavailable, || {
        keep_holding(&mut held, &again, 1);
    });
    // This is the message for neighbours.
    let message = "1 calls are under way on this port: try again later";
    assert_eq!(status.message(), message);
    held.iter().for_each(JoinHandle::abort);
}

#[test]
fn an_unfinished_call_ends_after_four_attempts_and_frees_its_slot() {
    let attempt = Duration::from_millis(100);
    let (_herd, neighbour) = riley_with(move |peers| {
        peers.max_pushes = 1;
        peers.attempt = attempt;
    });
    let sender = jaquez(&neighbour);
    let start = Instant::now();
    let mut held = Vec::new();
    await_push(&sender, &neighbour, Code::Unavailable, || {
        keep_holding(&mut held, &neighbour, 1);
    });
    // The caller keeps the call open: the server ends it.
    await_push(&sender, &neighbour, Code::Ok, || {});
    assert!(start.elapsed() >= attempt * 4, "{:?}", start.elapsed());
    let status = neighbour.run(held.remove(0)).unwrap();
    let message = "no whole message came within 400ms";
    assert_eq!(status.message(), message, "{status}");
}

#[test]
fn a_connection_without_grpc_is_closed_and_the_server_still_serves() {
    let (herd, caller) = riley();
    let address = herd.peers_address("Riley");
    for bytes in [
        &b"IAMAT kiwi +1+1 1\n"[..],
        b"GET / HTTP/1.1\r\nHost: riley\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(crate::common::LIMIT)).unwrap();
        stream.write_all(bytes).unwrap();
        // Whatever it responds, it closes the connection.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(jaquez(&caller).receiver, "Riley");
}

mod draining {
    use super::*;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    fn health(caller: &PeerClient, service: &str) -> Result<ServingStatus, Status> {
        let mut client = HealthClient::new(caller.channel.clone());
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = caller.run(client.check(request))?.into_inner();
        Ok(answer.status())
    }

    #[test]
    fn health_covers_the_server_and_its_services_only() {
        let (_herd, caller) = riley();
        for service in ["", "proxyherd.v1.Propagate", "proxyherd.v1.Operator"] {
            assert_eq!(health(&caller, service).unwrap(), ServingStatus::Serving);
        }
        assert_rejected(health(&caller, "Propagate"), Code::NotFound, "");
    }

    #[test]
    fn a_draining_server_accepts_nothing_and_reports_that() {
        let jaquez = FakeNeighbour::start("Jaquez");
        let (mut herd, caller) = riley_with(|peers| {
            // No heartbeat takes the place of the push that is to hang.
            peers.heartbeat = Duration::from_secs(60);
            peers.drain = Duration::from_secs(60);
            peers.attempt = Duration::from_secs(30);
        });
        herd.redirect("Riley", "Jaquez", jaquez.address());
        let sender = self::jaquez(&caller);

        // Riley keeps draining, because Jaquez does not acknowledge the report.
        jaquez.respond_to_pushes(ResponseMode::Hang);
        herd.client("Riley").ask("IAMAT plum +2+2 1");
        eventually("Jaquez receives the report of plum", || {
            jaquez.clients().contains(&"plum".to_owned()).then_some(())
        });
        let gateway = herd.gateway("Riley").clone();
        std::thread::scope(|scope| {
            let drain = scope.spawn(|| herd.drain("Riley"));
            eventually("the health of Riley is NotServing", || {
                let status = health(&caller, "").unwrap();
                (status == ServingStatus::NotServing).then_some(())
            });
            assert_eq!(
                health(&caller, "proxyherd.v1.Propagate").unwrap(),
                ServingStatus::NotServing
            );
            let before = gateway.replica().store().last();
            let late = sender.push(0, 1, vec![report("late", "+1+1", "1")]);
            let message = "this server is shutting down";
            assert_rejected(caller.push(&late), Code::Unavailable, message);
            assert_rejected(caller.greet(&sender.greeting()), Code::Unavailable, message);
            assert_eq!(gateway.replica().store().last(), before);
            // The connection to Jaquez is refused, so there is nothing to wait for.
            drop(jaquez);
            assert_eq!(drain.join().unwrap(), 1, "plum may be lost");
        });
    }
}

mod reflection {
    use super::*;
    use prost::Message;
    use prost_types::FileDescriptorProto;

    /// Calls reflection in one version. The versions differ in their package only.
    macro_rules! ask {
        ($version:ident, $caller:expr, $question:ident($text:expr), $answer:ident) => {{
            use server_reflection_request::MessageRequest;
            use server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version::*;
            let caller: &PeerClient = $caller;
            let mut client =
                server_reflection_client::ServerReflectionClient::new(caller.channel.clone());
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::$question($text.to_owned())),
            };
            let answer = caller.run(async {
                let call = client.server_reflection_info(tokio_stream::once(request));
                call.await.unwrap().into_inner().message().await.unwrap()
            });
            match answer.unwrap().message_response.unwrap() {
                MessageResponse::$answer(answer) => answer,
                other => panic!("{other:?}"),
            }
        }};
    }

    /// Returns the comment before the message of this name.
    fn comment_of(file: &FileDescriptorProto, message: &str) -> String {
        let at = file.message_type.iter().position(|m| m.name() == message);
        let path = [4, at.unwrap() as i32];
        let locations = &file.source_code_info.as_ref().unwrap().location;
        let location = locations.iter().find(|l| l.path == path).unwrap();
        location.leading_comments().to_owned()
    }

    #[track_caller]
    fn assert_explains(files: Vec<Vec<u8>>) {
        let files = files
            .iter()
            .map(|file| FileDescriptorProto::decode(&file[..]).unwrap());
        let file = files.into_iter().next().unwrap();
        assert_eq!(file.package(), "proxyherd.v1");
        let methods: Vec<_> = file.service[0].method.iter().map(|m| m.name()).collect();
        assert_eq!(methods, ["Greet", "Push"]);
        let comment = comment_of(&file, "PushRequest");
        assert!(comment.contains("At most 10,000 reports"), "{comment}");
    }

    #[test]
    fn both_versions_list_the_services_and_return_their_comments() {
        let (_herd, caller) = riley();
        let offered = [
            "grpc.health.v1.Health",
            "proxyherd.v1.Propagate",
            "proxyherd.v1.Operator",
        ];

        let services = ask!(v1, &caller, ListServices(""), ListServicesResponse).service;
        let names: Vec<_> = services.iter().map(|service| &*service.name).collect();
        assert!(offered.iter().all(|name| names.contains(name)), "{names:?}");
        let services = ask!(v1alpha, &caller, ListServices(""), ListServicesResponse).service;
        let names: Vec<_> = services.iter().map(|service| &*service.name).collect();
        assert!(offered.iter().all(|name| names.contains(name)), "{names:?}");

        let symbol = "proxyherd.v1.Propagate";
        let v1 = ask!(
            v1,
            &caller,
            FileContainingSymbol(symbol),
            FileDescriptorResponse
        );
        assert_explains(v1.file_descriptor_proto);
        let v1alpha = ask!(
            v1alpha,
            &caller,
            FileContainingSymbol(symbol),
            FileDescriptorResponse
        );
        assert_explains(v1alpha.file_descriptor_proto);
    }
}

#[test]
fn a_silent_connection_is_closed() {
    let (herd, _) = riley_with(|peers| peers.attempt = Duration::from_millis(200));
    let mut silent = TcpStream::connect(herd.peers_address("Riley")).unwrap();
    silent.set_read_timeout(Some(crate::common::LIMIT)).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn neighbours_greet_and_push_beside_hundreds_of_strangers() {
    let (herd, first) = riley_with(|peers| peers.attempt = Duration::from_secs(30));
    rlimit::increase_nofile_limit(4096).unwrap();
    let address = herd.peers_address("Riley");
    let openings: [&[u8]; 5] = [
        // Silence, an unfinished preface, noise, another protocol, HTTP/2 without calls.
        b"",
        b"PRI * HTTP/2.0\r\n",
        b"\xff\0\xff\0 noise",
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ];
    let strangers: Vec<_> = (0..600)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(openings[number % openings.len()]).unwrap();
            stream
        })
        .collect();
    let callers: Vec<_> = (0..4).map(|_| PeerClient::dial(address)).collect();
    let held: Vec<_> = callers
        .iter()
        .flat_map(|caller| (0..15).map(|_| caller.hold("Push")))
        .collect();
    // A neighbour that was connected before, and one that connects now: until it has greeted, it
    // shares the slots for calls with strangers, who leave some free.
    let sender = jaquez(&first);
    let late = PeerClient::dial(address);
    for (number, through) in (1..).zip([&first, &late, &first, &late]) {
        let mut greeting = sender.clone();
        greeting.greet(through);
        let push = greeting.push(0, number, vec![report("kiwi", "+1+1", &number.to_string())]);
        assert_eq!(through.push(&push).unwrap(), number);
    }
    held.iter().for_each(JoinHandle::abort);
    drop(strangers);
}

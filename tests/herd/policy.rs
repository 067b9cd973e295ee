//! The tower stack of calls to neighbours: which calls it retries, how soon and how often,
//! and when it fails. Time is paused, so limits are exact to the millisecond.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{FakeNeighbour, FakeSender, ResponseMode, eventually};
use proxyherd::model::address::Address;
use proxyherd::net::{Dialer, Resolver, TcpDialer};
use proxyherd::peers::{CallError, Caller, PeerRequest, PeerResponse, PeerSettings, dial, stack};
use proxyherd::proto::PushResponse;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Service, ServiceExt, service_fn};

const ATTEMPT: Duration = Duration::from_secs(2);

/// The reaction of a fake neighbour to an attempt.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer,
    Fail(Code),
    Hang,
}
use Act::{Fail, Hang};

/// A neighbour that reacts by a script and repeats the last reaction.
struct Actor {
    script: Mutex<VecDeque<Act>>,
    attempts: Mutex<Vec<Instant>>,
}

impl Actor {
    fn next(&self) -> Act {
        self.attempts.lock().unwrap().push(Instant::now());
        let mut script = self.script.lock().unwrap();
        match script.len() {
            1 => script[0],
            _ => script.pop_front().expect("the script is not empty"),
        }
    }

    fn attempts(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }

    fn play(&self, script: &[Act]) {
        *self.script.lock().unwrap() = script.iter().copied().collect();
    }
}

async fn perform(act: Act, call: PeerRequest) -> Result<PeerResponse, Status> {
    assert!(
        matches!(call, PeerRequest::Push(_)),
        "the call that was made"
    );
    match act {
        Act::Answer => Ok(PeerResponse::Push(PushResponse {
            applied_sequence: 7,
            ..PushResponse::default()
        })),
        Act::Fail(code) => Err(Status::new(code, "the message of the fake")),
        Act::Hang => std::future::pending().await,
    }
}

fn settings() -> PeerSettings {
    PeerSettings {
        attempt: ATTEMPT,
        retries: 2,
        ..PeerSettings::default()
    }
}

fn actor(script: &[Act]) -> (Arc<Actor>, Caller) {
    actor_with(&settings(), script)
}

fn actor_with(settings: &PeerSettings, script: &[Act]) -> (Arc<Actor>, Caller) {
    let actor = Arc::new(Actor {
        script: Mutex::new(script.iter().copied().collect()),
        attempts: Mutex::default(),
    });
    let inner = actor.clone();
    let caller = stack(
        settings,
        service_fn(move |call| perform(inner.next(), call)),
    );
    (actor, caller)
}

async fn push(caller: &mut Caller) -> Result<PeerResponse, CallError> {
    let frame = FakeSender::new("Riley", 1, "Jaquez")
        .push(0, 0, Vec::new())
        .frame();
    caller
        .ready()
        .await
        .unwrap()
        .call(PeerRequest::Push(frame))
        .await
}

/// Runs a call, and returns its result and its time.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (call.await, start.elapsed())
}

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_short_failure_ends_within_two_quick_retries() {
    let (actor, mut caller) = actor(&[Fail(Code::Unavailable), Fail(Code::Aborted), Act::Answer]);
    let (answer, took) = timed(push(&mut caller)).await;
    assert!(matches!(answer, Ok(PeerResponse::Push(answer)) if answer.applied_sequence == 7));
    assert_eq!(actor.attempts(), 3);
    // Pauses of 10 and 20 ms, and up to half as much again, in steps of 1 ms.
    assert!((30 * MILLI..=47 * MILLI).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn only_transient_failures_are_retried() {
    let all = (0..=16)
        .map(Code::from_i32)
        .filter(|code| *code != Code::Ok);
    for code in all {
        let (actor, mut caller) = actor(&[Fail(code)]);
        let (answer, took) = timed(push(&mut caller)).await;
        assert!(answer.is_err(), "{code:?}");
        let is_transient = matches!(
            code,
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted
        );
        assert_eq!(
            actor.attempts(),
            if is_transient { 3 } else { 1 },
            "{code:?}"
        );
        assert!(is_transient || took.is_zero(), "{code:?} took {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_keeps_its_code_and_message() {
    for code in [
        Code::InvalidArgument,
        Code::PermissionDenied,
        Code::FailedPrecondition,
        Code::OutOfRange,
        Code::ResourceExhausted,
    ] {
        let (_, mut caller) = actor(&[Fail(code)]);
        let failure = push(&mut caller).await.unwrap_err();
        assert_eq!(failure.to_string(), "rejected: the message of the fake");
        assert!(matches!(failure, CallError::Rejected(status) if status.code() == code));
    }
    for code in [
        Code::Unavailable,
        Code::Cancelled,
        Code::Internal,
        Code::Unknown,
    ] {
        let (_, mut caller) = actor(&[Fail(code)]);
        let failure = push(&mut caller).await.unwrap_err();
        assert!(matches!(failure, CallError::NoResponse(_)), "{failure:?}");
        assert_eq!(failure.to_string(), "the message of the fake");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_at_its_time_limit_and_is_retried() {
    let (actor, mut caller) = actor(&[Hang, Act::Answer]);
    let (answer, took) = timed(push(&mut caller)).await;
    assert!(answer.is_ok());
    assert_eq!(actor.attempts(), 2);
    assert!(
        (ATTEMPT + 10 * MILLI..=ATTEMPT + 17 * MILLI).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_hangs_forever_fails_a_call_after_one_and_a_half_time_limits() {
    let (actor, mut caller) = actor(&[Hang]);
    let (answer, took) = timed(push(&mut caller)).await;
    assert_eq!(
        answer.unwrap_err().to_string(),
        "no response within the time limit"
    );
    assert_eq!(actor.attempts(), 2);
    assert!(
        (ATTEMPT * 3 / 2..=ATTEMPT * 3 / 2 + MILLI).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_retries_a_call_fails_after_one_time_limit() {
    let settings = PeerSettings {
        retries: 0,
        ..settings()
    };
    let (actor, mut caller) = actor_with(&settings, &[Hang]);
    let (answer, took) = timed(push(&mut caller)).await;
    assert!(matches!(answer, Err(CallError::NoResponse(_))));
    assert_eq!(actor.attempts(), 1);
    assert!((ATTEMPT..=ATTEMPT + MILLI).contains(&took), "{took:?}");
}

/// Makes `calls` calls at this interval, and returns the number of retries.
async fn retries_of(actor: &Actor, caller: &mut Caller, calls: usize, interval: Duration) -> usize {
    let before = actor.attempts();
    for _ in 0..calls {
        let _ = push(caller).await;
        tokio::time::sleep(interval).await;
    }
    actor.attempts() - before - calls
}

#[tokio::test(start_paused = true)]
async fn a_budget_limits_retries_while_every_call_fails() {
    let (actor, mut caller) = actor(&[Fail(Code::Unavailable)]);
    // The budget saves five retries a second for at most ten seconds.
    let at_once = retries_of(&actor, &mut caller, 1000, Duration::ZERO).await;
    assert!((45..=55).contains(&at_once), "{at_once} retries");
    // A minute with twenty failing calls a second: 2400 retries without a budget.
    let lasting = retries_of(&actor, &mut caller, 1200, 50 * MILLI).await;
    assert!((200..=400).contains(&lasting), "{lasting} retries");
}

#[tokio::test(start_paused = true)]
async fn successful_calls_add_retries_to_the_budget() {
    let (actor, mut caller) = actor(&[Fail(Code::Unavailable)]);
    retries_of(&actor, &mut caller, 1000, Duration::ZERO).await;
    let spent = retries_of(&actor, &mut caller, 10, Duration::ZERO).await;
    assert_eq!(spent, 0, "the budget is empty");
    actor.play(&[Act::Answer]);
    retries_of(&actor, &mut caller, 100, Duration::ZERO).await;
    actor.play(&[Fail(Code::Unavailable)]);
    let earned = retries_of(&actor, &mut caller, 100, Duration::ZERO).await;
    assert!((19..=21).contains(&earned), "a fifth of 100: {earned}");
}

#[tokio::test(start_paused = true)]
async fn each_link_has_its_own_budget() {
    let (poor, mut poor_caller) = actor(&[Fail(Code::Unavailable)]);
    retries_of(&poor, &mut poor_caller, 1000, Duration::ZERO).await;
    let (rich, mut rich_caller) = actor(&[Fail(Code::Unavailable)]);
    assert_eq!(
        retries_of(&rich, &mut rich_caller, 1, Duration::ZERO).await,
        2
    );
}

#[test]
fn a_caller_reaches_a_server_again_after_its_failure_and_after_its_restart() {
    let fake = FakeNeighbour::start("Jaquez");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let address = Address::from(fake.address());
    let dialer = Dialer::tcp(TcpDialer::new(&address, &Resolver::system()));
    let mut caller = dial(dialer, &settings()).unwrap();
    let mut sender = FakeSender::new("Riley", 1, "Jaquez");
    sender.receiver_incarnation = fake.incarnation();
    let mut push = |to: u64| {
        let frame = sender.push(0, to, Vec::new()).frame();
        runtime.block_on(async { caller.ready().await?.call(PeerRequest::Push(frame)).await })
    };
    assert!(matches!(push(1), Ok(PeerResponse::Push(answer)) if answer.applied_sequence == 1));

    fake.respond_to_pushes(ResponseMode::Reject(Status::unavailable("overloaded")));
    assert_eq!(push(2).unwrap_err().to_string(), "overloaded");
    assert_eq!(
        fake.pushes().len(),
        4,
        "one push, and three attempts of another"
    );
    fake.respond_to_pushes(ResponseMode::Reject(Status::failed_precondition(
        "greet again",
    )));
    assert_eq!(push(2).unwrap_err().to_string(), "rejected: greet again");
    assert_eq!(fake.pushes().len(), 5, "a rejection is not retried");
    fake.respond_to_pushes(ResponseMode::Accept);
    assert!(matches!(push(2), Ok(PeerResponse::Push(answer)) if answer.applied_sequence == 2));

    // The server stops, and starts again at its address.
    let gone_from = fake.address();
    drop(fake);
    assert!(matches!(push(3), Err(CallError::NoResponse(_))));
    let restarted = FakeNeighbour::start_at("Jaquez", gone_from);
    eventually("the server is reached", || push(3).ok());
    assert_eq!(restarted.pushes().len(), 1);
}

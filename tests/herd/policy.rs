//! The tower stack that calls to neighbours go through: what it tries again,
//! how soon, how often, and when it gives up. Time is paused, so that limits
//! can be told to the millisecond.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Fake, Life, Manner, eventually};
use proxyherd::model::address::Address;
use proxyherd::peers::{Answer, Call, Caller, Failure, PeerSettings, dial, stack, tcp};
use proxyherd::proto::PushResponse;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Service, ServiceExt, service_fn};

const ATTEMPT: Duration = Duration::from_secs(2);

/// What a fake neighbour does with an attempt.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer,
    Fail(Code),
    Hang,
}
use Act::{Fail, Hang};

/// A neighbour that acts by a script, and goes on with the last of it.
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
            _ => script.pop_front().expect("a script has an act"),
        }
    }

    fn attempts(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }

    fn play(&self, script: &[Act]) {
        *self.script.lock().unwrap() = script.iter().copied().collect();
    }
}

async fn perform(act: Act, call: Call) -> Result<Answer, Status> {
    assert!(matches!(call, Call::Push(_)), "the call that was made");
    match act {
        Act::Answer => Ok(Answer::Push(PushResponse {
            applied_sequence: 7,
        })),
        Act::Fail(code) => Err(Status::new(code, "the fake's words")),
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

async fn push(caller: &mut Caller) -> Result<Answer, Failure> {
    let frame = Life::new("Riley", 1, "Jaquez")
        .push(0, 0, Vec::new())
        .frame();
    caller.ready().await.unwrap().call(Call::Push(frame)).await
}

/// Runs a call, and gives how long it took too.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (call.await, start.elapsed())
}

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_hiccup_is_over_within_two_quick_retries() {
    let (actor, mut caller) = actor(&[Fail(Code::Unavailable), Fail(Code::Aborted), Act::Answer]);
    let (answer, took) = timed(push(&mut caller)).await;
    assert!(matches!(answer, Ok(Answer::Push(answer)) if answer.applied_sequence == 7));
    assert_eq!(actor.attempts(), 3);
    // Pauses of 10 and 20 ms, and up to half as much again, in steps of 1 ms.
    assert!((30 * MILLI..=47 * MILLI).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn only_what_may_pass_by_itself_is_tried_again() {
    let all = (0..=16)
        .map(Code::from_i32)
        .filter(|code| *code != Code::Ok);
    for code in all {
        let (actor, mut caller) = actor(&[Fail(code)]);
        let (answer, took) = timed(push(&mut caller)).await;
        assert!(answer.is_err(), "{code:?}");
        let may_pass = matches!(
            code,
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted
        );
        assert_eq!(actor.attempts(), if may_pass { 3 } else { 1 }, "{code:?}");
        assert!(may_pass || took.is_zero(), "{code:?} took {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_comes_back_as_one_with_its_code_and_words() {
    for code in [
        Code::InvalidArgument,
        Code::PermissionDenied,
        Code::FailedPrecondition,
        Code::OutOfRange,
        Code::ResourceExhausted,
    ] {
        let (_, mut caller) = actor(&[Fail(code)]);
        let failure = push(&mut caller).await.unwrap_err();
        assert_eq!(failure.to_string(), "refused: the fake's words");
        assert!(matches!(failure, Failure::Rejected(status) if status.code() == code));
    }
    for code in [
        Code::Unavailable,
        Code::Cancelled,
        Code::Internal,
        Code::Unknown,
    ] {
        let (_, mut caller) = actor(&[Fail(code)]);
        let failure = push(&mut caller).await.unwrap_err();
        assert!(matches!(failure, Failure::NoAnswer(_)), "{failure:?}");
        assert_eq!(failure.to_string(), "the fake's words");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_cut_at_its_limit_and_tried_again() {
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
async fn a_neighbour_that_hangs_for_ever_is_given_up_within_a_limit_and_a_half() {
    let (actor, mut caller) = actor(&[Hang]);
    let (answer, took) = timed(push(&mut caller)).await;
    assert_eq!(
        answer.unwrap_err().to_string(),
        "no answer within the time limit"
    );
    assert_eq!(actor.attempts(), 2);
    assert!(
        (ATTEMPT * 3 / 2..=ATTEMPT * 3 / 2 + MILLI).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_retries_one_limit_is_all() {
    let settings = PeerSettings {
        retries: 0,
        ..settings()
    };
    let (actor, mut caller) = actor_with(&settings, &[Hang]);
    let (answer, took) = timed(push(&mut caller)).await;
    assert!(matches!(answer, Err(Failure::NoAnswer(_))));
    assert_eq!(actor.attempts(), 1);
    assert!((ATTEMPT..=ATTEMPT + MILLI).contains(&took), "{took:?}");
}

/// Calls `calls` times, with this pause between. Gives how many retries it made.
async fn retries_of(actor: &Actor, caller: &mut Caller, calls: usize, pause: Duration) -> usize {
    let before = actor.attempts();
    for _ in 0..calls {
        let _ = push(caller).await;
        tokio::time::sleep(pause).await;
    }
    actor.attempts() - before - calls
}

#[tokio::test(start_paused = true)]
async fn a_budget_bounds_retries_while_all_fails() {
    let (actor, mut caller) = actor(&[Fail(Code::Unavailable)]);
    // Five retries a second are saved up for ten seconds, and no more.
    let at_once = retries_of(&actor, &mut caller, 1000, Duration::ZERO).await;
    assert!((45..=55).contains(&at_once), "{at_once} retries");
    // A minute of failures, twenty calls a second: 2400 retries without it.
    let lasting = retries_of(&actor, &mut caller, 1200, 50 * MILLI).await;
    assert!((200..=400).contains(&lasting), "{lasting} retries");
}

#[tokio::test(start_paused = true)]
async fn calls_that_succeed_earn_retries_for_those_that_do_not() {
    let (actor, mut caller) = actor(&[Fail(Code::Unavailable)]);
    retries_of(&actor, &mut caller, 1000, Duration::ZERO).await;
    let spent = retries_of(&actor, &mut caller, 10, Duration::ZERO).await;
    assert_eq!(spent, 0, "nothing is left");
    actor.play(&[Act::Answer]);
    retries_of(&actor, &mut caller, 100, Duration::ZERO).await;
    actor.play(&[Fail(Code::Unavailable)]);
    let earned = retries_of(&actor, &mut caller, 100, Duration::ZERO).await;
    assert!((19..=21).contains(&earned), "a fifth of 100: {earned}");
}

#[tokio::test(start_paused = true)]
async fn each_link_has_a_budget_of_its_own() {
    let (poor, mut poor_caller) = actor(&[Fail(Code::Unavailable)]);
    retries_of(&poor, &mut poor_caller, 1000, Duration::ZERO).await;
    let (rich, mut rich_caller) = actor(&[Fail(Code::Unavailable)]);
    assert_eq!(
        retries_of(&rich, &mut rich_caller, 1, Duration::ZERO).await,
        2
    );
}

#[test]
fn a_server_that_fails_and_recovers_is_reached_again_by_the_same_caller() {
    let fake = Fake::start("Jaquez");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let address = Address::from(fake.address());
    let mut caller = dial(&address, &settings(), tcp).unwrap();
    let mut life = Life::new("Riley", 1, "Jaquez");
    life.receiver_incarnation = fake.incarnation();
    let mut push = |to: u64| {
        let frame = life.push(0, to, Vec::new()).frame();
        runtime.block_on(async { caller.ready().await?.call(Call::Push(frame)).await })
    };
    assert!(matches!(push(1), Ok(Answer::Push(answer)) if answer.applied_sequence == 1));

    fake.on_pushes(Manner::Refuses(Status::unavailable("in trouble")));
    assert_eq!(push(2).unwrap_err().to_string(), "in trouble");
    assert_eq!(fake.pushes().len(), 4, "one, and three attempts of another");
    fake.on_pushes(Manner::Refuses(Status::failed_precondition("greet again")));
    assert_eq!(push(2).unwrap_err().to_string(), "refused: greet again");
    assert_eq!(fake.pushes().len(), 5, "a refusal is not tried again");
    fake.on_pushes(Manner::Takes);
    assert!(matches!(push(2), Ok(Answer::Push(answer)) if answer.applied_sequence == 2));

    // The same when it is gone altogether, and comes back at its address.
    let gone_from = fake.address();
    drop(fake);
    assert!(matches!(push(3), Err(Failure::NoAnswer(_))));
    let back = Fake::start_at("Jaquez", gone_from);
    eventually("it is reached again", || push(3).ok());
    assert_eq!(back.pushes().len(), 1);
}

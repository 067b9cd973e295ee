//! Five processes under a steady load, broken as machines and networks break,
//! while every answer is held against a model.
//!
//! A seed draws which faults come, when, and to whom (`plan.rs`): servers are
//! killed, frozen, told to stop and replaced while they sleep, and the ways
//! between them stall, cut, delay or go one way. Beneath that, clients report and
//! ask at every server all the time (`load.rs`). What they may hear follows from
//! what was sent (`ledger.rs`) and from what the same life of that server has
//! answered before (`life.rs`); each answer is judged as it comes (`talk.rs`). In
//! the end everything heals, and the servers must agree, in time, on nothing
//! older than what any of them had answered, and fall silent (`ends.rs`).
//!
//! A seed decides the plan and what clients say, but not how processes and
//! threads take turns: a failure may need some runs to come again. It leaves the
//! directory of its herd behind, with the servers' logs.
//!
//! | variable | does |
//! |---|---|
//! | `PROXYHERD_SEED=n` | runs this seed only, and prints what happened (with `--nocapture`) |
//! | `PROXYHERD_SEEDS=n` | runs so many seeds |

mod crowd;
mod driver;
mod ends;
mod herd;
mod ledger;
mod life;
mod load;
mod plan;
mod report;
mod speed;
mod talk;
mod tally;
mod world;

use std::time::Duration;

use driver::Driver;
use tally::Tally;
use world::World;

/// How many seeds run if nobody says. Each takes some seven seconds.
const SEEDS: u64 = 2;

/// The longest that an answer of a server may take that runs. A hundred times
/// what is usual.
const SLOWEST_ANSWER: Duration = Duration::from_secs(1);

/// A machine that is busy with other things is slow here and there; a server
/// that waits for its neighbours is so each time that a plan is carried out.
const TIMES_SLOW: usize = 3;

#[test]
fn a_herd_of_processes_keeps_its_promises_while_it_is_broken() {
    if let Some(seed) = variable("PROXYHERD_SEED") {
        run_at_speed(seed, true);
        return;
    }
    let mut all = Tally::default();
    for seed in 0..variable("PROXYHERD_SEEDS").unwrap_or(SEEDS) {
        all.add(&run_at_speed(seed, false));
    }
    assert!(all.is_complete(), "never came up: {all:#?}");
}

/// Runs one seed, and again if answers were slow, and gives what it came upon.
fn run_at_speed(seed: u64, aloud: bool) -> Tally {
    for _ in 0..TIMES_SLOW {
        let (tally, slowest) = run(seed, aloud);
        if slowest <= SLOWEST_ANSWER {
            return tally;
        }
    }
    panic!(
        "seed {seed}: each of {TIMES_SLOW} times a server that ran took more than {SLOWEST_ANSWER:?} for an answer"
    );
}

/// Runs one seed, and gives what it came upon and how long the slowest answer
/// took.
fn run(seed: u64, aloud: bool) -> (Tally, Duration) {
    println!("seed {seed}");
    let world = World::start();
    let _end = AtLast(&world);
    let mut driver = Driver::new(&world, seed);
    let ran = driver.run();
    let (trace, tally) = (driver.trace(), driver.tally());
    if aloud {
        println!("{trace}");
    }
    println!("{tally}; {}", world.speed);
    if let Err(words) = ran {
        // Its directory goes with the herd, which is never dropped then.
        std::mem::forget(world.clone());
        panic!(
            "{words}\nThe seed is {seed}: run it again with PROXYHERD_SEED={seed}. \
             The logs are in {}. What happened:\n{trace}",
            world.herd.directory().display()
        );
    }
    (tally, world.speed.at(1.0))
}

/// Ends a run, however it ended: no process is left behind.
struct AtLast<'a>(&'a World);

impl Drop for AtLast<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

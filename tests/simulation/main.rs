//! The whole protocol of a herd under a seeded scheduler: many replicas and
//! their outboxes, one thread, no socket, no clock, no waiting.
//!
//! Everything is drawn from one seed: who talks with whom, how the clients
//! report, and what fails and when. Beside each process runs a plain account of
//! what it ought to hold (`model.rs`), and every step is compared with it
//! (`checks.rs`); at the end everything heals, and the herd must agree and fall
//! silent (`ends.rs`). The idea is that of FoundationDB's simulation (Zhou et
//! al., "FoundationDB: A Distributed Unbundled Transactional Key Value Store",
//! 2021), and that of drawing which faults there are at all is swarm testing
//! (Groce et al., 2012).
//!
//! What it does not do: threads, whose interleavings inside one call are the
//! matter of the core's own tests.
//!
//! | variable | does |
//! |---|---|
//! | `PROXYHERD_SEED=n` | runs this seed only, and prints what happened (with `--nocapture`) |
//! | `PROXYHERD_SEEDS=n` | runs so many seeds |

mod checks;
mod clients;
mod coverage;
mod expiry;
mod faults;
mod final_checks;
mod inbound;
mod invalid_requests;
mod links;
mod model;
mod network;
mod process;
mod queue;
#[path = "../common/random.rs"]
mod random;
mod reload;
mod schedule;
mod setup;
mod shrink;
mod topology;
mod world;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use coverage::Coverage;
use setup::Setup;

/// How many seeds run if nobody body: some twenty seconds on two cores.
const DEFAULT_SEEDS: u64 = 20_000;

/// So many seeds come upon everything that the simulation is there for.
const MIN_SEEDS_FOR_COVERAGE: u64 = 2000;

#[test]
fn a_herd_keeps_its_promises_under_any_schedule() {
    if let Some(seed) = variable("PROXYHERD_SEED") {
        return run_traced(seed);
    }
    let seeds = variable("PROXYHERD_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let all = run_all(seeds).unwrap_or_else(|(seed, text)| fail(seed, &text));
    println!("{all:#?}");
    assert!(
        seeds < MIN_SEEDS_FOR_COVERAGE || all.is_complete(),
        "never came up: {all:#?}"
    );
}

/// Runs so many seeds on all cores. Gives what they came upon, or one that
/// failed and its text.
fn run_all(seeds: u64) -> Result<Coverage, (u64, String)> {
    let next = AtomicU64::new(0);
    let run_some = || {
        let mut some = Coverage::default();
        let drawn = std::iter::repeat_with(|| next.fetch_add(1, Relaxed));
        for seed in drawn.take_while(|&seed| seed < seeds) {
            match shrink::run(&Setup::draw(seed)) {
                Ok(coverage) => some.add(&coverage),
                Err(failure) => {
                    next.store(seeds, Relaxed);
                    return Err((seed, failure.text));
                }
            }
        }
        Ok(some)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(run_some)).collect();
        let mut all = Coverage::default();
        for thread in threads {
            all.add(&thread.join().expect("panics are caught and told")?);
        }
        Ok(all)
    })
}

fn run_traced(seed: u64) {
    match shrink::trace(&Setup::draw(seed)) {
        Ok(trace) => println!("{:?}\n{}", Setup::draw(seed), trace.join("\n")),
        Err(failure) => {
            println!("{}\n", failure.report());
            fail(seed, &failure.text);
        }
    }
}

fn fail(seed: u64, text: &str) -> ! {
    let smallest = shrink::shrink(&Setup::draw(seed));
    let smallest = smallest.map_or_else(String::new, |failure| failure.report());
    panic!(
        "{text}\nThe seed is {seed}: run it again with PROXYHERD_SEED={seed}. \
         The smallest herd found that fails:\n{smallest}"
    );
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

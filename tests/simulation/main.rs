//! The whole protocol of a herd under a seeded scheduler: many replicas and their cursors, one
//! thread, no socket, no clock, no waiting.
//!
//! Everything is drawn from one seed: the topology, the load of the clients, and the faults and
//! their times. A model of each process (`model.rs`) tells what it must have, and every step is
//! compared with it (`checks.rs`). At the end all faults stop, and the herd must converge and
//! become quiet (`final_checks.rs`). The method is that of FoundationDB's simulation (Zhou et al.,
//! "FoundationDB: A Distributed Unbundled Transactional Key Value Store", 2021). Drawing the set of
//! faults is swarm testing (Groce et al., 2012).
//!
//! It does not cover threads: the interleavings inside one call are covered by the unit tests of
//! the library.
//!
//! | variable | effect |
//! |---|---|
//! | `PROXYHERD_SEED=n` | runs this seed only, and prints its trace (with `--nocapture`) |
//! | `PROXYHERD_SEEDS=n` | sets the number of seeds |

mod answers;
mod anti_entropy;
mod checks;
mod clients;
mod coverage;
mod disk;
mod expiry;
mod faults;
mod final_checks;
mod images;
mod inbound;
mod invalid_requests;
mod links;
mod model;
mod network;
mod process;
mod queue;
#[path = "../common/random.rs"]
mod random;
mod redundancy;
mod reload;
mod schedule;
mod setup;
mod shrink;
mod storage;
mod topology;
mod world;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use coverage::Coverage;
use setup::Setup;

/// Default number of seeds: some twenty seconds on two cores.
const DEFAULT_SEEDS: u64 = 20_000;

/// Number of seeds that reach every situation.
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
        "not every situation occurred: {all:#?}"
    );
}

/// Runs seeds on all cores. Returns their coverage, or a failed seed and its message.
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
            all.add(&thread.join().expect("panics are caught and reported")?);
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
            .unwrap_or_else(|_| panic!("{name} must be a number")),
    )
}

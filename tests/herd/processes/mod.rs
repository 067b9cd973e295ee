//! Five processes under a steady load with faults of machines and networks, while every
//! answer is compared with a model.
//!
//! A seed determines the faults, their times and their targets (`plan.rs`): servers are
//! killed, frozen, stopped and replaced while they are frozen, strangers take their files, and
//! the routes between them stall, cut, delay, limit or carry one direction only. Meanwhile
//! clients report and query at every server (`load.rs`). Each answer is checked
//! (`session.rs`) against the sent reports (`ledger.rs`) and against earlier answers of the
//! same process (`server_process.rs`). At the end all faults are healed. The servers must
//! then agree on reports that are not older than any answer, become idle, and use little
//! memory (`final_checks.rs`).
//!
//! A seed determines the plan and the requests, but not the scheduling of processes and
//! threads, so a failure may need several runs to return. It keeps the directory of its
//! herd, with the servers' logs.
//!
//! | variable | effect |
//! |---|---|
//! | `PROXYHERD_SEED=n` | runs only this seed, and prints the events (with `--nocapture`) |
//! | `PROXYHERD_SEEDS=n` | runs this number of seeds |

mod clients;
mod coverage;
mod driver;
mod final_checks;
mod herd;
mod ledger;
mod load;
mod plan;
pub(crate) mod report;
mod server_process;
mod session;
mod world;

use coverage::Coverage;
use driver::Driver;
use world::World;

/// The default number of seeds. Each takes about seven seconds.
const SEEDS: u64 = 2;

#[test]
fn a_herd_of_processes_keeps_its_promises_under_faults() {
    if let Some(seed) = variable("PROXYHERD_SEED") {
        run(seed, true);
        return;
    }
    let mut all = Coverage::default();
    for seed in 0..variable("PROXYHERD_SEEDS").unwrap_or(SEEDS) {
        all.add(&run(seed, false));
    }
    assert!(all.is_complete(), "an event did not happen: {all:#?}");
}

/// Runs one seed, and returns its coverage.
fn run(seed: u64, prints_events: bool) -> Coverage {
    println!("seed {seed}");
    let world = World::start();
    let _end = EndOnDrop(&world);
    let mut driver = Driver::new(&world, seed);
    let result = driver.run();
    let (trace, coverage) = (driver.trace(), driver.coverage());
    if prints_events {
        println!("{trace}");
    }
    println!("{coverage}");
    if let Err(error) = result {
        // The directory is removed with the herd, which is never dropped then.
        std::mem::forget(world.clone());
        panic!(
            "{error}\nThe seed is {seed}: run it again with PROXYHERD_SEED={seed}. \
             The logs are in {}. The events:\n{trace}",
            world.herd.directory().display()
        );
    }
    coverage
}

/// Ends all processes of a run, also after a failure.
struct EndOnDrop<'a>(&'a World);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Returns the number of an environment variable, if it is set.
pub(crate) fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is not a number")))
}

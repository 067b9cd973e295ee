//! Whole servers on a simulated network: real sessions, real gRPC, real HTTP/2
//! with its pings, over connections that lose, hold and delay what they carry,
//! in a time that passes only when nobody has anything to do.
//!
//! Everything is drawn from one seed: who talks with whom, how far clocks are
//! off, how the clients report and ask, and what fails and when. After every
//! step each server is looked at: what it holds never goes back, is nothing that
//! no client sent, and is no older than what it has told a client. In the end
//! all heals, and the herd must agree in a measured time and fall silent
//! (`run.rs`). The network is turmoil's. Its TCP does not send again what was
//! lost, so that a link that lost anything is dead, and must be found to be:
//! that is harsher than a real one.
//!
//! What it does not do: threads. And a seed is the same herd, the same faults at
//! the same times and the same clients each time, but not quite the same run:
//! incarnations, the jitter of pauses and which of two things that are ready goes
//! first are drawn by the product and by tokio.
//!
//! | variable | does |
//! |---|---|
//! | `PROXYHERD_SEED=n` | runs this seed only, and prints what happened (with `--nocapture`) |
//! | `PROXYHERD_SEEDS=n` | runs so many seeds |

mod faults;
mod herd;
mod ledger;
mod net;
mod panics;
mod phone;
#[path = "../common/random.rs"]
mod random;
mod run;
mod setup;
#[path = "../simulation/topology.rs"]
mod topology;

use std::ops::Range;
use std::sync::Mutex;
use std::thread;

use run::Outcome;
use setup::Setup;

/// How many seeds run if nobody says.
const SEEDS: u64 = 24;

/// Why a check failed, if it did.
type Checked = Result<(), String>;

#[test]
fn real_servers_keep_their_promises_on_a_network_that_does_not() {
    panics::watch();
    if let Some(seed) = variable("PROXYHERD_SEED") {
        match run_seed(seed) {
            Ok(Outcome { trace, .. }) => println!("{trace}"),
            Err(words) => panic!("{words}"),
        }
        return;
    }
    let seeds = Mutex::new(0..variable("PROXYHERD_SEEDS").unwrap_or(SEEDS));
    thread::scope(|scope| {
        let runs = [(); 2].map(|()| scope.spawn(|| run_all(&seeds)));
        for run in runs {
            if let Err(words) = run.join().expect("a run tells of its failure") {
                panic!("{words}");
            }
        }
    });
}

/// Runs seeds until there are none left, or one fails.
fn run_all(seeds: &Mutex<Range<u64>>) -> Checked {
    let next = || seeds.lock().expect("nobody panics with it").next();
    while let Some(seed) = next() {
        let Outcome { tally, healed, .. } = run_seed(seed)?;
        println!("{seed}: {tally:?}, healed in {healed:.2} of the time for it");
    }
    Ok(())
}

fn run_seed(seed: u64) -> Result<Outcome, String> {
    run::run(&Setup::draw(seed)).map_err(|words| {
        format!("{words}\nThe seed is {seed}: run it again with PROXYHERD_SEED={seed}.")
    })
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is a number")))
}

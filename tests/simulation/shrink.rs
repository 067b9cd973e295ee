//! Runs schedules, and shrinks a failing one.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::coverage::Coverage;
use crate::setup::Setup;
use crate::world::World;

/// Number of schedules of a simpler setup that must pass before it counts as passing.
const MAX_TRIES: u64 = 30;

/// Maximum number of trace lines that are printed: the last ones.
const MAX_TRACE_LINES: usize = 300;

/// A schedule that broke a guarantee.
pub(crate) struct Failure {
    pub(crate) setup: Setup,
    pub(crate) text: String,
    trace: Vec<String>,
}

/// Runs one schedule, and returns its coverage.
pub(crate) fn run(setup: &Setup) -> Result<Coverage, Box<Failure>> {
    run_world(setup, false).map(|world| world.coverage)
}

/// Runs one schedule, and returns its trace.
pub(crate) fn trace(setup: &Setup) -> Result<Vec<String>, Box<Failure>> {
    run_world(setup, true).map(|world| world.trace.unwrap_or_default())
}

fn run_world(setup: &Setup, traced: bool) -> Result<World, Box<Failure>> {
    let mut world = World::new(setup, traced);
    // The trace is needed most if the library panics.
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let text = match ran.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
        Ok(()) => return Ok(world),
        Err(text) => text,
    };
    Err(Box::new(Failure {
        setup: setup.clone(),
        text,
        trace: world.trace.unwrap_or_default(),
    }))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_default())
}

/// Returns the simplest failing setup that is reached step by step from a failing one, with its
/// trace.
pub(crate) fn shrink(setup: &Setup) -> Option<Box<Failure>> {
    // The spread of clients over a store's shards is not drawn from the seed. Only an error inside
    // the store can depend on it; then a failure may need several runs to recur.
    let mut smallest = (0..MAX_TRIES).find_map(|_| trace(setup).err())?;
    while let Some(simpler) = simpler(&smallest.setup) {
        smallest = simpler;
    }
    Some(smallest)
}

fn simpler(setup: &Setup) -> Option<Box<Failure>> {
    // A simpler setup draws other numbers, so one schedule of it says little.
    let schedules = |setup: Setup| {
        (0..MAX_TRIES).map(move |more| Setup {
            seed: setup.seed.wrapping_add(more),
            ..setup.clone()
        })
    };
    let mut simpler = setup.simpler().into_iter().flat_map(schedules);
    simpler.find_map(|setup| trace(&setup).err())
}

impl Failure {
    /// Returns the text that explains the failure: setup, trace and message.
    pub(crate) fn report(&self) -> String {
        let skipped = self.trace.len().saturating_sub(MAX_TRACE_LINES);
        let trace = self.trace[skipped..].join("\n");
        format!(
            "{:?}\n({skipped} lines before)\n{trace}\n  => {}",
            self.setup, self.text
        )
    }
}

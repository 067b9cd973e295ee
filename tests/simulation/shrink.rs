//! Runs schedules, and makes a failing one small enough to read.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::coverage::Coverage;
use crate::setup::Setup;
use crate::world::World;

/// How many schedules of a simpler setup are tried before it passes for right.
const MAX_TRIES: u64 = 30;

/// Most lines of a trace that are shown: the last ones.
const MAX_TRACE_LINES: usize = 300;

/// A schedule that broke a promise.
pub(crate) struct Failure {
    pub(crate) setup: Setup,
    pub(crate) text: String,
    trace: Vec<String>,
}

/// Runs one schedule, and gives what it came upon.
pub(crate) fn run(setup: &Setup) -> Result<Coverage, Box<Failure>> {
    run_world(setup, false).map(|world| world.coverage)
}

/// Runs one schedule, and gives what happened.
pub(crate) fn trace(setup: &Setup) -> Result<Vec<String>, Box<Failure>> {
    run_world(setup, true).map(|world| world.trace.unwrap_or_default())
}

fn run_world(setup: &Setup, traced: bool) -> Result<World, Box<Failure>> {
    let mut world = World::new(setup, traced);
    // The trace is wanted above all where the core panics.
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

/// The simplest failing setup that is found step by step from a failing one,
/// with its trace.
pub(crate) fn shrink(setup: &Setup) -> Option<Box<Failure>> {
    // How clients are spread over a store's shards is not drawn from the seed.
    // Only a mistake inside the store can depend on that, but then a failure
    // may take some runs to come again.
    let mut smallest = (0..MAX_TRIES).find_map(|_| trace(setup).err())?;
    while let Some(simpler) = simpler(&smallest.setup) {
        smallest = simpler;
    }
    Some(smallest)
}

fn simpler(setup: &Setup) -> Option<Box<Failure>> {
    // A simpler setup draws otherwise, so one schedule of it body little.
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
    /// All that one needs to understand the failure.
    pub(crate) fn report(&self) -> String {
        let skipped = self.trace.len().saturating_sub(MAX_TRACE_LINES);
        let trace = self.trace[skipped..].join("\n");
        format!(
            "{:?}\n({skipped} lines before)\n{trace}\n  => {}",
            self.setup, self.text
        )
    }
}

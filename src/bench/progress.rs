//! One line on the terminal that says how far things are.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::Ordering::Relaxed;

use super::settings::{BenchSettings, Length};
use super::shared::{Shared, Stage};
use crate::format::grouped;

/// How wide the bar is, in characters.
const BAR: usize = 30;

/// How wide the whole line is: what it overwrites.
const LINE: usize = 78;

/// Written to standard error where that is a terminal, and nowhere else.
pub(super) struct ProgressLine {
    is_shown: bool,
    last: (u64, u64),
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self {
            is_shown: io::stderr().is_terminal(),
            last: (0, 0),
        }
    }

    /// Shows how far things are now.
    pub(super) fn show(&mut self, settings: &BenchSettings, shared: &Shared) {
        let (now, answered) = (shared.clock.now(), shared.answered.load(Relaxed));
        let (before, answered_before) = std::mem::replace(&mut self.last, (now, answered));
        let rate = (answered - answered_before) as f64 * 1e9 / (now - before).max(1) as f64;
        if self.is_shown {
            let line = line(settings, shared, now, answered, rate as u64);
            let _ = write!(io::stderr(), "\r{line:LINE$.LINE$}");
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r{:LINE$}\r", "");
        }
    }
}

fn line(settings: &BenchSettings, shared: &Shared, now: u64, answered: u64, rate: u64) -> String {
    let rate = grouped(rate);
    match shared.stage() {
        Stage::Introducing => format!("every client reports once: {}", grouped(answered)),
        Stage::Warming => format!("warm-up: {rate} a second"),
        Stage::Measuring => {
            let share = share(settings, shared, now, answered);
            format!("{} {rate} a second", bar(share))
        }
        Stage::Settling => format!("looking for every report everywhere: {rate} a second"),
        Stage::Spreading => {
            let share = match settings.spread {
                Some(Length::Requests(all)) => answered as f64 / all as f64,
                Some(Length::Time(all)) => now as f64 / all as f64,
                None => 0.0,
            };
            format!("{} {rate} reports a second", bar(share))
        }
    }
}

/// How much of the load is done, about: what was answered in the warm-up counts
/// here where requests are counted.
fn share(settings: &BenchSettings, shared: &Shared, now: u64, answered: u64) -> f64 {
    let (Some(load), Some(start)) = (&settings.load, shared.started()) else {
        return 0.0;
    };
    match load.length {
        Length::Requests(all) => answered as f64 / all as f64,
        Length::Time(all) => now.saturating_sub(start + load.warmup) as f64 / all as f64,
    }
}

fn bar(share: f64) -> String {
    let share = share.clamp(0.0, 1.0);
    let done = "=".repeat((share * BAR as f64) as usize);
    format!("[{done:BAR$}] {:3.0}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(0.0), format!("[{:30}]   0%", ""));
        assert_eq!(bar(0.5), format!("[{:30}]  50%", "=".repeat(15)));
        assert_eq!(bar(7.0), format!("[{}] 100%", "=".repeat(30)));
        assert_eq!(bar(f64::NAN).len(), bar(0.0).len());
    }
}

//! The progress bar on standard error.

use std::sync::atomic::Ordering::Relaxed;

use indicatif::{ProgressBar, ProgressStyle};

use super::run_state::{RunState, Stage};
use super::settings::{BenchSettings, Length};
use crate::format::grouped;
use crate::output;

/// The number of steps of the bar.
const BAR_STEPS: u64 = 1_000;

/// A progress bar, which is drawn only if standard error is a terminal that can redraw it.
pub(super) struct ProgressDisplay {
    bar: ProgressBar,
    with_bar: ProgressStyle,
    without_bar: ProgressStyle,
    /// The time and the number of answers at the last update.
    last: (u64, u64),
}

impl ProgressDisplay {
    pub(super) fn new() -> Self {
        let style = |template| ProgressStyle::with_template(template).expect("a valid template");
        Self {
            bar: ProgressBar::with_draw_target(Some(BAR_STEPS), output::progress_target()),
            with_bar: style("[{bar:30}] {percent:>3}% {msg}").progress_chars("=> "),
            without_bar: style("{msg}"),
            last: (0, 0),
        }
    }

    /// Shows the current stage, its progress and its rate since the last update.
    pub(super) fn update(&mut self, settings: &BenchSettings, run: &RunState) {
        let (now, answered) = (run.clock.now(), run.answered.load(Relaxed));
        let (last, answered_before) = std::mem::replace(&mut self.last, (now, answered));
        let rate = (answered - answered_before) as f64 * 1e9 / (now - last).max(1) as f64;
        let rate = grouped(rate as u64);
        let (share, message) = match run.stage() {
            Stage::Preloading => (None, format!("preload: {} reports", grouped(answered))),
            Stage::Warming => (None, format!("warm-up: {rate} requests/s")),
            Stage::Measuring => (
                load_share(settings, run, now, answered),
                format!("{rate} requests/s"),
            ),
            Stage::Spreading => (
                spread_share(settings, now, answered),
                format!("{rate} reports/s"),
            ),
            Stage::Converging => (None, format!("convergence check: {rate} queries/s")),
        };
        match share {
            Some(share) => {
                self.bar.set_style(self.with_bar.clone());
                self.bar.set_position((share * BAR_STEPS as f64) as u64);
            }
            None => self.bar.set_style(self.without_bar.clone()),
        }
        self.bar.set_message(message);
    }

    /// Removes the bar from the terminal.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Returns the finished share of a load, from 0. A load of a number of requests includes
/// the answers of the warm-up.
fn load_share(settings: &BenchSettings, run: &RunState, now: u64, answered: u64) -> Option<f64> {
    let (load, start) = (settings.load.as_ref()?, run.start()?);
    Some(match load.length {
        Length::Requests(all) => answered as f64 / all as f64,
        Length::Time(all) => now.saturating_sub(start + load.warmup) as f64 / all as f64,
    })
}

/// Returns the finished share of a spread that runs without a load, from 0.
fn spread_share(settings: &BenchSettings, now: u64, answered: u64) -> Option<f64> {
    Some(match settings.spread? {
        Length::Requests(all) => answered as f64 / all as f64,
        Length::Time(all) => now as f64 / all as f64,
    })
}

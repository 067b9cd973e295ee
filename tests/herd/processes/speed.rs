//! How long answers took.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// The times of all answers of servers that ran all the while.
#[derive(Default)]
pub(crate) struct Speed(Mutex<Vec<Duration>>);

impl Speed {
    pub(crate) fn note(&self, took: impl IntoIterator<Item = Duration>) {
        self.0.lock().unwrap().extend(took);
    }

    /// The time within which this share of the answers came.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let mut times = self.0.lock().unwrap();
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        let place = (last as f64 * share) as usize;
        times.get(place).copied().unwrap_or_default()
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| self.at(share));
        let count = self.0.lock().unwrap().len();
        write!(
            f,
            "{count} answers, p50 {half:.1?}, p99 {most:.1?}, max {all:.1?}"
        )
    }
}

//! Refusals on the peer port, written to the log without letting whoever is
//! refused flood it.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;
use tracing::warn;

/// One refusal is written in this time, and those between are counted.
const PAUSE: Duration = Duration::from_secs(1);

/// When a refusal was last written, and how many were not since.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<(Option<Instant>, u64)>);

impl Refusals {
    /// Writes a refusal, or counts it.
    pub(super) fn note(&self, what: &str, from: Option<SocketAddr>, status: &Status) {
        if let Some(unwritten) = self.take_turn(Instant::now()) {
            let from = from.map_or("an unknown address".to_owned(), |from| from.to_string());
            let (code, words) = (status.code(), status.message());
            let others = match unwritten {
                0 => String::new(),
                count => format!(" ({count} more refusals before this one were not written)"),
            };
            warn!("refused {what} from {from}: {code:?}: {words}{others}");
        }
    }

    /// How many went unwritten, if it is time to write one.
    fn take_turn(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unwritten) = &mut *state;
        if last.is_some_and(|last| now < last + PAUSE) {
            *unwritten += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(unwritten))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_a_second_is_written_and_the_rest_counted() {
        let refusals = Refusals::default();
        let start = Instant::now();
        assert_eq!(refusals.take_turn(start), Some(0));
        for _ in 0..1000 {
            assert_eq!(refusals.take_turn(start + PAUSE / 2), None);
        }
        assert_eq!(refusals.take_turn(start + PAUSE), Some(1000));
        assert_eq!(refusals.take_turn(start + PAUSE * 2), Some(0));
    }
}

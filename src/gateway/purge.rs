//! Takes reports out of the store that are too old to be kept.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

use crate::replication::store::Walk;

use super::Gateway;

/// Between two steps of the walk.
const PAUSE: Duration = Duration::from_millis(50);

/// How many pauses one round through all reports takes: a report that is over
/// is gone some ten seconds later. Nobody sees it meanwhile.
const PAUSES_A_ROUND: usize = 200;

/// How many reports are looked at under one lock.
const SOME: usize = 512;

/// Walks through all reports of a server that forgets, round after round, at a
/// pace that neither clients nor links feel. Runs for ever.
pub async fn purge_expired_forever(gateway: Arc<Gateway>) -> Infallible {
    let mut walk = Walk::default();
    loop {
        sleep(PAUSE).await;
        let forgotten = gateway.purge_some(&mut walk);
        if forgotten > 0 {
            debug!("forgot {forgotten} reports that were too old");
        }
    }
}

impl Gateway {
    fn purge_some(&self, walk: &mut Walk) -> usize {
        let now = self.clock.now();
        let looks = self
            .replica
            .store()
            .walk_steps(SOME)
            .div_ceil(PAUSES_A_ROUND);
        let forget = |_| self.replica.purge_some(walk, SOME, now);
        (0..looks).map(forget).sum()
    }
}

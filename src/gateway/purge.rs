//! Purges reports that have been expired for long.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::replication::store::Walk;

use super::Gateway;

/// Time between two steps of the walk.
const STEP_INTERVAL: Duration = Duration::from_millis(50);

/// Number of steps of a walk through all reports, which takes about ten seconds. The server's clock
/// must be wrong at each walk of a day to purge a report by mistake.
const STEPS_PER_WALK: usize = 200;

/// Maximum number of reports that are checked under one lock.
const MAX_REPORTS_PER_LOCK: usize = 512;

/// Walks through all reports of a server that purges, again and again, in steps too small to delay
/// clients or links.
pub async fn purge_expired_forever(gateway: Arc<Gateway>) -> Infallible {
    let (mut walk, start) = (Walk::default(), Instant::now());
    loop {
        sleep(STEP_INTERVAL).await;
        let purged = gateway.purge_step(&mut walk, start.elapsed());
        if purged > 0 {
            debug!("purged {purged} reports that have been expired for the purge delay");
        }
    }
}

impl Gateway {
    fn purge_step(&self, walk: &mut Walk, uptime: Duration) -> usize {
        let now = self.clock.now();
        let locks = self.replica.store().walk_steps(MAX_REPORTS_PER_LOCK);
        let purge = |_| {
            self.replica
                .purge_some(walk, MAX_REPORTS_PER_LOCK, now, uptime)
        };
        (0..locks.div_ceil(STEPS_PER_WALK)).map(purge).sum()
    }
}

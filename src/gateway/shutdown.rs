//! The shutdown of a server, in phases.

use tokio_util::sync::{CancellationToken, DropGuard};

/// The phases of a shutdown, as a tree of tokens. A server cancels them one after the other, the
/// innermost first; cancelling one cancels those inside it, so that a server which is dropped
/// passes through all phases at once. Clones share the tokens.
#[derive(Clone, Debug)]
pub struct Shutdown {
    drain: CancellationToken,
    finish: CancellationToken,
    stop: CancellationToken,
}

impl Shutdown {
    /// Creates the tokens of a server, none of them cancelled.
    pub(super) fn new() -> Self {
        let stop = CancellationToken::new();
        let finish = stop.child_token();
        Self {
            drain: finish.child_token(),
            finish,
            stop,
        }
    }

    /// The first phase: edges accept nothing more and answer what they have read. The server
    /// rejects pushes of neighbours, and does not log links that go down.
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// The second phase: clients have their answers. Links push what neighbours lack, and end.
    pub fn finish(&self) -> &CancellationToken {
        &self.finish
    }

    /// The last phase: what still runs ends.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns `true` once the server shuts down.
    pub fn has_begun(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Returns a guard that cancels all phases when it is dropped.
    pub fn stop_on_drop(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }
}

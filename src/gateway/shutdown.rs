//! The shutdown of a server, in phases.

use tokio_util::sync::{CancellationToken, DropGuard};

/// The phases of a shutdown, as a tree of tokens. A server cancels them one after the other, the
/// innermost first; cancelling one cancels those inside it, so that a server which is dropped
/// passes through all phases at once. Clones share the tokens.
#[derive(Clone, Debug)]
pub struct Shutdown {
    drain: CancellationToken,
    abandon: CancellationToken,
    disconnect: CancellationToken,
    finish: CancellationToken,
    stop: CancellationToken,
}

impl Shutdown {
    /// Creates the tokens of a server, none of them cancelled.
    pub(super) fn new() -> Self {
        let stop = CancellationToken::new();
        let finish = stop.child_token();
        let disconnect = finish.child_token();
        let abandon = disconnect.child_token();
        Self {
            drain: abandon.child_token(),
            abandon,
            disconnect,
            finish,
            stop,
        }
    }

    /// The first phase: edges accept nothing more and answer what they have read. The server
    /// rejects pushes of neighbours, and does not log links that go down.
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// The second phase, skipped if clients have their answers: queries of places that are still in
    /// progress are answered with an error.
    pub fn abandon(&self) -> &CancellationToken {
        &self.abandon
    }

    /// The third phase, skipped if clients have their answers: connections of clients that do not
    /// read them end.
    pub fn disconnect(&self) -> &CancellationToken {
        &self.disconnect
    }

    /// The fourth phase: no client is connected. Links push what neighbours lack, and end.
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

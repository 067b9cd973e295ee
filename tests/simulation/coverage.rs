//! How often the situations came up that a simulation is there for. A
//! simulator that never reached one of them would prove nothing about it.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Situation {
    /// A server took a report from a client.
    FromClient,
    /// A report from a neighbour was newer than what was held,
    Newer,
    /// was what was held,
    Duplicate,
    /// or was older.
    Stale,
    /// A push was sent, a heartbeat included.
    Pushed,
    /// A report was sent to a neighbour.
    Sent,
    /// A report went to a process that had sent it, for want of a bit.
    Echoed,
    /// A report did not go to a process that had sent it.
    EchoAvoided,
    /// A push was applied that had been applied before.
    AppliedAgain,
    /// The response to a push told of more than the push held.
    AppliedBeyond,
    /// A push of a process was let in after the process had ended,
    FromEndedProcess,
    /// or while another one had its name.
    FromReplacedProcess,
    /// A push was rejected: it meant another process,
    WrongIncarnation,
    /// its sender had not greeted,
    NotGreeted,
    /// or there was a gap before it.
    Gap,
    /// A link waited for an response in vain.
    NoResponse,
    /// An response came when its link no longer waited.
    TooLate,
    /// A push was given up with some of it merged.
    Cancelled,
    /// A process had been greeted by more incarnations than it remembers.
    IncarnationForgotten,
    /// A feed went past its first segment.
    LongFeed,
    /// A report was dropped as it came, since it was too old,
    Dropped,
    /// was purged,
    Purged,
    /// or was not shown.
    Expired,
    /// A process took up a link with a server that was no neighbour before,
    Linked,
    /// with one that had been one,
    LinkedAgain,
    /// or dropped a link.
    Unlinked,
    /// A greeting was rejected, since its sender is no neighbour,
    GreetingRejected,
    /// or a push was,
    PushRejected,
    /// or a push was at its end: its sender had become none while it was merged.
    UnlinkedDuringPush,
}

const ALL: [Situation; 29] = [
    Situation::FromClient,
    Situation::Newer,
    Situation::Duplicate,
    Situation::Stale,
    Situation::Pushed,
    Situation::Sent,
    Situation::Echoed,
    Situation::EchoAvoided,
    Situation::AppliedAgain,
    Situation::AppliedBeyond,
    Situation::FromEndedProcess,
    Situation::FromReplacedProcess,
    Situation::WrongIncarnation,
    Situation::NotGreeted,
    Situation::Gap,
    Situation::NoResponse,
    Situation::TooLate,
    Situation::Cancelled,
    Situation::IncarnationForgotten,
    Situation::LongFeed,
    Situation::Dropped,
    Situation::Purged,
    Situation::Expired,
    Situation::Linked,
    Situation::LinkedAgain,
    Situation::Unlinked,
    Situation::GreetingRejected,
    Situation::PushRejected,
    Situation::UnlinkedDuringPush,
];

#[derive(Clone, Default)]
pub(crate) struct Coverage([u64; ALL.len()]);

impl Coverage {
    pub(crate) fn count(&mut self, seen: Situation) {
        self.0[seen as usize] += 1;
    }

    pub(crate) fn of(&self, seen: Situation) -> u64 {
        self.0[seen as usize]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Did everything come up?
    pub(crate) fn is_complete(&self) -> bool {
        !self.0.contains(&0)
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = ALL.map(|seen| (seen, self.of(seen)));
        f.debug_map().entries(counts).finish()
    }
}

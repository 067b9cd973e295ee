//! How often the situations came up that a simulation is there for. A
//! simulator that never reached one of them would prove nothing about it.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen {
    /// A server took a report from a client.
    FromClient,
    /// A report from a neighbour was newer than what was held,
    Newer,
    /// was what was held,
    Same,
    /// or was older.
    Older,
    /// A push was sent, a heartbeat included.
    Pushed,
    /// A report was sent to a neighbour.
    Sent,
    /// A report went to a process that had sent it, for want of a bit.
    Echoed,
    /// A report did not go to a process that had sent it.
    EchoSpared,
    /// A push was applied that had been applied before.
    AppliedAgain,
    /// The answer to a push told of more than the push held.
    AppliedBeyond,
    /// A push of a process was let in after the process had ended,
    FromTheDead,
    /// or while another one had its name.
    FromTheReplaced,
    /// A push was refused: it meant another process,
    Restarted,
    /// its sender had not greeted,
    NotGreeted,
    /// or there was a gap before it.
    Gap,
    /// A link waited for an answer in vain.
    NoAnswer,
    /// An answer came when its link no longer waited.
    TooLate,
    /// A push was given up with some of it merged.
    Cancelled,
    /// A process had been greeted by more incarnations than it remembers.
    Forgetful,
    /// A feed went past its first segment.
    LongFeed,
    /// A report was dropped as it came, since it was too old,
    Dropped,
    /// was forgotten,
    Forgotten,
    /// or was not shown.
    Hidden,
    /// A process took up a link with a server that was no neighbour before,
    Linked,
    /// with one that had been one,
    LinkedAgain,
    /// or dropped a link.
    Unlinked,
    /// A greeting was refused, since its sender is no neighbour,
    GreetedInVain,
    /// or a push was,
    PushedInVain,
    /// or a push was at its end: its sender had become none while it was merged.
    UnlinkedMeanwhile,
}

const ALL: [Seen; 29] = [
    Seen::FromClient,
    Seen::Newer,
    Seen::Same,
    Seen::Older,
    Seen::Pushed,
    Seen::Sent,
    Seen::Echoed,
    Seen::EchoSpared,
    Seen::AppliedAgain,
    Seen::AppliedBeyond,
    Seen::FromTheDead,
    Seen::FromTheReplaced,
    Seen::Restarted,
    Seen::NotGreeted,
    Seen::Gap,
    Seen::NoAnswer,
    Seen::TooLate,
    Seen::Cancelled,
    Seen::Forgetful,
    Seen::LongFeed,
    Seen::Dropped,
    Seen::Forgotten,
    Seen::Hidden,
    Seen::Linked,
    Seen::LinkedAgain,
    Seen::Unlinked,
    Seen::GreetedInVain,
    Seen::PushedInVain,
    Seen::UnlinkedMeanwhile,
];

#[derive(Clone, Default)]
pub(crate) struct Tally([u64; ALL.len()]);

impl Tally {
    pub(crate) fn count(&mut self, seen: Seen) {
        self.0[seen as usize] += 1;
    }

    pub(crate) fn of(&self, seen: Seen) -> u64 {
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

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = ALL.map(|seen| (seen, self.of(seen)));
        f.debug_map().entries(counts).finish()
    }
}

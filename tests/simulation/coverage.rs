//! Counts of the situations that the simulation is there for. A simulation that never reached a
//! situation would prove nothing about it.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Situation {
    /// A server received a report from a client.
    FromClient,
    /// A neighbour's report was newer than the stored one.
    Newer,
    /// A neighbour's report was already stored.
    Duplicate,
    /// A neighbour's report was older than the stored one.
    Stale,
    /// A push was sent, heartbeats included.
    Pushed,
    /// A report was sent to a neighbour.
    Sent,
    /// A report was sent to a process that had sent it, because no bit was free.
    Echoed,
    /// A report was not sent to a process that had sent it.
    EchoAvoided,
    /// A report was not sent to a process whose version vector covered it.
    Covered,
    /// A lazy link left changes for a later push.
    HeldBack,
    /// A push was applied that had been applied before.
    AppliedAgain,
    /// The response to a push acknowledged more than the push covered.
    AppliedBeyond,
    /// A push was accepted after its sender had ended.
    FromEndedProcess,
    /// A push was accepted while another process had its sender's name.
    FromReplacedProcess,
    /// A push was rejected because it named another incarnation.
    WrongIncarnation,
    /// A push was rejected because its sender had not greeted.
    NotGreeted,
    /// A push was rejected because of a gap before it.
    Gap,
    /// A link got no response in time.
    NoResponse,
    /// A push was larger than its path carries.
    TooLarge,
    /// A response came when its link no longer waited.
    TooLate,
    /// A receiver gave up a push after merging a part of it.
    Cancelled,
    /// A process was greeted by more incarnations than it keeps.
    IncarnationForgotten,
    /// A feed grew beyond its first segment.
    LongFeed,
    /// A report was left out of a batch because it had been expired for long.
    Withheld,
    /// A report that a purge walk found expired was not expired at a later walk.
    ShownAgain,
    /// A report was purged.
    Purged,
    /// A report was expired when it was queried.
    Expired,
    /// A process was linked with a server that was never a neighbour before.
    Linked,
    /// A process was linked with a former neighbour again.
    LinkedAgain,
    /// A process was unlinked from a neighbour.
    Unlinked,
    /// A greeting was rejected because its sender is not a neighbour.
    GreetingRejected,
    /// A push was rejected because its sender is not a neighbour.
    PushRejected,
    /// A push was rejected at its end: its sender was unlinked while it was merged.
    UnlinkedDuringPush,
    /// An image of an earlier moment replaced a process.
    ImageRestored,
    /// It replaced one while a push to it was in flight, or one of its own.
    ImageOfCall,
    /// An image found that its former self had used its incarnation.
    Renewed,
    /// Two servers were compared.
    Compared,
    /// A server lost a report that another one holds.
    Damaged,
    /// Reports of ranges that differed were pushed again.
    PushedAgain,
    /// One of those was newer than what the neighbour held.
    Repaired,
    /// A greeting of an unknown incarnation began with what was applied of an earlier one.
    Continued,
    /// A process recovered reports.
    Recovered,
    /// A process recovered what it had applied of a neighbour.
    AppliedRecovered,
    /// Recovery cut a torn end.
    TornEnd,
    /// Recovery skipped damage.
    DiskDamaged,
    /// A write to the disk failed.
    WriteFailed,
    /// A new file replaced an older one.
    Compacted,
    /// A process ended during a compaction.
    EndedDuringCompaction,
    /// The disk of a server was lost with its process.
    DiskLost,
    /// An answer was given since its report was on the disk.
    AnsweredByDisk,
    /// An answer was given since a neighbour had its report.
    AnsweredByNeighbour,
    /// Such a report is there although the process that answered is not.
    AnswerOutlivedServer,
}

const ALL: [Situation; 52] = [
    Situation::FromClient,
    Situation::Newer,
    Situation::Duplicate,
    Situation::Stale,
    Situation::Pushed,
    Situation::Sent,
    Situation::Echoed,
    Situation::EchoAvoided,
    Situation::Covered,
    Situation::HeldBack,
    Situation::AppliedAgain,
    Situation::AppliedBeyond,
    Situation::FromEndedProcess,
    Situation::FromReplacedProcess,
    Situation::WrongIncarnation,
    Situation::NotGreeted,
    Situation::Gap,
    Situation::NoResponse,
    Situation::TooLarge,
    Situation::TooLate,
    Situation::Cancelled,
    Situation::IncarnationForgotten,
    Situation::LongFeed,
    Situation::Withheld,
    Situation::ShownAgain,
    Situation::Purged,
    Situation::Expired,
    Situation::Linked,
    Situation::LinkedAgain,
    Situation::Unlinked,
    Situation::GreetingRejected,
    Situation::PushRejected,
    Situation::UnlinkedDuringPush,
    Situation::ImageRestored,
    Situation::ImageOfCall,
    Situation::Renewed,
    Situation::Compared,
    Situation::Damaged,
    Situation::PushedAgain,
    Situation::Repaired,
    Situation::Continued,
    Situation::Recovered,
    Situation::AppliedRecovered,
    Situation::TornEnd,
    Situation::DiskDamaged,
    Situation::WriteFailed,
    Situation::Compacted,
    Situation::EndedDuringCompaction,
    Situation::DiskLost,
    Situation::AnsweredByDisk,
    Situation::AnsweredByNeighbour,
    Situation::AnswerOutlivedServer,
];

#[derive(Clone)]
pub(crate) struct Coverage([u64; ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; ALL.len()])
    }
}

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

    /// Returns whether every situation occurred.
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

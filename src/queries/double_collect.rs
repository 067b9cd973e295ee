//! The proof that servers held the same reports of a bucket at one moment.
//!
//! Nobody can look at all servers at once, and a report may move between them while one after the
//! other is asked. A *collect* is a sum of each server, in any order or side by side. If the sums
//! of two collects are all equal and settled, and the second began after the first had ended, then
//! at the moment between them all servers held the same: reports are totally ordered and a server
//! only ever replaces one by a greater one, so that a server with the same sum twice did not change
//! in between (the double collect of Afek et al., "Atomic Snapshots of Shared Memory", 1993).
//!
//! Sums can be equal by chance, with a probability of about 2^-128.

use super::digest::BucketSum;

/// Returns whether two collects of one bucket, each with the sum of every server, prove that all
/// servers held the same reports between the collects. All sums must leave out the reports that are
/// expired at the same instant, and no server may have restarted.
pub fn is_proof<'a>(
    first: impl IntoIterator<Item = &'a BucketSum>,
    second: impl IntoIterator<Item = &'a BucketSum>,
) -> bool {
    let mut sums = first.into_iter().chain(second);
    let Some(one) = sums.next() else { return false };
    !one.is_unsettled && sums.all(|sum| sum == one)
}

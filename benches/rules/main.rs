//! The cost of single parts, in one thread and without a network.
//!
//! divan in place of criterion: it adds four small crates to the build where criterion adds
//! a dozen, and its median is stable on a noisy machine.
//!
//! ```sh
//! cargo bench --bench rules              # all, half a minute
//! cargo bench --bench rules -- merge     # those with this text in their name
//! ```
//!
//! | file | measures |
//! |---|---|
//! | `parse` | bytes to lines, lines to commands, reports to answers |
//! | `merge` | merging reports into the store and its feed |
//! | `cursor` | reading the changes after a cursor |
//! | `batches` | encoding the feed as pushes, and merging these into another store |
//! | `places` | places near a point |
//! | `scans` | queries of operators, each a scan of all clients |
//! | `samples` | the reports and servers of all benches |

// A bench may panic.
#![allow(clippy::unwrap_used)]

mod batches;
mod cursor;
mod merge;
mod parse;
mod places;
mod samples;
mod scans;

use std::time::Duration;

/// The minimum time of a bench.
const MIN_TIME: Duration = Duration::from_millis(500);

/// The maximum time of a bench.
const MAX_TIME: Duration = Duration::from_secs(1);

fn main() {
    divan::Divan::default()
        .min_time(MIN_TIME)
        .max_time(MAX_TIME)
        .config_with_args()
        .main();
}

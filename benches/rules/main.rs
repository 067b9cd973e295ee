//! What the parts cost, each alone, in one thread and without a network.
//!
//! divan and not criterion: it adds four small crates to the build where
//! criterion adds a dozen, and gives a median that holds on a noisy machine.
//!
//! ```sh
//! cargo bench --bench rules              # all, half a minute
//! cargo bench --bench rules -- merge     # those whose names hold a word
//! ```
//!
//! | file | measures |
//! |---|---|
//! | `parse` | bytes into lines, lines into commands, reports into answers |
//! | `merge` | reports into the store and its feed |
//! | `cursor` | what stands behind a cursor |
//! | `batches` | the feed into the bytes of pushes, and those into another store |
//! | `nearby` | what is near, of places and of clients |
//! | `samples` | the reports and servers that all of them use |

// A bench may panic.
#![allow(clippy::unwrap_used)]

mod batches;
mod cursor;
mod merge;
mod nearby;
mod parse;
mod samples;

use std::time::Duration;

/// How long each bench is repeated, at least and at most.
const TIMES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

fn main() {
    let [least, most] = TIMES;
    divan::Divan::default()
        .min_time(least)
        .max_time(most)
        .config_with_args()
        .main();
}

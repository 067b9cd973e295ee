//! Unpredictable numbers.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

/// One of 64 bits: the hash keys that the standard library makes come from the
/// system's source of random numbers.
pub(crate) fn u64() -> u64 {
    RandomState::new().hash_one(SystemTime::now())
}

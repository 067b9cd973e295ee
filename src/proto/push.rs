//! The one message of the hot path, kept as bytes.

use bytes::Bytes;

/// An encoded `PushRequest`.
///
/// Stands in for the struct that would be generated, which would allocate three
/// strings for each report that passes. Its bytes are written straight from the
/// store and read in place, by `peers::wire`. Cheap to clone, so that a retry
/// sends the same bytes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushFrame(pub Bytes);

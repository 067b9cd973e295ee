//! The message of the hot path, which stays encoded.

use bytes::Bytes;

/// An encoded `PushRequest`.
///
/// It replaces the generated struct, which would allocate three strings for each report.
/// `wire` writes its bytes directly from the store and reads them in place. It is cheap to
/// clone, so that a retry sends the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushFrame(pub Bytes);

//! Fuzz inputs: valid bytes with a few changes.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::run::seeds;

/// The input of a check.
#[derive(Clone)]
pub(crate) struct Input(pub(crate) Vec<u8>);

/// A byte string literal of Rust, which can be copied into a test.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// A change of some bytes at an offset.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    place: Index,
    length: usize,
    kind: ChangeKind,
}

#[derive(Clone, Debug)]
enum ChangeKind {
    /// Replaces the bytes.
    Bytes(Vec<u8>),
    /// Replaces the bytes by a copy of others: offset and length.
    Copy(Index, usize),
    /// Repeats the bytes this number of times.
    Repeat(usize),
    /// Flips one bit of each byte.
    Flip(u8),
}

/// Generates a few changes, some with `pieces` that are meaningful in the input.
pub(crate) fn changes(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<Change>> {
    let piece = select(pieces).prop_map(|piece| piece.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..6);
    let kind = prop_oneof![
        4 => piece.prop_map(ChangeKind::Bytes),
        2 => noise.prop_map(ChangeKind::Bytes),
        2 => (any::<Index>(), 0..24_usize).prop_map(|(from, length)| ChangeKind::Copy(from, length)),
        1 => (2..6_usize).prop_map(ChangeKind::Repeat),
        2 => (0..8_u8).prop_map(ChangeKind::Flip),
    ];
    let length = prop_oneof![3 => 0..3_usize, 1 => 0..40_usize];
    let change = (any::<Index>(), length, kind).prop_map(|(place, length, kind)| Change {
        place,
        length,
        kind,
    });
    prop_oneof![
        1 => Just(Vec::new()),
        4 => prop::collection::vec(change, 1..5),
    ]
}

pub(crate) fn change(mut bytes: Vec<u8>, changes: Vec<Change>) -> Input {
    for Change {
        place,
        length,
        kind,
    } in changes
    {
        let start = place.index(bytes.len() + 1);
        let end = bytes.len().min(start + length);
        let old = bytes[start..end].to_vec();
        let new = match kind {
            ChangeKind::Bytes(new) => new,
            ChangeKind::Copy(from, length) => {
                let from = from.index(bytes.len() + 1);
                bytes[from..bytes.len().min(from + length)].to_vec()
            }
            ChangeKind::Repeat(times) => old.repeat(times),
            ChangeKind::Flip(bit) => old.iter().map(|byte| byte ^ 1 << bit).collect(),
        };
        bytes.splice(start..end, new);
    }
    Input(bytes)
}

/// Selects one of a target's seeds.
pub(crate) fn seed(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds: Vec<_> = seeds(target).into_iter().map(|(_, bytes)| bytes).collect();
    select(seeds)
}

/// Generates arbitrary bytes.
pub(crate) fn noise(max_bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max_bytes)
}

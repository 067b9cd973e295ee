//! Bytes to try: valid ones with a few changes.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::run::seeds;

/// What a check gets.
#[derive(Clone)]
pub(crate) struct Input(pub(crate) Vec<u8>);

/// As Rust writes bytes, so that a finding can be copied into a test.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// A change of some bytes at some place.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    place: Index,
    length: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// They become these.
    Bytes(Vec<u8>),
    /// They become what stands elsewhere.
    Copy(Index, usize),
    /// They come again, so many times.
    Repeat(usize),
    /// One of their bits is another.
    Flip(u8),
}

/// A few changes, with `pieces` that mean something in such an input.
pub(crate) fn changes(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<Change>> {
    let piece = select(pieces).prop_map(|piece| piece.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..6);
    let what = prop_oneof![
        4 => piece.prop_map(What::Bytes),
        2 => noise.prop_map(What::Bytes),
        2 => (any::<Index>(), 0..24_usize).prop_map(|(from, length)| What::Copy(from, length)),
        1 => (2..6_usize).prop_map(What::Repeat),
        2 => (0..8_u8).prop_map(What::Flip),
    ];
    let length = prop_oneof![3 => 0..3_usize, 1 => 0..40_usize];
    let change = (any::<Index>(), length, what).prop_map(|(place, length, what)| Change {
        place,
        length,
        what,
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
        what,
    } in changes
    {
        let start = place.index(bytes.len() + 1);
        let end = bytes.len().min(start + length);
        let old = bytes[start..end].to_vec();
        let new = match what {
            What::Bytes(new) => new,
            What::Copy(from, length) => {
                let from = from.index(bytes.len() + 1);
                bytes[from..bytes.len().min(from + length)].to_vec()
            }
            What::Repeat(times) => old.repeat(times),
            What::Flip(bit) => old.iter().map(|byte| byte ^ 1 << bit).collect(),
        };
        bytes.splice(start..end, new);
    }
    Input(bytes)
}

/// One of a target's seeds.
pub(crate) fn seed(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds: Vec<_> = seeds(target).into_iter().map(|(_, bytes)| bytes).collect();
    select(seeds)
}

/// Any bytes.
pub(crate) fn noise(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

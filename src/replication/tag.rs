//! The tag of a report: the incarnation of the server to which a client gave it, and its sequence
//! number in that server's feed.
//!
//! A tag never changes on its way through the herd. A link looks it up in the neighbour's
//! [version vector](super::version_vector), and omits a report that the vector covers. A report
//! without a tag is sent as if no vector existed: one that was restored from a disk, imported, or
//! sent by a server of an earlier version.

use crate::model::report::Report;

/// Number of bits of a sequence number in a tag: enough for a million reports a second during nine
/// years.
const NUMBER_BITS: u32 = 48;

/// Index of an incarnation in the [version vector](super::version_vector) of a server; 0 stands for
/// none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginIndex(pub(super) u16);

impl OriginIndex {
    /// Returns the index; `None` for none.
    pub fn get(self) -> Option<usize> {
        (self.0 > 0).then(|| usize::from(self.0))
    }
}

/// The tag of a report in 8 bytes. The default is no tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag(u64);

impl Tag {
    /// Makes a tag. Without an origin, or with a number that does not fit, it is no tag.
    pub(super) fn new(OriginIndex(origin): OriginIndex, number: u64) -> Self {
        if origin == 0 || number == 0 || number >> NUMBER_BITS > 0 {
            return Self::default();
        }
        Self(u64::from(origin) << NUMBER_BITS | number)
    }

    /// Returns the index of the origin's incarnation.
    pub fn origin(self) -> OriginIndex {
        // Sixteen bits remain.
        OriginIndex((self.0 >> NUMBER_BITS) as u16)
    }

    /// Returns the report's sequence number at its origin; 0 without a tag.
    pub fn number(self) -> u64 {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }

    /// Returns whether the report has a tag.
    pub(super) fn is_some(self) -> bool {
        self.0 != 0
    }
}

/// A report with its tag.
#[derive(Clone, Copy, Debug)]
pub struct TaggedReport<'a> {
    /// The report.
    pub report: Report<'a>,
    /// Its tag.
    pub tag: Tag,
}

/// The origins of the reports of one push, each with the number through which this server had their
/// reports when the push arrived.
#[derive(Debug)]
pub struct PushOrigins(pub(super) Vec<(OriginIndex, u64)>);

impl PushOrigins {
    /// Returns the tag of a report of the origin with the index `at` in the push. There is none
    /// beyond the end of the origins, and none if this server should have the report: then the tag
    /// stands for another report too, or the report was lost.
    pub fn tag(&self, at: usize, number: u64) -> Tag {
        let origin = self.0.get(at).filter(|(_, covered)| number > *covered);
        origin.map_or(Tag::default(), |&(origin, _)| Tag::new(origin, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_keeps_its_parts_and_is_none_if_they_do_not_fit() {
        const LAST: u64 = (1 << NUMBER_BITS) - 1;
        for (origin, number) in [(1, 1), (u16::MAX, LAST), (7, 1 << 40)] {
            let tag = Tag::new(OriginIndex(origin), number);
            assert_eq!((tag.origin().0, tag.number()), (origin, number));
            assert!(tag.is_some());
        }
        for (origin, number) in [(0, 5), (5, 0), (1, LAST + 1), (1, u64::MAX)] {
            assert!(!Tag::new(OriginIndex(origin), number).is_some());
        }
        assert_eq!(Tag::default().number(), 0);
    }
}

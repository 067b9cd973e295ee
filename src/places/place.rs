//! A place: its attributes and its id.

use std::cmp::Ordering;
use std::fmt;

/// A place. The [catalogue](super::catalogue::Catalogue) determines which values are valid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place<'a> {
    /// The common name.
    pub(super) name: &'a str,
    /// Degrees north.
    pub(super) latitude: f64,
    /// Degrees east.
    pub(super) longitude: f64,
    /// The id from the source; empty if the source has none.
    pub(super) given_id: &'a str,
    /// The types, in Google's terms, separated by [`TYPE_SEPARATOR`]; empty if unknown.
    pub(super) types: &'a str,
    /// The address or region as text; empty if unknown.
    pub(super) vicinity: &'a str,
}

/// The separator between two types.
pub(super) const TYPE_SEPARATOR: char = '|';

/// The identifier of a place: unique in a catalogue, and the same in every process and after every
/// restart.
///
/// Where a source has no ids, the id is derived from the attributes that distinguish its places, so
/// it stays the same as long as the place keeps its name and its coordinates: `offline-` and, as 16
/// lower-case hexadecimal digits, the 64-bit FNV-1a hash of the latitude and the longitude (each as
/// an IEEE 754 double, big-endian) and the name (UTF-8). It is not one of Google's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceId<'a> {
    /// The id from the source.
    Given(&'a str),
    /// The hash of the attributes that distinguish the place.
    Derived(u64),
}

impl<'a> Place<'a> {
    /// Returns the id of the place.
    pub(super) fn id(&self) -> PlaceId<'a> {
        if !self.given_id.is_empty() {
            return PlaceId::Given(self.given_id);
        }
        let latitude = self.latitude.to_be_bytes();
        let longitude = self.longitude.to_be_bytes();
        PlaceId::Derived(fnv_1a([&latitude, &longitude, self.name.as_bytes()]))
    }

    /// Compares two places at the same distance: by name, then by id.
    pub(super) fn compare_by_name_and_id(&self, other: &Place<'_>) -> Ordering {
        self.name
            .cmp(other.name)
            .then_with(|| self.id().to_string().cmp(&other.id().to_string()))
    }

    /// Returns the types one by one.
    pub(super) fn types(&self) -> impl Iterator<Item = &'a str> {
        self.types
            .split(TYPE_SEPARATOR)
            .filter(|kind| !kind.is_empty())
    }
}

impl PlaceId<'_> {
    /// Returns a hash of the id: equal ids have equal hashes, and different ids rarely do.
    pub(super) fn hash(&self) -> u64 {
        match self {
            PlaceId::Given(text) => fnv_1a([text.as_bytes()]),
            PlaceId::Derived(hash) => *hash,
        }
    }
}

impl fmt::Display for PlaceId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaceId::Given(text) => f.write_str(text),
            PlaceId::Derived(hash) => write!(f, "offline-{hash:016x}"),
        }
    }
}

/// Computes the hash of Fowler, Noll and Vo over several pieces as if they were one. It is fixed
/// forever, unlike the hashers of std.
fn fnv_1a<const PIECES: usize>(pieces: [&[u8]; PIECES]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = pieces.into_iter().flatten();
    bytes.fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WESTWOOD: Place<'static> = Place {
        name: "Westwood",
        latitude: 34.05612,
        longitude: -118.43063,
        given_id: "",
        types: "locality|political",
        vicinity: "Los Angeles County, California, US",
    };

    #[test]
    fn fnv_1a_matches_the_published_values() {
        assert_eq!(fnv_1a([b""]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a([b"a"]), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a([b"foobar"]), 0x8594_4171_f739_67e8);
        assert_eq!(fnv_1a([b"foo", b"bar"]), fnv_1a([b"foobar"]));
    }

    #[test]
    fn a_derived_id_never_changes() {
        assert_eq!(WESTWOOD.id().to_string(), "offline-d937e406240aff22");
    }

    #[test]
    fn a_derived_id_distinguishes_places() {
        let id = WESTWOOD.id();
        let elsewhere = Place {
            vicinity: "California, US",
            ..WESTWOOD
        };
        assert_eq!(elsewhere.id(), id);
        let name = "Westwood Village";
        assert_ne!(Place { name, ..WESTWOOD }.id(), id);
        let latitude = 34.05613;
        assert_ne!(
            Place {
                latitude,
                ..WESTWOOD
            }
            .id(),
            id
        );
    }

    #[test]
    fn uses_the_id_of_the_source() {
        let given_id = "ucla-7";
        let place = Place {
            given_id,
            ..WESTWOOD
        };
        assert_eq!(place.id().to_string(), "ucla-7");
    }

    #[test]
    fn returns_types_one_by_one() {
        assert_eq!(
            WESTWOOD.types().collect::<Vec<_>>(),
            ["locality", "political"]
        );
        let types = "";
        assert_eq!(Place { types, ..WESTWOOD }.types().count(), 0);
    }
}

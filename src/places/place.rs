//! One place: what is known of it, and the id that names it.

use std::cmp::Ordering;
use std::fmt;

/// A place. Which values are valid is the [catalogue](super::catalogue::Catalogue)'s to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place<'a> {
    /// What people call it.
    pub(super) name: &'a str,
    /// Degrees north.
    pub(super) latitude: f64,
    /// Degrees east.
    pub(super) longitude: f64,
    /// The id that its source gives it; empty where it gives none.
    pub(super) given_id: &'a str,
    /// What it is, in Google's words, each apart from the next by [`TYPE_SEPARATOR`]; empty where nobody says.
    pub(super) types: &'a str,
    /// Where it is, in words; empty where nobody says.
    pub(super) vicinity: &'a str,
}

/// Stands between two types.
pub(super) const TYPE_SEPARATOR: char = '|';

/// What names a place: no two places of a catalogue share it, and it is the same in every process and after every
/// restart.
///
/// Where a source has no ids, the id is made of what tells its places apart, so it lives as long as the place keeps
/// its name and its coordinates: `offline-` and, as 16 lower-case hexadecimal digits, the 64-bit FNV-1a hash of the
/// latitude and the longitude (each as an IEEE 754 double, big-endian) and the name (UTF-8). It is not an id of
/// Google's, and Google knows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceId<'a> {
    /// As the source gives it.
    Given(&'a str),
    /// The hash of what tells the place apart.
    Derived(u64),
}

impl<'a> Place<'a> {
    /// The id that names it.
    pub(super) fn id(&self) -> PlaceId<'a> {
        if !self.given_id.is_empty() {
            return PlaceId::Given(self.given_id);
        }
        let latitude = self.latitude.to_be_bytes();
        let longitude = self.longitude.to_be_bytes();
        PlaceId::Derived(fnv_1a([&latitude, &longitude, self.name.as_bytes()]))
    }

    /// Which of two places comes first where neither is nearer: by name, then by id.
    pub(super) fn by_name_and_id(&self, other: &Place<'_>) -> Ordering {
        self.name
            .cmp(other.name)
            .then_with(|| self.id().to_string().cmp(&other.id().to_string()))
    }

    /// What it is, type by type.
    pub(super) fn types(&self) -> impl Iterator<Item = &'a str> {
        self.types
            .split(TYPE_SEPARATOR)
            .filter(|kind| !kind.is_empty())
    }
}

impl PlaceId<'_> {
    /// A number for the id: equal ids have equal numbers, and hardly any others have.
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

/// The hash of Fowler, Noll and Vo over several pieces as if they were one. Fixed for ever, unlike std's hashers.
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
    fn fnv_1a_is_the_published_one() {
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
    fn a_derived_id_tells_places_apart() {
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
    fn a_given_id_is_the_id() {
        let given_id = "ucla-7";
        let place = Place {
            given_id,
            ..WESTWOOD
        };
        assert_eq!(place.id().to_string(), "ucla-7");
    }

    #[test]
    fn types_come_one_by_one() {
        assert_eq!(
            WESTWOOD.types().collect::<Vec<_>>(),
            ["locality", "political"]
        );
        let types = "";
        assert_eq!(Place { types, ..WESTWOOD }.types().count(), 0);
    }
}

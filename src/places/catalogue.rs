//! A list of places, numbered from 0, compact in memory.
//!
//! Invariants:
//! - Every place has a name and coordinates on the globe; no text is longer than
//!   [`MAX_TEXT_BYTES`].
//! - A place keeps its number while places are added; only [`Catalogue::arranged`] assigns new
//!   ones.
//! - All texts are parts of one string. Where a place has the same types or vicinity as the one
//!   before it, the text is stored once: a list in the order of its regions takes a fraction of the
//!   memory.
//!
//! The catalogue does not compute distances, and it does not check whether two places share an id.

use std::fmt;

use super::place::Place;

/// The maximum number of places in one list.
pub const MAX_PLACES: usize = 5_000_000;

/// The maximum length of the name, id, vicinity or list of types of one place, in bytes. It bounds
/// the size of one response.
pub const MAX_TEXT_BYTES: usize = 1024;

/// A list of valid places.
#[derive(Default)]
pub(super) struct Catalogue {
    records: Vec<PlaceRecord>,
    texts: String,
}

/// The reason why a catalogue rejects a place. The catalogue is unchanged.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum InvalidPlace {
    /// The place has no name.
    NoName,
    /// A text is too long: its kind and its length in bytes.
    LongText(&'static str, usize),
    /// The latitude is out of range.
    Latitude(f64),
    /// The longitude is out of range.
    Longitude(f64),
    /// The catalogue is full.
    Full,
}

/// A place, with its texts stored in the common string.
#[derive(Clone, Copy)]
struct PlaceRecord {
    latitude: f64,
    longitude: f64,
    name: TextRange,
    given_id: TextRange,
    types: TextRange,
    vicinity: TextRange,
}

/// The range of a text in the common string. 16 bits suffice for a length of at most
/// [`MAX_TEXT_BYTES`].
#[derive(Clone, Copy, Default)]
struct TextRange {
    start: u32,
    len: u16,
}

impl Catalogue {
    /// Appends a place and returns its number.
    ///
    /// # Errors
    ///
    /// The place is not valid, or the catalogue is full.
    pub(super) fn push(&mut self, place: &Place<'_>) -> Result<u32, InvalidPlace> {
        let number = self.next_number(place)?;
        let previous = self.records.last().copied();
        let types = previous.map_or(TextRange::default(), |previous| previous.types);
        let vicinity = previous.map_or(TextRange::default(), |previous| previous.vicinity);
        let record = PlaceRecord {
            // Adding zero turns a negative zero, which is the same place, into a positive one.
            latitude: place.latitude + 0.0,
            longitude: place.longitude + 0.0,
            name: self.store_text(place.name),
            given_id: self.store_text(place.given_id),
            types: self.store_or_reuse_text(place.types, types),
            vicinity: self.store_or_reuse_text(place.vicinity, vicinity),
        };
        self.records.push(record);
        Ok(number)
    }

    /// Returns the number of places.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns the place of a number that [`Catalogue::push`] returned.
    pub(super) fn get(&self, number: u32) -> Place<'_> {
        self.records[number as usize].place(&self.texts)
    }

    /// Returns all coordinates (latitude, longitude), in the order of the numbers.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.records
            .iter()
            .map(|record| (record.latitude, record.longitude))
    }

    /// Returns the same places with new numbers: those on one point are consecutive, by name and
    /// then by id.
    ///
    /// It also releases the spare capacity.
    pub(super) fn arranged(self) -> Self {
        let Catalogue {
            mut records,
            mut texts,
        } = self;
        records.shrink_to_fit();
        texts.shrink_to_fit();
        records.sort_unstable_by(|a, b| {
            a.latitude
                .total_cmp(&b.latitude)
                .then(a.longitude.total_cmp(&b.longitude))
                .then_with(|| a.place(&texts).compare_by_name_and_id(&b.place(&texts)))
        });
        Catalogue { records, texts }
    }

    /// Returns the number that the place would get, if the list can hold it.
    fn next_number(&self, place: &Place<'_>) -> Result<u32, InvalidPlace> {
        let texts = check(place)?;
        let room = u32::try_from(self.texts.len() + texts).is_ok();
        match u32::try_from(self.records.len()) {
            Ok(number) if room && self.records.len() < MAX_PLACES => Ok(number),
            _ => Err(InvalidPlace::Full),
        }
    }

    fn store_text(&mut self, text: &str) -> TextRange {
        let start = self.texts.len();
        self.texts.push_str(text);
        TextRange {
            start: u32::try_from(start).expect("a place is only kept when there is room for it"),
            len: u16::try_from(text.len()).expect("only checked texts are kept"),
        }
    }

    fn store_or_reuse_text(&mut self, text: &str, previous: TextRange) -> TextRange {
        if previous.of(&self.texts) == text {
            return previous;
        }
        self.store_text(text)
    }
}

impl PlaceRecord {
    fn place<'a>(&self, texts: &'a str) -> Place<'a> {
        Place {
            name: self.name.of(texts),
            latitude: self.latitude,
            longitude: self.longitude,
            given_id: self.given_id.of(texts),
            types: self.types.of(texts),
            vicinity: self.vicinity.of(texts),
        }
    }
}

impl TextRange {
    fn of(self, texts: &str) -> &str {
        let start = self.start as usize;
        &texts[start..start + usize::from(self.len)]
    }
}

/// Checks that the place is valid and returns the total length of its texts in bytes.
fn check(place: &Place<'_>) -> Result<usize, InvalidPlace> {
    if place.name.is_empty() {
        return Err(InvalidPlace::NoName);
    }
    if !(-90.0..=90.0).contains(&place.latitude) {
        return Err(InvalidPlace::Latitude(place.latitude));
    }
    if !(-180.0..=180.0).contains(&place.longitude) {
        return Err(InvalidPlace::Longitude(place.longitude));
    }
    let texts = [
        ("name", place.name),
        ("place_id", place.given_id),
        ("list of types", place.types),
        ("vicinity", place.vicinity),
    ];
    for (what, text) in texts {
        if text.len() > MAX_TEXT_BYTES {
            return Err(InvalidPlace::LongText(what, text.len()));
        }
    }
    Ok(texts.iter().map(|(_, text)| text.len()).sum())
}

impl fmt::Display for InvalidPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidPlace::NoName => write!(f, "the name is empty: every place needs one"),
            InvalidPlace::LongText(what, bytes) => write!(
                f,
                "the {what} has {bytes} bytes: shorten it to {MAX_TEXT_BYTES} or less"
            ),
            InvalidPlace::Latitude(value) => write!(
                f,
                "{value} is no latitude: write degrees north, from -90 to 90"
            ),
            InvalidPlace::Longitude(value) => write!(
                f,
                "{value} is no longitude: write degrees east, from -180 to 180"
            ),
            InvalidPlace::Full => write!(
                f,
                "these are too many places: leave some out, so that there are at most {MAX_PLACES}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAFE: Place<'static> = Place {
        name: "Café",
        latitude: 48.85,
        longitude: 2.35,
        given_id: "",
        types: "cafe",
        vicinity: "Paris",
    };

    #[test]
    fn returns_places_as_they_were_added() {
        let bar = Place {
            name: "Bar",
            given_id: "7",
            vicinity: "",
            ..CAFE
        };
        let mut catalogue = Catalogue::default();
        for (number, place) in (0..).zip([CAFE, CAFE, bar, CAFE]) {
            assert_eq!(catalogue.push(&place), Ok(number));
        }
        assert_eq!(catalogue.len(), 4);
        assert_eq!(catalogue.get(1), CAFE);
        assert_eq!(catalogue.get(2), bar);
        assert_eq!(catalogue.get(3), CAFE);
        assert!(catalogue.points().all(|point| point == (48.85, 2.35)));
    }

    #[test]
    fn stores_the_text_of_a_region_once() {
        let mut catalogue = Catalogue::default();
        catalogue.push(&CAFE).unwrap();
        let before = catalogue.texts.len();
        catalogue.push(&CAFE).unwrap();
        assert_eq!(catalogue.texts.len() - before, CAFE.name.len());
    }

    #[test]
    fn arranges_places_on_one_point_consecutively() {
        let place = |name, given_id, longitude| Place {
            name,
            given_id,
            longitude,
            ..CAFE
        };
        let arranged = [
            place("Zoo", "", -3.0),
            place("Attic", "9", 2.0),
            place("Bar", "1", 2.0),
            place("Bar", "2", 2.0),
            place("Bar", "0", 2.1),
        ];
        let mut catalogue = Catalogue::default();
        for number in [4, 2, 0, 3, 1] {
            catalogue.push(&arranged[number]).unwrap();
        }
        let catalogue = catalogue.arranged();
        for (number, place) in (0..).zip(arranged) {
            assert_eq!(catalogue.get(number), place);
        }
    }

    #[test]
    fn stores_negative_zero_as_zero() {
        let mut catalogue = Catalogue::default();
        let null_island = Place {
            latitude: -0.0,
            longitude: -0.0,
            ..CAFE
        };
        catalogue.push(&null_island).unwrap();
        let place = catalogue.get(0);
        assert!(place.latitude.is_sign_positive() && place.longitude.is_sign_positive());
    }

    #[test]
    fn rejects_invalid_places() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        let place = |change: fn(&mut Place<'_>)| {
            let mut place = CAFE;
            change(&mut place);
            place
        };
        let invalid = [
            (place(|p| p.name = ""), "name is empty"),
            (place(|p| p.latitude = 90.001), "90.001 is no latitude"),
            (place(|p| p.latitude = f64::NAN), "NaN is no latitude"),
            (place(|p| p.longitude = -181.0), "-181 is no longitude"),
            (place(|p| p.longitude = f64::INFINITY), "no longitude"),
            (
                Place {
                    name: &long,
                    ..CAFE
                },
                "the name has 1025 bytes",
            ),
            (
                Place {
                    vicinity: &long,
                    ..CAFE
                },
                "vicinity has 1025",
            ),
        ];
        let mut catalogue = Catalogue::default();
        for (place, expected) in invalid {
            let rejection = catalogue.push(&place).unwrap_err().to_string();
            assert!(rejection.contains(expected), "{rejection}");
        }
        assert_eq!(catalogue.len(), 0);
        assert_eq!(catalogue.texts, "");
    }

    #[test]
    fn rejects_a_place_when_full() {
        let mut catalogue = Catalogue::default();
        catalogue.push(&CAFE).unwrap();
        catalogue.records.resize(MAX_PLACES, catalogue.records[0]);
        assert_eq!(catalogue.push(&CAFE), Err(InvalidPlace::Full));
    }
}

//! The built-in places near a point, as by WHATSAT.

use std::fmt;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use proxyherd::model::decimal::Decimal;
use proxyherd::model::position::Position;
use proxyherd::places::{Places, PlacesQuery, PlacesSettings};
use tokio::runtime::Builder;

use crate::samples::POSITION;

/// A position, a radius in kilometers, and a number of places.
struct PlacesCase(&'static str, &'static str, usize);

impl fmt::Display for PlacesCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} within {} km of {}", self.2, self.1, self.0)
    }
}

/// The last position is in the middle of the Pacific.
#[divan::bench(args = [
    PlacesCase(POSITION, "10", 10),
    PlacesCase(POSITION, "50", 20),
    PlacesCase("-48.876667-123.393333", "50", 20),
])]
fn places(bencher: Bencher<'_, '_>, &PlacesCase(position, radius, limit): &PlacesCase) {
    let places = loaded();
    let position = Position::parse(position.as_bytes()).unwrap();
    let radius = Decimal::parse(radius.as_bytes()).unwrap();
    bencher.counter(ItemsCount::new(1_usize)).bench(|| {
        let query = PlacesQuery::new(black_box(position), radius, limit);
        places.nearby_now(&query).unwrap()
    });
}

fn loaded() -> Places {
    let places = Places::start(&PlacesSettings::default()).unwrap();
    let anything = PlacesQuery::new(
        Position::parse(POSITION.as_bytes()).unwrap(),
        Decimal::parse(b"1").unwrap(),
        1,
    );
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(places.nearby(&anything));
    places
}

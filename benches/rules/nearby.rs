//! Queries near UCLA: of the built-in places, as by WHATSAT, and of clients, as by
//! `proxyherd nearby`.

use std::fmt;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use proxyherd::model::decimal::Decimal;
use proxyherd::model::position::Position;
use proxyherd::model::report::Report;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::places::{Places, PlacesQuery, PlacesSettings};
use proxyherd::queries::nearby::{self, Nearby};
use tokio::runtime::Builder;

use crate::samples::{POSITION, TIME, admit, ids, report, server};

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

/// The ten nearest of clients that are spread over a degree, by a view that
/// has kept up.
#[divan::bench]
fn clients(bencher: Bencher<'_, '_>) {
    let riley = server("Riley");
    for (n, id) in ids().iter().enumerate() {
        let position = format!("+33.{:06}-118.{:06}", n * 7919 % 1_000_000, n * 10);
        let position = Position::parse(position.as_bytes()).unwrap();
        let report = report(id, TIME);
        admit(riley.replica(), &Report { position, ..report });
    }
    let question = nearby::NearbyQuery {
        centre: (33.5, -118.5),
        radius_metres: 10_000.0,
        limit: 10,
        exclude: None,
    };
    let mut view = Nearby::default();
    let mut ask = || {
        view.query(
            riley.replica(),
            UnixNanos(0),
            black_box(&question),
            |held| held.report.skew,
        )
    };
    assert_eq!(ask().len(), 10);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(ask);
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

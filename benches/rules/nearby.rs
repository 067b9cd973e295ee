//! What is near UCLA: of the built-in places, as clients ask, and of clients,
//! as operators do.

use std::fmt;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use proxyherd::model::decimal::Decimal;
use proxyherd::model::position::Position;
use proxyherd::places::{Places, Question, Settings};
use tokio::runtime::Builder;

use crate::samples::POSITION;

/// A place on the ground, a radius in kilometres, and how many are wanted.
struct Ask(&'static str, &'static str, usize);

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} within {} km of {}", self.2, self.1, self.0)
    }
}

/// The last is far out in the Pacific.
#[divan::bench(args = [
    Ask(POSITION, "10", 10),
    Ask(POSITION, "50", 20),
    Ask("-48.876667-123.393333", "50", 20),
])]
fn places(bencher: Bencher<'_, '_>, &Ask(position, radius, most): &Ask) {
    let places = loaded();
    let position = Position::parse(position.as_bytes()).unwrap();
    let radius = Decimal::parse(radius.as_bytes()).unwrap();
    bencher.counter(ItemsCount::new(1_usize)).bench(|| {
        let question = Question::new(black_box(position), radius, most);
        places.nearby_now(&question).unwrap()
    });
}

fn loaded() -> Places {
    let places = Places::start(&Settings::default()).unwrap();
    let anything = Question::new(
        Position::parse(POSITION.as_bytes()).unwrap(),
        Decimal::parse(b"1").unwrap(),
        1,
    );
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(places.nearby(&anything));
    places
}

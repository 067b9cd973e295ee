//! Reports, and the total order that decides which one is newest.

use std::cmp::Ordering;

use super::client::ClientId;
use super::name::is_name;
use super::position::Position;
use super::text::Utf8Bytes;
use super::timestamp::{OrderTime, Skew, Timestamp};

/// One client's position at one time, as one server received it.
///
/// It is valid by construction, because every field is. It borrows its texts from a line, a message
/// or the store, and is copied only into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// The client.
    pub client: ClientId<'a>,
    /// The server that received the report from the client.
    pub origin: Origin<'a>,
    /// The client's position.
    pub position: Position<'a>,
    /// The time of the report, by the client's clock.
    pub time: Timestamp<'a>,
    /// The origin's clock minus the client's time.
    pub skew: Skew,
}

/// The name of the server that received a report from its client. It is well-formed, but the server
/// may no longer be in any config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin<'a>(Utf8Bytes<'a>);

impl<'a> Origin<'a> {
    /// Parses a well-formed server name; returns `None` otherwise.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        is_name(bytes).then_some(Self::restore(bytes))
    }

    /// Creates an origin from bytes that were parsed before.
    pub(crate) fn restore(bytes: &'a [u8]) -> Self {
        Self(Utf8Bytes::restore(bytes))
    }

    /// Returns the name.
    pub fn text(self) -> &'a str {
        self.0.as_str()
    }

    /// Returns the name as bytes, without validating them again.
    pub fn bytes(self) -> &'a [u8] {
        self.0.as_bytes()
    }
}

impl<'a> From<&'a super::name::Name> for Origin<'a> {
    fn from(name: &'a super::name::Name) -> Self {
        Self(name.as_str().into())
    }
}

impl Report<'_> {
    /// Returns the time at which the origin received the report, by the origin's clock, in
    /// nanoseconds since 1970.
    pub fn received_at(&self) -> i128 {
        self.time.instant().as_nanos() + i128::from(self.skew.0)
    }

    /// Returns the time by which the report is ordered and expires.
    pub fn order_time(&self) -> OrderTime {
        OrderTime::of(self.time.instant(), self.skew)
    }

    /// Compares two reports *of the same client*. The greater one is newer and is kept, on every
    /// server, in whatever order they arrive.
    ///
    /// The later [order time](OrderTime) is greater; then the later client time; then the greater
    /// origin; then the greater position text; then the smaller skew (so that a line sent twice to
    /// one server changes nothing, unless the client's clock is more than 10 s ahead); then the
    /// greater time text. `Equal` means the same report.
    pub fn compare(&self, other: &Self) -> Ordering {
        let order_times = self.order_time().cmp(&other.order_time());
        order_times
            .then_with(|| self.time.instant().cmp(&other.time.instant()))
            .then_with(|| self.origin.cmp(&other.origin))
            .then_with(|| self.position.bytes().cmp(other.position.bytes()))
            .then_with(|| other.skew.cmp(&self.skew))
            .then_with(|| self.time.bytes().cmp(other.time.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    type ReportFields = (&'static str, &'static str, &'static str, i64);

    fn report((origin, position, time, skew): ReportFields) -> Report<'static> {
        Report {
            client: ClientId::parse(b"kiwi").unwrap(),
            origin: Origin::parse(origin.as_bytes()).unwrap(),
            position: Position::parse(position.as_bytes()).unwrap(),
            time: Timestamp::parse(time.as_bytes()).unwrap(),
            skew: Skew(skew),
        }
    }

    #[test]
    fn each_rule_decides_if_all_rules_before_it_are_equal() {
        for (newer, older) in [
            (("A", "+0+0", "2", 9), ("B", "+9+9", "1.999999999", 0)),
            (("B", "+0+0", "1", 9), ("A", "+9+9", "1", 0)),
            (("a", "+0+0", "1", 0), ("B", "+0+0", "1", 0)),
            (("A", "-0+0", "1", 9), ("A", "+0+0", "1", 0)),
            (("A", "+0+0/", "1", 9), ("A", "+0+0", "1", 0)),
            (("A", "+0+0", "1", 0), ("A", "+0+0", "1.0", 9)),
            (("A", "+0+0", "1.0", 5), ("A", "+0+0", "1", 5)),
            (
                ("A", "+0+0", "1.0000000009", 5),
                ("A", "+0+0", "1.0000000001", 5),
            ),
            // A clock that is 90 s ahead counts as one that is 10 s ahead.
            (("A", "+0+0", "81", 0), ("B", "+9+9", "160", -90 * SECOND)),
            (("A", "+0+0", "160", -90 * SECOND), ("B", "+9+9", "80", 0)),
            (("A", "+0+0", "10", -10 * SECOND), ("B", "+9+9", "9", 0)),
        ] {
            let order = report(newer).compare(&report(older));
            assert_eq!(order, Ordering::Greater, "{newer:?} {older:?}");
        }
    }

    fn any_fields() -> impl Strategy<Value = ReportFields> {
        (
            prop::sample::select(vec!["A", "B", "a"]),
            prop::sample::select(vec!["+0+0", "-0+0", "+0+0/"]),
            prop::sample::select(vec!["1", "1.0", "01", "1.0000000001", "2", "12", "13.0"]),
            prop_oneof![
                -1i64..2,
                prop::sample::select(vec![-10, -11, -21, -22]).prop_map(|s| s * SECOND),
                Just(i64::MIN),
                Just(i64::MAX),
            ],
        )
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in any_fields(), b in any_fields(), c in any_fields()) {
            let [x, y, z] = [a, b, c].map(report);
            prop_assert_eq!(x.compare(&y), y.compare(&x).reverse());
            prop_assert_eq!(x.compare(&y) == Ordering::Equal, a == b);
            if x.compare(&y).is_ge() && y.compare(&z).is_ge() {
                prop_assert!(x.compare(&z).is_ge());
            }
        }
    }
}

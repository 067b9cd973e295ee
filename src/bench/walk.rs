//! How clients move. A position is a function of the client's number and the time, so that a report
//! can be written again, and two runs at the same time would be equal.

use std::sync::Arc;

/// The city centers: latitude and longitude in microdegrees. Los Angeles, New York,
/// London, Paris, Tokyo, Sao Paulo, Sydney, Nairobi.
const CITIES: [(i64, i64); 8] = [
    (34_068_930, -118_445_127),
    (40_712_776, -74_005_974),
    (51_507_351, -127_758),
    (48_856_613, 2_352_222),
    (35_689_487, 139_691_711),
    (-23_550_520, -46_633_308),
    (-33_868_820, 151_209_290),
    (-1_292_066, 36_821_945),
];

/// Number of towns that clients with a random walk are in.
const TOWNS: usize = 1000;

/// Microdegrees of latitude in a metre.
const MICRODEGREES_PER_METRE: f64 = 1e6 / 111_195.0;

/// The farthest from the equator that clients walk, in microdegrees: beyond it a degree of
/// longitude is short.
const MAX_LATITUDE: i64 = 75_000_000;

/// The movement of clients.
#[derive(Clone, Debug, Default)]
pub(super) enum Walk {
    /// To and fro over some hundred metres in eight cities.
    #[default]
    ToAndFro,
    /// At random around these towns: latitude and longitude in microdegrees.
    Random(Arc<[(i64, i64)]>),
}

/// A way of moving at random: from one waypoint straight on to the next.
struct Gait {
    /// Time between two waypoints, in nanoseconds.
    leg: u64,
    /// Greatest distance of a waypoint from the center, north and east, in metres.
    reach: f64,
}

/// Legs of ten minutes and turns each minute, at up to 13 km/h.
const WALKING: [Gait; 2] = [gait(600, 500.0), gait(60, 25.0)];

/// Legs of ten minutes and turns each minute, at up to 110 km/h.
const DRIVING: [Gait; 2] = [gait(600, 5000.0), gait(60, 150.0)];

const fn gait(seconds: u64, reach: f64) -> Gait {
    Gait {
        leg: seconds * 1_000_000_000,
        reach,
    }
}

impl Walk {
    /// Creates a random walk around some of these places, latitude and longitude in degrees.
    pub(super) fn random(places: &[(f64, f64)]) -> Self {
        let microdegrees = |degrees: f64| (degrees * 1e6) as i64;
        let near = |&(latitude, longitude): &(f64, f64)| {
            let town = (microdegrees(latitude), microdegrees(longitude));
            (town.0.abs() <= MAX_LATITUDE).then_some(town)
        };
        let all: Vec<(i64, i64)> = places.iter().filter_map(near).collect();
        if all.is_empty() {
            return Self::Random(CITIES.into());
        }
        let town = |nth: usize| all[(scatter(nth as u64) % all.len() as u64) as usize];
        Self::Random((0..TOWNS).map(town).collect())
    }

    /// Returns a client's position in microdegrees.
    pub(super) fn position(&self, client: u32, nanos: u64) -> (i64, i64) {
        match self {
            Self::ToAndFro => to_and_fro(client, nanos),
            Self::Random(towns) => at_random(towns, client, nanos),
        }
    }
}

fn at_random(towns: &[(i64, i64)], client: u32, nanos: u64) -> (i64, i64) {
    let own = scatter(client.into());
    let (latitude, longitude) = towns[own as usize % towns.len()];
    // Every fifth client drives.
    let is_driver = scatter(own).is_multiple_of(5);
    let gaits = if is_driver { &DRIVING } else { &WALKING };
    let (mut north, mut east) = (0.0, 0.0);
    for (nth, gait) in (0_u64..).zip(gaits) {
        // Clients turn at different times.
        let time = nanos + scatter(own ^ nth) % gait.leg;
        let (leg, part) = (time / gait.leg, time % gait.leg);
        let part = part as f64 / gait.leg as f64;
        let waypoint = |leg: u64| {
            let drawn = scatter(own ^ scatter((leg << 1) | nth));
            (signed_unit(drawn as u32), signed_unit((drawn >> 32) as u32))
        };
        let (from, to) = (waypoint(leg), waypoint(leg + 1));
        north += (from.0 + (to.0 - from.0) * part) * gait.reach;
        east += (from.1 + (to.1 - from.1) * part) * gait.reach;
    }
    let shrink = (latitude as f64 / 1e6).to_radians().cos();
    let latitude = latitude + (north * MICRODEGREES_PER_METRE) as i64;
    let longitude = longitude + (east * MICRODEGREES_PER_METRE / shrink) as i64;
    (latitude, wrapped(longitude))
}

/// Returns a number from -1 to 1.
fn signed_unit(bits: u32) -> f64 {
    f64::from(bits) / f64::from(u32::MAX) * 2.0 - 1.0
}

/// Returns the longitude within 180 degrees.
fn wrapped(microdegrees: i64) -> i64 {
    (microdegrees + 180_000_000).rem_euclid(360_000_000) - 180_000_000
}

/// Returns a position within 15 km of a city center, moving to
/// and fro over some hundred meters at the speed of a car.
fn to_and_fro(client: u32, nanos: u64) -> (i64, i64) {
    let (latitude, longitude) = CITIES[client as usize % CITIES.len()];
    let scattered = scatter(client.into());
    let step = (nanos >> 23 & 0x1fff) as i64;
    let path = step.min(0x1fff - step);
    let offset = |bits: u64| (bits & 0x3_ffff) as i64 - 0x2_0000 + path;
    (
        latitude + offset(scattered),
        longitude + offset(scattered >> 32),
    )
}

/// Returns the splitmix64 finalizer of `number`, which spreads consecutive numbers evenly.
pub(super) fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NANOS: u64 = 1_621_464_827_959_498_503;

    #[test]
    fn clients_move_within_15_km_of_their_city() {
        for client in 0..1000 {
            let (latitude, longitude) = CITIES[client as usize % CITIES.len()];
            let (north, east) = to_and_fro(client, NANOS);
            assert!((north - latitude).abs() < 140_000);
            assert!((east - longitude).abs() < 140_000);
            let later = to_and_fro(client, NANOS + 1_000_000_000);
            assert!((1..200).contains(&(later.0 - north).abs()), "{later:?}");
        }
    }

    #[test]
    fn clients_walk_or_drive_around_towns_without_a_jump() {
        let places = [
            (34.07, -118.45),
            (-17.8, 179.99),
            (89.9, 0.0),
            (64.1, -21.9),
        ];
        let walk = Walk::random(&places);
        let Walk::Random(towns) = &walk else { panic!() };
        assert!(towns.iter().all(|town| town.0 <= MAX_LATITUDE));
        let mut moved = 0;
        for client in 0..1000 {
            let (latitude, longitude) = walk.position(client, NANOS);
            assert!(longitude.abs() <= 180_000_000);
            let is_near = |town: &(i64, i64)| {
                let east = wrapped(longitude - town.1).abs();
                (latitude - town.0).abs() < 50_000 && east < 120_000
            };
            assert!(towns.iter().any(is_near), "{latitude} {longitude}");
            let later = walk.position(client, NANOS + 1_000_000_000);
            // 30 metres north, and as many east at 64 degrees.
            assert!((later.0 - latitude).abs() < 270, "{client}");
            assert!(wrapped(later.1 - longitude).abs() < 620, "{client}");
            moved += u32::from(later != (latitude, longitude));
        }
        assert!(moved > 950, "{moved}");
    }
}

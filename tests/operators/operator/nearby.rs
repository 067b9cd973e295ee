//! Nearby clients, compared with the haversine formula, which is independent of the index.

use super::*;
use crate::common::haversine;

/// Clients all over the earth, many of them near the poles and the antimeridian.
fn everywhere() -> BTreeMap<String, (f64, f64)> {
    let mut state = 7u64;
    let mut draw = move |bound: f64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 33) as f64 / f64::from(1u32 << 31) * 2.0 - 1.0) * bound
    };
    let mut points = Vec::new();
    for _ in 0..300 {
        points.push((draw(90.0), draw(180.0)));
        points.push((draw(2.0), 180.0 - draw(2.0).abs()));
        points.push((draw(2.0), -180.0 + draw(2.0).abs()));
        points.push((90.0 - draw(2.0).abs(), draw(180.0)));
        points.push((-90.0 + draw(2.0).abs(), draw(180.0)));
    }
    points.extend([
        (90.0, 0.0),
        (90.0, 90.0),
        (-90.0, 5.0),
        (0.0, 180.0),
        (0.0, -180.0),
    ]);
    let rounded = |degrees: f64| (degrees * 1e6).round() / 1e6;
    let named = points.into_iter().enumerate();
    named
        .map(|(n, (lat, lon))| (format!("c{n}"), (rounded(lat), rounded(lon))))
        .collect()
}

fn line(id: &str, (lat, lon): (f64, f64), time: u32) -> String {
    format!("IAMAT {id} {lat:+.6}{lon:+.6} {time}")
}

fn near(from: (f64, f64), radius: f64, limit: u32) -> NearbyRequest {
    NearbyRequest {
        center: Some(Center::Point(Point {
            latitude: from.0,
            longitude: from.1,
        })),
        radius_meters: radius,
        limit,
    }
}

#[track_caller]
fn check(
    operator: &Operator,
    clients: &BTreeMap<String, (f64, f64)>,
    from: (f64, f64),
    (radius, limit): (f64, u32),
) {
    // The errors of both formulas are less than this in metres, except near the antipode.
    const OFF: f64 = 1e-3;
    let found = operator.nearby(near(from, radius, limit)).unwrap();
    let reach = if radius == 0.0 { f64::INFINITY } else { radius };
    let most = if limit == 0 { 100 } else { limit as usize };
    let mut all: Vec<f64> = clients.values().map(|&at| haversine(from, at)).collect();
    all.sort_by(f64::total_cmp);
    let surely_in = all.iter().filter(|&&away| away <= reach - OFF).count();
    assert!(found.len() >= surely_in.min(most) && found.len() <= most);
    let ids: BTreeSet<_> = found
        .iter()
        .map(|it| id_of(it.known.as_ref().unwrap()))
        .collect();
    assert_eq!(ids.len(), found.len(), "each once");
    for (it, nearest) in found.iter().zip(&all) {
        let id = id_of(it.known.as_ref().unwrap());
        let away = haversine(from, clients[id]);
        assert!((away - it.distance_meters).abs() <= OFF, "{id}");
        assert!((away - nearest).abs() <= OFF, "{id} is not the next");
        assert!(it.distance_meters <= reach + OFF, "{id} is too far");
    }
    for two in found.windows(2) {
        let id = |it: &NearbyClient| id_of(it.known.as_ref().unwrap()).to_owned();
        let key = |it: &NearbyClient| (it.distance_meters, id(it));
        assert!(key(&two[0]) < key(&two[1]), "{two:?}");
    }
}

#[test]
fn nearby_agrees_with_haversine_everywhere_while_clients_move() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let mut client = herd.client("Riley");
    let mut clients = everywhere();
    let centers = [
        (0.0, 0.0),
        (90.0, 0.0),
        (-90.0, 77.0),
        (0.0, 180.0),
        (0.5, -179.5),
        (89.9, -135.0),
        (34.06893, -118.445127),
    ];
    for time in 1..4 {
        // All clients move at first, then some.
        let moved = clients.iter_mut().enumerate();
        let moved = moved.filter(|(n, _)| time == 1 || n % 7 == 0);
        let lines: Vec<_> = moved
            .map(|(_, (id, at))| {
                if time > 1 {
                    at.0 = -at.0;
                }
                line(id, *at, time)
            })
            .collect();
        tell_all(&mut client, &lines);
        for from in centers {
            for bounds in [(50_000.0, 20), (500_000.0, 0), (0.0, 300), (5e6, 10_000)] {
                check(&operator, &clients, from, bounds);
            }
        }
    }
}

#[test]
fn a_client_is_not_near_itself_and_equal_distances_are_ordered_by_id() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let mut client = herd.client("Riley");
    for id in ["d", "b", "me", "a", "c"] {
        client.ask(&format!("IAMAT {id} +0+180 1"));
    }
    client.ask("IAMAT far +0-179 1");
    let me = |radius_meters, limit| {
        let request = NearbyRequest {
            center: Some(Center::Client("me".to_owned())),
            radius_meters,
            limit,
        };
        let found = operator.nearby(request).unwrap().into_iter();
        let ids = found.map(|it| id_of(&it.known.unwrap()).to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(me(0.0, 0), ["a", "b", "c", "d", "far"]);
    assert_eq!(me(0.0, 2), ["a", "b"]);
    // One degree along the equator, and 0.1 mm less.
    let degree = haversine((0.0, 0.0), (0.0, 1.0));
    assert_eq!(me(degree, 0), ["a", "b", "c", "d", "far"]);
    assert_eq!(me(degree - 1e-4, 0), ["a", "b", "c", "d"]);
}

#[test]
fn expired_reports_are_not_near_anything() {
    let (herd, now) = forgetful();
    let operator = Operator::of(&herd, "Riley");
    herd.client("Riley").ask("IAMAT kiwi +1+1 100");
    herd.client("Riley").ask("IAMAT plum +1+1 101");
    let count = || operator.nearby(near((0.0, 0.0), 0.0, 0)).unwrap().len();
    assert_eq!(count(), 2);
    now.store(110 * SECOND + 1, SeqCst);
    assert_eq!(count(), 1);
    let request = NearbyRequest {
        center: Some(Center::Client("kiwi".to_owned())),
        ..NearbyRequest::default()
    };
    assert_rejected(operator.nearby(request), Code::NotFound, "has expired");
    // The clock is set back, and the report is valid again.
    now.store(110 * SECOND, SeqCst);
    assert_eq!(count(), 2);
}

#[test]
fn an_invalid_request_is_rejected_with_its_cause() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let origin = (0.0, 0.0);
    let no_center = NearbyRequest::default();
    assert_invalid(operator.nearby(no_center), "center is missing");
    for from in [
        (90.1, 0.0),
        (0.0, -180.1),
        (f64::NAN, 0.0),
        (0.0, f64::INFINITY),
    ] {
        let message = "point must have a latitude from -90 to 90";
        assert_invalid(operator.nearby(near(from, 0.0, 0)), message);
    }
    for radius in [-1.0, f64::NAN, f64::INFINITY] {
        let message = "radius_meters must be a number of metres";
        assert_invalid(operator.nearby(near(origin, radius, 0)), message);
    }
    let message = "limit must be at most 10000";
    assert_invalid(operator.nearby(near(origin, 0.0, 10_001)), message);
    let unknown = NearbyRequest {
        center: Some(Center::Client("nobody".to_owned())),
        ..NearbyRequest::default()
    };
    assert_rejected(
        operator.nearby(unknown),
        Code::NotFound,
        "no report of that client",
    );
}

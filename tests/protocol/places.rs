//! Places near a client, by WHATSAT: the compiled-in places and an operator's own.

use crate::common::{ALONE, Client, Herd, haversine, places_from};
use proptest::prelude::*;
use proxyherd::places::{Places, PlacesSettings};
use serde_json::Value;

const NOW: i64 = 1_621_464_828_000_000_000;
const UCLA: &str = "+34.068930-118.445127";

/// Starts Riley alone with the compiled-in places, which take a second to load.
fn riley() -> Herd {
    riley_knowing(Places::start(&PlacesSettings::default()).unwrap())
}

fn riley_knowing(places: Places) -> Herd {
    Herd::new(ALONE).with_places(places).launched_at(NOW)
}

/// Starts Riley alone with these places: name, latitude and longitude.
fn riley_with_table(rows: &[&str]) -> Herd {
    let table = format!("name,lat,lon\n{}\n", rows.join("\n"));
    riley_knowing(places_from("own.csv", &table).unwrap())
}

/// Returns the JSON of the places near a position, from a WHATSAT for a client that is there.
fn near(client: &mut Client, position: &str, km: &str, limit: usize) -> String {
    // Each position has a client ID of its own, so that no report is stale.
    client.send(format!("IAMAT at{position} {position} 1\n"));
    let at_line = client.text();
    client.send(format!("WHATSAT at{position} {km} {limit}\n"));
    let (line, json) = client.places();
    assert_eq!(line, at_line);
    json
}

fn results(json: &str) -> Vec<Value> {
    let response: Value = serde_json::from_str(json).unwrap();
    let results = response["results"].as_array().unwrap().clone();
    let status = if results.is_empty() {
        "ZERO_RESULTS"
    } else {
        "OK"
    };
    assert_eq!(response["status"], status, "{json}");
    results
}

fn names(json: &str) -> Vec<String> {
    let name = |result: &Value| result["name"].as_str().unwrap().to_owned();
    results(json).iter().map(name).collect()
}

// The compiled-in places.

#[test]
fn eight_compiled_in_places_are_within_10_km_of_ucla() {
    let herd = riley();
    let mut client = herd.client("Riley");
    let json = near(&mut client, UCLA, "10", 20);
    let expected = [
        "Westwood, Los Angeles",
        "Century City",
        "Beverly Hills",
        "Santa Monica",
        "Culver City",
        "West Hollywood",
        "Sherman Oaks",
        "Marina del Rey",
    ];
    assert_eq!(names(&json), expected);
    for result in results(&json) {
        assert_eq!(result["vicinity"], "Los Angeles County, California, US");
        assert_eq!(
            result["types"],
            serde_json::json!(["locality", "political"])
        );
    }
    for limit in 1..expected.len() {
        let json = near(&mut client, UCLA, "10", limit);
        assert_eq!(names(&json), expected[..limit]);
    }
    assert_eq!(names(&near(&mut client, UCLA, "50", 20)).len(), 20);
    assert_eq!(names(&near(&mut client, UCLA, "2.5", 20)), expected[..1]);
    assert!(names(&near(&mut client, UCLA, "0", 20)).is_empty());
}

#[test]
fn no_compiled_in_place_is_near_point_nemo_or_a_pole() {
    let herd = riley();
    let mut client = herd.client("Riley");
    for position in ["-48.8767-123.3933", "+90+0", "+90.0-180/", "-90+123.4"] {
        assert!(names(&near(&mut client, position, "50", 20)).is_empty());
    }
}

#[test]
fn both_longitudes_of_the_180th_meridian_have_the_same_places() {
    let herd = riley();
    let mut client = herd.client("Riley");
    // Egvekinot lies 39 km beyond it, in western longitude.
    for position in ["+66.32+180", "+66.32-180"] {
        assert_eq!(names(&near(&mut client, position, "40", 20)), ["Egvekinot"]);
        assert!(names(&near(&mut client, position, "39", 20)).is_empty());
    }
}

/// Returns the distances of the results from a position, in kilometres.
fn distances(json: &str, from: (f64, f64)) -> Vec<f64> {
    let away = |result: &Value| {
        let location = &result["geometry"]["location"];
        let degrees = |key: &str| location[key].as_f64().unwrap();
        haversine(from, (degrees("lat"), degrees("lng"))) / 1000.0
    };
    results(json).iter().map(away).collect()
}

#[test]
fn results_are_sorted_by_distance_and_within_radius_and_number() {
    let herd = riley();
    let city = prop::sample::select(vec![
        (34.0, -118.4),
        (51.5, -0.1),
        (35.7, 139.7),
        (-17.0, 179.4),
        (-33.9, 151.2),
        (69.6, 18.9),
        (0.3, 32.6),
    ]);
    let position = (city, -0.5..0.5, -0.5..0.5)
        .prop_map(|((lat, lon), north, east)| (lat + north, lon + east))
        .prop_map(|(lat, lon)| (format!("{lat:+.6}"), format!("{lon:+.6}")));
    let query = (position, 0..50_000_u32, 0..20_usize);
    proptest!(ProptestConfig::with_cases(60), |(((lat, lon), metres, limit) in query)| {
        let mut client = herd.client("Riley");
        let from = (lat.parse().unwrap(), lon.parse().unwrap());
        let km = f64::from(metres) / 1000.0;
        let mut ask = |limit| near(&mut client, &format!("{lat}{lon}"), &km.to_string(), limit);
        let json = ask(limit);
        let away = distances(&json, from);
        prop_assert!(away.len() <= limit);
        prop_assert!(away.is_sorted_by(|a, b| *a <= b + 1e-6), "{:?}", away);
        prop_assert!(away.iter().all(|away| *away <= km + 1e-6), "{:?}", away);
        // A larger number appends to the same results.
        let more = ask(limit + 1);
        prop_assert_eq!(names(&json), &names(&more)[..away.len()]);
        prop_assert!(away.len() == limit || more == json);
    });
}

// An operator's own places.

#[test]
fn an_operator_s_file_replaces_the_compiled_in_places() {
    let herd = riley_with_table(&["Royce Hall,34.07289,-118.44219"]);
    let mut client = herd.client("Riley");
    assert_eq!(names(&near(&mut client, UCLA, "50", 20)), ["Royce Hall"]);
}

#[test]
fn csv_and_geojson_of_the_same_places_give_the_same_answer() {
    let table = "Name,Latitude,LNG,id,types,address\r\n\
        \"Café \"\"Zoë\"\", <1>\",34.0689,-118.4451,c/1,cafe;food,\"1 Main St,\nLA\"\r\n\
        Bar,34.07,-118.445,,,\r\n";
    let geojson = r#"{"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"name": "Bar"},
         "geometry": {"type": "Point", "coordinates": [-118.445, 34.07, 12.5]}},
        {"type": "Feature", "id": "c/1",
         "properties": {"NAME": "Café \"Zoë\", <1>", "types": ["cafe", "food"],
                        "vicinity": "1 Main St,\nLA", "rating": 5},
         "geometry": {"type": "Point", "coordinates": [-118.4451, 34.0689]}}]}"#;
    // The text sequence of RFC 8142.
    let sequence = "\u{1e}{\"type\": \"Feature\", \"properties\": {\"name\": \"Bar\"},
         \"geometry\": {\"type\": \"Point\", \"coordinates\": [-118.445, 34.07]}}\n\
        \u{1e}{\"type\": \"Feature\", \"properties\": {\"name\": \"Park\"}, \"geometry\": null}\n\
        \u{1e}{\"type\": \"Feature\", \"properties\": {\"name\": \"Café \\\"Zoë\\\", <1>\",
                         \"id\": 5, \"place_id\": \"c/1\", \"types\": \"['cafe', 'food']\",
                         \"address\": \"1 Main St,\\nLA\"},
         \"geometry\": {\"type\": \"Point\", \"coordinates\": [-118.4451, 34.0689]}}\n";
    let [table, geojson, json, sequence] = [
        ("own.csv", table),
        ("own.geojson", geojson),
        ("OWN.JSON", geojson),
        ("own.json", sequence),
    ]
    .map(|(name, content)| {
        let herd = riley_knowing(places_from(name, content).unwrap());
        near(&mut herd.client("Riley"), UCLA, "1", 20)
    });
    assert_eq!(names(&table), ["Café \"Zoë\", <1>", "Bar"]);
    assert_eq!(results(&table)[0]["place_id"], "c/1");
    assert_eq!(results(&table)[0]["vicinity"], "1 Main St,\nLA");
    assert_eq!(geojson, table);
    assert_eq!(json, table);
    assert_eq!(sequence, table);
}

#[test]
fn an_error_in_an_operator_s_file_is_reported_with_its_position_at_the_start() {
    for (name, content, expected) in [
        (
            "own.csv",
            "name,lat,lon\nBar,91,0\n",
            "line 2: 91 is no latitude",
        ),
        ("own.csv", "name,lat,lon\n", "there is no place in it"),
        ("own.json", "{\"type\":\"Topology\"}", "FeatureCollection"),
        (
            "own.txt",
            "name,lat,lon\nBar,1,1\n",
            ".csv, .geojson or .json",
        ),
    ] {
        let fault = places_from(name, content).unwrap_err().to_string();
        assert!(fault.contains(expected), "{fault}");
    }
}

#[test]
fn at_a_pole_all_longitudes_are_the_same_position() {
    // A tenth of a degree, across the pole, is 11.12 km.
    let rows = [
        "Pole,90,0",
        "Pole again,90,135",
        "This side,89.95,10",
        "Other side,89.95,-170",
        "South,-90,77",
    ];
    let herd = riley_with_table(&rows);
    let mut client = herd.client("Riley");
    for pole in ["+90+0", "+90.000-077.5/", "+90+180", "+90-180"] {
        assert_eq!(
            names(&near(&mut client, pole, "0", 20)),
            ["Pole", "Pole again"]
        );
        assert_eq!(names(&near(&mut client, pole, "5.6", 20)).len(), 4);
        assert_eq!(names(&near(&mut client, pole, "5.5", 20)).len(), 2);
    }
    assert_eq!(
        names(&near(&mut client, "+89.95+010", "11.13", 20)),
        ["This side", "Pole", "Pole again", "Other side"]
    );
    assert_eq!(
        names(&near(&mut client, "+89.95-170", "11.11", 20)),
        ["Other side", "Pole", "Pole again"]
    );
    assert_eq!(names(&near(&mut client, "-90-120", "0", 20)), ["South"]);
}

#[test]
fn distances_cross_the_180th_meridian() {
    let herd = riley_with_table(&[
        "East,0,179.95",
        "West,0,-179.95",
        "On it,0,180",
        "It too,0,-180",
    ]);
    let mut client = herd.client("Riley");
    for position in ["+0+180", "-0-180", "+0.0+180.000/"] {
        assert_eq!(
            names(&near(&mut client, position, "0", 20)),
            ["It too", "On it"]
        );
        assert_eq!(
            names(&near(&mut client, position, "5.6", 20)),
            ["It too", "On it", "East", "West"]
        );
    }
    assert_eq!(
        names(&near(&mut client, "+0-179.95", "11.13", 20)),
        ["West", "It too", "On it", "East"]
    );
    assert_eq!(names(&near(&mut client, "+0+179.95", "11.11", 20)).len(), 3);
}

#[test]
fn places_at_the_same_distance_are_sorted_by_name() {
    let herd = riley_with_table(&["Zoo,1,1", "Attic,1,1", "Mill,1,1", "Nearer,1.001,1.001"]);
    let mut client = herd.client("Riley");
    let expected = ["Nearer", "Attic", "Mill", "Zoo"];
    for limit in 0..=5 {
        assert_eq!(
            names(&near(&mut client, "+1.001+1.001", "10", limit)),
            expected[..limit.min(4)]
        );
    }
}

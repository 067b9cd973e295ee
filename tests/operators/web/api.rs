//! The calls of the API.

use std::net::SocketAddr;
use std::time::Duration;

use proxyherd::places::{Places, PlacesResponse};
use serde_json::Value;

use super::{herd, with_web};
use crate::common::{
    ALONE, Herd, PAIR, Process, Site, eventually, free_ports, http_get, http_json, loopback,
};

/// Reports clients at Riley.
fn report(herd: &Herd, clients: &[(&str, &str)]) {
    let mut connection = herd.client("Riley");
    for (id, position) in clients {
        let answer = connection.ask(&format!("IAMAT {id} {position} 1621464827.9"));
        assert!(answer.starts_with("AT "), "{answer}");
    }
}

/// Returns the IDs of the features of a call that succeeds.
#[track_caller]
fn ids(web: SocketAddr, call: &str) -> Vec<String> {
    let (status, answer) = http_json(web, &format!("/api/v1/{call}"));
    assert_eq!(status, 200, "{call}: {answer}");
    let features = answer["features"].as_array().unwrap().iter();
    features
        .map(|feature| feature["id"].as_str().unwrap_or("a cell").to_owned())
        .collect()
}

/// Returns the detail of a call that is rejected as a bad request.
#[track_caller]
fn rejection(web: SocketAddr, call: &str) -> String {
    let response = http_get(web, &format!("/api/v1/{call}"));
    assert_eq!(response.status, 400, "{call}: {}", response.body);
    let content_type = "\r\ncontent-type: application/problem+json\r\n";
    assert!(response.head.contains(content_type), "{}", response.head);
    let problem: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["title"], "Bad Request");
    assert_eq!(problem["status"], 400);
    problem["detail"].as_str().unwrap().to_owned()
}

#[test]
fn clients_in_a_box_are_features_in_the_order_of_their_ids() {
    let herd = Herd::new(ALONE)
        .adjust(with_web)
        .launched_at(1_621_464_830_000_000_000);
    let web = herd.web_address("Riley");
    report(
        &herd,
        &[("kiwi", "+34.068930-118.445127"), ("emu", "+35-118")],
    );
    let (_, answer) = http_json(web, "/api/v1/clients?bbox=-119,33.5,-117.5,34.5");
    let incarnation = format!("{:016x}", herd.incarnation("Riley").get());
    let expected = serde_json::json!({
        "type": "FeatureCollection",
        "server": "Riley",
        "matched": 1,
        "cell_degrees": null,
        "cursor": format!("{incarnation}-2"),
        "features": [{
            "type": "Feature",
            "id": "kiwi",
            "geometry": { "type": "Point", "coordinates": [-118.445127, 34.06893] },
            "properties": {
                "position": "+34.068930-118.445127",
                "time": "1621464827.9",
                "origin": "Riley",
                "skew_nanos": 2_100_000_000,
                "sequence": 1,
                "learned_at": "2021-05-19T22:53:50.000Z",
                "learned_from": null,
                "recovered": false,
                "age_seconds": 2.1,
            },
        }],
    });
    assert_eq!(answer, expected);
    assert_eq!(ids(web, "clients"), ["emu", "kiwi"]);
    assert_eq!(ids(web, "clients?prefix=k"), ["kiwi"]);
    assert_eq!(ids(web, "clients?bbox=-119,36,-117.5,37"), [""; 0]);
}

#[test]
fn boxes_reach_across_the_180th_meridian_and_to_the_poles() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    let clients = [
        ("east", "-18+179"),
        ("line", "-18+180"),
        ("same-line", "-18-180"),
        ("west", "-18-179"),
        ("greenwich", "+51+0"),
        ("north-pole", "+90+12"),
        ("south-pole", "-90-99"),
    ];
    report(&herd, &clients);
    for (bbox, expected) in [
        (
            "178,-20,-178,-15",
            &["east", "line", "same-line", "west"][..],
        ),
        ("179.5,-20,180,-15", &["line", "same-line"]),
        ("-180,-20,-179.5,-15", &["line", "same-line"]),
        ("180,-20,-180,-15", &["line", "same-line"]),
        ("-178,-20,178,-15", &[]),
        ("-1,50,1,52", &["greenwich"]),
        ("0,51,0,51", &["greenwich"]),
        ("50,80,60,90", &["north-pole"]),
        ("0,-90,1,-90", &["south-pole"]),
        ("-180,90,180,90", &["north-pole"]),
    ] {
        assert_eq!(
            ids(web, &format!("clients?bbox={bbox}")),
            expected,
            "{bbox}"
        );
    }
    assert_eq!(ids(web, "clients?bbox=-180,-90,180,90").len(), 7);
    // A grid counts each of them once, in cells of the world.
    let (_, grid) = http_json(web, "/api/v1/clients?limit=1");
    assert_eq!(
        (&grid["matched"], &grid["cell_degrees"]),
        (&7.into(), &11.25.into())
    );
    let cells = grid["features"].as_array().unwrap();
    let counts = cells
        .iter()
        .map(|cell| cell["properties"]["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 7);
    for cell in cells {
        let edge = |nth: usize| cell["bbox"][nth].as_f64().unwrap();
        assert!(edge(0) >= -180.0 && edge(2) <= 180.0, "{cell}");
        assert!(edge(1) >= -90.0 && edge(3) <= 90.0, "{cell}");
        let [longitude, latitude] =
            [0, 1].map(|nth| cell["geometry"]["coordinates"][nth].as_f64().unwrap());
        assert!((edge(0)..=edge(2)).contains(&longitude), "{cell}");
        assert!((edge(1)..=edge(3)).contains(&latitude), "{cell}");
    }
}

#[test]
fn more_clients_than_the_limit_are_counted_on_a_grid() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    report(
        &herd,
        &[("a", "+10.2+10.2"), ("b", "+10.6+10.6"), ("c", "+12+12")],
    );
    assert_eq!(
        ids(web, "clients?bbox=10,10,13,13&limit=3"),
        ["a", "b", "c"]
    );
    let (_, grid) = http_json(web, "/api/v1/clients?bbox=9,9,21,21&limit=2");
    assert_eq!(grid["matched"], 3);
    // 12 degrees have 34 cells with sides of 360 / 2^10 degrees.
    assert_eq!(grid["cell_degrees"], 0.3515625);
    let cells = grid["features"].as_array().unwrap();
    assert_eq!(cells.len(), 3);
    assert_eq!(
        cells[0]["geometry"]["coordinates"],
        serde_json::json!([10.2, 10.2])
    );
    assert_eq!(cells[0]["properties"], serde_json::json!({ "count": 1 }));
    let (_, coarse) = http_json(web, "/api/v1/clients?limit=2");
    let counts: Vec<_> = coarse["features"].as_array().unwrap().iter().collect();
    assert_eq!(counts[0]["properties"]["count"], 2);
    assert_eq!(
        counts[0]["bbox"],
        serde_json::json!([0.0, 0.0, 11.25, 11.25])
    );
}

#[test]
fn parameters_that_break_a_rule_are_errors_that_name_it() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    for (call, detail) in [
        ("clients?bbox=", "bbox: is empty"),
        ("clients?bbox=1,2,3", "bbox: must be W,S,E,N"),
        ("clients?bbox=nan,0,1,1", "bbox: must be W,S,E,N"),
        ("clients?bbox=0,0,inf,1", "bbox: must be W,S,E,N"),
        (
            "clients?bbox=0,2,1,1",
            "bbox: south 2 is greater than north 1",
        ),
        (
            "clients?bbox=0,91,1,92",
            "bbox: latitude 91 is out of range; latitudes are -90 to 90",
        ),
        (
            "clients?bbox=-180.1,0,1,1",
            "bbox: longitude -180.1 is out of range",
        ),
        ("clients?limit=0", "limit: must be a number from 1 to 20000"),
        (
            "clients?limit=99999999999999999999",
            "limit: must be a number from 1 to 20000",
        ),
        ("clients?limit=1&limit=2", "limit: is given twice"),
        (
            "clients?box=1",
            "this call has no parameter \"box\"; they are bbox, prefix, limit",
        ),
        ("clients?prefix=%ff", "prefix: is not UTF-8"),
        ("clients/a%20b", "id: must be a client ID"),
        ("near", "point, client: give exactly one of them"),
        (
            "near?point=1,2&client=kiwi",
            "point, client: give exactly one of them",
        ),
        ("near?point=91,0", "point: latitude 91 is out of range"),
        ("near?point=1", "point: must be LAT,LON"),
        (
            "near?point=1,2&radius=0",
            "radius: must be a number of kilometres above 0",
        ),
        (
            "near?point=1,2&radius=NaN",
            "radius: must be a number of kilometres above 0",
        ),
        (
            "near?point=1,2&limit=10001",
            "limit: must be a number from 1 to 10000",
        ),
        (
            "places?point=1,2&radius=50.1",
            "radius: must be a number of kilometres from 0 to 50",
        ),
        (
            "places?point=1,2&limit=21",
            "limit: must be a number from 0 to 20",
        ),
        ("names?limit=1001", "limit: must be a number from 1 to 1000"),
        ("herd?x=1", "this call has no parameter \"x\"; it has none"),
        ("watch?client=%0a", "client: must be a client ID"),
    ] {
        let rejected = rejection(web, call);
        assert!(rejected.starts_with(detail), "{call}: {rejected}");
    }
    for path in [
        "/api/v1/",
        "/api/v2/herd",
        "/api/v1/clients/",
        "/api/v1/clients/a/b",
    ] {
        assert_eq!(http_json(web, path).0, 404, "{path}");
    }
}

#[test]
fn clients_near_a_point_or_a_client_are_returned_nearest_first() {
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    report(
        &herd,
        &[
            ("b", "+0+179.9"),
            ("a", "+0-180"),
            ("c", "+0-179"),
            ("far", "+45+0"),
        ],
    );
    assert_eq!(ids(web, "near?point=0,180&radius=100"), ["a", "b"]);
    assert_eq!(ids(web, "near?point=0,180&limit=3"), ["a", "b", "c"]);
    assert_eq!(ids(web, "near?client=a"), ["b", "c", "far"]);
    assert_eq!(ids(web, "near?client=a&radius=0.001"), [""; 0]);
    let (_, near) = http_json(web, "/api/v1/near?point=0,179.9&limit=1");
    assert_eq!(near["center"], serde_json::json!([179.9, 0.0]));
    assert_eq!(near["features"][0]["properties"]["distance_meters"], 0.0);
    let (status, problem) = http_json(web, "/api/v1/near?client=dodo");
    assert_eq!(status, 404);
    assert_eq!(problem["detail"], "Riley has no report of client \"dodo\"");
}

#[test]
fn places_are_those_of_whatsat() {
    let echo = |query: proxyherd::places::PlacesQuery| async move {
        let text = format!("{},{}", query.latitude(), query.longitude());
        let places = format!("{} within {} of {text}", query.limit, query.radius());
        PlacesResponse {
            json: format!("{{\n   \"results\" : [],\n   \"status\" : \"{places}\"\n}}"),
            places: 0,
        }
    };
    let herd = Herd::new(ALONE)
        .with_places(Places::new(echo, Duration::from_secs(30)))
        .adjust(with_web)
        .launch_all();
    let web = herd.web_address("Riley");
    report(&herd, &[("kiwi", "+34.068930-118.445127")]);
    let (_, of_client) = http_json(web, "/api/v1/places?client=kiwi&radius=0.5&limit=7");
    let status = &of_client["places"]["status"];
    assert_eq!(status, "7 within 500 of 34.068930,-118.445127");
    assert_eq!(
        of_client["center"],
        serde_json::json!([-118.445127, 34.06893])
    );
    let at_line = herd.at_line("Riley", "kiwi").unwrap();
    assert_eq!(of_client["at_line"], at_line.trim_end());
    let (_, of_point) = http_json(web, "/api/v1/places?point=-0.0000001,1e1");
    assert_eq!(
        of_point["places"]["status"],
        "20 within 10000 of -0.0000001,10"
    );
    assert_eq!(of_point["at_line"], Value::Null);
    let (_, of_tiny) = http_json(web, "/api/v1/places?point=1e-308,-1e-9&radius=1e-300");
    assert_eq!(of_tiny["places"]["status"], "20 within 0 of 0,-0.000000001");
    assert_eq!(http_json(web, "/api/v1/places?client=dodo").0, 404);
}

/// Starts a process for each server of a pair, with web ports.
fn pair() -> (Site, Vec<Process>, Vec<u16>) {
    let make = || {
        let site = Site::new(PAIR, "[flooding]\nheartbeat = \"100ms\"\n");
        let mut text = site.config();
        for (port, server) in free_ports(2).into_iter().zip(site.servers()) {
            let name = format!("name = \"{}\"\n", server.name);
            text = text.replace(&name, &format!("{name}web = \"127.0.0.1:{port}\"\n"));
        }
        site.set_config(&text);
        site
    };
    let serve = |site: &Site| ["Riley", "Jaquez"].map(|name| site.run(&["serve", name]));
    let (site, started) = Site::start(make, |site| serve(site).into_iter().collect());
    let config = site.config();
    let ports = config
        .lines()
        .filter_map(|line| line.strip_prefix("web = \"127.0.0.1:"));
    let ports = ports.map(|port| port.trim_end_matches('"').parse().unwrap());
    let ports = ports.collect();
    (site, started, ports)
}

#[test]
fn the_herd_and_a_client_are_shown_as_every_server_has_them() {
    let (site, mut servers, ports) = pair();
    let web = loopback(ports[0]);
    let state = |healthy: bool| {
        eventually("the state of the herd", || {
            let (status, herd) = http_json(web, "/api/v1/herd");
            (status == 200 && herd["healthy"] == healthy).then_some(herd)
        })
    };
    let herd = state(true);
    assert_eq!(
        (&herd["server"], &herd["herd"]),
        (&"Riley".into(), &"test".into())
    );
    assert_eq!(herd["tiles"], Value::Null);
    let names = |servers: &Value| -> Vec<String> {
        let servers = servers.as_array().unwrap().iter();
        servers
            .map(|it| it["server"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&herd["servers"]), ["Riley", "Jaquez"]);
    let jaquez = &herd["servers"][1];
    assert_eq!(jaquez["neighbours"], serde_json::json!(["Riley"]));
    assert_eq!(jaquez["status"]["name"], "Jaquez");
    assert_eq!(jaquez["status"]["links"][0]["up"], true);
    assert_eq!(jaquez["error"], Value::Null);

    let at_line = site.client("Riley").ask("IAMAT a/b%c +1-2 3");
    site.await_report(&["Jaquez"], "a/b%c", &at_line);
    let (status, located) = http_json(web, "/api/v1/clients/a%2Fb%25c");
    assert_eq!(status, 200, "{located}");
    assert_eq!(
        (&located["client"], &located["agree"]),
        (&"a/b%c".into(), &true.into())
    );
    assert_eq!(names(&located["held"]), ["Riley", "Jaquez"]);
    assert_eq!(located["held"][1]["learned_from"], "Riley");
    assert_eq!(located["held"][0]["at_line"], at_line);
    assert_eq!(http_json(web, "/api/v1/clients/dodo").0, 404);

    drop(servers.pop());
    let jaquez = &state(false)["servers"][1];
    assert_eq!(jaquez["status"], Value::Null);
    assert!(
        jaquez["error"]
            .as_str()
            .unwrap()
            .starts_with("unreachable: "),
        "{jaquez}"
    );
    let (status, located) = http_json(web, "/api/v1/clients/a%2Fb%25c");
    assert_eq!(
        (status, located["held"].as_array().unwrap().len()),
        (200, 1)
    );
    assert_eq!(names(&located["errors"]), ["Jaquez"]);
}

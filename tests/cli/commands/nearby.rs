//! `proxyherd nearby`.

use proxyherd::proto::nearby_request::Center;
use proxyherd::proto::{NearbyClient, Point};
use tonic::Status;

use super::fake_server::{Behaviour, held_report, herd, run, run_json};

#[test]
fn clients_are_listed_with_their_distances() {
    let (site, fakes) = herd(&["Riley"]);
    fakes[0].state(|state| {
        let near = [("b\x1b", 12.4, "1699999990"), ("a", 4321.0, "1699990000")];
        state.near = near
            .map(|(client, distance_meters, time)| NearbyClient {
                known: Some(held_report(client, "+34.068930-118.445127", time, "")),
                distance_meters,
            })
            .to_vec();
    });
    let point = ["nearby", "--point", "-33.9,151.2", "--radius", "5km"];
    assert_eq!(
        run(&site, &point, 0).stdout,
        "2 clients within 5.00km of -33.9+151.2, according to Riley\n\
         \n\
         distance    age  position               client\n\
         \x20    12m    10s  +34.068930-118.445127  b\\x1b\n\
         \x20 4.32km  2h46m  +34.068930-118.445127  a\n"
    );
    let json = run_json(&site, &["nearby", "kiwi", "--limit", "2"], 0);
    assert_eq!(json["clients"][0]["client"], "b\x1b");
    assert_eq!(json["clients"][1]["distance_meters"], 4321.0);
    assert_eq!(json["clients"][1]["age_seconds"], 10_000.0);
    fakes[0].state(|state| {
        let [point, client] = &state.nearbys[..] else {
            panic!("{:?}", state.nearbys)
        };
        let sydney = Point {
            latitude: -33.9,
            longitude: 151.2,
        };
        assert_eq!(point.center, Some(Center::Point(sydney)));
        assert_eq!((point.radius_meters, point.limit), (5000.0, 20));
        assert_eq!(client.center, Some(Center::Client("kiwi".to_owned())));
        assert_eq!((client.radius_meters, client.limit), (0.0, 2));
    });
}

#[test]
fn no_client_nearby_is_an_answer_and_an_unknown_center_is_a_failure() {
    let (site, fakes) = herd(&["Riley"]);
    let out = run(&site, &["nearby", "kiwi"], 0).stdout;
    assert_eq!(out, "no clients near kiwi, according to Riley\n");
    let unknown = Status::not_found("there is no report");
    fakes[0].state(|state| state.behaviour = Behaviour::Reject(unknown));
    let ended = run(&site, &["nearby", "kiwi"], 1);
    assert_eq!(ended.stderr, "error: Riley has no report of client kiwi\n");
    assert_eq!(ended.stdout, "");
}

//! `proxyherd nearby`.

use proxyherd::proto::nearby_request::Center;
use proxyherd::proto::{NearbyClient, Point};
use tonic::Status;

use super::operator::{Manner, herd, known, run, run_json};

#[test]
fn clients_are_listed_with_their_distances() {
    let (site, played) = herd(&["Riley"]);
    played[0].script(|script| {
        let near = [("b\x1b", 12.4, "1699999990"), ("a", 4321.0, "1699990000")];
        script.near = near
            .map(|(client, distance_meters, time)| NearbyClient {
                known: Some(known(client, "+34.068930-118.445127", time, "")),
                distance_meters,
            })
            .to_vec();
    });
    let point = ["nearby", "--point", "-33.9,151.2", "--radius", "5km"];
    assert_eq!(
        run(&site, &point, 0).stdout,
        "2 clients within 5.00km of -33.9+151.2, by Riley\n\
         \n\
         distance    age  position               client\n\
         \x20    12m    10s  +34.068930-118.445127  b\\x1b\n\
         \x20 4.32km  2h46m  +34.068930-118.445127  a\n"
    );
    let json = run_json(&site, &["nearby", "kiwi", "--limit", "2"], 0);
    assert_eq!(json["clients"][0]["client"], "b\x1b");
    assert_eq!(json["clients"][1]["distance_meters"], 4321.0);
    assert_eq!(json["clients"][1]["age_seconds"], 10_000.0);
    played[0].script(|script| {
        let [point, client] = &script.nearbys[..] else {
            panic!("{:?}", script.nearbys)
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
fn that_nobody_is_near_is_an_answer_and_an_unknown_client_is_none() {
    let (site, played) = herd(&["Riley"]);
    let out = run(&site, &["nearby", "kiwi"], 0).stdout;
    assert_eq!(out, "no clients of kiwi, by Riley\n");
    let unknown = Status::not_found("there is no report");
    played[0].script(|script| script.manner = Manner::Refuses(unknown));
    let ended = run(&site, &["nearby", "kiwi"], 1);
    assert_eq!(ended.stderr, "error: Riley knows no client kiwi\n");
    assert_eq!(ended.stdout, "");
}

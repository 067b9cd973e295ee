//! Nearby Search (legacy): requests, and responses that are forwarded.

use super::provider::Provider;
use super::{KEY_IN_URLS, T, answer_from, answer_of, herd_asking, old, places_at, status_of};

/// A response as Google sends it, with oddities that it could send: numbers that no float can hold,
/// keys in another order, unknown keys, escapes.
const SENT: &str = r#"{
   "html_attributions" : ["Listings by <a href=\"https://example.org/?a=1&b=2\">Ex\u0061mple</a>"],
   "next_page_token" : "CuQB3AAAACX_8",
   "results" : [
      {"name" : "मुंबई \/ 😀 \ud83d\ude00", "geometry" : {"location" : {"lng" : -73.77813909999999000001, "lat" : 40.0}},
       "user_ratings_total" : 340282366920938463463374607431768211456, "rating" : 4.50e0, "photos" : [ ], "new" : {"a":{}}},
      {"place_id" : "second", "types" : ["bar","food"]},
      {"place_id" : "third"}
   ],
   "status" : "OK",
   "Zukunft" : null
}
"#;

const PASSED_ON: &str = r#"{
   "html_attributions" : [
      "Listings by \u003ca href=\"https://example.org/?a=1&b=2\"\u003eExample\u003c/a\u003e"
   ],
   "next_page_token" : "CuQB3AAAACX_8",
   "results" : [
      {
         "name" : "मुंबई / 😀 😀",
         "geometry" : {
            "location" : {
               "lng" : -73.77813909999999000001,
               "lat" : 40.0
            }
         },
         "user_ratings_total" : 340282366920938463463374607431768211456,
         "rating" : 4.50e+0,
         "photos" : [],
         "new" : {
            "a" : {}
         }
      },
      {
         "place_id" : "second",
         "types" : [
            "bar",
            "food"
         ]
      }
   ],
   "status" : "OK",
   "Zukunft" : null
}"#;

#[test]
fn a_response_is_forwarded_with_its_digits_and_order_in_google_s_formatting() {
    let provider = Provider::answering(200, SENT);
    let herd = herd_asking(places_at(&provider.url(), old()));
    let mut client = herd.client("Riley");
    client.send("WHATSAT kiwi 10 2\n");
    let answer = String::from_utf8(client.finish()).unwrap();
    let (at_line, json) = answer.split_once('\n').unwrap();
    assert!(at_line.starts_with("AT Riley +"), "{at_line}");
    assert_eq!(json, format!("{PASSED_ON}\n\n"));
}

#[test]
fn the_request_has_the_client_s_own_digits() {
    let provider = Provider::answering(200, SENT);
    let herd = herd_asking(places_at(&provider.url(), old()));
    let asked = |position: &str, question: &str| {
        let mut client = herd.client("Riley");
        client.ask(&format!("IAMAT at{position} {position} {T}"));
        client.send(format!("WHATSAT at{position} {question}\n"));
        client.places();
        let call = provider.calls().pop().unwrap();
        assert_eq!(call.header("accept-encoding"), None);
        call.line
    };
    let url = "/maps/api/place/nearbysearch/json";
    for (position, question, asked_for) in [
        (
            "+34.068930-118.445127",
            "10 5",
            "location=34.068930,-118.445127&radius=10000",
        ),
        ("-0+0/", "0.5 5", "location=-0,0&radius=500"),
        (
            "+007.10-0.00",
            "0.0001 5",
            "location=007.10,-0.00&radius=0.1",
        ),
        (
            "+1.00000000000000000000000000001+2",
            "0 5",
            "location=1.00000000000000000000000000001,2&radius=0",
        ),
        (
            "-90+180.000",
            "50.0000 20",
            "location=-90,180.000&radius=50000",
        ),
    ] {
        assert_eq!(
            asked(position, question),
            format!("GET {url}?{asked_for}&key={KEY_IN_URLS} HTTP/1.1")
        );
    }
}

#[test]
fn a_whatsat_for_no_places_makes_no_call() {
    let provider = Provider::answering(200, SENT);
    let herd = herd_asking(places_at(&provider.url(), old()));
    assert_eq!(status_of(&answer_of(&herd, "10 0")), "ZERO_RESULTS");
    assert_eq!(provider.calls().len(), 0);
}

#[test]
fn google_s_errors_are_forwarded() {
    for status in [
        "OVER_QUERY_LIMIT",
        "REQUEST_DENIED",
        "INVALID_REQUEST",
        "UNKNOWN_ERROR",
    ] {
        let body = format!(
            r#"{{"error_message":"You <b>may not</b>.","html_attributions":[],"results":[],"status":"{status}"}}"#
        );
        let expected = format!(
            r#"{{
   "error_message" : "You \u003cb\u003emay not\u003c/b\u003e.",
   "html_attributions" : [],
   "results" : [],
   "status" : "{status}"
}}"#
        );
        let provider = Provider::answering(200, body);
        assert_eq!(answer_from(&provider, old()), expected);
        assert_eq!(provider.calls().len(), 1);
    }
}

#[test]
fn a_response_without_places_has_empty_results() {
    let body = r#"{"html_attributions":[],"results":[],"status":"ZERO_RESULTS"}"#;
    let expected = r#"{
   "html_attributions" : [],
   "results" : [],
   "status" : "ZERO_RESULTS"
}"#;
    assert_eq!(
        answer_from(&Provider::answering(200, body), old()),
        expected
    );
}

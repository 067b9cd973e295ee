//! Google as the places provider, simulated by an HTTP server of the tests: both APIs, failed
//! calls, concurrent calls, and the secrecy of the key.

mod failures;
mod legacy;
mod new;
mod provider;
mod secrets;
mod sharing;
mod surroundings;

use std::time::Duration;

use crate::common::{ALONE, Client, Herd, LIMIT};
use provider::Provider;
use proxyherd::places::google::{BaseUrl, FieldMask, GoogleApi, GoogleSettings};
use proxyherd::places::{Places, PlacesSettings};

/// The API key of all tests. It occurs nowhere else, and its end must be escaped in a URL.
const KEY: &str = "AIzaSyTheKeyOfAllTests+/";

/// The key as it appears in a URL.
const KEY_IN_URLS: &str = "AIzaSyTheKeyOfAllTests%2B%2F";

/// The time of the reports.
const T: &str = "1621464827";

/// The position of the client kiwi.
const UCLA: &str = "+34.068930-118.445127";

fn old() -> GoogleApi {
    GoogleApi::Legacy
}

fn new() -> GoogleApi {
    GoogleApi::New(FieldMask::default())
}

/// Returns a provider at `base_url`, with the time limit of tests.
fn places_at(base_url: &str, api: GoogleApi) -> Places {
    places_within(LIMIT, base_url, api)
}

fn places_within(timeout: Duration, base_url: &str, api: GoogleApi) -> Places {
    let settings = PlacesSettings::Google(GoogleSettings {
        base_url: Some(BaseUrl::parse(base_url).unwrap()),
        timeout,
        ..GoogleSettings::of(api)
    });
    Places::start_with_environment(&settings, |variable| {
        assert_eq!(variable, "GOOGLE_PLACES_API_KEY");
        Ok(KEY.to_owned())
    })
    .unwrap()
}

/// Starts Riley alone with this provider and a report of kiwi.
fn herd_asking(places: Places) -> Herd {
    let mut herd = Herd::new(ALONE).with_places(places);
    herd.launch("Riley");
    herd.client("Riley").ask(&format!("IAMAT kiwi {UCLA} {T}"));
    herd
}

/// Returns the JSON of a WHATSAT for kiwi; `question` is the radius and the number.
fn answer_of(herd: &Herd, question: &str) -> String {
    let mut client = herd.client("Riley");
    client.send(format!("WHATSAT kiwi {question}\n"));
    json_of(&mut client)
}

/// Returns the JSON of the next answer.
fn json_of(client: &mut Client) -> String {
    let (at_line, json) = client.places();
    assert!(at_line.contains(" kiwi "), "{at_line}");
    json
}

/// Returns the answer to one WHATSAT from a provider whose answers are all the same.
fn answer_from(provider: &Provider, api: GoogleApi) -> String {
    answer_of(&herd_asking(places_at(&provider.url(), api)), "10 5")
}

/// Returns the status in an answer.
fn status_of(json: &str) -> &str {
    let (_, rest) = json.split_once("\"status\" : \"").expect(json);
    rest.split_once('"').unwrap().0
}

/// Returns the error message in an answer.
fn message_of(json: &str) -> &str {
    let (_, rest) = json.split_once("\"error_message\" : \"").expect(json);
    rest.split_once("\",\n").unwrap().0
}

//! Google as the places provider, played by an HTTP server of the tests' own:
//! both APIs, every way in which a call can go wrong, and what is promised of
//! calls that run side by side and of the key.

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

/// The key of all tests. Nothing else is written like it, and a URL has to
/// escape its end.
const KEY: &str = "AIzaSyTheKeyOfAllTests+/";

/// The same in a URL.
const KEY_IN_URLS: &str = "AIzaSyTheKeyOfAllTests%2B%2F";

/// A time of the clients' clocks.
const T: &str = "1621464827";

/// Where the client kiwi is.
const UCLA: &str = "+34.068930-118.445127";

fn old() -> GoogleApi {
    GoogleApi::Legacy
}

fn new() -> GoogleApi {
    GoogleApi::New(FieldMask::default())
}

/// Places that ask `base_url`, and take as long as tests may take.
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

/// Riley alone, which knows where kiwi is and asks these places.
fn herd_asking(places: Places) -> Herd {
    let mut herd = Herd::new(ALONE).with_places(places);
    herd.launch("Riley");
    herd.client("Riley").ask(&format!("IAMAT kiwi {UCLA} {T}"));
    herd
}

/// What a herd answers to a client that asks what is near kiwi, `question`
/// being the radius and the number.
fn answer_of(herd: &Herd, question: &str) -> String {
    let mut client = herd.client("Riley");
    client.send(format!("WHATSAT kiwi {question}\n"));
    json_of(&mut client)
}

/// The JSON of the next answer.
fn json_of(client: &mut Client) -> String {
    let (at_line, json) = client.places();
    assert!(at_line.contains(" kiwi "), "{at_line}");
    json
}

/// The answer to one question, where the provider says the same to everyone.
fn answer_from(provider: &Provider, api: GoogleApi) -> String {
    answer_of(&herd_asking(places_at(&provider.url(), api)), "10 5")
}

/// The status in an answer.
fn status_of(json: &str) -> &str {
    let (_, behind) = json.split_once("\"status\" : \"").expect(json);
    behind.split_once('"').unwrap().0
}

/// The message in an answer that has one.
fn message_of(json: &str) -> &str {
    let (_, behind) = json.split_once("\"error_message\" : \"").expect(json);
    behind.split_once("\",\n").unwrap().0
}

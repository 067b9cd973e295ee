//! Calls that run side by side.

use std::pin::pin;
use std::thread;
use std::time::Duration;

use proxyherd::model::decimal::Decimal;
use proxyherd::model::position::Position;
use proxyherd::places::google::MAX_CALLS;
use proxyherd::places::{PlacesQuery, PlacesResponse};
use tokio::time::timeout;

use super::provider::{Provider, Treatment};
use super::{
    T, UCLA, herd_asking, json_of, message_of, new, old, places_at, places_within, status_of,
};
use crate::common::{LIMIT, eventually};

const FOUND: &str = r#"{"html_attributions":[],"results":[{"name":"here"}],"status":"OK"}"#;

fn question(radius_km: &str) -> PlacesQuery {
    let position = Position::parse(UCLA.as_bytes()).unwrap();
    PlacesQuery::new(position, Decimal::parse(radius_km.as_bytes()).unwrap(), 5)
}

/// Begins to wait for an answer that is not there yet.
async fn begin(answer: &mut (impl Future<Output = PlacesResponse> + Unpin)) {
    assert!(timeout(Duration::ZERO, answer).await.is_err());
}

#[test]
fn forty_equal_questions_at_once_are_one_call() {
    for (api, found) in [(old(), FOUND), (new(), r#"{"places":[{"id":"here"}]}"#)] {
        let provider = Provider::answering(200, found);
        provider.shut();
        let herd = herd_asking(places_at(&provider.url(), api));
        let mut clients: Vec<_> = (0..40).map(|_| herd.client("Riley")).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(format!("WHATSAT kiwi 10 5\nIAMAT client-{n} +1+1 {T}\n"));
        }
        for n in 0..40 {
            eventually("the question before this report is taken", || {
                herd.position("Riley", &format!("client-{n}"))
            });
        }
        // The server does one thing at a time, so when this is answered all of
        // them wait.
        herd.client("Riley").ask("hello");
        provider.open();
        let first = json_of(&mut clients[0]);
        assert_eq!(status_of(&first), "OK");
        for client in &mut clients[1..] {
            assert_eq!(json_of(client), first);
        }
        assert_eq!(provider.calls().len(), 1);
    }
}

#[test]
fn the_same_question_in_other_digits_of_the_radius_is_the_same() {
    let provider = Provider::answering(200, FOUND);
    provider.shut();
    let herd = herd_asking(places_at(&provider.url(), old()));
    let mut client = herd.client("Riley");
    client.send("WHATSAT kiwi 0.5 5\nWHATSAT kiwi 00.500 5\nWHATSAT kiwi 0.5 6\n");
    provider.await_under_way(2);
    provider.open();
    for _ in 0..3 {
        assert_eq!(status_of(&json_of(&mut client)), "OK");
    }
    assert_eq!(provider.calls().len(), 2);
}

#[tokio::test]
async fn one_who_leaves_does_not_take_the_call_along() {
    let provider = Provider::answering(200, FOUND);
    provider.shut();
    let places = places_at(&provider.url(), old());
    let asked = question("10");
    let mut first = Box::pin(places.nearby(&asked));
    let mut second = pin!(places.nearby(&asked));
    begin(&mut first).await;
    begin(&mut second).await;
    while provider.traffic().under_way == 0 {
        begin(&mut second).await;
    }
    drop(first);
    provider.open();
    let answer = timeout(LIMIT, second).await.unwrap();
    assert_eq!(answer.places, 1);
    assert_eq!(provider.calls().len(), 1);
}

#[test]
fn nothing_is_kept_after_it_is_answered() {
    for (status, body) in [(200, FOUND), (429, ""), (404, "")] {
        let provider = Provider::answering(status, body);
        let herd = herd_asking(places_at(&provider.url(), old()));
        let mut client = herd.client("Riley");
        for calls in 1..=5 {
            client.send("WHATSAT kiwi 10 5\n");
            json_of(&mut client);
            assert_eq!(provider.calls().len(), calls);
        }
    }
}

#[test]
fn a_hundred_different_questions_stay_within_the_limit_and_are_all_answered() {
    let provider = Provider::start(|_, _| {
        // What the network takes, so that calls overlap.
        thread::sleep(Duration::from_millis(5));
        Treatment::Answer(200, FOUND.into())
    });
    provider.shut();
    let herd = herd_asking(places_at(&provider.url(), old()));
    let mut clients: Vec<_> = (0..10).map(|_| herd.client("Riley")).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        for m in 0..10 {
            client.send(format!("WHATSAT kiwi {n}.{m} 5\n"));
        }
        client.send(format!("IAMAT client-{n} +1+1 {T}\n"));
    }
    for n in 0..10 {
        eventually("the questions before this report are taken", || {
            herd.position("Riley", &format!("client-{n}"))
        });
    }
    herd.client("Riley").ask("hello");
    provider.await_under_way(MAX_CALLS);
    provider.open();
    for client in &mut clients {
        for _ in 0..10 {
            assert_eq!(status_of(&json_of(client)), "OK");
        }
    }
    assert_eq!(provider.calls().len(), 100);
    assert_eq!(provider.traffic().most, MAX_CALLS);
    let connections = provider.traffic().connections;
    assert!(
        connections <= MAX_CALLS + 2,
        "{connections}: they are kept alive"
    );
}

#[test]
fn who_waits_for_a_place_in_vain_is_answered_in_time_too() {
    const CLIENTS: usize = 6;
    // As many of a connection as wait side by side.
    const EACH: usize = 16;
    let provider = Provider::start(|_, _| Treatment::Begin(Vec::new()));
    let limit = Duration::from_millis(500);
    let herd = herd_asking(places_within(limit, &provider.url(), old()));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| herd.client("Riley")).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        for m in 0..EACH {
            client.send(format!("WHATSAT kiwi {n}.{m} 5\n"));
        }
    }
    for client in &mut clients {
        for _ in 0..EACH {
            let answer = json_of(client);
            assert!(
                message_of(&answer).ends_with("no answer within 500ms"),
                "{answer}"
            );
        }
    }
    // A call that is given up makes room for who still has a moment.
    let calls = provider.calls().len();
    assert!(calls < CLIENTS * EACH, "{calls}: some waited in vain");
}

#[test]
fn connections_are_kept_alive() {
    for (api, body) in [(old(), FOUND), (new(), "{}")] {
        let provider = Provider::answering(200, body);
        let herd = herd_asking(places_at(&provider.url(), api));
        let mut client = herd.client("Riley");
        for _ in 0..20 {
            client.send("WHATSAT kiwi 10 5\n");
            json_of(&mut client);
        }
        assert_eq!(provider.calls().len(), 20);
        assert_eq!(provider.traffic().connections, 1);
    }
}

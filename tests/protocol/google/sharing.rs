//! Concurrent calls.

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

/// Polls an answer that is not ready.
async fn begin(answer: &mut (impl Future<Output = PlacesResponse> + Unpin)) {
    assert!(timeout(Duration::ZERO, answer).await.is_err());
}

#[test]
fn forty_equal_queries_share_one_call() {
    for (api, found) in [(old(), FOUND), (new(), r#"{"places":[{"id":"here"}]}"#)] {
        let provider = Provider::answering(200, found);
        provider.shut();
        let herd = herd_asking(places_at(&provider.url(), api));
        let mut clients: Vec<_> = (0..40).map(|_| herd.client("Riley")).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(format!("WHATSAT kiwi 10 5\nIAMAT client-{n} +1+1 {T}\n"));
        }
        for n in 0..40 {
            eventually("the query before this report is taken", || {
                herd.position("Riley", &format!("client-{n}"))
            });
        }
        // The server has one thread, so all of them wait once this is answered.
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
fn queries_whose_radius_has_other_digits_are_equal() {
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
async fn a_shared_call_continues_when_one_caller_leaves() {
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
fn answers_are_not_cached() {
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
fn a_hundred_different_queries_are_answered_within_the_limit_of_concurrent_calls() {
    let provider = Provider::start(|_, _| {
        // Like a network, so that calls overlap.
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
        eventually("the queries before this report are taken", || {
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
        "{connections}: connections are reused"
    );
}

#[test]
fn a_query_that_waits_for_the_limit_of_calls_ends_at_the_time_limit_too() {
    const CLIENTS: usize = 6;
    // The default of `max_waiting`.
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
    assert!(provider.traffic().most <= MAX_CALLS);
}

#[test]
fn connections_to_the_provider_are_reused() {
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

//! Answers to clients when the provider fails: there is always one, in time, with the cause.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use proxyherd::places::google::{GoogleApi, MAX_BODY_BYTES};

use crate::common::eventually;

use super::provider::{Provider, Treatment, head};
use super::{
    answer_from, answer_of, herd_asking, message_of, new, old, places_at, places_within, status_of,
};

/// Returns a response with one place.
fn whole(api: &GoogleApi) -> &'static str {
    match api {
        GoogleApi::Legacy => {
            r#"{"html_attributions":[],"results":[{"name":"here"}],"status":"OK"}"#
        }
        GoogleApi::New(_) => r#"{"places":[{"displayName":{"text":"here"}}]}"#,
    }
}

fn both() -> [GoogleApi; 2] {
    [old(), new()]
}

/// Sends a query to a provider that fails. Checks that the answer contains `expected` and not the
/// provider's address. Returns the number of calls.
#[track_caller]
fn fails(provider: &Provider, api: GoogleApi, expected: &str) -> usize {
    let answer = answer_from(provider, api);
    assert_eq!(status_of(&answer), "UNKNOWN_ERROR", "{answer}");
    let message = message_of(&answer);
    assert!(
        message.starts_with("the places provider failed: "),
        "{message}"
    );
    assert!(message.contains(expected), "{message}");
    for hidden in ["AIza", "http:", "127.0.0.1"] {
        assert!(!message.contains(hidden), "{message}");
    }
    provider.calls().len()
}

#[test]
fn an_invalid_response_is_an_unknown_error() {
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0xab; 50]].concat();
    let bomb = format!(
        "{{\"status\":\"OK\",\"results\":[1],\"x\":{}",
        "[".repeat(1_000_000)
    );
    let closed = format!("{bomb}{}}}", "]".repeat(1_000_000));
    let bodies: [&[u8]; 11] = [
        b"",
        b"<!DOCTYPE html><title>Proxy</title>",
        b"null",
        b"[]",
        b"{\"status\":\"OK\"}",
        b"{\"status\":\"OK\",\"results\":[{\"a\":01}]}",
        b"{\"status\":\"OK\",\"results\":[{\"a\":\"\xff\"}]}",
        b"{\"results\":[],\"places\":{}}",
        &gzip,
        bomb.as_bytes(),
        closed.as_bytes(),
    ];
    for api in both() {
        for body in bodies {
            let provider = Provider::answering(200, body);
            let calls = fails(&provider, api.clone(), "no response of this API: ");
            assert_eq!(calls, 1);
        }
    }
}

#[test]
fn a_response_that_grows_too_much_when_printed_is_an_unknown_error() {
    let nested = format!(
        "{}{}0{}",
        "[".repeat(60),
        "0,".repeat(500_000),
        "]".repeat(60)
    );
    let body = format!(r#"{{"status":"OK","results":[{nested}]}}"#);
    fails(
        &Provider::answering(200, body),
        old(),
        "printed, it has more than",
    );
}

#[test]
fn an_http_error_without_a_message_of_google_s_is_reported_by_its_status() {
    for api in both() {
        for (status, calls) in [(429, 1), (404, 1), (500, 2), (503, 2)] {
            for body in ["", "<html>", whole(&api)] {
                let provider = Provider::answering(status, body);
                let expected = format!("it answered with HTTP status {status}");
                assert_eq!(fails(&provider, api.clone(), &expected), calls, "{status}");
            }
        }
    }
}

#[test]
fn a_call_that_fails_once_is_retried() {
    for api in both() {
        for fault in 0..5 {
            let body = whole(&api);
            let provider = Provider::start(move |number, _| match (number, fault) {
                (1.., _) => Treatment::Answer(200, body.into()),
                (0, 0) => Treatment::Answer(500, b"oops".to_vec()),
                (0, 1) => Treatment::Answer(503, Vec::new()),
                (0, 2) => Treatment::Bytes(Vec::new()),
                (0, 3) => Treatment::Bytes(head(200, "content-length: 100")),
                (0, _) => {
                    Treatment::Bytes([head(200, "content-length: 100"), body.into()].concat())
                }
            });
            let answer = answer_from(&provider, api.clone());
            assert_eq!(status_of(&answer), "OK", "{fault}: {answer}");
            assert_eq!(provider.calls().len(), 2);
        }
    }
}

#[test]
fn a_call_that_fails_twice_is_reported() {
    for (bytes, expected) in [
        (Vec::new(), "the connection to it broke"),
        (b"HTTP/1.1 200".to_vec(), "the connection to it broke"),
        (b"garbage\r\n\r\n".to_vec(), "the connection to it broke"),
        (
            [head(200, "content-length: 90"), whole(&old()).into()].concat(),
            "the connection to it broke",
        ),
        (
            [
                head(200, "transfer-encoding: chunked"),
                b"5\r\n{\"sta".to_vec(),
            ]
            .concat(),
            "the connection to it broke",
        ),
    ] {
        for api in both() {
            let bytes = bytes.clone();
            let provider = Provider::start(move |_, _| Treatment::Bytes(bytes.clone()));
            assert_eq!(fails(&provider, api, expected), 2);
        }
    }
}

#[test]
fn an_unreachable_provider_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for api in both() {
        let herd = herd_asking(places_at(&format!("http://127.0.0.1:{port}"), api));
        let answer = answer_of(&herd, "10 5");
        assert_eq!(status_of(&answer), "UNKNOWN_ERROR");
        assert_eq!(
            message_of(&answer),
            "the places provider failed: it could not be reached: Connection refused (os error 111)"
        );
    }
}

#[test]
fn a_provider_that_never_answers_ends_at_the_time_limit() {
    let limit = Duration::from_millis(300);
    for api in both() {
        let provider = Provider::start(|_, _| Treatment::Begin(Vec::new()));
        let herd = herd_asking(places_within(limit, &provider.url(), api));
        let start = Instant::now();
        let answer = answer_of(&herd, "10 5");
        let taken = start.elapsed();
        assert_eq!(status_of(&answer), "UNKNOWN_ERROR");
        assert!(
            message_of(&answer).ends_with("no answer within 300ms"),
            "{answer}"
        );
        assert!(taken >= limit, "{taken:?}");
        assert_eq!(provider.calls().len(), 1);
    }
}

#[test]
fn a_retry_ends_at_the_time_limit_too() {
    let limit = Duration::from_millis(500);
    let provider = Provider::start(|number, _| match number {
        0 => Treatment::Answer(500, Vec::new()),
        _ => Treatment::Begin(Vec::new()),
    });
    let herd = herd_asking(places_within(limit, &provider.url(), new()));
    assert!(message_of(&answer_of(&herd, "10 5")).ends_with("no answer within 500ms"));
    assert_eq!(provider.calls().len(), 2);
}

#[test]
fn a_provider_that_falls_silent_is_called_again_after_the_time_limit() {
    let limit = Duration::from_millis(300);
    for api in both() {
        let provider = Provider::answering(200, whole(&api));
        let herd = herd_asking(places_within(limit, &provider.url(), api));
        // On a busy machine a call may take longer than the limit.
        let await_ok = || {
            eventually("the provider answers within the limit", || {
                (status_of(&answer_of(&herd, "10 5")) == "OK").then_some(())
            });
        };
        await_ok();
        // The connection stays open, and the next call waits in it.
        provider.shut();
        assert_eq!(status_of(&answer_of(&herd, "10 5")), "UNKNOWN_ERROR");
        provider.open();
        await_ok();
    }
}

#[test]
fn a_response_that_stops_in_its_middle_ends_at_the_time_limit() {
    let limit = Duration::from_millis(300);
    let begun = [head(200, "content-length: 90"), b"{\"status\":".to_vec()].concat();
    for api in both() {
        let begun = begun.clone();
        let provider = Provider::start(move |_, _| Treatment::Begin(begun.clone()));
        let herd = herd_asking(places_within(limit, &provider.url(), api));
        let answer = answer_of(&herd, "10 5");
        assert!(
            message_of(&answer).ends_with("no answer within 300ms"),
            "{answer}"
        );
        assert_eq!(provider.calls().len(), 1);
    }
}

#[test]
fn a_slow_response_within_the_time_limit_is_used() {
    for api in both() {
        let provider = Provider::answering(200, whole(&api));
        provider.shut();
        let herd = herd_asking(places_at(&provider.url(), api));
        let mut client = herd.client("Riley");
        client.send("WHATSAT kiwi 10 5\nWHATSAT kiwi 0 0\n");
        provider.await_under_way(1);
        // Other clients are answered meanwhile.
        assert_eq!(status_of(&answer_of(&herd, "10 0")), "ZERO_RESULTS");
        provider.open();
        assert_eq!(status_of(&super::json_of(&mut client)), "OK");
        assert_eq!(status_of(&super::json_of(&mut client)), "ZERO_RESULTS");
    }
}

#[test]
fn a_response_over_the_size_limit_is_not_read_to_its_end() {
    for api in both() {
        let expected = "its answer is larger than 2097152 bytes";
        let endless = Provider::start(|_, _| Treatment::Endless);
        assert_eq!(fails(&endless, api.clone(), expected), 1);
        // Bytes that were not read waited in socket buffers.
        let sent = endless.traffic().sent;
        assert!(sent < MAX_BODY_BYTES + (16 << 20), "{sent}");

        let announced = Provider::answering(200, vec![b' '; 50 << 20]);
        assert_eq!(fails(&announced, api, expected), 1);
    }
}

#[test]
fn a_large_response_within_the_size_limit_is_used() {
    let place = format!(r#"{{"name":"{}"}}"#, "ü".repeat(40_000));
    let places = vec![place; 20].join(",");
    let provider = Provider::answering(200, format!(r#"{{"results":[{places}],"status":"OK"}}"#));
    let herd = herd_asking(places_at(&provider.url(), old()));
    assert_eq!(answer_of(&herd, "10 20").matches("üüü\"").count(), 20);
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Provider::answering(200, whole(&old()));
    for (status, api) in [(301, old()), (302, old()), (307, new()), (308, new())] {
        let target = format!("location: {}/\r\ncontent-length: 0", elsewhere.url());
        let redirect = Provider::start(move |_, _| Treatment::Bytes(head(status, &target)));
        let expected = format!("it answered with HTTP status {status}");
        assert_eq!(fails(&redirect, api, &expected), 1);
    }
    assert_eq!(elsewhere.calls().len(), 0);
}

#[test]
fn an_https_call_to_a_plaintext_provider_is_reported() {
    let provider = Provider::answering(200, whole(&old()));
    let url = provider.url().replace("http:", "https:");
    let herd = herd_asking(places_at(&url, old()));
    let answer = answer_of(&herd, "10 5");
    assert_eq!(status_of(&answer), "UNKNOWN_ERROR");
    let message = message_of(&answer);
    assert!(message.contains("it could not be reached: "), "{message}");
}

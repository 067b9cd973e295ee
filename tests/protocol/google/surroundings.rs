//! The environment of a process: proxies and trusted CAs.

use std::process::Command;

use super::provider::Provider;
use super::{KEY, KEY_IN_URLS, T, UCLA, json_of, message_of, status_of};
use crate::common::{ALONE, Process, Site};

const FOUND: &str = r#"{"html_attributions":[],"results":[{"name":"here"}],"status":"OK"}"#;

/// Returns the answer of a server that runs in this environment, and everything that it printed.
fn answer_in(base_url: &str, environment: impl Fn(&mut Command)) -> (String, String) {
    let settings =
        format!("[places]\nprovider = \"google\"\n[places.google]\nbase_url = \"{base_url}\"\n");
    let make = || Site::new(ALONE, &settings);
    let start = |site: &Site| {
        let mut command = site.command(&["up"]);
        for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(variable);
            command.env_remove(variable.to_uppercase());
        }
        environment(command.env("GOOGLE_PLACES_API_KEY", KEY));
        Process::spawn(&mut command).serving()
    };
    let (site, process) = Site::start(make, start);
    let mut client = site.client("Riley");
    client.ask(&format!("IAMAT kiwi {UCLA} {T}"));
    client.send("WHATSAT kiwi 10 5\n");
    let answer = json_of(&mut client);
    process.signal("TERM");
    let ended = process.end();
    (answer, ended.stdout + &ended.stderr)
}

#[test]
fn proxies_of_the_environment_are_used() {
    let proxy = Provider::answering(200, FOUND);
    let (answer, _) = answer_in("http://places.invalid", |command| {
        command.env("http_proxy", proxy.url());
    });
    assert_eq!(status_of(&answer), "OK");
    let call = proxy.calls().pop().unwrap();
    assert_eq!(
        call.line,
        format!(
            "GET http://places.invalid/maps/api/place/nearbysearch/json\
             ?location=34.068930,-118.445127&radius=10000&key={KEY_IN_URLS} HTTP/1.1"
        )
    );
    let (answer, _) = answer_in("http://places.invalid", |command| {
        command.env("http_proxy", proxy.url());
        command.env("no_proxy", "places.invalid");
    });
    assert_eq!(status_of(&answer), "UNKNOWN_ERROR");
    assert_eq!(proxy.calls().len(), 1);
}

#[test]
fn a_provider_on_this_machine_is_called_without_a_proxy() {
    let provider = Provider::answering(200, FOUND);
    let proxy = Provider::answering(404, "");
    let (answer, _) = answer_in(&provider.url(), |command| {
        command.env("http_proxy", proxy.url());
    });
    assert_eq!(status_of(&answer), "OK");
    assert_eq!(proxy.calls().len(), 0);
}

#[test]
fn without_trusted_cas_http_works_and_https_is_reported() {
    let provider = Provider::answering(200, FOUND);
    let without_roots = |command: &mut Command| {
        command.env("SSL_CERT_FILE", "/nonexistent");
        command.env("SSL_CERT_DIR", "/nonexistent");
    };
    let (answer, printed) = answer_in(&provider.url(), without_roots);
    assert_eq!(status_of(&answer), "OK");
    let warning = "warning: places: calls by https will fail";
    assert!(printed.contains(warning), "{printed}");
    assert!(printed.contains("SSL_CERT_FILE"), "{printed}");

    let by_https = provider.url().replace("http:", "https:");
    let (answer, _) = answer_in(&by_https, without_roots);
    assert_eq!(status_of(&answer), "UNKNOWN_ERROR");
    let expected = "the places provider failed: it could not be reached: ";
    assert!(message_of(&answer).starts_with(expected), "{answer}");
}

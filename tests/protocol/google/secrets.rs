//! Secrecy of the API key and of Google's places: neither is written anywhere.

use std::env::VarError;
use std::fs;

use proxyherd::places::google;
use proxyherd::proto::GetStatusRequest;
use proxyherd::proto::operator_client::OperatorClient;

use super::provider::{Provider, Treatment};
use super::{KEY, KEY_IN_URLS, T, UCLA, json_of, new, old, places_at, status_of};
use crate::common::{ALONE, PeerClient, Process, Site, free_ports, http_get, loopback};

/// A name that occurs only in the provider's responses.
const PLACE: &str = "Zum-goldenen-Hirschen";

/// Returns the config of a provider, and of the level of the log.
fn settings(name: &str, url: &str, level: &str) -> String {
    format!(
        "[places]\nprovider = \"{name}\"\n\
         [places.google]\nbase_url = \"{url}\"\ntimeout = \"10s\"\n\
         [log]\nlevel = \"{level}\"\n"
    )
}

/// Returns the treatment of a call. The responses repeat the key wherever text may be.
fn treat(number: usize) -> Treatment {
    let body = |body: &str| {
        let body = body.replace("KEY", KEY).replace("URL", KEY_IN_URLS);
        body.replace("PLACE", PLACE).into_bytes()
    };
    match number {
        0 => Treatment::Answer(
            200,
            body(r#"{"results":[{"name":"PLACE"}],"status":"OK","html_attributions":[]}"#),
        ),
        1 => Treatment::Answer(
            200,
            body(r#"{"places":[{"displayName":{"text":"PLACE"}}]}"#),
        ),
        2 => Treatment::Answer(
            200,
            body(r#"{"results":[],"status":"REQUEST_DENIED","error_message":"KEY at /?key=URL"}"#),
        ),
        3 => Treatment::Answer(
            403,
            body(r#"{"error":{"status":"PERMISSION_DENIED","message":"KEY at /?key=URL"}}"#),
        ),
        4 => Treatment::Answer(404, body("KEY")),
        5 | 6 => Treatment::Answer(500, body("KEY")),
        7 => Treatment::Bytes(body("KEY is no HTTP")),
        8 => Treatment::Bytes(body("HTTP/1.1 200 KEY\r\nKEY\r\n\r\n")),
        9 => Treatment::Bytes(body("HTTP/1.1 302 So\r\nlocation: /?key=URL\r\n\r\n")),
        _ => Treatment::Answer(200, body("{\"KEY\":KEY}")),
    }
}

#[test]
fn neither_the_key_nor_places_are_written_at_any_log_level() {
    for (name, level) in [
        ("google", "trace"),
        ("google-new", "trace"),
        ("google", "debug"),
    ] {
        let provider = Provider::start(|number, _| treat(number));
        let web = free_ports(1)[0];
        let make = || {
            let site = Site::new(ALONE, &settings(name, &provider.url(), level));
            let web = format!("web = \"127.0.0.1:{web}\"\ntalks_to");
            site.set_config(&site.config().replace("talks_to", &web));
            site
        };
        let start = |site: &Site| {
            let mut command = site.command(&["up"]);
            command
                .env("GOOGLE_PLACES_API_KEY", KEY)
                .env("RUST_LOG", level);
            Process::spawn(&mut command).serving()
        };
        let (site, process) = Site::start(make, start);
        let mut client = site.client("Riley");
        client.ask(&format!("IAMAT kiwi {UCLA} {T}"));
        let mut answers = String::new();
        let mut found = 0;
        while provider.calls().len() < 11 {
            client.send("WHATSAT kiwi 10 5\n");
            let answer = json_of(&mut client);
            found += usize::from(status_of(&answer) == "OK");
            answers.push_str(&answer);
        }
        assert!(found > 0, "some answers have places");
        drop(provider);
        client.send("WHATSAT kiwi 10 5\n");
        answers.push_str(&json_of(&mut client));

        let check = Process::run(site.command(&["check"]).env("GOOGLE_PLACES_API_KEY", KEY));
        let asked = [status(&site), metrics(web), format!("{check:?}")];

        process.signal("TERM");
        let ended = process.end();
        assert!(ended.status.success(), "{ended:?}");
        let log = site.log("Riley");
        assert!(log.contains("hyper_util::"), "libraries were traced: {log}");
        assert!(log.contains("INFO  the places provider failed: "), "{log}");
        assert!(
            log.contains("INFO  the places provider rejected the query: "),
            "{log}"
        );
        let files = fs::read_dir(site.path("logs")).unwrap();
        let mut written: Vec<String> = files
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        written.extend([ended.stdout, ended.stderr]);
        for text in &written {
            assert!(!text.contains(PLACE), "{text}");
        }
        written.push(answers);
        written.extend(asked);
        for text in &written {
            // This finds parts of the key too.
            assert!(!text.contains("TheKeyOfAllTests"), "{text}");
        }
    }
}

/// Returns the status that operators receive.
fn status(site: &Site) -> String {
    let caller = PeerClient::dial(loopback(site.server("Riley").peers));
    let mut client = OperatorClient::new(caller.channel.clone());
    let status = caller.run(client.get_status(GetStatusRequest {}));
    let status = format!("{:?}", status.unwrap().into_inner());
    assert!(status.contains("provider: \"google"), "{status}");
    status
}

/// Returns the metrics.
fn metrics(web: u16) -> String {
    let page = http_get(loopback(web), "/metrics").body;
    assert!(page.contains("proxyherd_places_queries_total"), "{page}");
    page
}

#[test]
fn every_call_contains_the_key() {
    for (api, old) in [(old(), true), (new(), false)] {
        let provider = Provider::answering(404, "");
        super::answer_from(&provider, api);
        let call = provider.calls().pop().unwrap();
        assert_eq!(call.line.contains(KEY_IN_URLS), old);
        assert_eq!(call.header("x-goog-api-key").is_some(), !old);
    }
}

#[test]
fn debug_output_of_places_and_settings_has_no_key() {
    for api in [old(), new()] {
        let places = places_at("http://127.0.0.1:1", api.clone());
        let printed = format!("{places:?} {places:#?}");
        assert!(printed.contains("Google("), "{printed}");
        let settings = google::GoogleSettings::of(api);
        let printed = format!("{printed} {settings:?} {settings:#?}");
        assert!(!printed.contains("TheKey"), "{printed}");
    }
}

#[test]
fn a_missing_key_is_an_error_at_start_that_names_the_variable() {
    let values = [
        Err(VarError::NotPresent),
        Ok(""),
        Ok("  "),
        Ok("open sesame"),
    ];
    for name in ["google", "google-new"] {
        let settings = format!(
            "[places]\nprovider = \"{name}\"\n[places.google]\napi_key_env = \"HERD_KEY\"\n"
        );
        let site = Site::new(ALONE, &settings);
        for value in &values {
            for arguments in [&["up"][..], &["serve", "Riley"], &["check"]] {
                let mut command = site.command(arguments);
                match value {
                    Ok(value) => command.env("HERD_KEY", value),
                    Err(_) => command.env_remove("HERD_KEY"),
                };
                // Only the variable that the config names is read.
                let ended = Process::run(command.env("GOOGLE_PLACES_API_KEY", KEY));
                assert_eq!(ended.status.code(), Some(1), "{ended:?}");
                let expected = "error: the environment variable HERD_KEY, which is to hold the key";
                assert!(ended.stderr.starts_with(expected), "{ended:?}");
                assert!(ended.stderr.contains("provider = \"offline\""), "{ended:?}");
                assert!(!ended.stderr.contains("sesame"), "{ended:?}");
                assert_eq!(ended.stdout, "");
            }
        }
        let ended = Process::run(site.command(&["check"]).env("HERD_KEY", KEY));
        assert!(ended.status.success(), "{ended:?}");
        let setting = "places.google.api_key_env = HERD_KEY (default GOOGLE_PLACES_API_KEY)";
        assert!(ended.stdout.contains(setting), "{ended:?}");
        assert!(!ended.stdout.contains("TheKey"), "{ended:?}");
    }
}

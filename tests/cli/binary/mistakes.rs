//! Mistakes are reported with their cause and a way out, and no server starts.

use std::fs;
use std::net::{TcpListener, TcpStream};

use crate::common::{ALONE, CLASSIC, Ended, PAIR, Process, Site, loopback};

/// Checks that the program printed an error, on standard error only, and did nothing.
/// Returns the error.
fn assert_failed(site: &Site, ended: &Ended) -> String {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert!(
        !site.path("logs").exists(),
        "it has begun to log: {ended:?}"
    );
    error_of(ended)
}

/// Returns the error that was printed.
fn error_of(ended: &Ended) -> String {
    let error = ended.stderr.strip_prefix("error: ");
    error.unwrap_or_else(|| panic!("{ended:?}")).to_owned()
}

#[test]
fn while_one_port_is_taken_no_server_starts() {
    let site = Site::new(CLASSIC, "");
    let third = site.server("Juzang");
    for (port, key) in [(third.clients, "clients"), (third.peers, "peers")] {
        let taken = TcpListener::bind(loopback(port)).unwrap();
        let error = assert_failed(&site, &Process::run(&mut site.command(&["up"])));
        let cause = format!("cannot bind 127.0.0.1:{port}: Address already in use");
        assert!(error.starts_with(&cause), "{error}");
        let remedy = format!(
            "; stop the other process (is the herd running already?) or change \"{key}\" of \
             server Juzang\n"
        );
        assert!(error.ends_with(&remedy), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        for server in site
            .servers()
            .iter()
            .filter(|server| server.name != "Juzang")
        {
            assert!(TcpStream::connect(loopback(server.clients)).is_err());
            assert!(TcpStream::connect(loopback(server.peers)).is_err());
        }
        drop(taken);
    }
}

#[test]
fn a_herd_that_runs_already_is_reported() {
    let (site, _process) = Site::up(PAIR, "");
    let ended = Process::run(&mut site.command(&["up"]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("is the herd running already?"),
        "{ended:?}"
    );
    site.client("Riley").ask("it still serves");
}

#[test]
fn an_address_of_another_machine_is_reported() {
    let site = Site::new((&["Riley"], &[]), "");
    let config = site
        .config()
        .replace("clients = \"127.0.0.1:", "clients = \"192.0.2.7:");
    site.set_config(&config);
    let error = assert_failed(&site, &Process::run(&mut site.command(&["up"])));
    assert!(error.starts_with("cannot bind 192.0.2.7:"), "{error}");
    assert!(error.contains("or set its \"bind_clients\""), "{error}");
}

#[test]
fn while_one_log_cannot_be_opened_no_server_starts() {
    let site = Site::new(CLASSIC, "");
    // A directory stands where the third server's log belongs.
    fs::create_dir_all(site.path("logs/Juzang.log")).unwrap();
    let ended = Process::run(&mut site.command(&["up"]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let error = error_of(&ended);
    let expected = "cannot open the log logs/Juzang.log: ";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.contains("`dir` in [log]"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for server in CLASSIC.0 {
        assert_eq!(site.log(server), "", "{server} has started");
    }
}

#[test]
fn all_mistakes_in_a_places_file_are_reported_by_file_and_line() {
    let site = Site::new(PAIR, "");
    let many = "Nowhere,north,1\n".repeat(20);
    for (places, expected) in [
        (
            "name,lat,lon\nHere,1,1\nThere,north,1\n",
            &["places.csv, line 3: the latitude \"north\" is no number"][..],
        ),
        // The quote that is not closed is closed by one of a later row.
        (
            "name,lat,lon,vicinity\nBar,34.07,-118.44,\"1 Main St\n\
             Café,34.08,-118.44,2 Side St\"\nPub,91,-118.44,\n",
            &[
                "places.csv, line 2: the value of column 4 (\"vicinity\") begins with a quote that",
                "places.csv, line 3: the value of column 4 (\"vicinity\") holds a quote",
                "places.csv, line 4: 91 is no latitude",
            ],
        ),
        (
            &format!("name,lat,lon\n{many}"),
            &[&["places.csv, line "; 10][..], &["places.csv: and 10 more"]].concat(),
        ),
    ] {
        fs::write(site.path("places.csv"), places).unwrap();
        for command in ["up", "check"] {
            let error = assert_failed(&site, &Process::run(&mut site.command(&[command])));
            let lines: Vec<&str> = error.lines().collect();
            assert_eq!(lines.len(), expected.len(), "{error}");
            for (line, expected) in lines.iter().zip(expected) {
                assert!(line.starts_with(expected), "{error}");
            }
        }
    }
}

#[test]
fn check_and_the_log_report_what_a_places_file_gave() {
    let feature = |geometry: &str, name| {
        format!(
            "{{\"type\": \"Feature\", \"geometry\": {geometry}, \
             \"properties\": {{\"name\": \"{name}\"}}}}\n"
        )
    };
    let point = "{\"type\": \"Point\", \"coordinates\": [-118.44, 34.07]}";
    let area = "{\"type\": \"Polygon\", \"coordinates\": []}";
    let places = feature(point, "Bar")
        + &feature("null", "Nowhere")
        + &feature(area, "Park")
        + &feature(point, "Pub")
        + &feature(area, "Lake");
    let make = || {
        let site = Site::new(ALONE, "[places]\nfile = \"own.json\"\n");
        fs::write(site.path("own.json"), &places).unwrap();
        site
    };
    let (site, process) = Site::start(make, |site| site.run(&["up"]));
    let expected =
        "own.json: 2 places; 3 features without a point passed over (2 Polygon and 1 null)";
    let check = Process::run(&mut site.command(&["check"]));
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    assert!(
        check.stdout.lines().any(|line| line == expected),
        "{check:?}"
    );
    process.await_stderr(expected);
    site.await_log("Riley", expected);
}

#[test]
fn warnings_about_the_config_are_reported_and_the_herd_runs() {
    let (site, process) = Site::up((&["Riley", "Jaquez"], &[]), "");
    process.await_stderr("warning: the herd is in 2 parts with no link between them");
    site.client("Riley").ask("it serves");
}

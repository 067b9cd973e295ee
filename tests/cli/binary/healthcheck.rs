//! `proxyherd healthcheck`.

use crate::common::{Ended, PAIR, Process, Site};

fn healthcheck(site: &Site, arguments: &[&str]) -> Ended {
    let mut command = site.command(&[&["healthcheck"], arguments].concat());
    Process::run(&mut command)
}

#[test]
fn servers_that_serve_are_healthy() {
    let (site, _process) = Site::up(PAIR, "");
    for (names, output) in [
        (&[][..], "Riley and Jaquez serve\n"),
        (&["Jaquez"], "Jaquez serves\n"),
    ] {
        let ended = healthcheck(&site, names);
        let Ended { stdout, stderr, .. } = &ended;
        assert_eq!((stdout.as_str(), stderr.as_str()), (output, ""));
        assert_eq!(ended.status.code(), Some(0));
    }
}

#[test]
fn a_server_that_is_down_is_unhealthy_and_its_neighbour_is_not() {
    let make = || Site::new(PAIR, "");
    let (site, _riley) = Site::start(make, |site| site.run(&["serve", "Riley"]));
    let ended = healthcheck(&site, &[]);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""));
    let address = format!("127.0.0.1:{}", site.server("Jaquez").peers);
    let error = format!("error: Jaquez does not serve at {address}: unreachable: ");
    assert!(ended.stderr.starts_with(&error), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    let ended = healthcheck(&site, &["Riley"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

#[test]
fn a_server_that_hangs_is_unhealthy_after_the_time_limit() {
    let make = || Site::new(PAIR, "");
    let (site, riley) = Site::start(make, |site| site.run(&["serve", "Riley"]));
    riley.freeze();
    let ended = healthcheck(&site, &["Riley", "--timeout", "300ms"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(
        ended.stderr.starts_with("error: Riley does not serve at "),
        "{ended:?}"
    );
}

#[test]
fn a_mistake_is_a_failure_too() {
    let site = Site::new(PAIR, "");
    let ended = healthcheck(&site, &["Nobody"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("Nobody"), "{ended:?}");
    site.set_config("nothing");
    assert_eq!(healthcheck(&site, &[]).status.code(), Some(1));
}

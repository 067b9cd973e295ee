//! Expired reports: hidden, and purged when they have been expired for a day.

use std::time::Duration;

use crate::common::{ALONE, Client, Herd, ManualClock, PAIR, Site, Topology, eventually};
use proxyherd::log::Log;

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

/// Starts servers whose reports expire after an hour of `clock`.
fn herd(topology: Topology<'_>, clock: &ManualClock) -> Herd {
    let hour = Duration::from_secs(HOUR as u64);
    let mut herd = Herd::new(topology).adjust(move |plan| plan.gateway.expire_after = Some(hour));
    for name in topology.0 {
        herd.launch_with(name, clock.clock(), Log::off());
    }
    herd.await_links();
    herd
}

fn report(client: &mut Client, time: i64) -> String {
    client.ask(&format!("IAMAT kiwi +1+1 {time}"))
}

const QUERY: &str = "WHATSAT kiwi 10 0";

/// Queries kiwi, and returns true if the server shows its report. Reads the whole answer.
fn is_shown(client: &mut Client) -> bool {
    client.send(format!("{QUERY}\nend\n"));
    let first = client.text();
    while client.text() != "? end" {}
    let is_shown = first.starts_with("AT ");
    if is_shown {
        assert!(first.contains(" kiwi "), "{first}");
    } else {
        assert_eq!(first, format!("? {QUERY}"));
    }
    is_shown
}

fn clients(herd: &Herd, server: &str) -> usize {
    herd.gateway(server).replica().store().clients()
}

#[test]
fn an_expired_report_is_hidden_until_its_client_reports_again() {
    let clock = ManualClock::at(10 * DAY);
    let herd = herd(ALONE, &clock);
    let mut client = herd.client("Riley");
    report(&mut client, 10 * DAY);
    assert!(is_shown(&mut client));
    clock.set(10 * DAY + HOUR);
    assert!(is_shown(&mut client), "exactly an hour old");
    clock.set(10 * DAY + HOUR + 1);
    assert!(!is_shown(&mut client));
    report(&mut client, 10 * DAY + 2);
    assert!(is_shown(&mut client));
}

#[test]
fn an_expired_report_is_kept_over_an_older_one() {
    let clock = ManualClock::at(10 * DAY);
    let herd = herd(ALONE, &clock);
    let mut client = herd.client("Riley");
    report(&mut client, 10 * DAY);
    clock.set(10 * DAY + 2 * HOUR);
    report(&mut client, 9 * DAY + 23 * HOUR);
    assert!(!is_shown(&mut client));
    let held = herd.gateway("Riley").replica().store();
    let kiwi = proxyherd::model::client::ClientId::parse(b"kiwi").unwrap();
    let time = held.find(kiwi, |report| report.time.text().to_owned());
    assert_eq!(time, Some((10 * DAY).to_string()));
}

#[test]
fn a_report_of_any_age_is_kept_and_hidden_while_it_is_expired() {
    let clock = ManualClock::at(10 * DAY);
    let herd = herd(ALONE, &clock);
    let mut client = herd.client("Riley");
    let answer = report(&mut client, 2 * DAY);
    assert_eq!(
        answer,
        format!("AT Riley +{}.000000000 kiwi +1+1 {}", 8 * DAY, 2 * DAY)
    );
    assert_eq!(clients(&herd, "Riley"), 1);
    assert!(!is_shown(&mut client));
    // The server's clock was a week ahead.
    clock.set(2 * DAY + HOUR);
    assert!(is_shown(&mut client));
}

#[test]
fn purged_reports_are_gone_everywhere_and_their_memory_is_reused() {
    let clock = ManualClock::at(10 * DAY);
    let mut herd = Herd::new(PAIR).adjust(|plan| {
        plan.gateway.expire_after = Some(Duration::from_secs(HOUR as u64));
        plan.gateway.purge_delay = Duration::from_secs(2);
    });
    for name in PAIR.0 {
        herd.launch_with(name, clock.clock(), Log::off());
    }
    herd.await_links();
    let mut client = herd.client("Riley");
    let report_all = |client: &mut Client, from: usize, time: i64| {
        for number in from..from + 1000 {
            client.ask(&format!("IAMAT client-{number} +1+1 {time}"));
        }
    };
    report_all(&mut client, 0, 10 * DAY);
    let await_clients = |count| {
        for server in ["Riley", "Jaquez"] {
            eventually(&format!("{server} has {count} clients"), || {
                (clients(&herd, server) == count).then_some(())
            });
        }
    };
    await_clients(1000);
    clock.set(10 * DAY + HOUR + 1);
    await_clients(0);
    for server in ["Riley", "Jaquez"] {
        let store = herd.gateway(server).replica().store();
        assert_eq!(store.feed_entries(), 0, "no change is left for a neighbour");
    }
    report_all(&mut client, 500, 11 * DAY);
    await_clients(1000);
}

#[test]
fn a_report_that_was_expired_for_a_day_does_not_return_from_a_neighbour() {
    let clock = ManualClock::at(10 * DAY);
    let mut herd = herd(PAIR, &clock);
    report(&mut herd.client("Riley"), 10 * DAY);
    herd.await_everywhere("kiwi", "+1+1");
    // The empty Riley receives the report of plum, and not that of kiwi.
    herd.kill("Riley");
    clock.set(11 * DAY + HOUR + 1);
    let plum = format!("IAMAT plum +2+2 {}", 11 * DAY + HOUR);
    herd.client("Jaquez").ask(&plum);
    herd.launch_with("Riley", clock.clock(), Log::off());
    herd.await_links();
    herd.await_everywhere("plum", "+2+2");
    eventually("every report is acknowledged", || {
        let last = herd.gateway("Jaquez").replica().store().last();
        (herd.link("Jaquez", "Riley").cursor == last).then_some(())
    });
    assert_eq!(clients(&herd, "Riley"), 1);
    assert_eq!(clients(&herd, "Jaquez"), 2, "purged only after a day");
}

#[test]
fn servers_with_different_expiry_log_a_warning() {
    let (site, _processes) = Site::start(
        || {
            let site = Site::new(PAIR, "[limits]\nexpire_after = \"1day\"\n");
            let other = site.config().replace("\"1day\"", "\"off\"");
            std::fs::write(site.path("other.toml"), other).unwrap();
            site
        },
        |site| {
            let mut other = site.command_alone(&["serve", "Jaquez", "--config", "other.toml"]);
            let riley = site.run(&["serve", "Riley"])?;
            Ok((riley, crate::common::Process::spawn(&mut other).serving()?))
        },
    );
    for (server, text) in [
        (
            "Riley",
            "Jaquez has expire_after at off, this server at 1day",
        ),
        (
            "Jaquez",
            "Riley has expire_after at 1day, this server at off",
        ),
    ] {
        let line = site.await_log(server, text);
        assert!(line.contains("WARN"), "{line}");
    }
}

#[test]
fn clients_beyond_the_limit_are_rejected_and_logged_once() {
    let (site, _process) = Site::up(ALONE, "[limits]\nmax_clients = 2\n");
    let mut client = site.client("Riley");
    for (name, start) in [
        ("a", "AT "),
        ("b", "AT "),
        ("c", "? "),
        ("a", "AT "),
        ("d", "? "),
    ] {
        let answer = client.ask(&format!("IAMAT {name} +1+1 5"));
        assert!(answer.starts_with(start), "{name}: {answer}");
    }
    let line = site.await_log("Riley", "rejected reports of new clients");
    assert!(line.contains("WARN"), "{line}");
    assert!(line.contains("the server holds 2 clients"), "{line}");
    client.ask("end");
    let logged = site
        .log("Riley")
        .matches("rejected reports of new clients")
        .count();
    assert_eq!(logged, 1);
}

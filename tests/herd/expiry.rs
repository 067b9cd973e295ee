//! Positions that nobody asks for any more: hidden, and forgotten a day later.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use crate::common::{ALONE, Client, Herd, Site, Topology, eventually};
use proxyherd::gateway::Clock;
use proxyherd::log::Log;
use proxyherd::model::timestamp::UnixNanos;

const PAIR: Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

/// A clock that the test sets, in seconds.
#[derive(Clone, Default)]
struct Hands(Arc<AtomicI64>);

impl Hands {
    fn at(seconds: i64) -> Self {
        let hands = Self::default();
        hands.set(seconds);
        hands
    }

    fn set(&self, seconds: i64) {
        self.0.store(seconds, Relaxed);
    }

    fn clock(&self) -> Clock {
        let seconds = self.0.clone();
        Clock::new(move || UnixNanos(seconds.load(Relaxed) * 1_000_000_000))
    }
}

/// Servers that hide what is an hour old, by this clock.
fn herd(topology: Topology<'_>, hands: &Hands) -> Herd {
    let hour = Duration::from_secs(HOUR as u64);
    let mut herd = Herd::new(topology).adjust(move |plan| plan.gateway.expire_after = Some(hour));
    for name in topology.0 {
        herd.launch_with(name, hands.clock(), Log::off());
    }
    herd.await_links();
    herd
}

fn report(client: &mut Client, time: i64) -> String {
    client.ask(&format!("IAMAT kiwi +1+1 {time}"))
}

const QUESTION: &str = "WHATSAT kiwi 10 0";

/// Is kiwi found? Reads the whole answer.
fn is_shown(client: &mut Client) -> bool {
    client.send(format!("{QUESTION}\nend\n"));
    let first = client.text();
    while client.text() != "? end" {}
    match first.starts_with("AT ") {
        false => assert_eq!(first, format!("? {QUESTION}")),
        true => assert!(first.contains(" kiwi "), "{first}"),
    }
    first.starts_with("AT ")
}

fn clients(herd: &Herd, server: &str) -> usize {
    herd.gateway(server).replica().store().clients()
}

#[test]
fn a_report_is_hidden_after_its_time_and_shown_again_when_its_client_reports() {
    let hands = Hands::at(10 * DAY);
    let herd = herd(ALONE, &hands);
    let mut client = herd.client("Riley");
    report(&mut client, 10 * DAY);
    assert!(is_shown(&mut client));
    hands.set(10 * DAY + HOUR);
    assert!(is_shown(&mut client), "just so old");
    hands.set(10 * DAY + HOUR + 1);
    assert!(!is_shown(&mut client));
    report(&mut client, 10 * DAY + 2);
    assert!(is_shown(&mut client));
}

#[test]
fn a_hidden_report_still_wins_over_an_older_one() {
    let hands = Hands::at(10 * DAY);
    let herd = herd(ALONE, &hands);
    let mut client = herd.client("Riley");
    report(&mut client, 10 * DAY);
    hands.set(10 * DAY + 2 * HOUR);
    report(&mut client, 9 * DAY + 23 * HOUR);
    assert!(!is_shown(&mut client));
    let held = herd.gateway("Riley").replica().store();
    let kiwi = proxyherd::model::client::ClientId::parse(b"kiwi").unwrap();
    let time = held.find(kiwi, |report| report.time.text().to_owned());
    assert_eq!(time, Some((10 * DAY).to_string()));
}

#[test]
fn a_report_that_is_too_old_to_be_kept_is_answered_and_changes_nothing() {
    let herd = herd(ALONE, &Hands::at(10 * DAY));
    let mut client = herd.client("Riley");
    let oldest_kept = 9 * DAY - HOUR;
    let skew = DAY + HOUR + 1;
    assert_eq!(
        report(&mut client, oldest_kept - 1),
        format!("AT Riley +{skew}.000000000 kiwi +1+1 {}", oldest_kept - 1)
    );
    assert_eq!(clients(&herd, "Riley"), 0);
    report(&mut client, oldest_kept);
    assert_eq!(clients(&herd, "Riley"), 1, "kept, and hidden");
    assert!(!is_shown(&mut client));
}

#[test]
fn what_is_forgotten_is_gone_everywhere_and_its_memory_serves_others() {
    let hands = Hands::at(10 * DAY);
    let herd = herd(PAIR, &hands);
    let mut client = herd.client("Riley");
    let tell = |client: &mut Client, from: usize, time: i64| {
        for number in from..from + 1000 {
            client.ask(&format!("IAMAT client-{number} +1+1 {time}"));
        }
    };
    tell(&mut client, 0, 10 * DAY);
    let know = |count| {
        for server in ["Riley", "Jaquez"] {
            eventually(&format!("{server} knows {count} clients"), || {
                (clients(&herd, server) == count).then_some(())
            });
        }
    };
    know(1000);
    hands.set(11 * DAY + HOUR + 1);
    know(0);
    for server in ["Riley", "Jaquez"] {
        let store = herd.gateway(server).replica().store();
        assert_eq!(store.feed_entries(), 0, "nothing is left for a neighbour");
    }
    tell(&mut client, 500, 11 * DAY);
    know(1000);
}

#[test]
fn what_is_forgotten_does_not_come_back_from_a_neighbour_whose_clock_is_behind() {
    let (right, behind) = (Hands::at(10 * DAY), Hands::at(10 * DAY));
    let hour = Duration::from_secs(HOUR as u64);
    let mut herd = Herd::new(PAIR).adjust(move |plan| plan.gateway.expire_after = Some(hour));
    herd.launch_with("Riley", right.clock(), Log::off());
    herd.launch_with("Jaquez", behind.clock(), Log::off());
    herd.await_links();
    report(&mut herd.client("Riley"), 10 * DAY);
    herd.await_everywhere("kiwi", "+1+1");
    right.set(11 * DAY + HOUR + 2);
    eventually("Riley forgets", || {
        (clients(&herd, "Riley") == 0).then_some(())
    });
    // Empty, it is filled with all that Jaquez holds: kiwi, which it drops and
    // acknowledges, and plum.
    herd.kill("Riley");
    report(&mut herd.client("Jaquez"), 10 * DAY + 1);
    behind.set(10 * DAY + HOUR);
    herd.client("Jaquez")
        .ask(&format!("IAMAT plum +2+2 {}", 11 * DAY + HOUR));
    herd.launch_with("Riley", right.clock(), Log::off());
    herd.await_links();
    herd.await_everywhere("plum", "+2+2");
    eventually("all is acknowledged", || {
        let last = herd.gateway("Jaquez").replica().store().last();
        (herd.link("Jaquez", "Riley").cursor == last).then_some(())
    });
    assert_eq!(clients(&herd, "Riley"), 1);
    assert_eq!(clients(&herd, "Jaquez"), 2, "by its clock they are fresh");
}

#[test]
fn servers_that_forget_at_different_times_are_told() {
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
    for (server, words) in [
        (
            "Riley",
            "Jaquez has expire_after at off, this server at 1day",
        ),
        (
            "Jaquez",
            "Riley has expire_after at 1day, this server at off",
        ),
    ] {
        let line = site.await_log(server, words);
        assert!(line.contains("WARN"), "{line}");
    }
}

#[test]
fn clients_past_the_limit_are_refused_and_counted_and_it_is_told_once() {
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
    let line = site.await_log("Riley", "IAMATs of new ones are refused");
    assert!(line.contains("WARN"), "{line}");
    assert!(line.contains("2 clients are known"), "{line}");
    client.ask("end");
    let told = site.log("Riley").matches("IAMATs of new ones").count();
    assert_eq!(told, 1);
}

//! Metrics of links: state, lag, traffic, duplicates.

use super::herd;
use super::metrics_page::MetricsPage;
use crate::common::{FakeSender, Herd, Mode, PAIR, PeerClient, Topology, eventually};
use proxyherd::model::name::Name;

const TRIANGLE: Topology<'static> = (&["A", "B", "C"], &[("A", "B"), ("B", "C"), ("C", "A")]);

#[test]
fn a_link_that_is_down_and_its_lag_are_shown() {
    let herd = herd(PAIR);
    let web = herd.web_address("Riley");
    let of = |page: &MetricsPage, name: &str| {
        page.get(&format!("proxyherd_link_{name}{{neighbour=\"Jaquez\"}}"))
    };
    let up = MetricsPage::of(web);
    assert_eq!(of(&up, "up"), 1.0);
    assert_eq!(of(&up, "state_changes_total"), 1.0);
    assert_eq!((of(&up, "lag_reports"), of(&up, "lag_seconds")), (0.0, 0.0));

    herd.set_link("Riley", "Jaquez", Mode::Stall);
    let mut client = herd.client("Riley");
    for line in ["IAMAT a +1+1 1", "IAMAT b +1+1 1", "IAMAT a +1+1 2"] {
        client.ask(line);
    }
    let down = eventually("the link is down", || {
        let page = MetricsPage::of(web);
        (of(&page, "up") == 0.0).then_some(page)
    });
    assert_eq!(of(&down, "state_changes_total"), 2.0);
    assert_eq!(of(&down, "lag_reports"), 2.0);
    assert!(of(&down, "lag_seconds") > 0.0);
    assert!(of(&down, "calls_failed_total") > 0.0);
    eventually("the lag grows", || {
        let later = MetricsPage::of(web);
        (of(&later, "lag_seconds") > of(&down, "lag_seconds")).then_some(())
    });

    herd.set_link("Riley", "Jaquez", Mode::Pass);
    let page = eventually("the link is up and has no lag", || {
        let page = MetricsPage::of(web);
        (of(&page, "up") == 1.0 && of(&page, "lag_reports") == 0.0).then_some(page)
    });
    assert_eq!(of(&page, "lag_seconds"), 0.0);
    assert_eq!(of(&page, "state_changes_total"), 3.0);
}

#[test]
fn a_link_over_which_nothing_arrives_is_shown() {
    let herd = herd(PAIR);
    let page = || MetricsPage::of(herd.web_address("Riley"));
    let of = |name: &str| page().get(&format!("proxyherd_link_{name}{{neighbour=\"Jaquez\"}}"));
    herd.await_links();
    eventually("Jaquez pushes", || {
        (of("incoming_silence_seconds") < 1.0).then_some(())
    });
    herd.set_connections("Jaquez", "Riley", Mode::Stall);
    eventually("nothing arrives", || {
        (of("incoming_silence_seconds") > 2.0).then_some(())
    });
    assert_eq!(of("up"), 1.0, "the other direction works");
    herd.set_connections("Jaquez", "Riley", Mode::Pass);
    eventually("Jaquez pushes again", || {
        (of("incoming_silence_seconds") < 1.0).then_some(())
    });
}

#[test]
fn two_processes_of_one_name_are_shown_by_their_neighbour() {
    let herd = herd(PAIR);
    herd.await_links();
    let duplicates = || {
        let page = MetricsPage::of(herd.web_address("Riley"));
        page.get("proxyherd_link_neighbour_duplicates{neighbour=\"Jaquez\"}")
    };
    assert_eq!(duplicates(), 0.0);
    // Another one greets all the while.
    let calls = PeerClient::dial(herd.peers_address("Riley"));
    let mut second = FakeSender::new("Jaquez", 7, "Riley");
    eventually("the second process is noticed", || {
        second.greet(&calls);
        (duplicates() == 1.0).then_some(())
    });
}

#[test]
fn the_servers_of_the_config_with_a_web_port_are_listed() {
    let herd = Herd::new(PAIR)
        .adjust(|plan| {
            super::with_web(plan);
            plan.web.servers = ["Riley", "Jaquez"]
                .map(|name| Name::parse(name).unwrap())
                .to_vec();
        })
        .launch_all();
    let page = MetricsPage::of(herd.web_address("Riley"));
    for name in ["Riley", "Jaquez"] {
        let series = format!("proxyherd_herd_server{{herd=\"test\",name=\"{name}\"}}");
        assert_eq!(page.get(&series), 1.0);
    }
}

#[test]
fn duplicates_are_counted_in_a_ring() {
    let herd = herd(TRIANGLE);
    for round in 1..=20 {
        // Both neighbours of A receive the report from A and push it to each other.
        let mut client = herd.client("A");
        client.ask(&format!("IAMAT kiwi +1+1 {round}"));
        herd.await_everywhere("kiwi", "+1+1");
    }
    let received = |result: &str| {
        let mut sum = 0.0;
        for server in ["A", "B", "C"] {
            let page = MetricsPage::of(herd.web_address(server));
            let series: Vec<_> = page.series().map(str::to_owned).collect();
            let is_it = |s: &&String| {
                s.starts_with("proxyherd_link_reports_received_total")
                    && s.contains(&format!("result=\"{result}\""))
            };
            sum += series
                .iter()
                .filter(is_it)
                .map(|s| page.get(s))
                .sum::<f64>();
        }
        sum
    };
    eventually("some reports are duplicates", || {
        let (newer, duplicate) = (received("newer"), received("duplicate"));
        (newer > 0.0 && duplicate > 0.0).then_some(())
    });
}

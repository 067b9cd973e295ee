//! Servers with storage that restart: they have what they had, and exchange only what changed.

use std::time::{Duration, Instant};

use proxyherd::gateway::Gateway;
use proxyherd::server::ServerPlan;
use tempfile::TempDir;

use crate::common::{ALONE, CLASSIC, Herd, eventually};

/// Number of clients that report to each server.
const CLIENTS: usize = 200;

/// Starts the classic herd with storage in a directory.
fn with_storage(dir: &TempDir) -> Herd {
    let dir = dir.path().to_owned();
    let adjust = move |plan: &mut ServerPlan| {
        plan.storage.dir = Some(dir.clone());
        plan.storage.sync = Duration::from_millis(10);
    };
    Herd::new(CLASSIC).adjust(adjust).launch_all()
}

/// Lets some clients report to each server, and waits until every server has all reports.
fn report_to_all(herd: &Herd, time: usize) {
    for server in CLASSIC.0 {
        let mut client = herd.client(server);
        for n in 0..CLIENTS {
            client.send(format!("IAMAT {server}-{n} +1+1 {time}\n"));
        }
        for _ in 0..CLIENTS {
            assert!(client.text().starts_with("AT "));
        }
    }
    herd.await_pushes();
    herd.await_clients(CLIENTS * CLASSIC.0.len());
    herd.await_pushes();
}

/// Waits until a server has written all that it has and has applied.
fn await_disk(gateway: &Gateway) {
    let storage = gateway.storage().unwrap();
    // The first of these attempts may have begun before.
    for _ in 0..2 {
        let now = Instant::now();
        eventually("a write", || {
            let succeeded_at = storage.snapshot().succeeded_at;
            succeeded_at.is_some_and(|at| at > now).then_some(())
        });
    }
    assert_eq!(storage.durable(), gateway.replica().store().last());
}

/// Waits until all servers have applied all of their neighbours' feeds, and have written that.
fn await_disks(herd: &Herd) {
    eventually("everything is applied", || {
        let is_applied = |server: &&str| {
            let facts = herd.gateway(server).replica().facts();
            facts.iter().all(|facts| {
                let other = herd.gateway(&facts.neighbour).replica();
                let (current, last) = (other.incarnation(), other.store().last());
                let mut applied = facts.applied.iter();
                applied.any(|it| (it.of, it.through) == (current, last))
            })
        };
        CLASSIC.0.iter().all(is_applied).then_some(())
    });
    CLASSIC
        .0
        .iter()
        .for_each(|server| await_disk(herd.gateway(server)));
}

/// Returns the number of reports that all servers sent since their starts.
fn reports_sent(herd: &Herd) -> u64 {
    let links = CLASSIC.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
    let sent = links.map(|(from, to)| herd.traffic(from, to).counters.reports_sent.get());
    sent.sum()
}

fn assert_all_there(herd: &Herd, time: usize) {
    for server in CLASSIC.0 {
        for origin in CLASSIC.0 {
            let line = herd.at_line(server, &format!("{origin}-7")).unwrap();
            assert!(line.starts_with(&format!("AT {origin} ")), "{line}");
            assert!(line.ends_with(&format!(" {time}")), "{line}");
        }
    }
}

#[test]
fn servers_that_restart_together_have_everything_and_exchange_nothing() {
    let dir = TempDir::new().unwrap();
    let mut herd = with_storage(&dir);
    report_to_all(&herd, 1);
    assert!(reports_sent(&herd) >= 4 * 1000);
    await_disks(&herd);
    for is_clean in [false, true] {
        for server in CLASSIC.0 {
            if is_clean {
                assert_eq!(herd.drain(server), 0);
            } else {
                herd.kill(server);
            }
        }
        for server in CLASSIC.0 {
            herd.launch(server);
            let clients = herd.gateway(server).replica().store().clients();
            assert_eq!(clients, 1000, "before it has a link");
        }
        herd.await_links();
        herd.await_pushes();
        assert_all_there(&herd, 1);
        assert_eq!(reports_sent(&herd), 0);
        await_disks(&herd);
    }
    // They still exchange what is new.
    report_to_all(&herd, 2);
    assert_all_there(&herd, 2);
}

#[test]
fn a_server_that_restarts_alone_gets_what_changed_meanwhile() {
    let dir = TempDir::new().unwrap();
    let mut herd = with_storage(&dir);
    report_to_all(&herd, 1);
    await_disks(&herd);
    herd.kill("Bernard");
    let mut client = herd.client("Riley");
    for n in 0..3 {
        client.ask(&format!("IAMAT Riley-{n} +2+2 2"));
    }
    let before = reports_sent_without(&herd, "Bernard");
    herd.launch("Bernard");
    herd.await_links();
    herd.await_pushes();
    for n in 0..3 {
        herd.await_everywhere(&format!("Riley-{n}"), "+2+2");
    }
    // Three neighbours may each send him three reports, and he them to two others; the rest of the
    // herd may not have had them before.
    let sent = reports_sent_without(&herd, "") - before;
    assert!(sent <= 3 * 2 * CLASSIC.1.len() as u64, "{sent} reports");
    assert_all_there(&herd, 1);
}

/// Returns the number of reports that the servers except one sent.
fn reports_sent_without(herd: &Herd, absent: &str) -> u64 {
    let links = CLASSIC.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
    let links = links.filter(|&(from, _)| from != absent);
    let sent = links.map(|(from, to)| herd.traffic(from, to).counters.reports_sent.get());
    sent.sum()
}

#[test]
fn a_server_without_neighbours_that_stops_has_all_on_its_disk() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_owned();
    let adjust = move |plan: &mut ServerPlan| {
        plan.storage.dir = Some(path.clone());
        plan.storage.sync = Duration::from_secs(60);
    };
    let mut herd = Herd::new(ALONE).adjust(adjust).launch_all();
    let answer = herd.client("Riley").ask("IAMAT kiwi +1+1 1");
    assert_eq!(herd.drain("Riley"), 0);
    herd.launch("Riley");
    let line = herd.at_line("Riley", "kiwi").unwrap();
    assert_eq!(line, answer);
}

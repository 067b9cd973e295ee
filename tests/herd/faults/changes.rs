//! A rolling change: servers join and leave the config one at a time, while the others run.

use std::sync::{Arc, Mutex};

use super::T;
use crate::common::{Herd, Topology, eventually};
use crate::load::ClientLoad;

/// The config before the change.
const BEFORE: Topology<'static> = (
    &["Riley", "Jaquez", "Zoe"],
    &[("Riley", "Jaquez"), ("Jaquez", "Zoe")],
);

/// The config after the change: Riley has left, and Nadia has joined.
const AFTER: Topology<'static> = (
    &["Jaquez", "Zoe", "Nadia"],
    &[("Jaquez", "Zoe"), ("Zoe", "Nadia"), ("Nadia", "Jaquez")],
);

/// All servers and links of both configs.
const ALL: Topology<'static> = (
    &["Riley", "Jaquez", "Zoe", "Nadia"],
    &[
        ("Riley", "Jaquez"),
        ("Jaquez", "Zoe"),
        ("Zoe", "Nadia"),
        ("Nadia", "Jaquez"),
    ],
);

/// Returns a herd, and the config of servers that start from now on.
fn herd() -> (Herd, Arc<Mutex<Topology<'static>>>) {
    let config = Arc::new(Mutex::new(BEFORE));
    let read = config.clone();
    let herd = Herd::new(ALL).adjust(move |plan| {
        let (members, links) = *read.lock().unwrap();
        let own_name = plan.name.as_str().to_owned();
        plan.members
            .retain(|member| members.contains(&member.name.as_str()));
        plan.neighbours.retain(|(name, _)| {
            let name = name.as_str();
            links.contains(&(own_name.as_str(), name)) || links.contains(&(name, own_name.as_str()))
        });
    });
    (herd, config)
}

#[track_caller]
fn await_up(herd: &Herd, links: &[(&str, &str)]) {
    for (a, b) in links {
        eventually(&format!("{a} and {b} are linked"), || {
            (herd.is_up(a, b) && herd.is_up(b, a)).then_some(())
        });
    }
}

#[track_caller]
fn await_rejected(herd: &Herd, from: &str, to: &str) {
    let reason = format!("rejected: no server named {from:?} is in this server's config");
    eventually(&format!("the link from {from} to {to} is {reason}"), || {
        (herd.link(from, to).reason == reason).then_some(())
    });
}

#[test]
fn servers_join_and_leave_one_at_a_time_without_effect_on_clients_of_others() {
    const REPORTS: usize = 300;
    let (mut herd, config) = herd();
    BEFORE.0.iter().for_each(|name| herd.launch(name));
    await_up(&herd, BEFORE.1);
    let mut lines = Vec::new();
    let mut client = herd.client("Riley");
    for n in 0..REPORTS {
        lines.push((
            format!("r-{n}"),
            client.ask(&format!("IAMAT r-{n} +1+1 {T}")),
        ));
    }

    // The new server starts first. Servers with the old config reject it.
    *config.lock().unwrap() = AFTER;
    herd.launch("Nadia");
    await_rejected(&herd, "Nadia", "Jaquez");
    await_rejected(&herd, "Nadia", "Zoe");
    let line = herd.client("Nadia").ask(&format!("IAMAT n +1+1 {T}"));

    let load = ClientLoad::start(&herd, &["Jaquez", "Zoe", "Nadia"], 0);
    assert_eq!(herd.drain("Riley"), 0);
    await_rejected(&herd, "Nadia", "Jaquez");
    load.stop();

    let load = ClientLoad::start(&herd, &["Zoe", "Nadia"], 1);
    assert_eq!(herd.drain("Jaquez"), 0);
    herd.launch("Jaquez");
    await_up(&herd, &[("Jaquez", "Zoe"), ("Nadia", "Jaquez")]);
    await_rejected(&herd, "Nadia", "Zoe");
    load.stop().await_everywhere(&herd);

    let load = ClientLoad::start(&herd, &["Jaquez", "Nadia"], 2);
    assert_eq!(herd.drain("Zoe"), 0);
    herd.launch("Zoe");
    await_up(&herd, AFTER.1);
    load.stop().await_everywhere(&herd);

    lines.push(("n".to_owned(), line));
    for (server, (client, line)) in AFTER
        .0
        .iter()
        .flat_map(|s| lines.iter().map(move |r| (s, r)))
    {
        eventually(&format!("{server} has {line}"), || {
            (herd.at_line(server, client)? == *line).then_some(())
        });
    }
}

//! A rolling change: servers come into the config and leave it one at a time,
//! while the others go on.

use std::sync::{Arc, Mutex};

use super::T;
use super::load::Load;
use crate::common::{Herd, Topology, eventually};

/// Before and after: Riley leaves, Nadia comes.
const BEFORE: Topology<'static> = (
    &["Riley", "Jaquez", "Zoe"],
    &[("Riley", "Jaquez"), ("Jaquez", "Zoe")],
);
const AFTER: Topology<'static> = (
    &["Jaquez", "Zoe", "Nadia"],
    &[("Jaquez", "Zoe"), ("Zoe", "Nadia"), ("Nadia", "Jaquez")],
);
const ALL: Topology<'static> = (
    &["Riley", "Jaquez", "Zoe", "Nadia"],
    &[
        ("Riley", "Jaquez"),
        ("Jaquez", "Zoe"),
        ("Zoe", "Nadia"),
        ("Nadia", "Jaquez"),
    ],
);

/// A herd, and the config that servers read which start from now on.
fn herd() -> (Herd, Arc<Mutex<Topology<'static>>>) {
    let config = Arc::new(Mutex::new(BEFORE));
    let read = config.clone();
    let herd = Herd::new(ALL).adjust(move |plan| {
        let (members, links) = *read.lock().unwrap();
        let me = plan.name.as_str().to_owned();
        plan.members.retain(|name| members.contains(&name.as_str()));
        plan.neighbours.retain(|(name, _)| {
            let name = name.as_str();
            links.contains(&(me.as_str(), name)) || links.contains(&(name, me.as_str()))
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
fn await_refused(herd: &Herd, from: &str, to: &str) {
    let words = format!("refused: no server named {from:?} is in this server's config");
    eventually(&format!("{from} hears from {to}: {words}"), || {
        (herd.link(from, to).reason == words).then_some(())
    });
}

#[test]
fn servers_come_and_leave_one_at_a_time_and_nobody_else_notices() {
    const REPORTS: usize = 300;
    let (mut herd, config) = herd();
    BEFORE.0.iter().for_each(|name| herd.launch(name));
    await_up(&herd, BEFORE.1);
    let mut rileys = Vec::new();
    let mut client = herd.client("Riley");
    for n in 0..REPORTS {
        rileys.push((
            format!("r-{n}"),
            client.ask(&format!("IAMAT r-{n} +1+1 {T}")),
        ));
    }

    // The new one comes first, and is a stranger to all whose config is older.
    *config.lock().unwrap() = AFTER;
    herd.launch("Nadia");
    await_refused(&herd, "Nadia", "Jaquez");
    await_refused(&herd, "Nadia", "Zoe");
    let nadias = herd.client("Nadia").ask(&format!("IAMAT n +1+1 {T}"));

    let load = Load::start(&herd, &["Jaquez", "Zoe", "Nadia"], 0);
    assert_eq!(herd.drain("Riley"), 0);
    await_refused(&herd, "Nadia", "Jaquez");
    let served = load.stop();
    served.assert_quick("while one leaves");

    let load = Load::start(&herd, &["Zoe", "Nadia"], 1);
    assert_eq!(herd.drain("Jaquez"), 0);
    herd.launch("Jaquez");
    await_up(&herd, &[("Jaquez", "Zoe"), ("Nadia", "Jaquez")]);
    await_refused(&herd, "Nadia", "Zoe");
    let served = load.stop();
    served.assert_quick("while one is restarted");
    println!("all agree after {:?}", served.await_everywhere(&herd));

    let load = Load::start(&herd, &["Jaquez", "Nadia"], 2);
    assert_eq!(herd.drain("Zoe"), 0);
    herd.launch("Zoe");
    await_up(&herd, AFTER.1);
    let served = load.stop();
    served.assert_quick("while another is restarted");
    println!("all agree after {:?}", served.await_everywhere(&herd));

    rileys.push(("n".to_owned(), nadias));
    for (server, (client, line)) in AFTER
        .0
        .iter()
        .flat_map(|s| rileys.iter().map(move |r| (s, r)))
    {
        eventually(&format!("{server} holds {line}"), || {
            (herd.at_line(server, client)?.trim_end() == line).then_some(())
        });
    }
}

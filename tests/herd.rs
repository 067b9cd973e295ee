//! Herds over real gRPC: what one server hears, all come to know, whatever
//! happens to servers and to the links between them.

mod common;

use common::{CLASSIC, Herd, Mode};

const T: &str = "1621464827";

#[test]
fn a_report_floods_to_every_server() {
    let herd = Herd::start(CLASSIC);
    let answer = herd
        .client("Riley")
        .ask(&format!("IAMAT kiwi +34.068930-118.445127 {T}"));
    herd.await_everywhere("kiwi", "+34.068930-118.445127");
    for server in herd.running() {
        let mut client = herd.client(&server);
        client.send("WHATSAT kiwi 10 0\n");
        assert_eq!(client.places().0, answer, "at {server}");
    }
}

#[test]
fn a_late_starter_gets_all_that_it_missed() {
    let mut herd = Herd::new(CLASSIC);
    for name in &CLASSIC.0[..4] {
        herd.launch(name);
    }
    herd.await_links();
    for n in 0..3000 {
        herd.client("Riley")
            .ask(&format!("IAMAT client-{n} +1+{} {T}", n % 180));
        if n == 0 {
            herd.await_everywhere("client-0", "+1+0");
        }
    }
    herd.launch("Bernard");
    herd.await_everywhere("client-2999", "+1+119");
    assert_eq!(herd.gateway("Bernard").replica().store().clients(), 3000);
}

#[test]
fn a_quick_restart_is_noticed_and_refilled() {
    let mut herd = Herd::start(CLASSIC);
    herd.client("Jaquez").ask(&format!("IAMAT kiwi +1+1 {T}"));
    herd.await_everywhere("kiwi", "+1+1");
    for _ in 0..3 {
        herd.kill_and_launch("Riley");
        herd.await_everywhere("kiwi", "+1+1");
    }
    herd.client("Riley").ask(&format!("IAMAT kiwi +2+2 {T}.5"));
    herd.await_everywhere("kiwi", "+2+2");
}

#[test]
fn each_side_of_a_cut_goes_on_and_both_agree_after_it() {
    let herd = Herd::start(CLASSIC);
    let side = ["Riley", "Jaquez"];
    herd.set_border(&side, Mode::Cut);
    herd.client("Riley").ask(&format!("IAMAT kiwi +1+1 {T}"));
    herd.client("Bernard")
        .ask(&format!("IAMAT kiwi +2+2 {T}.1"));
    herd.client("Campbell").ask(&format!("IAMAT plum +3+3 {T}"));
    assert_eq!(herd.position("Riley", "plum"), None);
    herd.set_border(&side, Mode::Pass);
    herd.await_everywhere("kiwi", "+2+2");
    herd.await_everywhere("plum", "+3+3");
}

#[test]
fn a_link_that_carries_nothing_is_found_out_and_heals() {
    let herd = Herd::start((&["A", "B"], &[("A", "B")]));
    herd.set_link("A", "B", Mode::Stall);
    herd.client("A").ask(&format!("IAMAT kiwi +1+1 {T}"));
    common::eventually("A takes the link down", || {
        (!herd.is_up("A", "B")).then_some(())
    });
    assert_eq!(herd.position("B", "kiwi"), None);
    herd.set_link("A", "B", Mode::Pass);
    herd.await_everywhere("kiwi", "+1+1");
}

#[test]
fn a_drained_server_leaves_nothing_behind() {
    let mut herd = Herd::start(CLASSIC);
    let mut client = herd.client("Riley");
    for n in 0..500 {
        client.send(format!("IAMAT client-{n} +1+1 {T}\n"));
    }
    for _ in 0..500 {
        assert!(client.text().starts_with("AT Riley "));
    }
    assert_eq!(herd.drain("Riley"), 0);
    herd.await_everywhere("client-499", "+1+1");
    assert_eq!(herd.gateway("Bernard").replica().store().clients(), 500);
}

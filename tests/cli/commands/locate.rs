//! `proxyherd locate`.

use super::fake_server::{held_report, herd, run, run_json};

#[test]
fn servers_that_hold_the_same_report_are_listed_below_its_at_line() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    fakes[0].hold(held_report(
        "kiwi",
        "+34.068930-118.445127",
        "1621464827.959498503",
        "",
    ));
    fakes[1].hold(held_report(
        "kiwi",
        "+34.068930-118.445127",
        "1621464827.959498503",
        "Riley",
    ));
    assert_eq!(
        run(&site, &["locate", "kiwi"], 0).stdout,
        "kiwi: the same on 2 servers\n\
         \n\
         AT Riley +0.263873386 kiwi +34.068930-118.445127 1621464827.959498503\n\
         \x20 server    age  learned                   from\n\
         \x20 Riley   1m30s  2023-11-14T21:56:40.000Z  the client\n\
         \x20 Jaquez  1m30s  2023-11-14T21:56:40.000Z  Riley\n"
    );
    let json = run_json(&site, &["locate", "kiwi"], 0);
    assert_eq!(json["agree"], true);
    assert_eq!(json["newest"]["skew_nanos"], 263_873_386);
    assert_eq!(json["held"][0]["learned_from"], serde_json::Value::Null);
    assert_eq!(json["held"][1]["learned_from"], "Riley");
    assert_eq!(json["held"][1]["age_seconds"], 90.0);
}

#[test]
fn different_reports_are_printed_newest_first() {
    let (site, mut fakes) = herd(&["Riley", "Jaquez", "Juzang", "Campbell"]);
    fakes[0].hold(held_report("kiwi", "+1+1", "9", ""));
    fakes[1].hold(held_report("kiwi", "+2+2", "10", ""));
    fakes[3].stop();
    let out = run(&site, &["locate", "kiwi"], 1).stdout;
    assert!(out.starts_with("kiwi: 3 servers do NOT agree\n"), "{out}");
    let newer = out.find(" kiwi +2+2 10\n").unwrap();
    assert!(newer < out.find(" kiwi +1+1 9\n").unwrap(), "{out}");
    assert!(out.contains("\nno report on Juzang\n"), "{out}");
    assert!(out.contains("\nCampbell (127.0.0.1:"), "{out}");
    let json = run_json(&site, &["locate", "kiwi"], 1);
    assert_eq!(json["agree"], false);
    assert_eq!(json["newest"]["time"], "10");
    assert_eq!(json["unknown_to"][0], "Juzang");
    assert_eq!(json["errors"][0]["server"], "Campbell");
    run(&site, &["locate", "kiwi", "--server", "Jaquez"], 0);
}

#[test]
fn a_server_without_a_report_is_a_difference() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    let out = run(&site, &["locate", "kiwi"], 1).stdout;
    assert_eq!(out, "kiwi: no report on 2 servers\n");
    fakes[0].hold(held_report("kiwi", "+1+1", "9", ""));
    let out = run(&site, &["locate", "kiwi"], 1).stdout;
    assert!(out.starts_with("kiwi: 2 servers do NOT agree\n"), "{out}");
}

#[test]
fn control_characters_in_a_client_id_are_escaped() {
    let (site, fakes) = herd(&["Riley"]);
    let client = "\x1b]0;owned\x07\u{9b}2J\u{202e}";
    fakes[0].hold(held_report(client, "+1+1", "9", ""));
    for json in [&[][..], &["--json"]] {
        let out = run(&site, &[&["locate", client], json].concat(), 0).stdout;
        let is_raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!out.contains(is_raw), "{out:?}");
    }
}

#[test]
fn an_invalid_answer_is_rejected() {
    let (site, fakes) = herd(&["Riley"]);
    for invalid in [
        held_report("kiwi", "nowhere", "9", ""),
        held_report("kiwi", "+1+1", "9", "\x1b[2J"),
        held_report("other", "+1+1", "9", ""),
    ] {
        fakes[0].state(|state| state.reports.insert("kiwi".to_owned(), invalid));
        let out = run(&site, &["locate", "kiwi"], 1).stdout;
        assert!(out.contains("invalid answer: "), "{out:?}");
        assert!(!out.contains('\x1b'), "{out:?}");
    }
}

#[test]
fn without_an_answer_nothing_is_said_about_reports() {
    let (site, mut fakes) = herd(&["Riley"]);
    fakes[0].stop();
    let out = run(&site, &["locate", "kiwi"], 1).stdout;
    assert!(
        out.starts_with("kiwi: no server answered\n\nRiley (127.0.0.1:"),
        "{out}"
    );
}

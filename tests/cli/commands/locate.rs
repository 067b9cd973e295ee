//! `proxyherd locate`.

use super::operator::{herd, known, run, run_json};

#[test]
fn servers_that_hold_the_same_stand_below_one_at_line() {
    let (site, played) = herd(&["Riley", "Jaquez"]);
    played[0].knows(known(
        "kiwi",
        "+34.068930-118.445127",
        "1621464827.959498503",
        "",
    ));
    played[1].knows(known(
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
         \x20 Riley   1m30s  2023-11-14T21:56:40.000Z  its client\n\
         \x20 Jaquez  1m30s  2023-11-14T21:56:40.000Z  Riley\n"
    );
    let json = run_json(&site, &["locate", "kiwi"], 0);
    assert_eq!(json["agree"], true);
    assert_eq!(json["newest"]["skew"], "+0.263873386");
    assert_eq!(json["held"][0]["learned_from"], serde_json::Value::Null);
    assert_eq!(json["held"][1]["learned_from"], "Riley");
    assert_eq!(json["held"][1]["age_seconds"], 90.0);
}

#[test]
fn different_reports_are_told_newest_first() {
    let (site, mut played) = herd(&["Riley", "Jaquez", "Juzang", "Campbell"]);
    played[0].knows(known("kiwi", "+1+1", "9", ""));
    played[1].knows(known("kiwi", "+2+2", "10", ""));
    played[3].dies();
    let out = run(&site, &["locate", "kiwi"], 1).stdout;
    assert!(out.starts_with("kiwi: 3 servers do NOT agree\n"), "{out}");
    let newer = out.find(" kiwi +2+2 10\n").unwrap();
    assert!(newer < out.find(" kiwi +1+1 9\n").unwrap(), "{out}");
    assert!(out.contains("\nnot known to Juzang\n"), "{out}");
    assert!(out.contains("\nCampbell (127.0.0.1:"), "{out}");
    let json = run_json(&site, &["locate", "kiwi"], 1);
    assert_eq!(json["agree"], false);
    assert_eq!(json["newest"]["time"], "10");
    assert_eq!(json["unknown_to"][0], "Juzang");
    assert_eq!(json["errors"][0]["server"], "Campbell");
    run(&site, &["locate", "kiwi", "--server", "Jaquez"], 0);
}

#[test]
fn one_that_does_not_know_it_is_a_difference_and_nobody_is_a_failure() {
    let (site, played) = herd(&["Riley", "Jaquez"]);
    let out = run(&site, &["locate", "kiwi"], 1).stdout;
    assert_eq!(out, "kiwi: nobody of 2 servers knows it\n");
    played[0].knows(known("kiwi", "+1+1", "9", ""));
    let out = run(&site, &["locate", "kiwi"], 1).stdout;
    assert!(out.starts_with("kiwi: 2 servers do NOT agree\n"), "{out}");
}

#[test]
fn nothing_that_a_client_calls_itself_reaches_the_terminal_raw() {
    let (site, played) = herd(&["Riley"]);
    let client = "\x1b]0;owned\x07\u{9b}2J\u{202e}";
    played[0].knows(known(client, "+1+1", "9", ""));
    for json in [&[][..], &["--json"]] {
        let out = run(&site, &[&["locate", client], json].concat(), 0).stdout;
        let is_raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!out.contains(is_raw), "{out:?}");
    }
}

#[test]
fn an_answer_that_is_none_is_not_believed() {
    let (site, played) = herd(&["Riley"]);
    for spoiled in [
        known("kiwi", "nowhere", "9", ""),
        known("kiwi", "+1+1", "9", "\x1b[2J"),
        known("other", "+1+1", "9", ""),
    ] {
        played[0].script(|script| script.known.insert("kiwi".to_owned(), spoiled));
        let out = run(&site, &["locate", "kiwi"], 1).stdout;
        assert!(out.contains("its answer makes no sense: "), "{out:?}");
        assert!(!out.contains('\x1b'), "{out:?}");
    }
}

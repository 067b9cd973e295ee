//! The line protocol byte for byte: the lines that clients may send, and the answer to each.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use crate::common::{ALONE, Client, Herd, places_from};
use proptest::prelude::*;
use proxyherd::gateway::Clock;
use proxyherd::log::Log;
use proxyherd::model::timestamp::UnixNanos;

/// The time of Riley's clock, in nanoseconds, unless a test sets it.
const NOW: i64 = 1_621_464_828_223_371_889;

const KIWI: &str = "IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503";
const AT_KIWI: &str =
    "AT Riley +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503";

/// The default of `max_line`.
const MAX_LINE: usize = 4096;

fn riley() -> Herd {
    Herd::alone_at(NOW)
}

/// Starts Riley with a clock that the test sets.
fn riley_with_clock() -> (Herd, Arc<AtomicI64>) {
    let hand = Arc::new(AtomicI64::new(NOW));
    let read = hand.clone();
    let clock = Clock::new(move || UnixNanos(read.load(Relaxed)));
    let mut herd = Herd::new(ALONE);
    herd.launch_with("Riley", clock, Log::off());
    (herd, hand)
}

/// Returns everything that a client receives that sends these bytes at once and half-closes.
fn answers(herd: &Herd, sent: impl AsRef<[u8]>) -> Vec<u8> {
    let mut client = herd.client("Riley");
    client.send(sent);
    client.finish()
}

/// Escapes bytes for the message of a failed test.
fn shown(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().escape_ascii().to_string()
}

#[track_caller]
fn assert_answers(herd: &Herd, sent: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) {
    let sent = sent.as_ref();
    assert_eq!(
        shown(answers(herd, sent)),
        shown(expected),
        "to {}",
        shown(sent)
    );
}

/// Sends an IAMAT and asserts that it is valid: the answer is an AT line with the three fields as
/// they were sent.
#[track_caller]
fn assert_valid_iamat(client: &mut Client, client_id: &str, position: &str, time: &str) {
    let answer = client.ask(&format!("IAMAT {client_id} {position} {time}"));
    let (start, end) = ("AT Riley ", format!(" {client_id} {position} {time}"));
    let skew = answer
        .strip_prefix(start)
        .and_then(|rest| rest.strip_suffix(&end));
    assert!(skew.is_some_and(|skew| !skew.contains(' ')), "{answer}");
}

#[track_caller]
fn assert_invalid(client: &mut Client, line: &str) {
    assert_eq!(client.ask(line), format!("? {line}"));
}

/// Returns the AT line of the newest report of a client.
fn newest(client: &mut Client, client_id: &str) -> String {
    client.send(format!("WHATSAT {client_id} 0 0\n")).places().0
}

// Lines.

#[test]
fn a_client_that_sends_nothing_receives_nothing() {
    assert_answers(&riley(), "", "");
}

#[test]
fn the_example_of_the_protocol_is_answered_to_the_byte() {
    assert_answers(&riley(), format!("{KIWI}\n"), format!("{AT_KIWI}\n"));
}

#[test]
fn lines_in_one_segment_are_answered_in_their_order() {
    let herd = riley();
    let sent = format!("first\n{KIWI}\nsecond\nWHATSAT kiwi.cs.ucla.edu 10 0\nthird\n{KIWI}\n");
    let none = "{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}\n\n";
    let expected = format!("? first\n{AT_KIWI}\n? second\n{AT_KIWI}\n{none}? third\n{AT_KIWI}\n");
    assert_answers(&herd, sent, expected);
}

#[test]
fn a_line_may_arrive_byte_by_byte() {
    let herd = riley();
    let mut client = herd.client("Riley");
    for byte in format!("{KIWI}\r\nwhat?\n\n").bytes() {
        client.send([byte]);
    }
    assert_eq!(client.text(), AT_KIWI);
    assert_eq!(client.text(), "? what?");
    assert_eq!(client.text(), "? ");
}

#[test]
fn a_line_is_answered_before_the_next_one_is_complete() {
    let herd = riley();
    let mut client = herd.client("Riley");
    client.send(format!("{KIWI}\nIAMAT ki"));
    assert_eq!(client.text(), AT_KIWI);
    client.send("wi +1+1 1621464828.223371889\nwhat");
    assert_eq!(
        client.text(),
        "AT Riley +0.000000000 kiwi +1+1 1621464828.223371889"
    );
    assert_eq!(shown(client.finish()), shown("? what\n"));
}

#[test]
fn one_cr_before_lf_is_part_of_the_line_end_and_any_other_of_the_line() {
    let herd = riley();
    for (sent, expected) in [
        (&b"x\n"[..], &b"? x\n"[..]),
        (b"x\r\n", b"? x\n"),
        (b"x\r\r\n", b"? x\r\n"),
        (b"x\r\r\r\n", b"? x\r\r\n"),
        (b"x\ry\n", b"? x\ry\n"),
        (b"\rx\r\n", b"? \rx\n"),
        (b"x\n\ry\n", b"? x\n? \ry\n"),
    ] {
        assert_answers(&herd, sent, expected);
    }
    for end in ["\n", "\r\n", "\r\r\n", " \r\n"] {
        assert_answers(&herd, format!("{KIWI}{end}"), format!("{AT_KIWI}\n"));
    }
}

#[test]
fn a_cr_and_its_lf_may_arrive_in_two_segments() {
    let herd = riley();
    let mut client = herd.client("Riley");
    for (line, answer) in [
        ("x", "? x"),
        (KIWI, AT_KIWI),
        (&format!("{KIWI:<MAX_LINE$}"), AT_KIWI),
    ] {
        for _ in 0..10 {
            client.send(format!("{line}\r"));
            // Once another client is answered, the server has seen the CR.
            assert_eq!(herd.client("Riley").ask("y"), "? y");
            client.send("\n");
            assert_eq!(client.text(), answer);
        }
    }
}

#[test]
fn an_empty_line_is_an_invalid_command() {
    assert_answers(&riley(), "\n\r\n\n \n\t\r\n", "? \n? \n? \n?  \n? \t\n");
}

#[test]
fn a_last_line_without_lf_is_answered_before_the_server_closes() {
    let herd = riley();
    assert_answers(&herd, KIWI, format!("{AT_KIWI}\n"));
    for (sent, expected) in [
        (&b"a"[..], &b"? a\n"[..]),
        (b"a\nb", b"? a\n? b\n"),
        (b"a\n", b"? a\n"),
        (b"a\r\n", b"? a\n"),
        (b"a\n ", b"? a\n?  \n"),
        // Without an LF there is no line end, so the CR is part of the line.
        (b"a\r", b"? a\r\n"),
        (b"\r", b"? \r\n"),
    ] {
        assert_answers(&herd, sent, expected);
    }
    assert_answers(
        &herd,
        format!("{KIWI}\nWHATSAT kiwi.cs.ucla.edu 0 0"),
        format!(
            "{AT_KIWI}\n{AT_KIWI}\n{{\n   \"html_attributions\" : [],\n   \"results\" : [],\n   \"status\" : \"ZERO_RESULTS\"\n}}\n\n"
        ),
    );
}

#[test]
fn a_line_may_be_4096_bytes_long_without_its_end() {
    let herd = riley();
    let (at, past) = (vec![b'x'; MAX_LINE], vec![b'x'; MAX_LINE + 1]);
    let cut = [b"? ", &at[..], b"\n"].concat();
    for line in [
        [&at[..], b"\n"].concat(),
        [&at[..], b"\r\n"].concat(),
        [&past[..], b"\n"].concat(),
        [&past[..], b"\r\n"].concat(),
        [&past[..], b"\r\r\r\n"].concat(),
        [&at[..], b"\r\r\n"].concat(),
        [&at[..], &at[..], &at[..], b"\n"].concat(),
    ] {
        let sent = [&line[..], KIWI.as_bytes(), b"\n"].concat();
        let expected = [&cut[..], AT_KIWI.as_bytes(), b"\n"].concat();
        assert_answers(&herd, sent, expected);
    }
    for last in [&at[..], &past[..], &[&at[..], b"\r"].concat()] {
        assert_answers(&herd, last, &cut);
    }
    let shorter = [&at[1..], b"\r\r\n"].concat();
    assert_answers(&herd, shorter, [b"? ", &at[1..], b"\r\n"].concat());
}

#[test]
fn a_command_of_the_maximum_length_is_valid_and_a_longer_one_is_invalid() {
    let herd = riley();
    let padded = |length: usize| format!("{KIWI:<length$}");
    assert_answers(
        &herd,
        format!("{}\r\n", padded(MAX_LINE)),
        format!("{AT_KIWI}\n"),
    );
    let cut = format!("? {}\n", padded(MAX_LINE));
    assert_answers(&herd, format!("{}\n", padded(MAX_LINE + 1)), &cut);
    assert_answers(&herd, format!("{}x\n", padded(MAX_LINE)), &cut);
}

#[test]
fn a_line_without_end_is_answered_once_at_the_limit_and_its_rest_is_dropped() {
    let herd = riley();
    let mut client = herd.client("Riley");
    let long = [b'x'; 5000];
    client.send(long);
    let cut = [b"? ", &long[..MAX_LINE], b"\n"].concat();
    assert_eq!(shown(client.line()), shown(cut));
    for _ in 0..100 {
        client.send(long);
    }
    client.send(format!("{KIWI}\r\r\n{KIWI}\n"));
    assert_eq!(client.text(), AT_KIWI);
    client.send(long);
    let rest = client.finish();
    assert_eq!(rest.len(), 2 + MAX_LINE + 1);
}

#[test]
fn an_invalid_command_is_echoed_byte_for_byte() {
    let herd = riley();
    for line in [
        &b"what?"[..],
        b"  \t two before, and after\x0b\x0c ",
        b"in\t \tner",
        b"\xff\xfe not UTF-8 \xc3\x28",
        b"nul \0 and \x1b[31m escapes \x7f",
        "Ünïcode\u{a0}\u{2028}".as_bytes(),
        b"? what?",
        b"AT Riley +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503",
        b"iamat kiwi +1+1 1",
        b"Iamat kiwi +1+1 1",
        b"IAMAT",
        b"IAMAT kiwi",
        b"IAMAT kiwi +1+1",
        b" IAMAT kiwi +1+1 1 1 ",
        b"IAMATkiwi +1+1 1",
        b"IAMAT kiwi +1 +1 1",
        b"IAMAT ki\xffwi +1+1 1",
        b"IAMAT ki\xc3 +1+1 1",
        b"IAMAT ki\xed\xa0\x80wi +1+1 1",
        b"IAMAT kiwi +1+1 1\0",
        b"IAMAT kiwi 1+1 1",
        b"\xef\xbb\xbfIAMAT kiwi +1+1 1",
        b"whatsat kiwi 10 5",
        b"WHATSAT kiwi 10",
        b"WHATSAT kiwi 10 5 5",
        b"WHATSAT",
        b"\tWHATSAT nobody 10 5\t",
    ] {
        let sent = [line, b"\n"].concat();
        assert_answers(&herd, sent, [b"? ", line, b"\n"].concat());
    }
}

// Fields.

#[test]
fn white_space_is_space_tab_vertical_tab_form_feed_and_cr() {
    let herd = riley();
    let mut client = herd.client("Riley");
    for byte in (0..=255).filter(|&byte| byte != b'\n') {
        let line = [&b"IAMAT"[..], b"k", b"+1+1", b"1"].join(&byte);
        client.send([&line[..], b"\n"].concat());
        let expected = match byte {
            b' ' | b'\t' | 0x0B | 0x0C | b'\r' => {
                b"AT Riley +1621464827.223371889 k +1+1 1\n".to_vec()
            }
            _ => [b"? ", &line[..], b"\n"].concat(),
        };
        assert_eq!(shown(client.line()), shown(expected), "{byte:#04x}");
    }
}

#[test]
fn any_white_space_may_surround_and_separate_fields() {
    let herd = riley();
    let fields: Vec<_> = KIWI.split(' ').collect();
    for between in ["  ", "\t", " \t\x0b\x0c\r ", "\r"] {
        for around in ["", " ", "\t\x0b\x0c\r \r"] {
            let line = format!("{around}{}{around}", fields.join(between));
            assert_answers(&herd, format!("{line}\n"), format!("{AT_KIWI}\n"));
        }
    }
}

#[test]
fn an_at_line_repeats_the_three_fields_as_they_were_sent() {
    let herd = riley();
    let mut client = herd.client("Riley");
    for (client_id, position, time) in [
        ("k", "+0-0", "0"),
        ("AT", "-0.0+0.0/", "000.000"),
        ("IAMAT", "+90-180", "0000000000001.500"),
        (
            "клиент-№1",
            "+000000000000000000034.0600-0118.10/",
            "1.000000000",
        ),
        (
            "a\u{a0}b\u{85}c\u{3000}d\u{feff}",
            "+1+1",
            "1.123456789987654321",
        ),
        ("\u{1}\0\u{7f}\\\"'%s{}", "-34.068930+118.445127", "1"),
    ] {
        assert_valid_iamat(&mut client, client_id, position, time);
        let at_line = newest(&mut client, client_id);
        assert!(
            at_line.ends_with(&format!(" {client_id} {position} {time}")),
            "{at_line}"
        );
    }
}

#[test]
fn a_client_id_has_1_to_255_bytes() {
    let herd = riley();
    let mut client = herd.client("Riley");
    for good in [
        "x".repeat(255),
        "é".repeat(127),
        format!("{}x", "é".repeat(127)),
    ] {
        assert_valid_iamat(&mut client, &good, "+1+1", "1");
        assert!(newest(&mut client, &good).contains(&good));
    }
    for bad in ["x".repeat(256), "é".repeat(128)] {
        assert_invalid(&mut client, &format!("IAMAT {bad} +1+1 1"));
        assert_invalid(&mut client, &format!("WHATSAT {bad} 1 1"));
    }
}

#[test]
fn the_bounds_of_a_position_are_exact() {
    let herd = riley();
    let mut client = herd.client("Riley");
    for good in [
        "+90+180",
        "-90-180",
        "+90.000-180.000/",
        "+0-0",
        "-0.0+0.0",
        "+00+000/",
        "+1+1",
    ] {
        assert_valid_iamat(&mut client, "kiwi", good, "1");
    }
    // Each coordinate has at most 32 bytes.
    for (latitude, longitude) in [
        (format!("-{:0>31}", 90), format!("+{:0>31}", 180)),
        (
            format!("+89.{}", "9".repeat(28)),
            format!("-179.{}", "9".repeat(27)),
        ),
        (
            format!("+0.{}1", "0".repeat(28)),
            format!("-0.{}", "0".repeat(29)),
        ),
    ] {
        assert_eq!((latitude.len(), longitude.len()), (32, 32));
        let longer = |coordinate: &str| coordinate.replacen(['+', '-'], "+0", 1);
        let (longer_latitude, longer_longitude) = (longer(&latitude), longer(&longitude));
        for end in ["", "/"] {
            let good = format!("{latitude}{longitude}{end}");
            assert_valid_iamat(&mut client, "kiwi", &good, "1");
            for bad in [
                format!("{longer_latitude}{longitude}{end}"),
                format!("{latitude}{longer_longitude}{end}"),
            ] {
                assert_invalid(&mut client, &format!("IAMAT kiwi {bad} 1"));
            }
        }
    }
    for bad in [
        "+90.00000000000000000001+0",
        "-90.00000000000000000001+0",
        "+0+180.00000000000000000001",
        "+0-180.00000000000000000001",
        "+91+0",
        "+0+181",
        "+100+100",
        "+18446744073709551616+1",
        "+18446744073709551706+1",
        "+1+18446744073709551617",
        "34+118",
        "+34118",
        "34-118",
        "+34.-118",
        "+.5-118",
        "+34-.5",
        "+34-118.",
        "+34.0.0-118",
        "+34,5-118",
        "+-",
        "+",
        "/",
        "+34-",
        "++34-118",
        "+34--118",
        "+34-118-1",
        "+34/-118",
        "+34-118//",
        "/+34-118",
        "+3e1-118",
        "+34-0x1",
        "+inf-118",
        "+34-NaN",
        "+٣٤-118",
        "\u{2212}34+118",
        "+34_0-118",
    ] {
        assert_invalid(&mut client, &format!("IAMAT kiwi {bad} 1"));
    }
}

#[test]
fn the_form_of_a_time_is_exact() {
    let herd = riley();
    let mut client = herd.client("Riley");
    for good in [
        "0",
        "0.0",
        "1.5",
        "007",
        "1621464828",
        "1.123456789123456789",
        "00000000000000000000000000000001",
        "0000000000001.000000000000000001",
    ] {
        assert_valid_iamat(&mut client, "kiwi", "+1+1", good);
    }
    for bad in [
        "-1",
        "+1",
        "-0",
        ".5",
        "1.",
        ".",
        "1.5.5",
        "1,5",
        "1e9",
        "1s",
        "0x10",
        "1_000",
        "inf",
        "NaN",
        "١",
        "1.1234567891234567891",
        "000000000000000000000000000000001",
        "00000000000000.000000000000000001",
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551617",
        "99999999999999999999999999999999",
    ] {
        assert_invalid(&mut client, &format!("IAMAT kiwi +1+1 {bad}"));
    }
}

#[test]
fn the_bounds_of_a_radius_are_exact() {
    let herd = riley();
    let mut client = herd.client("Riley");
    client.ask(KIWI);
    for good in [
        "0",
        "0.0",
        "50",
        "50.000",
        "00050",
        "0.5",
        "49.99999999999999999999999999999999999999999999999999",
    ] {
        client.send(format!("WHATSAT kiwi.cs.ucla.edu {good} 20\n"));
        assert_eq!(client.places().0, AT_KIWI, "{good}");
    }
    for bad in [
        "50.00000000000000000000000000000000000000000000000001",
        "51",
        "100",
        "18446744073709551616",
        "18446744073709551626.5",
        "-1",
        "-0",
        "+1",
        ".5",
        "5.",
        "1e1",
        "1,5",
        "0x1",
        "inf",
        "NaN",
        "٣",
        "ten",
    ] {
        assert_invalid(&mut client, &format!("WHATSAT kiwi.cs.ucla.edu {bad} 5"));
    }
}

#[test]
fn the_bounds_of_the_number_of_places_are_exact() {
    let herd = riley();
    let mut client = herd.client("Riley");
    client.ask(KIWI);
    for good in ["0", "1", "20", "020", "00000000000000000000000000000000020"] {
        client.send(format!("WHATSAT kiwi.cs.ucla.edu 5 {good}\n"));
        assert_eq!(client.places().0, AT_KIWI, "{good}");
    }
    for bad in [
        "21",
        "100",
        "18446744073709551616",
        "18446744073709551617",
        "-1",
        "-0",
        "+5",
        "5.0",
        "5.",
        ".5",
        "1e1",
        "0x5",
        "٣",
        "five",
    ] {
        assert_invalid(&mut client, &format!("WHATSAT kiwi.cs.ucla.edu 5 {bad}"));
    }
}

// Skew.

#[test]
fn the_skew_is_exact_to_the_nanosecond_with_a_sign_and_nine_decimals() {
    let (herd, clock) = riley_with_clock();
    let mut client = herd.client("Riley");
    for (now, time, skew) in [
        (NOW, "1621464827.959498503", "+0.263873386"),
        (NOW, "1621464828.223371889", "+0.000000000"),
        (NOW, "1621464828.22337189", "-0.000000001"),
        (NOW, "1621464828.223371888", "+0.000000001"),
        (NOW, "1621464828.2233718880", "+0.000000001"),
        (NOW, "1621464829", "-0.776628111"),
        (NOW, "1621464829.223371889", "-1.000000000"),
        (NOW, "0", "+1621464828.223371889"),
        // A float of seconds would be off by a hundred nanoseconds.
        (1_621_464_828_000_000_001, "1621464828", "+0.000000001"),
        // Digits after the ninth are ignored.
        (NOW, "1621464828.223371889999999999", "+0.000000000"),
        (NOW, "1621551228.223371889", "-86400.000000000"),
        (0, "0", "+0.000000000"),
        (-5, "0", "-0.000000005"),
        (i64::MAX, "0", "+9223372036.854775807"),
    ] {
        clock.store(now, Relaxed);
        let answer = client.ask(&format!("IAMAT kiwi +1+1 {time}"));
        assert_eq!(answer, format!("AT Riley {skew} kiwi +1+1 {time}"));
    }
}

#[test]
fn the_skew_is_the_server_s_clock_minus_the_client_s_time() {
    let (herd, clock) = riley_with_clock();
    let strategy = (86_400_000_000_000..i64::MAX, -86_400_000_000_000..i64::MAX);
    proptest!(ProptestConfig::with_cases(100), |((now, skew) in strategy)| {
        let Some(time) = now.checked_sub(skew).filter(|time| *time >= 0) else { return Ok(()) };
        clock.store(now, Relaxed);
        let billion = 1_000_000_000;
        let (seconds, nanos) = (time / billion, time % billion);
        let line = format!("IAMAT kiwi +1+1 {seconds}.{nanos:09}");
        let sign = if skew < 0 { '-' } else { '+' };
        let (seconds, nanos) = (skew.abs() / billion, skew.abs() % billion);
        let expected = format!("AT Riley {sign}{seconds}.{nanos:09} {}", &line[6..]);
        prop_assert_eq!(herd.client("Riley").ask(&line), expected);
    });
}

// The newest report.

#[test]
fn a_stale_report_is_answered_with_its_own_at_line_and_changes_nothing() {
    let herd = riley();
    let mut client = herd.client("Riley");
    let newer = client.ask("IAMAT kiwi +1+1 1621464828");
    let changes = herd.gateway("Riley").replica().store().last();
    assert_eq!(
        client.ask("IAMAT kiwi +2+2 1621464827.999999999"),
        "AT Riley +0.223371890 kiwi +2+2 1621464827.999999999"
    );
    assert_eq!(newest(&mut client, "kiwi"), newer);
    assert_eq!(
        herd.gateway("Riley").replica().store().last(),
        changes,
        "the feed is unchanged"
    );
}

#[test]
fn the_newer_of_two_reports_is_the_same_in_either_order() {
    let herd = riley();
    let mut client = herd.client("Riley");
    let cases = [
        // The later time, to the nanosecond.
        (("+0+0", "5.000000001"), ("-9-9/", "5")),
        (("+0+0", "10"), ("-9-9/", "9.999999999999999999")),
        (("+0+0", "10"), ("+0+0", "0000000000009")),
        // The greater position text; digits after the ninth are ignored.
        (("-1-1", "5"), ("+1+1", "5.0")),
        (("-0+0", "5"), ("+0+0", "5")),
        (("+1+1/", "5"), ("+1+1", "5")),
        (("+9+9", "5"), ("+10+10", "5")),
        (("+1+2", "5.0000000001"), ("+1+1", "5.0000000009")),
        // The greater time text.
        (("+1+1", "5.0"), ("+1+1", "5")),
        (("+1+1", "5"), ("+1+1", "05")),
        (("+1+1", "5.0000000009"), ("+1+1", "5.0000000001")),
    ];
    let mut ids = 0..;
    for (newer, older) in cases {
        for order in [[newer, older], [older, newer], [newer, newer]] {
            let id = format!("client-{}", ids.next().unwrap());
            for (position, time) in order {
                assert_valid_iamat(&mut client, &id, position, time);
            }
            let at_line = newest(&mut client, &id);
            let (position, time) = newer;
            assert!(
                at_line.ends_with(&format!(" {id} {position} {time}")),
                "{order:?} gave {at_line}"
            );
        }
    }
}

#[test]
fn a_report_sent_again_later_changes_nothing() {
    let (herd, clock) = riley_with_clock();
    let mut client = herd.client("Riley");
    let skew_of =
        |client: &mut Client| newest(client, "kiwi").split(' ').nth(2).unwrap().to_owned();
    let line = "IAMAT kiwi +1+1 1621464828.223371889";
    for (past_now, answered, kept) in [
        (5, "+0.000000005", "+0.000000005"),
        (9, "+0.000000009", "+0.000000005"),
        (4, "+0.000000004", "+0.000000004"),
        (-1, "-0.000000001", "-0.000000001"),
        (0, "+0.000000000", "-0.000000001"),
    ] {
        clock.store(NOW + past_now, Relaxed);
        assert!(client.ask(line).contains(answered));
        assert_eq!(skew_of(&mut client), kept);
    }
    // The position is compared before the skew, and the skew before the text of the time.
    clock.store(NOW + 100, Relaxed);
    client.ask("IAMAT kiwi -1+1 1621464828.223371889");
    assert_eq!(skew_of(&mut client), "+0.000000100");
    clock.store(NOW + 101, Relaxed);
    client.ask("IAMAT kiwi -1+1 1621464828.2233718890");
    assert_eq!(skew_of(&mut client), "+0.000000100");
}

#[test]
fn of_equal_times_the_greater_origin_wins_on_both_servers() {
    let herd = Herd::new((&["Abe", "Zoe"], &[("Abe", "Zoe")])).launched_at(NOW);
    for (id, order) in [("kiwi", ["Abe", "Zoe"]), ("plum", ["Zoe", "Abe"])] {
        for server in order {
            // The server of the smaller name receives the greater position text.
            let position = if server == "Abe" { "-9-9" } else { "+1+1" };
            let answer = herd.client(server).ask(&format!("IAMAT {id} {position} 5"));
            assert!(answer.starts_with(&format!("AT {server} ")), "{answer}");
        }
        herd.await_everywhere(id, "+1+1");
        for server in order {
            let at_line = newest(&mut herd.client(server), id);
            assert!(at_line.starts_with("AT Zoe "), "{at_line}");
        }
    }
}

// Checks by the server that the client is connected to.

#[test]
fn a_time_may_be_at_most_a_day_in_the_future_to_the_nanosecond() {
    let herd = riley();
    let mut client = herd.client("Riley");
    assert_valid_iamat(&mut client, "kiwi", "+1+1", "1621551228.223371889");
    for late in [
        "1621551228.223371890",
        "1621551229",
        "10000000000",
        "9223372036854775807",
    ] {
        assert_invalid(&mut client, &format!("IAMAT kiwi +2+2 {late}"));
        assert_invalid(&mut client, &format!("IAMAT plum +2+2 {late}"));
    }
    assert!(newest(&mut client, "kiwi").ends_with(" kiwi +1+1 1621551228.223371889"));
    assert_invalid(&mut client, "WHATSAT plum 1 1");
}

#[test]
fn the_config_sets_max_future() {
    for (max_future, good, bad) in [
        (0, "1621464828.223371889", "1621464828.223371890"),
        (1, "1621464829.223371889", "1621464829.223371890"),
    ] {
        let herd = Herd::new(ALONE)
            .adjust(move |plan| plan.gateway.max_future = Duration::from_secs(max_future))
            .launched_at(NOW);
        let mut client = herd.client("Riley");
        assert_valid_iamat(&mut client, "kiwi", "+1+1", good);
        assert_invalid(&mut client, &format!("IAMAT kiwi +1+1 {bad}"));
    }
}

#[test]
fn a_full_server_accepts_reports_of_known_clients_and_of_no_others() {
    let herd = Herd::new(ALONE)
        .adjust(|plan| plan.gateway.max_clients = 2)
        .launched_at(NOW);
    let mut client = herd.client("Riley");
    assert_valid_iamat(&mut client, "kiwi", "+1+1", "1");
    assert_valid_iamat(&mut client, "plum", "+1+1", "1");
    assert_invalid(&mut client, "\tIAMAT fig +1+1 1 ");
    assert_invalid(&mut client, "WHATSAT fig 1 1");
    assert_valid_iamat(&mut client, "plum", "+2+2", "2");
    assert_valid_iamat(&mut client, "kiwi", "+0+0", "0");
    assert!(newest(&mut client, "plum").ends_with(" plum +2+2 2"));
}

#[test]
fn a_full_server_with_a_slow_clock_accepts_a_neighbour_s_reports() {
    let mut herd = Herd::new((&["Abe", "Zoe"], &[("Abe", "Zoe")])).adjust(|plan| {
        if plan.name.as_str() == "Zoe" {
            plan.gateway.max_clients = 1;
        }
    });
    herd.launch_with("Abe", Clock::new(|| UnixNanos(NOW)), Log::off());
    herd.launch_with("Zoe", Clock::new(|| UnixNanos(0)), Log::off());
    herd.await_links();
    let mut client = herd.client("Abe");
    for id in ["kiwi", "plum"] {
        let answer = client.ask(&format!("IAMAT {id} +1+1 1621464828.223371889"));
        herd.await_everywhere(id, "+1+1");
        assert_eq!(newest(&mut herd.client("Zoe"), id), answer);
    }
}

// WHATSAT.

const TWO_PLACES: &str = "name,lat,lon,place_id,types,vicinity\n\
    \"Café \"\"<A>\"\"\",34.06893,-118.445127,x-1,cafe|food,Westwood\n\
    Bar,34.07,-118.44,,,\n";

const NEAR_KIWI: &str = r#"{
   "html_attributions" : [],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 34.06893,
               "lng" : -118.445127
            }
         },
         "name" : "Café \"\u003cA\u003e\"",
         "place_id" : "x-1",
         "types" : [
            "cafe",
            "food"
         ],
         "vicinity" : "Westwood"
      }
   ],
   "status" : "OK"
}"#;

const NOTHING: &str = r#"{
   "html_attributions" : [],
   "results" : [],
   "status" : "ZERO_RESULTS"
}"#;

#[test]
fn a_whatsat_is_answered_by_an_at_line_json_in_google_s_format_and_two_newlines() {
    let herd = Herd::new(ALONE)
        .with_places(places_from("two.csv", TWO_PLACES).unwrap())
        .launched_at(NOW);
    for (question, json) in [
        ("10 1", NEAR_KIWI),
        ("0 20", NEAR_KIWI),
        ("0.1 20", NEAR_KIWI),
        ("10 0", NOTHING),
        ("0 0", NOTHING),
    ] {
        assert_answers(
            &herd,
            format!("{KIWI}\nWHATSAT kiwi.cs.ucla.edu {question}\nend\n"),
            format!("{AT_KIWI}\n{AT_KIWI}\n{json}\n\n? end\n"),
        );
    }
    // Nothing is near the antipode.
    assert_answers(
        &herd,
        "IAMAT far -34.068930+061.554873 1\nWHATSAT far 50 20\n",
        format!(
            "AT Riley +1621464827.223371889 far -34.068930+061.554873 1\n\
             AT Riley +1621464827.223371889 far -34.068930+061.554873 1\n{NOTHING}\n\n"
        ),
    );
}

#[test]
fn a_whatsat_for_an_unknown_client_is_invalid() {
    let herd = riley();
    let mut client = herd.client("Riley");
    client.ask(KIWI);
    for line in [
        "WHATSAT kiwi.cs.ucla 10 5",
        "WHATSAT KIWI.cs.ucla.edu 10 5",
        " WHATSAT\tkiwi.cs.ucla.edu/ 0 0 ",
    ] {
        assert_invalid(&mut client, line);
    }
}

#[test]
fn a_whatsat_returns_the_newest_report_whichever_server_received_it() {
    let herd = Herd::new((&["Abe", "Zoe"], &[("Abe", "Zoe")])).launched_at(NOW);
    let mut zoe = herd.client("Zoe");
    for (server, position, time) in [
        ("Abe", "+1+1", "1"),
        ("Zoe", "+2+2", "2"),
        ("Abe", "+3+3", "3"),
    ] {
        let answer = herd
            .client(server)
            .ask(&format!("IAMAT kiwi {position} {time}"));
        herd.await_everywhere("kiwi", position);
        assert_eq!(newest(&mut zoe, "kiwi"), answer);
        assert!(answer.starts_with(&format!("AT {server} ")), "{answer}");
    }
}

#[test]
fn one_read_returns_a_whole_answer() {
    let mut table = "name,lat,lon,vicinity\n".to_owned();
    for place in 0..20 {
        table += &format!("Place {place},0.{place:02},0,{}\n", "x".repeat(500));
    }
    let herd = Herd::new(ALONE)
        .with_places(places_from("twenty.csv", &table).unwrap())
        .launched_at(NOW);
    let question = "IAMAT kiwi +0+0 1\nWHATSAT kiwi 50 20\nend\n";
    let whole = answers(&herd, question);
    assert!(whole.len() > 10_000);
    for _ in 0..50 {
        let mut client = herd.client("Riley");
        assert_eq!(shown(client.send(question).read_once()), shown(&whole));
    }
}

// Arbitrary input.

/// Returns the answer to bytes of which no line is a command, by other code than the program's.
fn echoes(sent: &[u8]) -> Vec<u8> {
    let mut lines: Vec<_> = sent.split(|&byte| byte == b'\n').collect();
    let last = lines.pop().unwrap();
    let mut expected = Vec::new();
    let mut echo = |line: &[u8]| {
        expected.extend([b"? ", &line[..line.len().min(MAX_LINE)], b"\n"].concat());
    };
    for line in lines {
        echo(line.strip_suffix(b"\r").unwrap_or(line));
    }
    if !last.is_empty() {
        echo(last);
    }
    expected
}

/// Sends bytes in segments that are cut at these positions.
fn send_cut(client: &mut Client, sent: &[u8], mut cuts: Vec<prop::sample::Index>) {
    let mut cuts: Vec<_> = cuts
        .drain(..)
        .map(|cut| cut.index(sent.len() + 1))
        .collect();
    cuts.extend([0, sent.len()]);
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        client.send(&sent[pair[0]..pair[1]]);
        std::thread::yield_now();
    }
}

/// Generates bytes with many line ends, and at times a very long line.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        4 => prop::sample::select(vec![&b"\n"[..], b"\r\n", b"\r", b"\r\r\n", b" ", b"? "])
            .prop_map(<[u8]>::to_vec),
        1 => (MAX_LINE - 3..MAX_LINE + 4).prop_map(|length| vec![b'x'; length]),
        1 => Just(vec![b'\r'; 5000]),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Generates lines that are commands, or nearly.
fn commands() -> impl Strategy<Value = Vec<u8>> {
    let position = prop::sample::select(vec!["+1+1", "-1+1/", "+90-180", "+91+0", "+0.5"]);
    let line = prop_oneof![
        4 => ("[a-d]", position, "[1-3](\\.[0-9]{1,10})?")
            .prop_map(|(id, position, time)| format!("IAMAT {id} {position} {time}")),
        2 => "WHATSAT [a-e] ([0-9]|50|51)(\\.[0-9])? [0-9]{1,2}",
        1 => "(IAMAT|WHATSAT)?[ \t\r]?[a-dя ]{0,5}",
    ];
    let end = prop::sample::select(vec!["\n", "\r\n", "\r\r\n", " \n", "\t", "\n\n"]);
    let lines = prop::collection::vec((line, end), 0..20);
    lines.prop_map(|lines| {
        lines
            .into_iter()
            .map(|(line, end)| line + end)
            .collect::<String>()
            .into()
    })
}

#[test]
fn binary_noise_is_echoed_line_by_line_in_any_segments() {
    let herd = riley();
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..10);
    proptest!(ProptestConfig::with_cases(150), |(sent in noise(), cuts in cuts)| {
        let mut client = herd.client("Riley");
        send_cut(&mut client, &sent, cuts);
        prop_assert_eq!(shown(client.finish()), shown(echoes(&sent)));
    });
}

#[test]
fn the_answers_to_commands_do_not_depend_on_segments() {
    let herd = riley();
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..20);
    proptest!(ProptestConfig::with_cases(150), |(sent in commands(), cuts in cuts)| {
        // The clock is stopped, so lines that were sent once change nothing when sent again.
        answers(&herd, &sent);
        let at_once = answers(&herd, &sent);
        let mut client = herd.client("Riley");
        send_cut(&mut client, &sent, cuts);
        prop_assert_eq!(shown(client.finish()), shown(at_once));
    });
}

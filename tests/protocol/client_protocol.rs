//! The line protocol in time and in random input: segments, clocks and whole answers. The lines
//! and their answers are in the transcripts of [`golden`](super::golden).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::common::{ALONE, Client, Herd, linked, places_from};
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
    Herd::new(ALONE).launched_at(NOW)
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

/// Returns the AT line of the newest report of a client.
fn newest(client: &mut Client, client_id: &str) -> String {
    client.send(format!("WHATSAT {client_id} 0 0\n")).places().0
}

// Lines.

#[test]
fn a_client_that_sends_nothing_receives_nothing() {
    assert_eq!(shown(answers(&riley(), "")), "");
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

// Skew.

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
fn a_stale_report_does_not_enter_the_feed() {
    let herd = riley();
    let mut client = herd.client("Riley");
    client.ask("IAMAT kiwi +1+1 5");
    let last = || herd.gateway("Riley").replica().store().last();
    let changes = last();
    for line in ["IAMAT kiwi +1+1 5", "IAMAT kiwi +2+2 4.999999999"] {
        assert!(client.ask(line).starts_with("AT Riley "));
        assert_eq!(last(), changes, "{line}");
    }
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

// Checks by the server that the client is connected to.

#[test]
fn a_full_server_with_a_slow_clock_accepts_a_neighbour_s_reports() {
    let mut herd = Herd::new(linked(&["Abe", "Zoe"], &[("Abe", "Zoe")])).adjust(|plan| {
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

//! Links of a server to a neighbour that the test plays: what they say, how
//! soon, and what they make of each answer.

use std::time::{Duration, Instant};

use crate::common::{Fake, Herd, Life, Manner, Stranger, eventually, report};
use proxyherd::peers::PeerSettings;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

const MIB: usize = 1 << 20;

/// Riley is the server under test, Jaquez its only neighbour.
const PAIR: crate::common::Topology<'static> = (&["Riley", "Jaquez"], &[("Riley", "Jaquez")]);

fn pair(adjust: impl Fn(&mut PeerSettings) + Send + 'static) -> (Herd, Fake) {
    let (mut herd, jaquez) = apart(adjust);
    herd.launch("Riley");
    (herd, jaquez)
}

/// As [`pair`], but Riley does not run yet.
fn apart(adjust: impl Fn(&mut PeerSettings) + Send + 'static) -> (Herd, Fake) {
    let jaquez = Fake::start("Jaquez");
    let herd = Herd::new(PAIR).adjust(move |plan| adjust(&mut plan.peers));
    herd.lead("Riley", "Jaquez", jaquez.address());
    (herd, jaquez)
}

/// Tells Riley of clients `from..to`, whose IDs end with a number.
fn tell(herd: &Herd, prefix: &str, clients: std::ops::Range<usize>) {
    let mut client = herd.client("Riley");
    let lines = clients
        .clone()
        .map(|n| format!("IAMAT {prefix}{n} +1+1 1\n"));
    let lines: Vec<_> = lines.collect();
    // In pieces, so that answers do not fill up while nobody reads them.
    for lines in lines.chunks(500) {
        client.send(lines.concat());
        for _ in lines {
            assert!(client.text().starts_with("AT Riley "));
        }
    }
}

#[track_caller]
fn await_clients(jaquez: &Fake, count: usize) -> Vec<String> {
    eventually(&format!("Jaquez hears of {count} clients"), || {
        let mut clients = jaquez.clients();
        clients.sort();
        clients.dedup();
        (clients.len() >= count).then_some(clients)
    })
}

#[track_caller]
fn await_down(herd: &Herd, words: &str) {
    eventually(&format!("the link is down: {words}"), || {
        let link = herd.link("Riley", "Jaquez");
        (!link.is_up && link.reason.contains(words)).then_some(())
    });
}

#[test]
fn a_report_is_not_sent_back_to_who_sent_it_but_to_its_next_life_it_is() {
    let (herd, jaquez) = pair(|_| {});
    let calls = Stranger::dial(herd.peers_address("Riley"));
    let mut life = Life::new("Jaquez", jaquez.incarnation(), "Riley");
    life.greet(&calls);
    let theirs = |n| report(&format!("theirs-{n}"), "+1+1", "1");
    let push = life.push(0, 100, (0..100).map(theirs).collect());
    assert_eq!(calls.push(&push).unwrap(), 100);
    // What comes behind them in the feed has come, so they were passed over.
    tell(&herd, "own-", 0..100);
    await_clients(&jaquez, 100);
    let clients = jaquez.clients();
    assert_eq!(clients.len(), 100, "each once");
    assert!(clients.iter().all(|client| client.starts_with("own-")));

    jaquez.restart();
    let clients = await_clients(&jaquez, 200);
    assert_eq!(clients.len(), 200);
    assert_eq!(jaquez.clients().len(), 300, "each once in each life");
    // Its new life says what the old one did: that is no news, and no echo.
    let mut next = Life::new("Jaquez", jaquez.incarnation(), "Riley");
    assert_eq!(next.greet(&calls), 0);
    let push = next.push(0, 100, (0..100).map(theirs).collect());
    assert_eq!(calls.push(&push).unwrap(), 100);
    tell(&herd, "more-", 0..1);
    await_clients(&jaquez, 201);
    assert_eq!(jaquez.clients().len(), 301);
}

#[test]
fn a_report_that_both_sides_heard_is_not_sent_at_all() {
    let (mut herd, jaquez) = apart(|_| {});
    jaquez.on_greetings(Manner::Refuses(Status::permission_denied("not yet")));
    herd.launch("Riley");
    tell(&herd, "both-", 0..1);
    let line = herd.at_line("Riley", "both-0").unwrap();
    let skew = line.split(' ').nth(2).unwrap().replace('.', "");
    let mut same = report("both-0", "+1+1", "1");
    (same.origin, same.skew_nanos) = ("Riley".to_owned(), skew.parse().unwrap());
    let calls = Stranger::dial(herd.peers_address("Riley"));
    let mut life = Life::new("Jaquez", jaquez.incarnation(), "Riley");
    life.greet(&calls);
    assert_eq!(calls.push(&life.push(0, 1, vec![same])).unwrap(), 1);
    assert_eq!(herd.gateway("Riley").replica().store().last(), 1, "no news");

    tell(&herd, "own-", 0..1);
    jaquez.on_greetings(Manner::Takes);
    assert_eq!(await_clients(&jaquez, 1), ["own-0"]);
}

#[test]
fn a_quiet_link_sends_an_empty_push_for_each_heartbeat() {
    const BEATS: usize = 10;
    let heartbeat = Duration::from_millis(100);
    let (_herd, jaquez) = pair(move |peers| peers.heartbeat = heartbeat);
    let pushes = eventually("heartbeats", || {
        let pushes = jaquez.pushes();
        (pushes.len() > BEATS).then_some(pushes)
    });
    assert!(pushes.iter().all(|pushed| pushed.push.reports.is_empty()));
    let took = pushes[BEATS].at - pushes[0].at;
    println!("{BEATS} heartbeats of {heartbeat:?} took {took:?}");
    let beats = heartbeat * BEATS as u32;
    // They come after silence, so never sooner; later where the machine is busy.
    assert!((beats * 9 / 10..beats * 3).contains(&took), "{took:?}");
}

#[test]
fn a_heartbeat_says_how_far_the_link_has_looked() {
    let (herd, jaquez) = pair(|_| {});
    let calls = Stranger::dial(herd.peers_address("Riley"));
    let mut life = Life::new("Jaquez", jaquez.incarnation(), "Riley");
    life.greet(&calls);
    let push = life.push(0, 1, vec![report("theirs", "+1+1", "1")]);
    calls.push(&push).unwrap();
    eventually("what needed no sending is acknowledged too", || {
        (herd.link("Riley", "Jaquez").cursor == 1).then_some(())
    });
    assert!(jaquez.clients().is_empty());
}

#[test]
fn a_batch_holds_ten_thousand_reports_at_most() {
    let (mut herd, jaquez) = apart(|_| {});
    jaquez.on_greetings(Manner::Refuses(Status::permission_denied("not yet")));
    herd.launch("Riley");
    tell(&herd, "c", 0..30_000);
    jaquez.on_greetings(Manner::Takes);
    await_clients(&jaquez, 30_000);
    let pushes = jaquez.pushes();
    let reports = pushes.iter().map(|pushed| pushed.push.reports.len());
    assert_eq!(reports.clone().max(), Some(10_000));
    assert_eq!(reports.sum::<usize>(), 30_000, "each once");
    assert!(pushes.iter().all(|pushed| pushed.bytes <= MIB));
}

#[test]
fn a_batch_holds_one_mebibyte_at_most_all_of_it() {
    let (mut herd, jaquez) = apart(|_| {});
    jaquez.on_greetings(Manner::Refuses(Status::permission_denied("not yet")));
    herd.launch("Riley");
    tell(&herd, &"k".repeat(250), 0..9_000);
    jaquez.on_greetings(Manner::Takes);
    await_clients(&jaquez, 9_000);
    let pushes = jaquez.pushes();
    let longest = pushes.iter().map(|pushed| pushed.bytes).max().unwrap();
    println!("longest push: {longest} bytes");
    assert!((MIB - 600..=MIB).contains(&longest), "{longest}");
    assert_eq!(jaquez.clients().len(), 9_000, "each once");
}

#[test]
fn a_busy_link_lets_reports_gather() {
    let linger = Duration::from_millis(700);
    let (herd, jaquez) = pair(|peers| peers.linger = Duration::from_millis(700));
    // The link looks at the latest when all of these are in.
    tell(&herd, "many", 0..400);
    await_clients(&jaquez, 400);
    tell(&herd, "late", 0..5);
    await_clients(&jaquez, 405);
    let pushes = jaquez.pushes();
    let with = |prefix| {
        move |pushed: &&crate::common::Pushed| {
            let mut reports = pushed.push.reports.iter();
            reports.any(|report| report.client.starts_with(prefix))
        }
    };
    let busy = pushes.iter().rfind(with("many")).unwrap();
    let late: Vec<_> = pushes.iter().filter(with("late")).collect();
    assert_eq!(late.len(), 1, "all in one");
    assert!(late[0].at - busy.at > linger - Duration::from_millis(100));
}

#[test]
fn a_quiet_link_does_not() {
    let (herd, jaquez) = pair(|peers| peers.linger = Duration::from_secs(1));
    let start = Instant::now();
    for n in 0..30 {
        tell(&herd, "c", n..n + 1);
        await_clients(&jaquez, n + 1);
    }
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "half of 30 lingers"
    );
}

#[test]
fn clients_wait_for_a_neighbour_that_lags_where_the_server_is_short_of_time() {
    for target_lag in [Some(Duration::from_millis(1)), None] {
        let (herd, jaquez) = pair(move |peers| peers.target_lag = target_lag);
        tell(&herd, "first", 0..1);
        await_clients(&jaquez, 1);
        jaquez.on_pushes(Manner::TakesAfter(Duration::from_millis(200)));
        let riley = herd.gateway("Riley");
        let held_back = || riley.counts().held_back().get() > 0;
        let mut told = 0;
        let mut is_held_back = || {
            riley.board().note_overloaded(tokio::time::Instant::now());
            tell(&herd, "c", told..told + 1000);
            told += 1000;
            held_back().then_some(())
        };
        match target_lag {
            Some(_) => eventually("clients are read later", is_held_back),
            None => (0..20).for_each(|_| assert!(is_held_back().is_none())),
        }
        jaquez.on_pushes(Manner::Takes);
        await_clients(&jaquez, 1 + told);
    }
}

#[test]
fn a_neighbour_that_refuses_takes_the_link_down_and_its_words_say_why() {
    let (herd, jaquez) = pair(|_| {});
    eventually("the link is up", || {
        herd.is_up("Riley", "Jaquez").then_some(())
    });
    let no = || Manner::Refuses(Status::permission_denied("you are not on my list"));
    jaquez.on_pushes(no());
    jaquez.on_greetings(no());
    await_down(&herd, "refused: you are not on my list");
    jaquez.on_pushes(Manner::Takes);
    jaquez.on_greetings(Manner::Takes);
    eventually("the link is up again", || {
        herd.is_up("Riley", "Jaquez").then_some(())
    });
    assert_eq!(herd.link("Riley", "Jaquez").reason, "");
}

#[test]
fn details_of_a_refusal_that_can_not_be_read_do_no_harm() {
    let (herd, jaquez) = pair(|_| {});
    let mut headers = http::HeaderMap::new();
    headers.insert("grpc-status-details-bin", "!".parse().unwrap());
    let details = MetadataMap::from_headers(headers);
    let no = || Status::with_metadata(Code::PermissionDenied, "not today", details.clone());
    jaquez.on_pushes(Manner::Refuses(no()));
    jaquez.on_greetings(Manner::Refuses(no()));
    await_down(&herd, "refused: not today");
    jaquez.on_pushes(Manner::Takes);
    jaquez.on_greetings(Manner::Takes);
    eventually("the link is up again", || {
        herd.is_up("Riley", "Jaquez").then_some(())
    });
}

#[test]
fn a_server_that_answers_as_another_is_not_taken_for_the_neighbour() {
    let (mut herd, jaquez) = apart(|_| {});
    jaquez.answer_greetings_with(|answer| answer.receiver = "Bernard".to_owned());
    herd.launch("Riley");
    tell(&herd, "kiwi-", 0..1);
    await_down(
        &herd,
        "\"Bernard\" of the herd \"test\" answered in its place: check its address",
    );
    jaquez.answer_greetings_with(|answer| {
        answer.receiver = "Jaquez".to_owned();
        answer.herd = "other".to_owned();
    });
    await_down(
        &herd,
        "\"Jaquez\" of the herd \"other\" answered in its place: check its address",
    );
    assert!(jaquez.pushes().is_empty(), "no report went astray");
    jaquez.answer_greetings_with(|answer| answer.herd = "test".to_owned());
    await_clients(&jaquez, 1);
}

#[test]
fn a_neighbour_of_another_major_version_is_sent_nothing() {
    let (mut herd, jaquez) = apart(|_| {});
    jaquez.answer_greetings_with(|answer| answer.version_major = 2);
    herd.launch("Riley");
    tell(&herd, "kiwi-", 0..1);
    await_down(&herd, "version 2.0");
    assert!(jaquez.pushes().is_empty());
}

#[test]
fn whatever_answers_in_a_neighbours_place_can_not_fill_the_board() {
    let (mut herd, jaquez) = apart(|_| {});
    jaquez.answer_greetings_with(|answer| answer.receiver = "\x1b[31m".repeat(100_000));
    herd.launch("Riley");
    await_down(&herd, "answered in its place");
    let reason = herd.link("Riley", "Jaquez").reason;
    assert!(reason.len() < 1000, "{} bytes", reason.len());
}

#[test]
fn the_first_retry_of_a_link_that_is_down_comes_within_50_ms() {
    let (mut herd, jaquez) = apart(|_| {});
    jaquez.on_greetings(Manner::Refuses(Status::permission_denied("not yet")));
    // The machine may be busy at any one time, but not each time.
    let pauses = (0..5).map(|_| {
        let before = jaquez.greetings().len();
        herd.launch("Riley");
        let greetings = eventually("a greeting and a retry", || {
            let greetings = jaquez.greetings();
            (greetings.len() >= before + 2).then_some(greetings)
        });
        herd.kill("Riley");
        greetings[before + 1].0 - greetings[before].0
    });
    let pauses: Vec<_> = pauses.collect();
    println!("first retries after {pauses:?}");
    let soonest = pauses.iter().min().unwrap();
    assert!((Duration::from_millis(20)..Duration::from_millis(50)).contains(soonest));
}

#[test]
fn a_link_without_progress_is_tried_again_ever_more_slowly() {
    let (herd, jaquez) = pair(|peers| peers.backoff_cap = Duration::from_millis(400));
    // Greetings succeed, and yet nothing gets across.
    jaquez.on_pushes(Manner::Refuses(Status::invalid_argument(
        "I do not like it",
    )));
    tell(&herd, "kiwi-", 0..1);
    let greetings = eventually("ten greetings", || {
        let greetings = jaquez.greetings();
        (greetings.len() >= 10).then_some(greetings)
    });
    let last = greetings[9].0 - greetings[8].0;
    // Half of the cap, or more.
    assert!(last >= Duration::from_millis(200), "{last:?}");
    jaquez.on_pushes(Manner::Takes);
    await_clients(&jaquez, 1);
}

#[test]
fn a_gap_or_a_restart_is_greeted_again_at_once_and_the_link_stays_up() {
    let (herd, jaquez) = pair(|_| {});
    tell(&herd, "kiwi-", 0..3);
    await_clients(&jaquez, 3);
    // Their push arrived; its answer may still be on its way.
    let since = eventually("the link is up", || {
        let link = herd.link("Riley", "Jaquez");
        link.is_up.then_some(link.since)
    });
    for life in 2..=4 {
        jaquez.restart();
        eventually("all is sent to the new life", || {
            let to_it = |pushed: &crate::common::Pushed| pushed.push.receiver_incarnation == life;
            let pushes = jaquez.pushes();
            let reports = pushes.iter().filter(|pushed| to_it(pushed));
            let reports: usize = reports.map(|pushed| pushed.push.reports.len()).sum();
            (reports == 3).then_some(())
        });
    }
    let link = herd.link("Riley", "Jaquez");
    assert!(link.is_up);
    assert_eq!(link.since, since, "it never was down");
}

#[test]
fn a_new_life_of_the_neighbour_is_greeted_at_once_even_while_a_push_hangs() {
    let (herd, jaquez) = pair(|peers| {
        peers.attempt = Duration::from_secs(60);
        peers.heartbeat = Duration::from_secs(60);
    });
    jaquez.on_pushes(Manner::Hangs);
    tell(&herd, "kiwi-", 0..1);
    await_clients(&jaquez, 1);
    // The connection to its old life is as silent as that life.
    jaquez.restart();
    jaquez.on_pushes(Manner::Takes);
    let calls = Stranger::dial(herd.peers_address("Riley"));
    let start = Instant::now();
    Life::new("Jaquez", jaquez.incarnation(), "Riley").greet(&calls);
    eventually("the new life has what the old one was told", || {
        (herd.link("Riley", "Jaquez").cursor == 1).then_some(())
    });
    println!("the new life has all after {:?}", start.elapsed());
}

#[test]
fn a_far_neighbour_is_caught_up_in_few_batches_whatever_happened_before() {
    // An answer takes half as long as an attempt may.
    let attempt = Duration::from_millis(400);
    let far = attempt / 2;
    let (herd, jaquez) = pair(move |peers| {
        peers.attempt = attempt;
        peers.heartbeat = Duration::from_millis(50);
    });
    tell(&herd, "kiwi-", 0..1);
    await_clients(&jaquez, 1);
    // A push of one report hangs, and so does the link's belief in large ones.
    jaquez.on_greetings(Manner::Refuses(Status::permission_denied("not yet")));
    jaquez.on_pushes(Manner::Hangs);
    tell(&herd, "plum-", 0..1);
    await_down(&herd, "refused: not yet");
    tell(&herd, "plum-", 1..3000);
    let before = jaquez.pushes().len();
    jaquez.on_greetings(Manner::TakesAfter(far));
    jaquez.on_pushes(Manner::TakesAfter(far));
    await_clients(&jaquez, 3001);
    let batches = jaquez.pushes().len() - before;
    println!("3000 reports in {batches} batches");
    assert!(batches <= 16, "{batches} batches");
}

#[test]
fn a_slow_link_settles_at_a_size_that_it_bears_and_keeps_it_in_silence() {
    let attempt = Duration::from_millis(800);
    let (herd, jaquez) = pair(move |peers| {
        peers.attempt = attempt;
        peers.retries = 0;
        peers.heartbeat = Duration::from_millis(20);
    });
    // It bears 450 reports at a time: of 1024, 512 and 256 only the last.
    jaquez.on_pushes(Manner::TakesEachAfter(attempt / 450));
    tell(&herd, "kiwi-", 0..1100);
    await_clients(&jaquez, 1100);
    let before = jaquez.pushes().len();
    eventually("a silence of ten heartbeats", || {
        (jaquez.pushes().len() >= before + 10).then_some(())
    });
    let before = jaquez.clients().len();
    tell(&herd, "plum-", 0..600);
    await_clients(&jaquez, 1700);
    let again = jaquez.clients().len() - before - 600;
    assert_eq!(again, 0, "reports came twice");
}

#[test]
fn heartbeats_that_are_not_answered_make_no_batch_smaller() {
    let (herd, jaquez) = pair(|peers| {
        peers.attempt = Duration::from_millis(200);
        peers.heartbeat = Duration::from_millis(20);
    });
    eventually("the link is up", || {
        herd.is_up("Riley", "Jaquez").then_some(())
    });
    jaquez.on_greetings(Manner::Refuses(Status::permission_denied("not yet")));
    jaquez.on_pushes(Manner::Hangs);
    await_down(&herd, "refused: not yet");
    tell(&herd, "plum-", 0..500);
    jaquez.on_pushes(Manner::Takes);
    jaquez.on_greetings(Manner::Takes);
    await_clients(&jaquez, 500);
    let pushes = jaquez.pushes();
    let largest = pushes.iter().map(|pushed| pushed.push.reports.len()).max();
    assert_eq!(largest, Some(500));
}

#[test]
fn what_only_a_life_that_is_over_got_counts_as_what_nobody_got() {
    let (mut herd, jaquez) = pair(|_| {});
    tell(&herd, "kiwi-", 0..5);
    await_clients(&jaquez, 5);
    eventually("all is acknowledged", || {
        (herd.link("Riley", "Jaquez").cursor == 5).then_some(())
    });
    jaquez.on_pushes(Manner::Refuses(Status::permission_denied("no")));
    let before = jaquez.greetings().len();
    jaquez.restart();
    eventually("its new life is greeted", || {
        (jaquez.greetings().len() > before).then_some(())
    });
    await_down(&herd, "refused: no");
    assert_eq!(herd.drain("Riley"), 5);
}

#[test]
fn a_drained_server_counts_what_nobody_got() {
    let (mut herd, jaquez) = pair(|_| {});
    tell(&herd, "kiwi-", 0..5);
    eventually("all is acknowledged", || {
        (herd.link("Riley", "Jaquez").cursor == 5).then_some(())
    });
    let calls = Stranger::dial(herd.peers_address("Riley"));
    let mut life = Life::new("Jaquez", jaquez.incarnation(), "Riley");
    life.greet(&calls);
    jaquez.on_pushes(Manner::Refuses(Status::permission_denied("no")));
    jaquez.on_greetings(Manner::Refuses(Status::permission_denied("no")));
    await_down(&herd, "refused: no");
    // Others' reports are others' to count.
    let theirs = vec![report("theirs", "+1+1", "1")];
    calls.push(&life.push(0, 1, theirs)).unwrap();
    tell(&herd, "plum-", 0..3);
    tell(&herd, "kiwi-", 0..1);
    let start = Instant::now();
    assert_eq!(herd.drain("Riley"), 3);
    println!("drained in {:?}", start.elapsed());
}

#[test]
fn a_drain_waits_for_a_neighbour_that_takes_its_time() {
    let (mut herd, jaquez) = pair(|_| {});
    eventually("the link is up", || {
        herd.is_up("Riley", "Jaquez").then_some(())
    });
    jaquez.on_pushes(Manner::TakesAfter(Duration::from_millis(300)));
    tell(&herd, "kiwi-", 0..100);
    assert_eq!(herd.drain("Riley"), 0);
    assert_eq!(await_clients(&jaquez, 100).len(), 100);
}

#[test]
fn a_drain_ends_in_time_beside_a_neighbour_that_hangs() {
    let drain = Duration::from_millis(500);
    let (mut herd, jaquez) = pair(move |peers| {
        peers.drain = drain;
        peers.attempt = Duration::from_secs(30);
        peers.heartbeat = Duration::from_secs(60);
    });
    eventually("the link is up", || {
        herd.is_up("Riley", "Jaquez").then_some(())
    });
    jaquez.on_pushes(Manner::Hangs);
    tell(&herd, "kiwi-", 0..1);
    let start = Instant::now();
    assert_eq!(herd.drain("Riley"), 1);
    let took = start.elapsed();
    assert!((drain..drain * 4).contains(&took), "{took:?}");
}

#[test]
fn a_neighbour_that_goes_silent_is_found_out_within_a_limit_and_a_half() {
    let attempt = Duration::from_millis(400);
    let (herd, jaquez) = pair(move |peers| peers.attempt = attempt);
    jaquez.on_pushes(Manner::Hangs);
    let silent = Instant::now();
    await_down(&herd, "no answer within the time limit");
    // A heartbeat may have been answered just before, and the machine be busy.
    assert!(silent.elapsed() < attempt * 4, "{:?}", silent.elapsed());
}

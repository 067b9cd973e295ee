//! Every figure of the metrics page has exactly the value of what a test did.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use proxyherd::gateway::{Clock, Member};
use proxyherd::log::Log;
use proxyherd::model::address::Address;
use proxyherd::model::networks::Network;
use proxyherd::model::timestamp::UnixNanos;
use proxyherd::places::{Places, PlacesResponse};
use proxyherd::proto::{PushMark, Report};
use proxyherd::server::ServerPlan;
use proxyherd::tls::Pair;
use tempfile::TempDir;
use tonic::Status;

use super::metrics_page::MetricsPage;
use super::with_web;
use crate::common::{
    ALONE, Client, FakeNeighbour, FakeSender, Herd, LIMIT, ManualClock, PAIR, PeerClient, Pki,
    ResponseMode, call_as, days, eventually, http_connect, http_get_with, http_send, member,
    report, server,
};

/// Metrics whose values no scenario here knows, and what compares them.
const COMPARED_ELSEWHERE: [(&str, &str); 13] = [
    (
        "proxyherd_client_connections_waiting",
        "tests/herd/acknowledge.rs",
    ),
    (
        "proxyherd_reports_imported_total",
        "tests/cli/commands/transfer.rs, from the status",
    ),
    ("proxyherd_herd_server", "links.rs: it is always 1"),
    ("proxyherd_link_incoming_silence_seconds", "links.rs"),
    ("proxyherd_link_neighbour_duplicates", "links.rs"),
    (
        "proxyherd_peer_calls_evicted_total",
        "tests/security/peer_port.rs, with calls of strangers",
    ),
    ("proxyherd_info", "nothing: it is always 1"),
    (
        "proxyherd_process_",
        "counters.rs, with what the system says",
    ),
    (
        "proxyherd_log_lines_dropped_total",
        "tests/cli/binary/disks.rs, with a log",
    ),
    (
        "proxyherd_link_clock_offset_seconds",
        "tests/herd/faults/clocks.rs, with two clocks: it is an estimate",
    ),
    ("proxyherd_link_comparisons_total", ANTI_ENTROPY),
    ("proxyherd_link_ranges_differed_total", ANTI_ENTROPY),
    ("proxyherd_link_reports_pushed_again_total", ANTI_ENTROPY),
];

const ANTI_ENTROPY: &str = "tests/herd/anti_entropy.rs";

/// Ports and reasons for which no connection is ever rejected: the port has no such limit, or
/// requires no such certificate.
const NEVER_REJECTED: [(&str, &[&str]); 3] = [
    ("clients", &["no_certificate", "untrusted_ca", "expired"]),
    (
        "peers",
        &["max_connections", "network", "per_address", "proxy_header"],
    ),
    (
        "web",
        &[
            "max_connections",
            "per_address",
            "proxy_header",
            "no_certificate",
            "untrusted_ca",
            "expired",
            "plaintext",
            "own_certificate",
            "other",
        ],
    ),
];

/// Expected values of series. The names are without the prefix `proxyherd_`.
type Expected = Vec<(String, usize)>;

fn expected<const N: usize>(values: [(&str, usize); N]) -> Expected {
    let values = values.into_iter();
    values
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn rejected(port: &str, reason: &str) -> String {
    format!("connections_rejected_total{{port=\"{port}\",reason=\"{reason}\"}}")
}

/// The values of each series of the page that a scenario expected and found.
#[derive(Default)]
struct Figures(BTreeMap<String, BTreeSet<String>>);

impl Figures {
    /// Waits until the page has these values, and 0 for all other counters.
    #[track_caller]
    fn expect<const N: usize>(&mut self, web: SocketAddr, values: [(&str, usize); N]) {
        self.expect_from(web, || expected(values));
    }

    /// Does the same with values that may change meanwhile.
    #[track_caller]
    fn expect_from(&mut self, web: SocketAddr, expected: impl Fn() -> Expected) {
        let start = Instant::now();
        let (expected, page) = loop {
            let (expected, page) = (expected(), MetricsPage::of(web));
            let differences = differences(&page, &expected);
            if differences.is_empty() {
                break (expected, page);
            }
            assert!(start.elapsed() < LIMIT, "{differences:#?}");
            std::thread::sleep(Duration::from_millis(2));
        };
        for series in page.series() {
            let values = self.0.entry(series.to_owned()).or_default();
            let name = series.strip_prefix("proxyherd_").unwrap();
            if page.is_count(series) || expected.iter().any(|(other, _)| other == name) {
                values.insert(page.get(series).to_string());
            }
        }
    }

    /// Asserts that each series that was on a page had at least two expected values.
    fn assert_complete(&self) {
        let never: BTreeSet<String> = NEVER_REJECTED
            .iter()
            .flat_map(|(port, reasons)| reasons.iter().map(|reason| rejected(port, reason)))
            .map(|name| format!("proxyherd_{name}"))
            .collect();
        let is_wrong = |(series, values): &(&String, &BTreeSet<String>)| {
            if never.contains(*series) {
                !values.iter().eq(["0"])
            } else {
                values.len() < 2 && !is_compared_elsewhere(series)
            }
        };
        let wrong: Vec<_> = self.0.iter().filter(is_wrong).collect();
        assert!(
            wrong.is_empty(),
            "no scenario gives these figures two known values: {wrong:#?}"
        );
    }
}

/// Returns true for series whose values no scenario knows. The parser of the page compares the
/// buckets and the sum of a histogram with its count.
fn is_compared_elsewhere(series: &str) -> bool {
    let name = series.split('{').next().unwrap();
    let mut elsewhere = COMPARED_ELSEWHERE.iter();
    elsewhere.any(|(start, _)| name.starts_with(start))
        || name.ends_with("_bucket")
        || name.ends_with("_seconds_sum")
}

fn differences(page: &MetricsPage, expected: &Expected) -> Vec<String> {
    let mut differences = Vec::new();
    let mut counts: BTreeSet<&str> = page
        .series()
        .filter(|series| page.is_count(series))
        .collect();
    for (name, value) in expected {
        let series = format!("proxyherd_{name}");
        counts.remove(series.as_str());
        let found = page.get(&series);
        if found != *value as f64 {
            differences.push(format!("{name} is {found}, not {value}"));
        }
    }
    for series in counts {
        let found = page.get(series);
        if found != 0.0 && !is_compared_elsewhere(series) {
            differences.push(format!("{series} is {found}, not 0"));
        }
    }
    differences
}

#[test]
fn every_figure_of_the_metrics_page_is_what_the_test_did() {
    let mut figures = Figures::default();
    lines_of_clients(&mut figures);
    connections_of_clients(&mut figures);
    delayed_reads(&mut figures);
    connections_to_the_web_port(&mut figures);
    calls_of_the_api(&mut figures);
    evicted_connections(&mut figures);
    reloads_and_drain(&mut figures);
    a_link(&mut figures);
    a_new_incarnation(&mut figures);
    handshakes_and_certificates(&mut figures);
    figures.assert_complete();
}

/// Starts Riley alone with a web port, and returns the herd and the address of the port.
fn riley(adjust: impl Fn(&mut ServerPlan) + Send + 'static) -> (Herd, SocketAddr) {
    riley_of(Herd::new(ALONE), adjust)
}

fn riley_of(herd: Herd, adjust: impl Fn(&mut ServerPlan) + Send + 'static) -> (Herd, SocketAddr) {
    let mut herd = herd.adjust(move |plan| {
        with_web(plan);
        adjust(plan);
    });
    let start = 1_700_000_000_000_000_000;
    herd.launch_with("Riley", Clock::new(move || UnixNanos(start)), Log::off());
    let web = herd.web_address("Riley");
    (herd, web)
}

fn lines_of_clients(figures: &mut Figures) {
    const FAILED: usize = 2;
    let queries = AtomicUsize::new(0);
    let places = Places::new(
        move |_| {
            let is_failed = queries.fetch_add(1, SeqCst) < FAILED;
            async move {
                if is_failed {
                    PlacesResponse::failed("the first ones fail")
                } else {
                    PlacesResponse::none()
                }
            }
        },
        LIMIT,
    );
    let herd = Herd::new(ALONE).with_places(places);
    let (herd, web) = riley_of(herd, |plan| plan.gateway.max_clients = 2);
    figures.expect(
        web,
        [
            ("start_time_seconds", 1_700_000_000),
            ("clients", 0),
            ("clients_limit", 2),
            ("feed_entries", 0),
            ("client_connections", 0),
        ],
    );
    let mut client = herd.client("Riley");
    let mut ask = |times: usize, line: &dyn Fn(usize) -> String| {
        for n in 1..=times {
            client.ask(&line(n));
        }
    };
    ask(1, &|_| "IAMAT b +1+1 1".to_owned());
    ask(8, &|n| format!("IAMAT a +1+1 {}", n + 10));
    ask(2, &|n| format!("IAMAT a +1+1 {n}"));
    ask(3, &|_| "IAMAT a +1+1 99999999999".to_owned());
    ask(4, &|n| format!("IAMAT c-{n} +1+1 1"));
    ask(5, &|_| "WHATSAT nobody 1 1".to_owned());
    ask(7, &|_| "what?".to_owned());
    ask(1, &|_| String::new());
    // A WHATSAT for 0 places queries no provider.
    for limit in [1, 1, 1, 1, 1, 0] {
        client.send(format!("WHATSAT a 1 {limit}\n"));
        client.places();
    }
    let lines = 1 + 8 + 2 + 3 + 4 + 5 + 7 + 1 + 6;
    figures.expect(
        web,
        [
            (r#"client_reports_total{result="accepted"}"#, 1 + 8),
            (r#"client_reports_total{result="stale"}"#, 2),
            (r#"client_reports_rejected_total{reason="max_future"}"#, 3),
            (r#"client_reports_rejected_total{reason="max_clients"}"#, 4),
            (r#"client_queries_total{result="located"}"#, 6),
            (r#"client_queries_total{result="unknown"}"#, 5),
            ("client_lines_malformed_total", 7 + 1),
            ("client_request_seconds_count", lines),
            (r#"places_queries_total{result="answered"}"#, 5 - FAILED),
            (r#"places_queries_total{result="failed"}"#, FAILED),
            ("places_query_seconds_count", 5),
            ("clients", 2),
            ("feed_entries", 2),
            ("changes_total", 1 + 8),
            ("client_connections", 1),
            ("client_connections_accepted_total", 1),
        ],
    );
}

fn connections_of_clients(figures: &mut Figures) {
    let networks = |text: &str| vec![Network::parse(text).unwrap()];
    let (herd, web) = riley(move |plan| {
        plan.clients.max_connections = 3;
        plan.clients.connections_per_address = Some(2);
        plan.clients.networks.deny = networks("127.0.0.2");
        plan.clients.proxies = networks("127.0.0.5");
        plan.web.networks.deny = networks("127.0.0.2");
    });
    figures.expect(
        web,
        [
            ("client_connections_limit", 3),
            ("clients_limit", 10_000_000),
        ],
    );
    let address = herd.clients_address("Riley");
    let admitted = |from| {
        let mut client = Client::connect_from(from, address);
        assert_eq!(client.ask("x"), "? x");
        client
    };
    let rejected = |from, address, times| {
        for _ in 0..times {
            let mut client = Client::connect_from(from, address);
            assert_eq!(client.rest_until_cut(), b"");
        }
    };
    let clients = ["127.0.0.1", "127.0.0.1", "127.0.0.3"].map(admitted);
    rejected("127.0.0.2", address, 4);
    rejected("127.0.0.1", address, 5);
    rejected("127.0.0.4", address, 6);
    rejected("127.0.0.2", web, 7);
    for _ in 0..2 {
        let mut proxy = Client::connect_from("127.0.0.5", address);
        assert_eq!(proxy.send("x\n").rest_until_cut(), b"");
    }
    let all = [
        ("client_connections_accepted_total", 3),
        ("client_lines_malformed_total", 3),
        ("client_request_seconds_count", 3),
        (
            r#"connections_rejected_total{port="clients",reason="network"}"#,
            4,
        ),
        (
            r#"connections_rejected_total{port="clients",reason="per_address"}"#,
            5,
        ),
        (
            r#"connections_rejected_total{port="clients",reason="max_connections"}"#,
            6,
        ),
        (
            r#"connections_rejected_total{port="clients",reason="proxy_header"}"#,
            2,
        ),
        (
            r#"connections_rejected_total{port="web",reason="network"}"#,
            7,
        ),
    ];
    let open = |count| [expected(all), expected([("client_connections", count)])].concat();
    figures.expect_from(web, || open(3));
    drop(clients);
    figures.expect_from(web, || open(0));
}

fn delayed_reads(figures: &mut Figures) {
    let (herd, web) = riley(|plan| plan.clients.commands_per_second = Some(1));
    figures.expect(web, [("client_connections_limit", 20_000)]);
    // Of two lines that arrive together, the second is delayed, by a second.
    for from in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        let mut client = Client::connect_from(from, herd.clients_address("Riley"));
        client.send("x\nx\n").text();
        client.text();
    }
    figures.expect(
        web,
        [
            ("client_connections_accepted_total", 3),
            ("client_lines_malformed_total", 2 * 3),
            ("client_request_seconds_count", 2 * 3),
            ("client_reads_delayed_total", 3),
        ],
    );
}

fn connections_to_the_web_port(figures: &mut Figures) {
    const MAX_CONNECTIONS: usize = 64;
    let (_herd, web) = riley(|_| {});
    figures.expect(web, []);
    // Two more than the maximum evict the two oldest.
    let mut silent: Vec<_> = (0..MAX_CONNECTIONS + 2)
        .map(|_| Client::connect(web))
        .collect();
    for evicted in &mut silent[..2] {
        assert!(evicted.rest_until_cut().is_empty());
    }
    for closed in &mut silent[2..] {
        // The others have left when the server has closed them, too.
        closed.half_close().rest_until_cut();
    }
    let name = rejected("web", "evicted");
    figures.expect_from(web, || vec![(name.clone(), 2)]);
}

fn calls_of_the_api(figures: &mut Figures) {
    const TOKEN: &str = "0123456789abcdef";
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("web.token");
    std::fs::write(&file, TOKEN).unwrap();
    // It accepts connections and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let peers = Address::parse(&silent.local_addr().unwrap().to_string()).unwrap();
    let (_herd, web) = riley(move |plan| {
        plan.web.token_file = Some(file.clone());
        plan.members.push(Member {
            peers: peers.clone(),
            ..member("Silent")
        });
    });
    figures.expect(web, []);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    let status = |path: &str, headers: &str| http_get_with(web, path, headers).status;

    // One server does not answer, so each call lasts two seconds, and eight are permitted.
    let locate = || status("/api/v1/clients/kiwi", &right);
    let mut overloaded = 0;
    while overloaded == 0 {
        let statuses = thread::scope(|scope| {
            let calls: Vec<_> = (0..40).map(|_| scope.spawn(locate)).collect();
            let statuses = calls.into_iter().map(|call| call.join().unwrap());
            statuses.collect::<Vec<_>>()
        });
        overloaded += statuses.iter().filter(|status| **status == 503).count();
    }
    let watches: Vec<_> = (0..32).map(|_| begin_watch(web, &right)).collect();
    for _ in 0..5 {
        assert_eq!(status("/api/v1/watch", &right), 429);
    }
    for _ in 0..3 {
        assert_eq!(status("/api/v1/herd", ""), 401);
    }
    for _ in 0..2 {
        let request = "GET /api/v1/herd HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        assert_eq!(http_send(web, request).status, 403);
    }
    for n in 0..14 {
        let expected = if n < 10 { 401 } else { 429 };
        let wrong = "Authorization: Bearer wrong\r\n";
        assert_eq!(status("/api/v1/herd", wrong), expected);
    }
    let rejected = |reason: &str| format!("web_calls_rejected_total{{reason=\"{reason}\"}}");
    figures.expect_from(web, || {
        let counts = [
            ("max_calls", overloaded),
            ("max_watches", 5),
            ("missing_token", 3),
            ("host", 2),
            ("wrong_token", 10),
            ("rate_limited", 4),
        ];
        counts
            .map(|(reason, count)| (rejected(reason), count))
            .to_vec()
    });
    drop(watches);
}

/// Begins a watch, which lasts as long as its connection.
fn begin_watch(web: SocketAddr, headers: &str) -> TcpStream {
    let mut stream = http_connect(web);
    let request = format!("GET /api/v1/watch HTTP/1.1\r\nHost: {web}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

/// Idle connections that make room for newer ones, at the other ports.
fn evicted_connections(figures: &mut Figures) {
    let (herd, web) = riley(|plan| {
        plan.clients.max_connections = 2;
        plan.files.peer_handshakes = 2;
    });
    let connect = |address, times| -> Vec<Client> {
        let all = 0..times;
        all.map(|_| Client::connect(address)).collect()
    };
    let mut silent = connect(herd.clients_address("Riley"), 5);
    silent.extend(connect(herd.peers_address("Riley"), 6));
    figures.expect_from(web, || {
        let evicted = [
            (rejected("clients", "evicted"), 3),
            (rejected("peers", "evicted"), 4),
        ];
        let clients = expected([("client_connections_accepted_total", 5)]);
        [evicted.to_vec(), clients].concat()
    });
}

fn reloads_and_drain(figures: &mut Figures) {
    let (herd, web) = riley(|_| {});
    let gateway = herd.gateway("Riley");
    let reload = |is_successful, seconds: i64| {
        let now = UnixNanos(seconds * 1_000_000_000);
        gateway.reloads().record(is_successful, now);
    };
    let success_at = "config_last_reload_success_timestamp_seconds";
    let is_successful = "config_last_reload_successful";
    figures.expect(
        web,
        [
            (success_at, 1_700_000_000),
            (is_successful, 1),
            ("draining", 0),
        ],
    );
    reload(false, 1_700_000_010);
    figures.expect(web, [(success_at, 1_700_000_000), (is_successful, 0)]);
    reload(true, 1_700_000_020);
    figures.expect(web, [(success_at, 1_700_000_020), (is_successful, 1)]);
    gateway.shutdown().drain().cancel();
    figures.expect(web, [("draining", 1)]);
}

/// Riley's link with a fake neighbour, in both directions.
fn a_link(figures: &mut Figures) {
    const START: i64 = 1_700_000_100;
    let (jaquez, clock) = (FakeNeighbour::start("Jaquez"), ManualClock::at(START));
    let mut herd = Herd::new(PAIR).adjust(|plan| {
        with_web(plan);
        // No push besides those of the test.
        plan.peers.heartbeat = 2 * LIMIT;
    });
    herd.redirect("Riley", "Jaquez", jaquez.address());
    herd.launch_with("Riley", clock.clock(), Log::off());
    let web = herd.web_address("Riley");
    let mut client = herd.client("Riley");
    let answered = |lines| {
        [
            ("client_connections_accepted_total", 1),
            ("client_request_seconds_count", lines),
            (r#"client_reports_total{result="accepted"}"#, lines),
            ("changes_total", lines),
        ]
    };
    // The neighbour knows what arrived. While it rejects calls, the link tries again and again.
    let pushed = |up: usize, changes: usize, accepted_greetings: usize| {
        let (pushes, mut acknowledged) = (jaquez.pushes(), jaquez.pushes());
        acknowledged.retain(|pushed| pushed.is_acknowledged);
        let made = pushes.len() + jaquez.greetings().len();
        let reports = acknowledged.iter().map(|pushed| pushed.push.reports.len());
        expected([
            (r#"link_up{neighbour="Jaquez"}"#, up),
            (r#"link_state_changes_total{neighbour="Jaquez"}"#, changes),
            (
                r#"link_batches_sent_total{neighbour="Jaquez"}"#,
                acknowledged.len(),
            ),
            (
                r#"link_push_seconds_count{neighbour="Jaquez"}"#,
                acknowledged.len(),
            ),
            (
                r#"link_reports_sent_total{neighbour="Jaquez"}"#,
                reports.sum(),
            ),
            (
                r#"link_calls_failed_total{neighbour="Jaquez"}"#,
                made.saturating_sub(acknowledged.len() + accepted_greetings),
            ),
        ])
    };
    let lag = |reports, seconds| {
        expected([
            (r#"link_lag_reports{neighbour="Jaquez"}"#, reports),
            (r#"link_lag_seconds{neighbour="Jaquez"}"#, seconds),
            // By the server's clock too, until reports are acknowledged.
            (r#"link_stalled_seconds{neighbour="Jaquez"}"#, seconds),
        ])
    };
    figures.expect_from(web, || {
        let start = expected([("start_time_seconds", START as usize)]);
        let before = [("client_connections_accepted_total", 1)];
        [start, expected(before), pushed(1, 1, 1), lag(0, 0)].concat()
    });

    let rejection = || ResponseMode::Reject(Status::permission_denied("not now"));
    jaquez.respond_to_greetings(rejection());
    jaquez.respond_to_pushes(rejection());
    for n in 0..3 {
        client.ask(&format!("IAMAT client-{n} +1+1 1"));
    }
    clock.step(7);
    figures.expect_from(web, || {
        [expected(answered(3)), pushed(0, 2, 1), lag(3, 7)].concat()
    });
    jaquez.respond_to_pushes(ResponseMode::Accept);
    jaquez.respond_to_greetings(ResponseMode::Accept);
    figures.expect_from(web, || {
        [expected(answered(3)), pushed(1, 3, 2), lag(0, 0)].concat()
    });

    for n in 3..8 {
        client.ask(&format!("IAMAT client-{n} +1+1 1"));
        eventually("the report arrives", || {
            (jaquez.clients().last()? == &format!("client-{n}")).then_some(())
        });
    }
    figures.expect_from(web, || {
        [expected(answered(8)), pushed(1, 3, 2), lag(0, 0)].concat()
    });

    // The other direction.
    let calls = PeerClient::dial(herd.peers_address("Riley"));
    let mut sender = FakeSender::new("Jaquez", jaquez.incarnation(), "Riley");
    let first = sender.push(0, 1, vec![report("a", "+1+1", "1")]);
    calls.push(&first).unwrap_err();
    let mut foreign = sender.greeting();
    foreign.herd = "other".to_owned();
    for _ in 0..2 {
        calls.greet(&foreign).unwrap_err();
    }
    sender.greet(&calls);
    let reports = |clients: &[&str], time| -> Vec<Report> {
        let clients = clients.iter();
        clients.map(|client| report(client, "+1+1", time)).collect()
    };
    for (n, reports) in (0..).zip([
        reports(&["a", "b", "c", "d", "e"], "2"),
        reports(&["a", "b", "c"], "2"),
        reports(&["a", "b"], "1"),
        vec![],
    ]) {
        calls.push(&sender.push(n, n + 1, reports)).unwrap();
    }
    // Malformed pushes, as the first one of a stream and as a later one.
    let malformed = sender.push(4, 5, vec![report("a", "north", "9")]);
    calls.push(&malformed).unwrap_err();
    let mut stream = calls.stream(&sender.push(4, 5, vec![]));
    stream.push(&malformed).unwrap_err();
    figures.expect_from(web, || {
        let received = [
            (r#"link_batches_received_total{neighbour="Jaquez"}"#, 5),
            (
                r#"link_reports_received_total{neighbour="Jaquez",result="newer"}"#,
                5,
            ),
            (
                r#"link_reports_received_total{neighbour="Jaquez",result="duplicate"}"#,
                3,
            ),
            (
                r#"link_reports_received_total{neighbour="Jaquez",result="stale"}"#,
                2,
            ),
            // Not a push that requires a greeting first, which is usual after a restart.
            (r#"peer_calls_rejected_total{reason="other"}"#, 2 + 2),
        ];
        let mut lines = expected(answered(8));
        lines.retain(|(name, _)| name != "changes_total");
        lines.push(("changes_total".to_owned(), 8 + 5));
        [lines, pushed(1, 3, 2), expected(received)].concat()
    });
}

/// A neighbour that holds a push of Riley's incarnation that Riley did not send.
fn a_new_incarnation(figures: &mut Figures) {
    let jaquez = FakeNeighbour::start("Jaquez");
    let (to_sequence, check) = (9, 1);
    let foreign = PushMark { to_sequence, check };
    jaquez.answer_greetings_with(|answer| answer.pushes = vec![foreign]);
    let herd = Herd::new(PAIR);
    herd.redirect("Riley", "Jaquez", jaquez.address());
    let (_herd, web) = riley_of(herd, |plan| plan.peers.heartbeat = 2 * LIMIT);
    eventually("more than one greeting", || {
        (jaquez.greetings().len() > 1).then_some(())
    });
    jaquez.answer_greetings_with(|answer| answer.pushes.clear());
    figures.expect_from(web, || {
        expected([
            ("incarnation_renewals_total", 1),
            (r#"link_up{neighbour="Jaquez"}"#, 1),
            (r#"link_state_changes_total{neighbour="Jaquez"}"#, 1),
            (r#"link_batches_sent_total{neighbour="Jaquez"}"#, 1),
            (r#"link_push_seconds_count{neighbour="Jaquez"}"#, 1),
            (
                r#"link_calls_failed_total{neighbour="Jaquez"}"#,
                jaquez.greetings().len() - 1,
            ),
        ])
    });
}

/// A record of the handshake type without a handshake.
const NO_HANDSHAKE: &[u8] = b"\x16\x03\x01\0\x05hello";

/// Sends bytes to a port and waits until the connection is closed.
fn say(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

fn handshakes_and_certificates(figures: &mut Figures) {
    let (pki, foreign) = (Arc::new(Pki::new()), Pki::new());
    let files = pki.clone();
    let (herd, web) = riley(move |plan| {
        plan.tls = Some(files.files("Riley"));
        let anywhere = Address::parse("127.0.0.1:0").unwrap();
        plan.clients_tls = Some((anywhere, files.pair("Riley")));
    });
    figures.expect(web, []);
    let (peers, clients) = (
        herd.peers_address("Riley"),
        herd.clients_tls_address("Riley"),
    );
    let call =
        |address, ca: &Path, own: Option<&Pair>| call_as(address, ca, own, "riley.test.proxyherd");
    let (ca, foreign_ca) = (pki.path("ca.pem"), foreign.path("ca.pem"));
    let jaquez = server("Jaquez", "test");

    call(peers, &ca, None).err().unwrap();
    for _ in 0..2 {
        let own = foreign.issue("x", &jaquez, days(-1, 30));
        call(peers, &ca, Some(&own)).err().unwrap();
    }
    for validity in [days(-30, -1), days(-30, -2), days(1, 30)] {
        let own = pki.issue("dated", &jaquez, validity);
        call(peers, &ca, Some(&own)).err().unwrap();
    }
    for _ in 0..4 {
        say(peers, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    }
    for _ in 0..5 {
        call(peers, &foreign_ca, None).err().unwrap();
    }
    for _ in 0..6 {
        say(peers, NO_HANDSHAKE);
    }
    for _ in 0..7 {
        say(clients, b"IAMAT kiwi +1+1 1\n");
    }
    for _ in 0..8 {
        call(clients, &foreign_ca, None).err().unwrap();
    }
    for _ in 0..9 {
        say(clients, NO_HANDSHAKE);
    }
    // Connections that send nothing are not counted.
    drop(TcpStream::connect(peers).unwrap());
    drop(TcpStream::connect(clients).unwrap());

    let call_as = |subject| {
        let own = pki.issue("caller", &subject, days(-1, 30));
        call(peers, &ca, Some(&own)).unwrap()
    };
    let greeting = FakeSender::new("Jaquez", 7, "Riley").greeting();
    // Rejected because of the herd, and of the name, of the certificate.
    for subject in [server("Jaquez", "other"), server("Mallory", "test")] {
        call_as(subject).greet(&greeting).unwrap_err();
    }
    // Rejected because of its message, not of its certificate.
    call_as(jaquez).greet(&greeting).unwrap_err();
    figures.expect_from(web, || {
        let counts = [
            ("peers", "no_certificate", 1),
            ("peers", "untrusted_ca", 2),
            ("peers", "expired", 3),
            ("peers", "plaintext", 4),
            ("peers", "own_certificate", 5),
            ("peers", "other", 6),
            ("clients", "plaintext", 7),
            ("clients", "own_certificate", 8),
            ("clients", "other", 9),
        ];
        let counts = counts.map(|(port, reason, count)| (rejected(port, reason), count));
        let calls = [
            (r#"peer_calls_rejected_total{reason="certificate"}"#, 2),
            (r#"peer_calls_rejected_total{reason="other"}"#, 1),
        ];
        [counts.to_vec(), expected(calls)].concat()
    });
}

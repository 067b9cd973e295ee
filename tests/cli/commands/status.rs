//! `proxyherd status`.

use proxyherd::proto::{ClientLines, LinkStatus};

use super::fake_server::{Behaviour, at, herd, run, run_json, seconds};
use crate::common::{Process, eventually};

fn link(neighbour: &str) -> LinkStatus {
    LinkStatus {
        neighbour: neighbour.to_owned(),
        up: true,
        since: Some(at(1_699_999_900)),
        ..LinkStatus::default()
    }
}

#[test]
fn the_state_of_a_server_is_one_line() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    fakes[0].state(|state| {
        let status = &mut state.status;
        (status.clients, status.client_connections) = (1_234_567, 20);
        status.client_lines = Some(ClientLines {
            accepted: 99_999,
            stale: 12,
            rejected_max_future: 1,
            rejected_max_clients: 2,
            ..ClientLines::default()
        });
        let mut slow = link("Jaquez");
        slow.lag = Some(prost_types::Duration {
            seconds: 0,
            nanos: 40_000_000,
        });
        status.links = vec![slow];
    });
    let ended = run(&site, &["status"], 0);
    assert_eq!(
        ended.stdout,
        "herd test: 2 of 2 servers up, version 0.1.0\n\
         \n\
         server     up  clients  conns  accepted  stale  rejected  links   lag  clock\n\
         Riley   1h02m    1.23M     20     99999     12         3    1/1  40ms      -\n\
         Jaquez  1h02m        0      0         0      0         0    0/0    0s      -\n"
    );
    assert_eq!(ended.stderr, "");
}

#[test]
fn servers_and_links_that_are_down_or_lag_are_listed_with_the_reason() {
    let (site, mut fakes) = herd(&["Riley", "Jaquez", "Juzang"]);
    fakes[0].state(|state| {
        let mut down = link("Jaquez");
        (down.up, down.lag_reports) = (false, 1203);
        down.reason = "connection refused\x1b[2J".to_owned();
        let mut slow = link("Juzang");
        (slow.lag_reports, slow.lag) = (812, Some(seconds(2)));
        state.status.links = vec![down, slow];
    });
    fakes[1].stop();
    fakes[2].state(|state| state.status_behaviour = Behaviour::Hang);
    let ended = run(&site, &["status", "--timeout", "5s"], 1);
    let out = ended.stdout;
    assert!(out.starts_with("herd test: 1 of 3 servers up"), "{out}");
    assert!(out.contains("\nJaquez   DOWN\n"), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    let at = |server: usize| fakes[server].address();
    assert_eq!(
        lines[7..],
        [
            "Riley -> Jaquez  down for 1m40s: connection refused\\x1b[2J; 1,203 reports pending",
            "Riley -> Juzang  lags by 2.0s, 812 reports pending",
            &format!(
                "Jaquez  unreachable: Connection refused (os error 111) ({})",
                at(1)
            ),
            &format!("Juzang  no answer within 5s ({})", at(2)),
        ],
        "{out}"
    );
    let json = run_json(&site, &["status", "--timeout", "5s"], 1);
    assert_eq!(json["healthy"], false);
    assert_eq!(
        json["servers"][0]["status"]["links"][0]["reason"],
        "connection refused\x1b[2J"
    );
    assert_eq!(json["servers"][0]["status"]["links"][1]["lag_seconds"], 2.0);
    assert_eq!(json["servers"][2]["error"], "no answer within 5s");
    assert_eq!(json["servers"][2]["status"], serde_json::Value::Null);
}

#[test]
fn a_link_that_lags_is_a_problem_and_not_a_failure() {
    let (site, fakes) = herd(&["Riley"]);
    fakes[0].state(|state| {
        let mut slow = link("Jaquez");
        (slow.lag_reports, slow.lag) = (1, Some(seconds(75)));
        state.status.links = vec![slow];
    });
    let out = run(&site, &["status"], 0).stdout;
    assert!(
        out.contains("Riley -> Jaquez  lags by 1m15s, 1 report pending\n"),
        "{out}"
    );
}

#[test]
fn a_link_that_is_up_and_carries_nothing_is_a_failure() {
    let (site, fakes) = herd(&["Riley"]);
    fakes[0].state(|state| {
        let mut stalled = link("Jaquez");
        (stalled.lag_reports, stalled.lag) = (300, Some(seconds(75)));
        stalled.stalled = Some(seconds(12));
        state.status.links = vec![stalled];
    });
    let out = run(&site, &["status"], 1).stdout;
    assert!(
        out.contains("Riley -> Jaquez  up, and has carried nothing for 12s; 300 reports pending\n"),
        "{out}"
    );
}

#[test]
fn a_clock_that_differs_from_those_of_most_neighbours_is_listed() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    let offsets = |server: usize, offsets: &[Option<i64>]| {
        fakes[server].state(|state| {
            let with_offset = |&offset: &Option<i64>| LinkStatus {
                clock_offset: offset.map(seconds),
                clock_offset_error: offset.map(|_| seconds(1)),
                ..link("neighbour")
            };
            state.status.links = offsets.iter().map(with_offset).collect();
        });
    };
    let clocks = |out: &str| {
        let rows = out.lines().skip(3).take(2);
        let last = |row: &str| row.split_whitespace().last().unwrap().to_owned();
        rows.map(last).collect::<Vec<_>>()
    };
    // A neighbour's clock is wrong, that of Jaquez too.
    offsets(0, &[Some(0), Some(-7), Some(0)]);
    offsets(1, &[Some(-7), None, Some(-9)]);
    let out = run(&site, &["status"], 0).stdout;
    assert_eq!(clocks(&out), ["0s", "+6.0s"], "{out}");
    let problem = "Jaquez  its clock is 6.0s ahead of those of most of its neighbours\n";
    assert!(out.ends_with(&format!("\n{problem}")), "{out}");
    // The error of the measurement is a second.
    offsets(1, &[Some(2)]);
    offsets(0, &[Some(86_400), Some(86_400)]);
    // Days are a failure.
    let out = run(&site, &["status"], 1).stdout;
    assert_eq!(clocks(&out), ["-23h59m", "-1.0s"], "{out}");
    let problem = "Riley  its clock is 23h59m behind those of most of its neighbours\n";
    assert!(out.ends_with(&format!("\n\n{problem}")), "{out}");
}

#[test]
fn the_clock_of_a_neighbour_that_gives_no_answer_is_listed() {
    let (site, mut fakes) = herd(&["Riley", "Jaquez"]);
    fakes[0].state(|state| {
        let with_offset = |neighbour, offset| LinkStatus {
            clock_offset: Some(seconds(offset)),
            clock_offset_error: Some(seconds(0)),
            ..link(neighbour)
        };
        let (wrong, right) = (with_offset("Jaquez", 259_200), with_offset("Juzang", 0));
        state.status.links = vec![wrong, right];
    });
    fakes[1].stop();
    let out = run(&site, &["status"], 1).stdout;
    let problem = "\nJaquez  its clock is 3d0h ahead of that of Riley\n";
    assert!(out.contains(problem), "{out}");
}

#[test]
fn a_neighbour_that_answers_and_sends_nothing_is_a_failure() {
    let (site, fakes) = herd(&["Riley"]);
    let silent = |silence, incoming, up| {
        fakes[0].state(|state| {
            state.status.links = vec![LinkStatus {
                incoming,
                incoming_silence: Some(seconds(silence)),
                up,
                ..link("Jaquez")
            }];
        });
    };
    silent(20, true, true);
    run(&site, &["status"], 0);
    silent(25, true, true);
    let out = run(&site, &["status"], 1).stdout;
    let problem = "\nRiley <- Jaquez  nothing has arrived for 25s, though Jaquez answers: see its \
                   link to Riley, and the address of Riley in its config\n";
    assert!(out.contains(problem), "{out}");
    silent(75, false, true);
    let json = run_json(&site, &["status"], 1);
    let problem = json["problems"][0].as_str().unwrap();
    assert!(
        problem.starts_with("Riley <- Jaquez: nothing has ever arrived, in 1m15s"),
        "{problem}"
    );
    silent(75, true, false);
    let out = run(&site, &["status"], 1).stdout;
    assert!(!out.contains("<-"), "a link that is down says it: {out}");
}

#[test]
fn a_link_of_the_config_that_a_server_does_not_have_is_a_failure() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    let config = site
        .config()
        .replacen("talks_to = []", "talks_to = [\"Jaquez\"]", 1);
    site.set_config(&config);
    fakes[0].state(|state| state.status.links = vec![link("Jaquez")]);
    let out = run(&site, &["status"], 1).stdout;
    let problem = "\nJaquez -> Riley  the config has this link and the server does not: send it \
                   SIGHUP, or restart it, with this config\n";
    assert!(out.ends_with(problem), "{out}");
    fakes[1].state(|state| state.status.links = vec![link("Riley")]);
    run(&site, &["status"], 0);
}

#[test]
fn a_name_under_which_several_processes_run_is_a_failure() {
    let (site, fakes) = herd(&["Riley", "Jaquez"]);
    fakes[1].state(|state| {
        state.status.links = vec![LinkStatus {
            incoming: true,
            incoming_silence: Some(seconds(1)),
            neighbour_duplicates: 1,
            ..link("Riley")
        }];
    });
    let out = run(&site, &["status"], 1).stdout;
    let problem = "\nRiley  two or more processes run under this name, by the status of Jaquez: \
                   stop all except the one at the address in the config\n";
    assert!(out.ends_with(problem), "{out}");
    let out = run(&site, &["verify"], 1).stdout;
    assert!(
        out.starts_with("not proven: two or more processes run as Riley\n"),
        "{out}"
    );
    let json = run_json(&site, &["verify"], 1);
    assert_eq!(
        (&json["proven"], &json["duplicated"][0]),
        (&false.into(), &"Riley".into())
    );
}

#[test]
fn versions_and_settings_that_differ_are_listed() {
    let (site, fakes) = herd(&["Riley", "Jaquez", "Juzang"]);
    fakes[0].state(|state| state.status.expire_after = Some(seconds(86_400)));
    let out = run(&site, &["status"], 1).stdout;
    assert!(
        out.contains("expire_after differs  1d0h on Riley; off on Jaquez and Juzang\n"),
        "{out}"
    );
    fakes[0].state(|state| state.status.expire_after = None);
    fakes[2].state(|state| state.status.version = "0.2.0".to_owned());
    let out = run(&site, &["status"], 0).stdout;
    assert!(
        out.contains("versions differ  0.1.0 on Riley and Jaquez; 0.2.0 on Juzang\n"),
        "{out}"
    );
    fakes[0].state(|state| state.status.draining = true);
    let out = run(&site, &["status"], 1).stdout;
    assert!(out.contains("Riley  is shutting down\n"), "{out}");
}

#[test]
fn a_refreshed_table_has_rates_until_ctrl_c() {
    let (site, fakes) = herd(&["Riley"]);
    let accept = |count| {
        fakes[0].state(|state| {
            state.status.client_lines = Some(ClientLines {
                accepted: count,
                ..ClientLines::default()
            });
        });
    };
    accept(0);
    let process = Process::spawn(&mut site.command(&["status", "--watch", "0.2"]));
    eventually("the first table", || {
        process.stdout().contains("accepted").then_some(())
    });
    accept(1_000_000);
    let rate = eventually("a rate", || {
        let out = process.stdout();
        let lines = out.lines().filter(|line| line.starts_with("Riley "));
        let rates = lines.map(|line| line.split_whitespace().nth(4).unwrap().to_owned());
        rates.skip(1).find(|rate| rate != "0")
    });
    assert_ne!(rate, "-", "the server did not restart");
    process.signal("INT");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(!ended.stdout.contains('\x1b'), "{ended:?}");
}

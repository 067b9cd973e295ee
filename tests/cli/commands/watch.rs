//! `proxyherd watch`.

use proxyherd::proto::watch_request::{Filter, Start};
use proxyherd::proto::{KnownReport, Resume, WatchResponse};
use tonic::Status;

use super::operator::{Manner, Played, herd, known, run};
use crate::common::{Process, Site, eventually};

fn told(played: &Played, sequence: u64, reports: Vec<KnownReport>) -> WatchResponse {
    WatchResponse {
        reports,
        incarnation: played.script(|script| script.status.incarnation),
        sequence,
        replaced: 0,
        up_to_date: true,
    }
}

fn watch(site: &Site, arguments: &[&str]) -> Process {
    Process::spawn(&mut site.command(&[&["watch"], arguments].concat()))
}

#[track_caller]
fn await_stdout(process: &Process, words: &str) {
    eventually(&format!("{words:?} is printed"), || {
        process.stdout().contains(words).then_some(())
    });
}

#[test]
fn reports_are_printed_as_they_win_until_ctrl_c() {
    let (site, played) = herd(&["Riley"]);
    let process = watch(&site, &[]);
    let asked = played[0].await_watches(1);
    assert_eq!(
        (asked.filter, asked.start),
        (None, Some(Start::Present(false)))
    );
    let mut response = told(&played[0], 7, vec![known("kiwi", "+1+1", "9", "")]);
    response
        .reports
        .push(known("\x1b[2J", "+1+1", "9", "Jaquez"));
    response.replaced = 12;
    played[0].tells(response);
    let lines = "2023-11-14T21:56:40.000Z - AT Riley +0.263873386 kiwi +1+1 9\n\
                 2023-11-14T21:56:40.000Z Jaquez AT Riley +0.263873386 \\x1b[2J +1+1 9\n";
    await_stdout(&process, lines);
    process.signal("INT");
    let ended = process.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout, lines);
    let told = "Riley: 12 changes replaced by newer ones before they could be told\n";
    assert_eq!(ended.stderr, told);
}

#[test]
fn a_watch_goes_on_where_it_was_cut_off() {
    let (site, mut played) = herd(&["Riley"]);
    let process = watch(&site, &["--prefix", "k", "--present", "--json"]);
    let asked = played[0].await_watches(1);
    assert_eq!(asked.filter, Some(Filter::Prefix("k".to_owned())));
    assert_eq!(asked.start, Some(Start::Present(true)));
    played[0].tells(told(&played[0], 7, vec![known("kiwi", "+1+1", "9", "")]));
    await_stdout(&process, "kiwi");
    played[0].dies();
    process.await_stderr("it is tried again");
    played[0].returns();
    let incarnation = played[0].script(|script| script.status.incarnation);
    let resume = Resume {
        incarnation,
        sequence: 7,
    };
    let asked = played[0].await_watches(2);
    assert_eq!(asked.filter, Some(Filter::Prefix("k".to_owned())));
    assert_eq!(asked.start, Some(Start::Resume(resume)));

    // Another life: it begins anew with all that there is.
    played[0].dies();
    played[0].script(|script| script.status.incarnation = 99);
    played[0].returns();
    process.await_stderr("Riley: has restarted, and begins anew with what it holds\n");
    let asked = played[0].await_watches(4);
    assert_eq!(asked.start, Some(Start::Present(true)));
    played[0].tells(told(&played[0], 1, vec![known("koala", "+1+1", "9", "")]));
    await_stdout(&process, "koala");
    for line in process.stdout().lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["server"], "Riley");
        assert_eq!(object["learned_at"], "2023-11-14T21:56:40.000Z");
    }
    process.signal("INT");
    assert_eq!(process.end().status.code(), Some(0));
}

#[test]
fn a_watch_that_is_refused_ends() {
    let (site, mut played) = herd(&["Riley"]);
    let refused = Status::invalid_argument("a circle has a radius");
    played[0].script(|script| script.manner = Manner::Refuses(refused));
    let ended = run(&site, &["watch", "--circle", "-1,2,3km"], 1);
    let told = "error: Riley: refuses: InvalidArgument: a circle has a radius\n";
    assert_eq!(ended.stderr, told);
    played[0].dies();
    let ended = run(&site, &["watch"], 1);
    assert!(
        ended
            .stderr
            .starts_with("error: no server answers\nRiley (127."),
        "{ended:?}"
    );
}

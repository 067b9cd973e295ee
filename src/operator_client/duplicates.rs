//! Servers under whose name several processes run.
//!
//! The address of a server in the config leads to one process. Whether it is the only one is what
//! its neighbours know: which incarnations greet them and push to them under its name.

use crate::gateway::MAX_SILENCE;
use crate::proto::{GetStatusResponse, LinkStatus, as_seconds};

use crate::format;
use crate::log::escaped;

/// A server under whose name several processes run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DuplicatedServer {
    pub(crate) name: String,
    /// The servers that show it.
    seen_by: Vec<String>,
}

impl DuplicatedServer {
    pub(crate) fn description(&self) -> String {
        format!(
            "two or more processes run under this name, by the status of {}: stop all except the \
             one at the address in the config",
            format::list(&self.seen_by, "and")
        )
    }
}

/// Returns the servers under whose name several processes run, by the status of each server.
pub(crate) fn find<'a>(
    statuses: impl Iterator<Item = &'a GetStatusResponse> + Clone,
) -> Vec<DuplicatedServer> {
    let mut found: Vec<DuplicatedServer> = Vec::new();
    let mut add = |name: &str, seen_by: &str| {
        let (name, seen_by) = (escaped(name), escaped(seen_by));
        match found.iter_mut().find(|it| it.name == name) {
            Some(known) if known.seen_by.contains(&seen_by) => {}
            Some(known) => known.seen_by.push(seen_by),
            None => found.push(DuplicatedServer {
                name,
                seen_by: vec![seen_by],
            }),
        }
    };
    for status in statuses.clone() {
        for link in &status.links {
            let mut named = statuses.clone().filter(|it| it.name == link.neighbour);
            let is_other = named.any(|answered| comes_from_another(link, answered));
            if link.neighbour_duplicates > 0 || is_other {
                add(&link.neighbour, &status.name);
            }
        }
        let twin = |it: &&GetStatusResponse| {
            it.name == status.name && it.incarnation != status.incarnation
        };
        if statuses.clone().any(|it| twin(&it)) {
            add(&status.name, &status.name);
        }
    }
    found
}

/// Returns true if the calls of a neighbour come from another process than the one that answered
/// under its name. That is usual for a while after a restart.
fn comes_from_another(link: &LinkStatus, answered: &GetStatusResponse) -> bool {
    let max_silence = MAX_SILENCE.as_secs_f64();
    let silence = link.incoming_silence.as_ref().map_or(f64::MAX, as_seconds);
    let uptime = answered.uptime.as_ref().map_or(0.0, as_seconds);
    link.incoming
        && link.incoming_incarnation != answered.incarnation
        && silence < max_silence
        && uptime > 2.0 * max_silence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn riley(uptime: i64) -> GetStatusResponse {
        GetStatusResponse {
            name: "Riley".to_owned(),
            incarnation: 7,
            uptime: seconds(uptime),
            ..GetStatusResponse::default()
        }
    }

    /// The status of a server that heard an incarnation of Riley some seconds ago.
    fn hears(name: &str, incarnation: u64, silence: i64, duplicates: u64) -> GetStatusResponse {
        let link = LinkStatus {
            neighbour: "Riley".to_owned(),
            incoming: true,
            incoming_silence: seconds(silence),
            incoming_incarnation: incarnation,
            neighbour_duplicates: duplicates,
            ..LinkStatus::default()
        };
        GetStatusResponse {
            name: name.to_owned(),
            incarnation: 1,
            links: vec![link],
            ..GetStatusResponse::default()
        }
    }

    fn names(statuses: &[GetStatusResponse]) -> Vec<(String, Vec<String>)> {
        let found = find(statuses.iter()).into_iter();
        found.map(|it| (it.name, it.seen_by)).collect()
    }

    #[test]
    fn a_process_that_is_heard_and_is_not_the_one_that_answers_is_found() {
        let found = [("Riley".to_owned(), vec!["A".to_owned()])];
        assert_eq!(names(&[riley(60), hears("A", 7, 0, 0)]), []);
        assert_eq!(names(&[riley(60), hears("A", 8, 1, 0)]), found);
        assert_eq!(names(&[riley(5), hears("A", 8, 1, 0)]), [], "restarted");
        assert_eq!(names(&[riley(60), hears("A", 8, 30, 0)]), [], "it is gone");
    }

    #[test]
    fn what_neighbours_report_is_listed_once_with_all_of_them() {
        let statuses = [hears("A", 7, 0, 1), hears("B", 8, 0, 2), riley(60)];
        let seen_by = vec!["A".to_owned(), "B".to_owned()];
        assert_eq!(names(&statuses), [("Riley".to_owned(), seen_by)]);
        // Without an answer of Riley.
        assert_eq!(names(&statuses[..1]).len(), 1);
    }

    #[test]
    fn two_answers_under_one_name_are_two_processes() {
        let mut other = riley(1);
        other.incarnation = 8;
        let found = names(&[riley(60), other]);
        assert_eq!(found, [("Riley".to_owned(), vec!["Riley".to_owned()])]);
        assert_eq!(names(&[riley(60), riley(61)]), []);
    }
}

//! Whether servers hold the same reports, and where they differ.
//!
//! Equal digests of all reports prove agreement, although they are taken one after the other: a
//! server that holds a report holds it or a newer one from then on. So if all digests are equal,
//! each server has everything that any of them had before the first digest. The clients must not
//! report meanwhile, or what they report is not covered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::format::{count, list};
use crate::gateway::Gateway;
use crate::line_protocol::reply;
use crate::log::escaped;
use crate::model::report::Report;
use crate::model::timestamp::UnixNanos;
use crate::queries::digest::{self, BucketSum, Buckets};
use crate::queries::hash_range::HashRange;
use crate::queries::scan_visible;

/// Maximum number of clients, and of links, that a message names.
const MAX_NAMED: usize = 5;

/// Servers that do not hold the same reports, and the likely reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The limit that has passed.
    pub limit: Duration,
    /// The clients of which servers hold different reports, in the order of their IDs. Empty if
    /// they were the same once the limit had passed.
    pub differences: Vec<Difference>,
    /// The links that are down.
    pub links_down: Vec<DownLink>,
}

/// A client of which servers hold different reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The ID of the client.
    pub client: String,
    /// The AT lines, each with the servers that hold it; `None` for those without a report.
    pub held: Vec<(Option<String>, Vec<String>)>,
}

/// A link that is down, as one of its ends sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownLink {
    /// The server whose link it is.
    pub from: String,
    /// The server at the other end.
    pub to: String,
    /// The reason, as status shows it.
    pub reason: String,
    /// Whether the test has set a fault between the two.
    pub has_fault: bool,
}

/// Returns true if all servers hold the same reports.
pub(super) fn agree<'a>(servers: impl Iterator<Item = &'a Gateway> + Clone) -> bool {
    let as_of = latest(servers.clone());
    let mut sums = servers.map(|gateway| sum(gateway, as_of));
    let Some(first) = sums.next() else {
        return true;
    };
    !first.is_unsettled && sums.all(|sum| sum == first)
}

/// Returns the time after which no report is expired that is visible at a server.
fn latest<'a>(servers: impl Iterator<Item = &'a Gateway>) -> UnixNanos {
    let clocks = servers.map(|gateway| gateway.clock().now());
    clocks.max().unwrap_or(UnixNanos(0))
}

fn sum(gateway: &Gateway, as_of: UnixNanos) -> BucketSum {
    let one = Buckets::new(HashRange::ALL.into(), 1).expect("one bucket is a valid number");
    digest::scan(gateway.replica(), as_of, &one, || ()).sums[0]
}

/// Returns the clients of which the servers hold different reports.
pub(super) fn differences(servers: &[(&str, &Gateway)]) -> Vec<Difference> {
    let as_of = latest(servers.iter().map(|(_, gateway)| *gateway));
    let held: Vec<_> = servers
        .iter()
        .map(|(_, gateway)| at_lines(gateway, as_of))
        .collect();
    let clients: BTreeSet<&String> = held.iter().flat_map(BTreeMap::keys).collect();
    let difference = |client: &String| {
        let mut groups: Vec<(Option<String>, Vec<String>)> = Vec::new();
        for ((server, _), lines) in servers.iter().zip(&held) {
            let line = lines.get(client);
            match groups.iter_mut().find(|group| group.0.as_ref() == line) {
                Some(group) => group.1.push((*server).to_owned()),
                None => groups.push((line.cloned(), vec![(*server).to_owned()])),
            }
        }
        (groups.len() > 1).then(|| Difference {
            client: client.clone(),
            held: groups,
        })
    };
    clients.into_iter().filter_map(difference).collect()
}

/// Returns the AT lines that a server holds, by clients.
fn at_lines(gateway: &Gateway, as_of: UnixNanos) -> BTreeMap<String, String> {
    let mut lines = BTreeMap::new();
    scan_visible(
        gateway.replica(),
        as_of,
        |stored| {
            let client = stored.report.client.text().to_owned();
            lines.insert(client, at_line(&stored.report));
        },
        || (),
    );
    lines
}

/// Returns a report as its AT line, without the line end.
pub(super) fn at_line(report: &Report<'_>) -> String {
    let mut line = Vec::new();
    reply::at(&mut line, report);
    line.pop();
    String::from_utf8(line).expect("every field of a report is UTF-8")
}

impl fmt::Display for DownLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from, to, reason, ..
        } = self;
        write!(f, "{from} - {to} ({reason}")?;
        if self.has_fault {
            f.write_str("; the test has set a fault there, which heal removes")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            limit,
            differences,
            links_down,
        } = self;
        if differences.is_empty() {
            return write!(
                f,
                "reports kept changing for {limit:?}; stop the clients before the wait, and read \
                 all of their answers"
            );
        }
        let clients = count(differences.len() as u64, "client");
        write!(f, "servers differ in {clients} after {limit:?}")?;
        for difference in differences.iter().take(MAX_NAMED) {
            write!(f, "\n  {difference}")?;
        }
        if let more @ 1.. = differences.len().saturating_sub(MAX_NAMED) as u64 {
            write!(f, "\n  and {}", count(more, "more client"))?;
        }
        if !links_down.is_empty() {
            write!(f, "\nlinks that are down: {}", list_of(links_down))?;
        }
        Ok(())
    }
}

/// Lists links for people, the first few of many.
pub(super) fn list_of(links: &[DownLink]) -> String {
    let mut named: Vec<_> = links
        .iter()
        .take(MAX_NAMED)
        .map(DownLink::to_string)
        .collect();
    if let more @ 1.. = links.len().saturating_sub(MAX_NAMED) as u64 {
        named.push(format!("{more} more"));
    }
    list(named, "and")
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", escaped(&self.client))?;
        for (at, (line, servers)) in self.held.iter().enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            let line = line.as_deref().map_or("no report".into(), escaped);
            write!(f, "{separator}{line} at {}", list(servers, "and"))?;
        }
        Ok(())
    }
}

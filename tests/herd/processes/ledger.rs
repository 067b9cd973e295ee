//! Every sent IAMAT, its answers, and the reports of it that were seen.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::SystemTime;

use super::report::{Report, cause};

/// Identical lines to the same server. Each line that the server accepted has its own skew.
#[derive(Default)]
struct Lines {
    /// The send times of lines without an answer.
    unanswered: Vec<i128>,
    answered: BTreeSet<i128>,
    seen: BTreeSet<i128>,
}

/// All reports that were sent in a run.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<HashMap<String, Lines>>);

impl Ledger {
    /// Records a line before it is sent. Returns the current time, which identifies it.
    pub(crate) fn sends(&self, server: &str, client: &str, position: &str, time: &str) -> i128 {
        let now = wall_clock();
        let mut all = self.0.lock().unwrap();
        let lines = all
            .entry(cause(server, client, position, time))
            .or_default();
        lines.unanswered.push(now);
        now
    }

    /// Records and checks the answer to the line that was sent at `sent`.
    pub(crate) fn answered(&self, sent: i128, report: &Report) -> Result<(), String> {
        let now = wall_clock();
        if !(sent..=now).contains(&report.clock()) {
            return Err(format!(
                "{report}: wrong skew for a line that was sent at {sent} and answered by {now}"
            ));
        }
        let mut all = self.0.lock().unwrap();
        let lines = all.get_mut(&report.cause());
        let lines = lines.ok_or_else(|| format!("{report} is the answer to another line"))?;
        let index = lines.unanswered.iter().position(|&other| other == sent);
        lines
            .unanswered
            .swap_remove(index.expect("a line is answered once"));
        lines.answered.insert(report.skew);
        lines.check(report)
    }

    /// Records and checks a report that a server returned as the newest.
    pub(crate) fn saw(&self, report: &Report) -> Result<(), String> {
        let now = wall_clock();
        let mut all = self.0.lock().unwrap();
        let lines = all.get_mut(&report.cause());
        let lines = lines.ok_or_else(|| format!("{report} was never sent"))?;
        let is_new = !lines.answered.contains(&report.skew) && lines.seen.insert(report.skew);
        let first = lines.unanswered.iter().copied().min().unwrap_or(now);
        if is_new && !(first..=now).contains(&report.clock()) {
            return Err(format!(
                "{report} has a skew that no server can have computed"
            ));
        }
        lines.check(report)
    }
}

impl Lines {
    /// Checks that each seen skew belongs to a different line.
    fn check(&self, report: &Report) -> Result<(), String> {
        let unexplained = self.seen.difference(&self.answered).count();
        if unexplained <= self.unanswered.len() {
            return Ok(());
        }
        Err(format!(
            "{report}: its lines have the skews {:?} in answers and {:?} in queries",
            self.answered, self.seen
        ))
    }
}

/// Returns the time in nanoseconds since 1970.
pub(crate) fn wall_clock() -> i128 {
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since_1970.as_nanos() as i128
}

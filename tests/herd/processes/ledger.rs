//! Every IAMAT that was sent, what was answered, and what was seen of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::SystemTime;

use super::report::{Report, cause};

/// What is known of lines that say the same to the same server. Each that the
/// server took has a skew of its own.
#[derive(Default)]
struct Lines {
    /// When those were sent that have no answer, and may never get one.
    unanswered: Vec<i128>,
    answered: BTreeSet<i128>,
    seen: BTreeSet<i128>,
}

/// All lines of a run.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<HashMap<String, Lines>>);

impl Ledger {
    /// A line is about to be sent. Gives the time now, which names the sending.
    pub(crate) fn sends(&self, server: &str, client: &str, position: &str, time: &str) -> i128 {
        let now = wall_clock();
        let mut all = self.0.lock().unwrap();
        let lines = all
            .entry(cause(server, client, position, time))
            .or_default();
        lines.unanswered.push(now);
        now
    }

    /// The line that was sent at `sent` was answered with this report.
    pub(crate) fn answered(&self, sent: i128, report: &Report) -> Result<(), String> {
        let now = wall_clock();
        if !(sent..=now).contains(&report.clock()) {
            return Err(format!(
                "{report}: its skew is wrong, it was sent at {sent} and answered by {now}"
            ));
        }
        let mut all = self.0.lock().unwrap();
        let lines = all.get_mut(&report.cause());
        let lines = lines.ok_or_else(|| format!("{report} answers another line"))?;
        let place = lines.unanswered.iter().position(|&other| other == sent);
        lines
            .unanswered
            .swap_remove(place.expect("it is answered once"));
        lines.answered.insert(report.skew);
        lines.judge(report)
    }

    /// A server says that this report is the newest.
    pub(crate) fn saw(&self, report: &Report) -> Result<(), String> {
        let now = wall_clock();
        let mut all = self.0.lock().unwrap();
        let lines = all.get_mut(&report.cause());
        let lines = lines.ok_or_else(|| format!("{report} was never sent"))?;
        let is_new = !lines.answered.contains(&report.skew) && lines.seen.insert(report.skew);
        let first = lines.unanswered.iter().copied().min().unwrap_or(now);
        if is_new && !(first..=now).contains(&report.clock()) {
            return Err(format!(
                "{report} has a skew that no server can have given it"
            ));
        }
        lines.judge(report)
    }
}

impl Lines {
    /// Each skew that was seen belongs to a line of its own.
    fn judge(&self, report: &Report) -> Result<(), String> {
        let unexplained = self.seen.difference(&self.answered).count();
        if unexplained <= self.unanswered.len() {
            return Ok(());
        }
        Err(format!(
            "{report}: its lines were answered with the skews {:?} and seen with {:?}",
            self.answered, self.seen
        ))
    }
}

/// The time of day, in nanoseconds since 1970.
pub(crate) fn wall_clock() -> i128 {
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since_1970.as_nanos() as i128
}

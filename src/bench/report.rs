//! All that a run found, before it is put into a table or into JSON.

use super::convergence::Convergence;
use super::load::Loaded;
use super::settings::BenchSettings;
use super::spread::Spread;
use super::tally::Faults;
use crate::format::grouped;

/// What a run found.
pub(super) struct BenchReport<'a> {
    pub(super) settings: &'a BenchSettings,
    /// Ctrl-C came before the end.
    pub(super) stopped_early: bool,
    pub(super) loaded: Option<Loaded>,
    pub(super) spread: Option<Spread>,
    /// For each server, where it was looked for.
    pub(super) settled: Option<Vec<Convergence>>,
}

impl BenchReport<'_> {
    /// What a server calls itself, or its address where it never said.
    pub(super) fn name(&self, server: usize) -> String {
        let loaded = self.loaded.iter();
        let told = loaded.filter_map(|loaded| loaded.tally.servers[server].name.clone());
        let spread = self.spread.iter();
        let spread = spread.filter_map(|spread| spread.names[server].clone());
        let address = self.settings.servers[server].to_string();
        told.chain(spread).next().unwrap_or(address)
    }

    /// Faults of the load and of the spread.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        if let Some(loaded) = &self.loaded {
            faults.add(loaded.tally.faults());
        }
        if let Some(spread) = &self.spread {
            faults.add(spread.faults);
        }
        faults
    }

    /// The first faults in words.
    pub(super) fn examples(&self) -> impl Iterator<Item = &String> {
        let loaded = self.loaded.iter().flat_map(|loaded| &loaded.tally.examples);
        let spread = self.spread.iter().flat_map(|spread| &spread.examples);
        loaded.chain(spread)
    }

    /// How many reports are where they should be at no time.
    fn lacking(&self) -> u64 {
        let servers = self.settled.iter().flatten();
        servers.map(|server| server.lacking).sum()
    }

    /// Nanoseconds from the load's end until everything was seen everywhere;
    /// none where it was not.
    pub(super) fn settled_after(&self) -> Option<u64> {
        let servers = self.settled.as_ref()?;
        let is_complete = |server: &Convergence| server.lacking == 0 && server.error.is_none();
        let all = servers.iter().all(is_complete);
        all.then(|| servers.iter().map(|server| server.complete).max())?
    }

    /// What was not as it should be, in one line.
    pub(super) fn complaint(&self) -> Option<String> {
        let faults = self.faults();
        let late = self.spread.as_ref().map_or(0, |spread| spread.late);
        let counted = [
            (faults.wrong, "answers were wrong"),
            (faults.missing, "requests were not answered"),
            (faults.unexpected, "lines came unasked"),
            (faults.broken, "connections broke"),
            (late, "reports were not everywhere in time"),
            (self.lacking(), "reports were not where they should be"),
        ];
        let told = counted.iter().filter(|(count, _)| *count > 0);
        let mut told: Vec<String> = told
            .map(|(count, what)| format!("{} {what}", grouped(*count)))
            .collect();
        let errors = self.settled.iter().flatten().enumerate();
        told.extend(errors.filter_map(|(server, settled)| {
            let error = settled.error.as_ref()?;
            Some(format!("{} could not be asked: {error}", self.name(server)))
        }));
        if told.is_empty() && self.measured_nothing() {
            told.push("nothing was measured".to_owned());
        }
        (!told.is_empty()).then(|| told.join(", "))
    }

    fn measured_nothing(&self) -> bool {
        let loaded = self.loaded.as_ref();
        let loaded = loaded.is_some_and(|loaded| loaded.tally.all().answered > 0);
        let spread = self.spread.as_ref();
        let spread = spread.is_some_and(|spread| spread.everywhere.count() > 0);
        !loaded && !spread
    }
}

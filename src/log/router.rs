//! The assignment of events to logs, where several servers share a process.
//!
//! The work of a server runs inside its span, made with `tracing::info_span!("server", server =
//! "Riley")`. The span carries the name only; the log is found by name at each event, so span and
//! log may be created in either order, and no span keeps a log open.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::Attributes;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::lock::lock;

use super::event::is_of_this_crate;
use super::handle::{Log, WeakLog};

/// The name of a server's span, and of its field.
const SERVER: &str = "server";

/// The logs of the servers in this process, by name: as many as there are servers. A cheap clone is
/// the same router. It keeps no log open: a server that drops its [`Log`] gets no more events.
#[derive(Clone, Debug, Default)]
pub struct Router {
    logs: Arc<Mutex<Vec<(String, WeakLog)>>>,
}

impl Router {
    /// Creates a router without servers.
    pub fn new() -> Router {
        Router::default()
    }

    /// Registers `log` for the events of the server `name`, in place of any registered before. A
    /// log that is off gets none.
    pub fn register(&self, name: &str, log: &Log) {
        let mut logs = lock(&self.logs);
        logs.retain(|(server, log)| server != name && log.upgrade().is_some());
        logs.extend(log.downgrade().map(|log| (name.to_owned(), log)));
    }

    /// Mutes all registered logs, or ends that.
    pub(super) fn mute(&self, is_muted: bool) {
        self.logs(|_| true)
            .iter()
            .for_each(|log| log.mute(is_muted));
    }

    /// Flushes all logs in turn, for as long as `limit` allows.
    pub(super) fn flush_within(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for log in self.logs(|_| true) {
            log.flush_within(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Returns the logs for an event of `server`: that server's, or all if it is `None`, of which
    /// one at most goes to standard output.
    pub(super) fn logs_of(&self, server: Option<&str>) -> Vec<Log> {
        let mut logs = self.logs(|name| server.is_none_or(|server| server == name));
        let mut has_stdout = false;
        logs.retain(|log| !log.is_on_stdout() || !std::mem::replace(&mut has_stdout, true));
        logs
    }

    /// Returns true if lines of a log are written to standard output now.
    pub(super) fn is_on_stdout(&self) -> bool {
        let logs = self.logs(|_| true);
        logs.iter().any(|log| log.is_on_stdout() && log.is_on())
    }

    fn logs(&self, wanted: impl Fn(&str) -> bool) -> Vec<Log> {
        // No code under the lock panics, so that the panic hook can log.
        let logs = lock(&self.logs);
        let wanted = logs.iter().filter(|(name, _)| wanted(name));
        wanted.filter_map(|(_, log)| log.upgrade()).collect()
    }
}

/// The name of the server, stored in its span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventServer(pub(super) String);

impl EventServer {
    /// Returns true if this describes the span of a server.
    pub(super) fn is_span(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name() == SERVER && is_of_this_crate(metadata.target())
    }

    /// Returns the server that a new span names, if it does.
    pub(super) fn named_by(attributes: &Attributes<'_>) -> Option<EventServer> {
        let mut name = ServerField(None);
        attributes.record(&mut name);
        name.0.map(EventServer)
    }

    /// Returns the server in whose span `event` was emitted, the nearest if there are several.
    pub(super) fn of<S>(event: &Event<'_>, context: &Context<'_, S>) -> Option<EventServer>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let mut scope = context.event_scope(event)?;
        scope.find_map(|span| span.extensions().get::<EventServer>().cloned())
    }
}

struct ServerField(Option<String>);

impl Visit for ServerField {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == SERVER {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == SERVER {
            self.0 = Some(format!("{value:?}")); // the form in which `server = %name` arrives
        }
    }
}

//! Which server's log an event belongs to, where several servers share a process.
//!
//! Whatever a server does is done inside its span, made with
//! `tracing::info_span!("server", server = "Riley")`. The span carries the name only; logs are
//! found by name when an event comes, so it does not matter whether the span or the log was there
//! first, and no span keeps a log open.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::Attributes;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::handle::{Log, WeakLog};
use super::locks;

/// The crate's name, with which the targets of its own events begin.
pub(super) const OURS: &str = env!("CARGO_CRATE_NAME");

/// The name of a server's span, and of its field.
const SERVER: &str = "server";

/// The logs of the servers in this process, by name: as many as there are servers. A cheap clone is
/// the same router. It keeps no log open: a server that drops its [`Log`] is out.
#[derive(Clone, Debug, Default)]
pub struct Router {
    logs: Arc<Mutex<Vec<(String, WeakLog)>>>,
}

impl Router {
    /// A router that knows no server yet.
    pub fn new() -> Router {
        Router::default()
    }

    /// From now on `log` gets the events of the server `name`, instead of any that did. One that is
    /// off gets none.
    pub fn register(&self, name: &str, log: &Log) {
        let Some(mut logs) = locks::lock(&self.logs) else {
            return;
        };
        logs.retain(|(server, log)| server != name && log.upgrade().is_some());
        logs.extend(log.downgrade().map(|log| (name.to_owned(), log)));
    }

    /// Mutes all logs that are registered, or ends that.
    pub(super) fn mute(&self, is_muted: bool) {
        self.logs(|_| true)
            .iter()
            .for_each(|log| log.mute(is_muted));
    }

    /// Flushes all logs, one after the other, for as long as `limit` allows.
    pub(super) fn flush_within(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for log in self.logs(|_| true) {
            log.flush_within(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// The logs that an event of `server` goes to: that server's, or all where there is none.
    pub(super) fn logs_of(&self, server: Option<&str>) -> Vec<Log> {
        self.logs(|name| server.is_none_or(|server| server == name))
    }

    fn logs(&self, wanted: impl Fn(&str) -> bool) -> Vec<Log> {
        let Some(logs) = locks::lock(&self.logs) else {
            return Vec::new();
        };
        let wanted = logs.iter().filter(|(name, _)| wanted(name));
        wanted.filter_map(|(_, log)| log.upgrade()).collect()
    }
}

/// What the span of a server carries: the server's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server(pub(super) String);

impl Server {
    /// Whether this describes the span of a server.
    pub(super) fn is_span(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.name() == SERVER && is_ours(metadata.target())
    }

    /// The server that a new span names, if it does.
    pub(super) fn named_by(attributes: &Attributes<'_>) -> Option<Server> {
        let mut name = Name(None);
        attributes.record(&mut name);
        name.0.map(Server)
    }

    /// The server in whose span `event` was made, the nearest if there are several.
    pub(super) fn of<S>(event: &Event<'_>, context: &Context<'_, S>) -> Option<Server>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let mut scope = context.event_scope(event)?;
        scope.find_map(|span| span.extensions().get::<Server>().cloned())
    }
}

/// Whether a target is of this crate.
pub(super) fn is_ours(target: &str) -> bool {
    is_within(target, OURS)
}

/// Whether a target is a module or one inside it.
pub(super) fn is_within(target: &str, module: &str) -> bool {
    target
        .strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

struct Name(Option<String>);

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == SERVER {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == SERVER {
            self.0 = Some(format!("{value:?}")); // what `server = %name` arrives as
        }
    }
}

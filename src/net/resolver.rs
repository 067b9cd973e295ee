//! The addresses of host names, from the system's resolver.
//!
//! The system's resolver (`getaddrinfo`) blocks its thread for half a minute and longer while no
//! DNS server answers, and cannot be interrupted. Therefore each name is looked up by one thread
//! at a time, whoever waits for it and however often. The thread belongs to no runtime, so it
//! delays no other work and not the end of the process.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use humantime::format_duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::lock::lock;

/// Maximum number of lookups that run at a time, each of another name. A herd has fewer
/// neighbours on each server.
const MAX_LOOKUPS: usize = 128;

/// Looks up a host name and blocks meanwhile. The ports of the addresses mean nothing.
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks up host names. Clones share the lookups that run.
#[derive(Clone)]
pub struct Resolver {
    lookup: Arc<Lookup>,
    permits: Arc<Semaphore>,
    /// The names that somebody holds. Locked for a lookup or a sweep of all entries.
    names: Arc<Mutex<HashMap<Arc<str>, Weak<HostName>>>>,
}

/// A host name, and what is known of its addresses.
pub(super) struct HostName {
    host: Arc<str>,
    state: watch::Sender<LookupState>,
}

#[derive(Default)]
struct LookupState {
    /// The start of the lookup that runs.
    running_since: Option<Instant>,
    /// The error of the last lookup; `None` if it found addresses.
    error: Option<String>,
    /// The result of the last lookup that found addresses.
    addresses: Vec<SocketAddr>,
}

/// The result of a lookup.
pub(super) struct Resolution {
    /// The addresses, in the system's order of preference (RFC 6724). After a failure, those of
    /// the last lookup that found any.
    pub(super) addresses: Vec<SocketAddr>,
    /// The reason why there is no new result.
    pub(super) failure: Option<String>,
}

impl Resolver {
    /// Returns the system's resolver: DNS, the hosts file, and whatever else the system is
    /// configured to use.
    pub fn system() -> Self {
        Self::new(|host| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    /// Returns a resolver whose lookups call `lookup`, each on a thread of its own. The ports of
    /// its addresses are ignored.
    pub fn new(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            lookup: Arc::new(lookup),
            permits: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            names: Arc::default(),
        }
    }

    /// Returns the name `host`, which is forgotten when nobody holds it any more.
    pub(super) fn name(&self, host: &str) -> Arc<HostName> {
        let mut names = lock(&self.names);
        if let Some(known) = names.get(host).and_then(Weak::upgrade) {
            return known;
        }
        names.retain(|_, name| name.strong_count() > 0);
        let host: Arc<str> = host.into();
        let name = Arc::new(HostName {
            host: host.clone(),
            state: watch::Sender::default(),
        });
        names.insert(host, Arc::downgrade(&name));
        name
    }

    /// Looks up the name, or joins the lookup of it that runs, and waits for at most `limit`.
    ///
    /// If earlier addresses are known, a lookup that has run for longer than `limit` is not waited
    /// for again.
    pub(super) async fn addresses(&self, name: &Arc<HostName>, limit: Duration) -> Resolution {
        let mut state = name.state.subscribe();
        let now = Instant::now();
        let since = self.start_unless_running(name, now);
        let has_known = !state.borrow().addresses.is_empty();
        let deadline = if has_known { since } else { now } + limit;
        let ended = state.wait_for(|state| state.running_since.is_none());
        let is_late = timeout_at(deadline, ended).await.is_err();
        let state = state.borrow();
        let failure = if is_late {
            let limit = format_duration(limit);
            Some(format!("its name was not resolved within {limit}"))
        } else {
            state.error.clone()
        };
        Resolution {
            addresses: state.addresses.clone(),
            failure: failure.map(|failure| format!("{}: {failure}", name.host)),
        }
    }

    /// Returns the start of the lookup that runs.
    fn start_unless_running(&self, name: &Arc<HostName>, now: Instant) -> Instant {
        let mut since = now;
        let mut is_new = false;
        name.state.send_modify(|state| {
            since = *state.running_since.get_or_insert_with(|| {
                is_new = true;
                now
            });
        });
        if is_new && let Err(error) = self.start(name) {
            name.end(Err(error));
        }
        since
    }

    fn start(&self, name: &Arc<HostName>) -> io::Result<()> {
        let permit: OwnedSemaphorePermit =
            self.permits.clone().try_acquire_owned().map_err(|_| {
                io::Error::other(format!("{MAX_LOOKUPS} other names are being resolved"))
            })?;
        let (lookup, name) = (self.lookup.clone(), name.clone());
        let run = move || {
            let _permit = permit;
            name.end(lookup(&name.host));
        };
        let thread = thread::Builder::new().name("resolver".to_owned());
        thread.spawn(run).map(drop)
    }
}

impl HostName {
    /// Ends the lookup that runs.
    fn end(&self, found: io::Result<Vec<SocketAddr>>) {
        self.state.send_modify(|state| {
            state.running_since = None;
            match found {
                Ok(found) if found.is_empty() => state.error = Some("no addresses".to_owned()),
                Ok(found) => (state.addresses, state.error) = (found, None),
                Err(error) => state.error = Some(error.to_string()),
            }
        });
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

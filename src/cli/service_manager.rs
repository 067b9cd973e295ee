//! Notifications to the service manager, as systemd reads them (`sd_notify(3)`): when the servers
//! serve, reload and stop, their state as one line, and the watchdog.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing here does anything. A thread of its own sends,
//! since a manager that takes nothing must not keep the servers waiting.

use std::env;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::format::count;
use crate::gateway::Gateway;
use crate::log::LogThrottle;
use crate::server::{ProgressProbe, RunningServer};

/// The environment variable with the address of the service manager.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Maximum number of notifications that wait for the manager; further ones are dropped.
const MAX_WAITING: usize = 16;

/// Minimum time between two changes of the status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Number of proofs of progress within the time limit of the watchdog: a busy machine may delay
/// one of them.
const WATCHDOG_BEATS: u32 = 3;

/// Minimum time between two warnings that a notification cannot be sent.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The service manager of this process, if there is one.
#[derive(Debug)]
pub(super) struct ServiceManager {
    mailbox: Option<Mailbox>,
    status: Option<AbortOnDropHandle<()>>,
    _watchdog: Option<AbortOnDropHandle<()>>,
}

/// The notifications on their way to the thread that sends them.
#[derive(Clone, Debug)]
struct Mailbox(SyncSender<Notification>);

#[derive(Debug)]
enum Notification {
    /// The servers serve, with their state as one line.
    Ready(String),
    /// The config is read again, since this time of the monotonic clock.
    Reloading(NotifyState<'static>),
    /// The state of the servers as one line, which is sent if the manager has another.
    Status(String),
    /// All servers made progress.
    Watchdog,
    /// The servers drain.
    Stopping,
}

impl ServiceManager {
    /// Returns the manager that the environment names.
    ///
    /// # Errors
    ///
    /// The system permits no further thread.
    pub(super) fn from_environment() -> io::Result<Self> {
        let is_there = env::var_os(SOCKET).is_some_and(|socket| !socket.is_empty());
        Ok(Self {
            mailbox: is_there.then(Mailbox::open).transpose()?,
            status: None,
            _watchdog: None,
        })
    }

    /// Notifies the manager that the servers serve, and keeps it informed from now on. Call it
    /// within a runtime.
    pub(super) fn serving(&mut self, running: &[RunningServer]) {
        let Some(mailbox) = &self.mailbox else { return };
        self.ready(running);
        let status = tokio::spawn(keep_status(mailbox.clone(), gateways(running)));
        self.status = Some(AbortOnDropHandle::new(status));
        let watchdog = sd_notify::watchdog_enabled();
        if let Some(limit) = watchdog.filter(|limit| !limit.is_zero()) {
            let probes = running.iter().map(RunningServer::progress_probe).collect();
            let watchdog = tokio::spawn(keep_watchdog(mailbox.clone(), limit, probes));
            self._watchdog = Some(AbortOnDropHandle::new(watchdog));
        }
    }

    /// Notifies the manager that the config is read again, which [`ready`](Self::ready) ends.
    pub(super) fn reloading(&self) {
        // Fails on no system that has the clock.
        if let (Some(mailbox), Ok(now)) = (&self.mailbox, NotifyState::monotonic_usec_now()) {
            mailbox.post(Notification::Reloading(now));
        }
    }

    /// Notifies the manager that the servers serve, after their start and after each reload.
    pub(super) fn ready(&self, running: &[RunningServer]) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.post(Notification::Ready(status(&gateways(running))));
        }
    }

    /// Notifies the manager that the servers drain.
    pub(super) fn stopping(&mut self) {
        drop(self.status.take());
        if let Some(mailbox) = &self.mailbox {
            mailbox.post(Notification::Stopping);
        }
    }
}

impl Mailbox {
    /// Starts the thread that sends.
    fn open() -> io::Result<Self> {
        let (sender, notifications) = sync_channel(MAX_WAITING);
        let thread = thread::Builder::new().name("service manager".to_owned());
        thread.spawn(move || send_all(&notifications))?;
        Ok(Self(sender))
    }

    fn post(&self, notification: Notification) {
        // Full while the manager takes nothing.
        let _ = self.0.try_send(notification);
    }
}

/// Keeps the status line current.
async fn keep_status(mailbox: Mailbox, gateways: Vec<Arc<Gateway>>) {
    loop {
        sleep(STATUS_INTERVAL).await;
        mailbox.post(Notification::Status(status(&gateways)));
    }
}

/// Proves again and again that all servers make progress.
async fn keep_watchdog(mailbox: Mailbox, limit: Duration, probes: Vec<ProgressProbe>) {
    loop {
        for probe in &probes {
            probe.progress().await;
        }
        mailbox.post(Notification::Watchdog);
        sleep(limit / WATCHDOG_BEATS).await;
    }
}

fn gateways(running: &[RunningServer]) -> Vec<Arc<Gateway>> {
    running.iter().map(|it| it.gateway().clone()).collect()
}

fn send_all(notifications: &Receiver<Notification>) {
    let failures = LogThrottle::new(FAILURE_LOG_INTERVAL);
    let mut shown = String::new();
    for notification in notifications {
        match &notification {
            Notification::Status(status) if *status == shown => continue,
            Notification::Ready(status) | Notification::Status(status) => {
                shown.clone_from(status);
            }
            Notification::Reloading(_) | Notification::Stopping => shown.clear(),
            Notification::Watchdog => {}
        }
        if let Err(error) = send(&notification)
            && let Some(suppressed) = failures.admit()
        {
            warn!(
                "cannot notify the service manager by {SOCKET}: {error}; unset it if the process \
                 is not run by one{suppressed}"
            );
        }
    }
}

fn send(notification: &Notification) -> io::Result<()> {
    match notification {
        Notification::Ready(status) => {
            sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)])
        }
        Notification::Reloading(now) => sd_notify::notify(&[
            NotifyState::Reloading,
            now.clone(),
            NotifyState::Status("reads the config again"),
        ]),
        Notification::Status(status) => sd_notify::notify(&[NotifyState::Status(status)]),
        Notification::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
        Notification::Stopping => sd_notify::notify(&[
            NotifyState::Stopping,
            NotifyState::Status("stops: pushes the last reports to neighbours"),
        ]),
    }
}

/// Returns the state of the servers as one line.
fn status(gateways: &[Arc<Gateway>]) -> String {
    let (mut links, mut up) = (0, 0);
    for gateway in gateways {
        for (neighbour, _) in gateway.replica().neighbours() {
            links += 1;
            up += usize::from(gateway.links().state(neighbour).is_up);
        }
    }
    let serving = match gateways {
        [gateway] => format!("{} serves", gateway.replica().name()),
        _ => format!("{} serve", count(gateways.len() as u64, "server")),
    };
    let links = format!("{up} of {} up", count(links, "link"));
    let is_refused = |gateway: &Arc<Gateway>| !gateway.reloads().last().is_successful;
    let refused = if gateways.iter().any(is_refused) {
        "; the last reload failed and changed nothing, see the log"
    } else {
        ""
    };
    format!("{serving}, {links}{refused}")
}

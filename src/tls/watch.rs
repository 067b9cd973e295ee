//! Reloads credentials when their files change, and warns before certificates expire.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use super::credentials::Credentials;
use super::errors::format_time;
use super::expiry::{CertificateExpiry, ExpiryState};
use super::files::FileStamp;

/// Interval between checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Interval between reports of certificates that expire soon.
const EXPIRY_LOG_INTERVAL: Duration = Duration::from_secs(86_400);

/// Reloads `credentials` whenever their files change. Must run in the server's span.
pub async fn keep_current(credentials: Arc<Credentials>) -> Infallible {
    let mut watch = FileWatch::new(credentials);
    let first = watch.credentials.current();
    first.contents.iter().for_each(|line| info!("{line}"));
    first.warnings.iter().for_each(|warning| warn!("{warning}"));
    drop(first);
    loop {
        watch.log_expiries();
        sleep(CHECK_INTERVAL).await;
        watch.check().await;
    }
}

struct FileWatch {
    credentials: Arc<Credentials>,
    /// State of the files at the last load, successful or not.
    loaded: Vec<Option<FileStamp>>,
    /// State of the files at the last check. They are loaded when two checks find the same state:
    /// before, they may still be being written.
    checked: Vec<Option<FileStamp>>,
    expiries_logged: Option<Instant>,
}

impl FileWatch {
    fn new(credentials: Arc<Credentials>) -> Self {
        let first = credentials.first_stamps().to_vec();
        Self {
            credentials,
            loaded: first.clone(),
            checked: first,
            expiries_logged: None,
        }
    }

    /// Checks the files on a blocking thread, and reloads them if they changed.
    async fn check(&mut self) {
        let credentials = self.credentials.clone();
        let (loaded, checked) = (self.loaded.clone(), self.checked.clone());
        let checking = tokio::task::spawn_blocking(move || {
            let stamps = credentials.stamps();
            let is_due = stamps != loaded && stamps == checked;
            (is_due.then(|| credentials.reload()), stamps)
        });
        // Fails only if the process ends.
        let Ok((reloaded, stamps)) = checking.await else {
            return;
        };
        if let Some(reloaded) = reloaded {
            self.loaded.clone_from(&stamps);
            match reloaded {
                Ok(()) => self.log_reload(),
                Err(error) => {
                    for line in error.to_string().lines() {
                        warn!("cannot reload certificates: {line}; the old ones stay in use");
                    }
                }
            }
        }
        self.checked = stamps;
    }

    fn log_reload(&mut self) {
        let current = self.credentials.current();
        let until = current.expiries.iter().map(|expiry| expiry.at).min();
        let until = until.map_or("an unknown time".to_owned(), format_time);
        info!("certificates reloaded; valid until {until}");
        current.contents.iter().for_each(|line| info!("{line}"));
        for warning in &current.warnings {
            warn!("{warning}");
        }
        self.expiries_logged = None;
    }

    /// Logs certificates that have expired or expire soon, once a day.
    fn log_expiries(&mut self) {
        let logged = self.expiries_logged;
        if logged.is_some_and(|logged| logged.elapsed() < EXPIRY_LOG_INTERVAL) {
            return;
        }
        let (current, now) = (self.credentials.current(), SystemTime::now());
        let mut is_logged = false;
        for expiry in &current.expiries {
            is_logged |= log_expiry(expiry, now);
        }
        if is_logged {
            self.expiries_logged = Some(Instant::now());
        }
    }
}

/// Returns true if others reject the certificate, now or soon.
fn log_expiry(expiry: &CertificateExpiry, now: SystemTime) -> bool {
    match expiry.state(now) {
        Some(ExpiryState::Rejected(message)) => error!("{message}"),
        Some(ExpiryState::Soon(message)) => warn!("{message}"),
        None => {
            debug!(
                "{}: {:?}",
                expiry.path.display(),
                expiry.at.duration_since(now)
            );
            return false;
        }
    }
    true
}

//! Reloads credentials when their files change, and warns before certificates expire.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime::format_duration;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use super::credentials::{CertificateExpiry, Credentials};
use super::errors::format_time;
use super::files::FileStamp;

/// Interval between checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Remaining validity below which a certificate is reported in the log.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// Interval between reports of certificates that expire soon.
const EXPIRY_LOG_INTERVAL: Duration = Duration::from_secs(86_400);

/// Reloads `credentials` whenever their files change. Must run in the server's span.
pub async fn keep_current(credentials: Arc<Credentials>) -> Infallible {
    let mut watch = FileWatch::new(credentials);
    for warning in &watch.credentials.current().warnings {
        warn!("{warning}");
    }
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
                    warn!("cannot reload certificates: {error}; the old ones stay in use")
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

/// Returns true if the certificate has expired or expires soon.
fn log_expiry(CertificateExpiry { path, at }: &CertificateExpiry, now: SystemTime) -> bool {
    let path = path.display();
    match at.duration_since(now) {
        Err(_) => error!(
            "{path}: this certificate expired at {}, and others reject it; renew it",
            format_time(*at)
        ),
        Ok(left) if left < EXPIRES_SOON => warn!(
            "{path}: this certificate expires at {}, in {}; renew it",
            format_time(*at),
            format_duration(Duration::from_secs(left.as_secs()))
        ),
        Ok(left) => {
            debug!("{path}: valid for {left:?}");
            return false;
        }
    }
    true
}

//! Credentials are read again when their files change, and it is told when they
//! expire.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime::format_duration;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use super::credentials::{CertificateExpiry, Credentials};
use super::errors::moment;
use super::files::Stamp;

/// How often files are looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// That a certificate is about to expire is told this long before, and again
/// after each [`TELL_PAUSE`].
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);
const TELL_PAUSE: Duration = Duration::from_secs(86_400);

/// Keeps `credentials` as new as their files. Must run in the server's span.
pub async fn keep_current(credentials: Arc<Credentials>) -> Infallible {
    let mut watch = FileWatch::new(credentials);
    for caution in &watch.credentials.current().cautions {
        warn!("{caution}");
    }
    loop {
        watch.tell_expiries();
        sleep(PAUSE).await;
        watch.look().await;
    }
}

struct FileWatch {
    credentials: Arc<Credentials>,
    /// The files that were read last, with or without success.
    read: Vec<Option<Stamp>>,
    /// The files at the last look. They are read when two looks see the same:
    /// what changes still is being written.
    seen: Vec<Option<Stamp>>,
    told: Option<Instant>,
}

impl FileWatch {
    fn new(credentials: Arc<Credentials>) -> Self {
        let first = credentials.first_stamps().to_vec();
        Self {
            credentials,
            read: first.clone(),
            seen: first,
            told: None,
        }
    }

    /// Looks at the files, on a thread where that may take its time.
    async fn look(&mut self) {
        let credentials = self.credentials.clone();
        let (read, seen) = (self.read.clone(), self.seen.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let stamps = credentials.stamps();
            let is_due = stamps != read && stamps == seen;
            (is_due.then(|| credentials.reload()), stamps)
        });
        // Fails only where the process ends.
        let Ok((reloaded, stamps)) = looked.await else {
            return;
        };
        if let Some(reloaded) = reloaded {
            self.read.clone_from(&stamps);
            match reloaded {
                Ok(()) => self.tell_reloaded(),
                Err(error) => warn!("the certificates in use stay: {error}"),
            }
        }
        self.seen = stamps;
    }

    fn tell_reloaded(&mut self) {
        let current = self.credentials.current();
        let until = current.expiries.iter().map(|expiry| expiry.at).min();
        let until = until.map_or("an unknown time".to_owned(), moment);
        info!("certificates were read again; valid until {until}");
        for caution in &current.cautions {
            warn!("{caution}");
        }
        self.told = None;
    }

    /// Tells what has expired or soon will, once a day.
    fn tell_expiries(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < TELL_PAUSE) {
            return;
        }
        let (current, now) = (self.credentials.current(), SystemTime::now());
        let mut is_told = false;
        for expiry in &current.expiries {
            is_told |= tell(expiry, now);
        }
        if is_told {
            self.told = Some(Instant::now());
        }
    }
}

/// Gives whether there was something to tell.
fn tell(CertificateExpiry { path, at }: &CertificateExpiry, now: SystemTime) -> bool {
    let path = path.display();
    match at.duration_since(now) {
        Err(_) => error!(
            "{path}: this certificate expired at {}: others refuse it; renew it",
            moment(*at)
        ),
        Ok(left) if left < EXPIRES_SOON => warn!(
            "{path}: this certificate expires at {}, in {}: renew it",
            moment(*at),
            format_duration(Duration::from_secs(left.as_secs()))
        ),
        Ok(left) => {
            debug!("{path}: valid for {left:?}");
            return false;
        }
    }
    true
}

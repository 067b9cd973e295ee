//! SIGHUP: the config is read again, and what of it can change does.

use std::future::pending;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::plans::plans;
use crate::config::{Config, ConfigError, LocalServers, ReloadPlan};
use crate::log::Levels;
use crate::server::{PreparedChange, RunningServer};

/// Why a level does not change that `RUST_LOG` says.
const FORCED: &str = "RUST_LOG is set, and wins over it";

/// Why a level does not change where no log was opened.
const NOT_OPENED: &str = "it was off at the start, and no log is open: restart to open one";

/// SIGHUP, as often as it comes; those that come before anybody waits for them
/// count as one. It does not end a process that has ever had one of these.
pub(super) struct Hangup(Signal);

impl Hangup {
    pub(super) fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    pub(super) async fn wait(&mut self) {
        match self.0.recv().await {
            Some(()) => {}
            // There is no runtime any more.
            None => pending().await,
        }
    }
}

/// What is needed to go over to another config.
pub(super) struct Reloading {
    /// How the servers run.
    config: Config,
    here: LocalServers,
    levels: Levels,
    /// Most clients that each server can have.
    most_clients: usize,
}

impl Reloading {
    /// Of servers that run as `config` says.
    pub(super) fn new(
        config: &Config,
        here: LocalServers,
        levels: &Levels,
        most_clients: usize,
    ) -> Self {
        let fixed_level_reason = match () {
            () if levels.is_forced() => Some(FORCED),
            () if !levels.is_on() => Some(NOT_OPENED),
            () => None,
        };
        Self {
            config: config.clone(),
            here: LocalServers {
                fixed_level_reason,
                ..here
            },
            levels: levels.clone(),
            most_clients,
        }
    }

    /// Reads the config's file again. Changes nothing, and may be dropped at any
    /// time.
    pub(super) async fn read(&self) -> Result<ReloadPlan, String> {
        let (path, running, here) = (
            self.config.path.clone(),
            self.config.clone(),
            self.here.clone(),
        );
        // The disk may be slow, or far.
        let read = spawn_blocking(move || read(&path, &running, &here));
        match read.await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(panic) => Err(panic.to_string()),
        }
    }

    /// Goes over to what was read, or changes nothing; and says which.
    pub(super) async fn take_up(
        &mut self,
        read: Result<ReloadPlan, String>,
        running: &mut [RunningServer],
    ) {
        let path = self.config.path.display().to_string();
        let prepared = read.and_then(|reload| {
            let changes = self.prepare(&reload.config, running)?;
            Ok((reload, changes))
        });
        let is_taken = prepared.is_ok();
        match prepared {
            Ok((reload, changes)) => self.change(reload, changes, running).await,
            Err(error) => {
                // As `check` prints it.
                error.lines().for_each(|line| error!("{line}"));
                error!("{path} was read again and can not be used: nothing changed");
            }
        }
        for server in running.iter() {
            let gateway = server.gateway();
            gateway.reloads().note(is_taken, gateway.clock().now());
        }
    }

    /// What all servers need for it: all of them change, or none.
    fn prepare(
        &self,
        config: &Config,
        running: &[RunningServer],
    ) -> Result<Vec<PreparedChange>, String> {
        let here = self.here.servers.iter();
        // The file may name them in another order than they run in.
        let servers: Result<Vec<_>, _> = here.map(|name| config.server(name.as_str())).collect();
        let servers = servers.map_err(|error| error.to_string())?;
        let plans = plans(config, &servers, self.most_clients);
        let prepare = |(server, plan): (&RunningServer, _)| server.prepare(plan);
        let prepared: Result<_, _> = running.iter().zip(plans).map(prepare).collect();
        prepared.map_err(|error| error.to_string())
    }

    async fn change(
        &mut self,
        reload: ReloadPlan,
        changes: Vec<PreparedChange>,
        running: &mut [RunningServer],
    ) {
        let ReloadPlan {
            config,
            changes: told,
            deferred,
        } = reload;
        let before = self.config.warnings();
        // What is said here is to be in the log in either case.
        if config.log_level > self.config.log_level {
            self.levels.set(config.log_level);
        }
        let pairs = running.iter().zip(&changes);
        pairs.for_each(|(server, change)| server.expect(change));
        for (server, change) in running.iter_mut().zip(changes) {
            server.change(change).await;
        }
        told.iter().for_each(|change| info!("{change}"));
        deferred.iter().for_each(|setting| warn!("{setting}"));
        let warnings = config.warnings();
        let new = warnings.iter().filter(|text| !before.contains(text));
        new.for_each(|warning| warn!("{warning}"));
        info!(
            "{} was read again: {}",
            config.path.display(),
            summary(told.len(), deferred.len())
        );
        self.levels.set(config.log_level);
        self.config = config;
    }
}

fn read(
    path: &std::path::Path,
    running: &Config,
    here: &LocalServers,
) -> Result<ReloadPlan, ConfigError> {
    let file = Config::load(path)?;
    file.check_exposure(&here.those_of(&file))?;
    let reload = here.reload(running, file);
    // With TLS that is still to come, reports would go out without it.
    let config = &reload.config;
    config.check_exposure(&here.those_of(config))?;
    Ok(reload)
}

fn summary(changes: usize, waiting: usize) -> String {
    let changes = match changes {
        0 => "nothing changed".to_owned(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    match waiting {
        0 => changes,
        1 => changes + ", 1 setting stays as it was",
        count => changes + &format!(", {count} settings stay as they were"),
    }
}

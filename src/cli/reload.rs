//! SIGHUP: reads the config again, and applies what can change.

use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::plans::plans;
use crate::config::{Config, ConfigError, LocalServers, ReloadPlan, is_stdin};
use crate::log::Levels;
use crate::server::{PreparedChange, RunningServer};

/// Reason why the level cannot change if `RUST_LOG` sets it.
const LEVEL_FROM_ENVIRONMENT: &str = "RUST_LOG is set and overrides it";

/// Reason why standard input is not reloaded.
const ONLY_ONCE: &str = "the config is from standard input, which cannot be read again; restart \
                         with --config FILE to reload it on SIGHUP";

/// Reason why the level cannot change if no log was opened.
const LOG_NOT_OPEN: &str = "it was off at the start and no log is open; restart to open one";

/// The SIGHUPs of the process. Those that arrive between two waits count as one. Once
/// there is one of these, the signal no longer ends the process.
pub(super) struct Hangup(Signal);

impl Hangup {
    pub(super) fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    pub(super) async fn wait(&mut self) {
        match self.0.recv().await {
            Some(()) => {}
            // The runtime shuts down.
            None => pending().await,
        }
    }
}

/// Reloads the config of the running servers.
pub(super) struct Reloader {
    /// The file; `None` for standard input.
    file: Option<PathBuf>,
    /// The config that the servers run with.
    config: Config,
    here: LocalServers,
    levels: Levels,
    /// Maximum number of open files of the process, if it is known.
    max_files: Option<usize>,
}

impl Reloader {
    /// A reloader of servers that run with `config`, which was read from `file`.
    pub(super) fn new(
        file: &Path,
        config: &Config,
        here: LocalServers,
        levels: &Levels,
        max_files: Option<usize>,
    ) -> Self {
        let fixed_level_reason = if levels.is_forced() {
            Some(LEVEL_FROM_ENVIRONMENT)
        } else if levels.is_on() {
            None
        } else {
            Some(LOG_NOT_OPEN)
        };
        Self {
            file: (!is_stdin(file)).then(|| file.to_owned()),
            config: config.clone(),
            here: LocalServers {
                fixed_level_reason,
                ..here
            },
            levels: levels.clone(),
            max_files,
        }
    }

    /// Reads the config's file again. Changes nothing, and may be cancelled at any time.
    pub(super) async fn read(&self) -> Result<ReloadPlan, String> {
        let path = self.file.clone().ok_or(ONLY_ONCE)?;
        let (running, here) = (self.config.clone(), self.here.clone());
        // The disk may be slow.
        let read = spawn_blocking(move || read(&path, &running, &here));
        match read.await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(panic) => Err(panic.to_string()),
        }
    }

    /// Applies the config that was read, or changes nothing, and logs which.
    pub(super) async fn apply(
        &mut self,
        read: Result<ReloadPlan, String>,
        running: &mut [RunningServer],
    ) {
        let path = self.config.path.display().to_string();
        let prepared = read.and_then(|reload| {
            let changes = self.prepare(&reload.config, running)?;
            Ok((reload, changes))
        });
        let is_applied = prepared.is_ok();
        match prepared {
            Ok((reload, changes)) => self.change(reload, changes, running).await,
            Err(error) => {
                // As `check` prints it.
                error.lines().for_each(|line| error!("{line}"));
                error!("reload of {path} failed: nothing changed");
            }
        }
        for server in running.iter() {
            let gateway = server.gateway();
            gateway.reloads().record(is_applied, gateway.clock().now());
        }
    }

    /// Prepares the change of all servers: all of them change, or none.
    fn prepare(
        &self,
        config: &Config,
        running: &[RunningServer],
    ) -> Result<Vec<PreparedChange>, String> {
        let here = self.here.servers.iter();
        // The order in the file may differ from the order in which they run.
        let servers: Result<Vec<_>, _> = here.map(|name| config.server(name.as_str())).collect();
        let servers = servers.map_err(|error| error.to_string())?;
        let plans = plans(config, &servers, self.max_files).map_err(|error| error.to_string())?;
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
            changes: lines,
            deferred,
        } = reload;
        let before = self.config.warnings();
        // The lines below are logged at the higher of both levels.
        if config.log_level > self.config.log_level {
            self.levels.set(config.log_level);
        }
        let pairs = running.iter().zip(&changes);
        pairs.for_each(|(server, change)| server.expect(change));
        for (server, change) in running.iter_mut().zip(changes) {
            server.change(change).await;
        }
        lines.iter().for_each(|change| info!("{change}"));
        deferred.iter().for_each(|setting| warn!("{setting}"));
        let warnings = config.warnings();
        let new = warnings.iter().filter(|text| !before.contains(text));
        new.for_each(|warning| warn!("{warning}"));
        info!(
            "reloaded {}: {}",
            config.path.display(),
            summary(lines.len(), deferred.len())
        );
        self.levels.set(config.log_level);
        self.config = config;
    }
}

fn read(path: &Path, running: &Config, here: &LocalServers) -> Result<ReloadPlan, ConfigError> {
    let mut file = Config::load(path)?;
    file.keep_ports(running);
    if !here.is_whole_herd {
        for server in here.those_of(&file) {
            file.check_ports(server)?;
        }
    }
    file.check_exposure(&here.those_of(&file))?;
    let reload = here.reload(running, file);
    // TLS that waits for a restart does not protect reports until then.
    let config = &reload.config;
    config.check_exposure(&here.those_of(config))?;
    Ok(reload)
}

fn summary(changes: usize, deferred: usize) -> String {
    let changes = match changes {
        0 => "nothing changed".to_owned(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    match deferred {
        0 => changes,
        1 => changes + ", 1 setting unchanged",
        count => changes + &format!(", {count} settings unchanged"),
    }
}

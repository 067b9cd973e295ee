//! `proxyherd up` and `proxyherd serve`: run servers until a signal stops them.

use std::error::Error;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, Write as _};
use std::path::Path;
use std::thread;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::files;
use super::plans::plans;
use super::reload::{Hangup, Reloader};
use crate::config::{Config, LocalServers, ServerConfig};
use crate::gateway::Clock;
use crate::log::{self, Log, Router};
use crate::places::Places;
use crate::server::{BoundServer, RunningServer};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs every server of the herd in this process.
pub(super) fn up(path: &Path) -> Result<()> {
    let config = Config::load(path)?;
    let servers: Vec<_> = config.servers.iter().collect();
    run(&config, &servers, true)
}

/// Runs one server of the herd.
pub(super) fn serve(name: &str, path: &Path) -> Result<()> {
    let config = Config::load(path)?;
    run(&config, &[config.server(name)?], false)
}

fn run(config: &Config, servers: &[&ServerConfig], is_whole_herd: bool) -> Result<()> {
    config.check_exposure(servers)?;
    let router = Router::new();
    let levels = log::install(&router, config.log_level)?;
    log::log_panics(&router);
    let max_files = files::share_of_each(servers.len());
    let runtime = runtime(servers.len())?;
    let here = LocalServers {
        servers: servers.iter().map(|server| server.name.clone()).collect(),
        is_whole_herd,
        fixed_level_reason: None,
    };
    let reloader = Reloader::new(config, here, &levels, max_files);
    let router = levels.is_on().then_some(&router);
    let serving = run_until_stopped(config, servers, router, reloader, max_files);
    let result = runtime.block_on(serving);
    runtime.shutdown_background();
    result
}

/// Returns a runtime with a thread for each core, for one server less one.
///
/// The log's writer and the network stack need a core too, and threads that wake each
/// other for every report are slower than a single one. Measured on two cores that the
/// load shares: one thread answers a fifth more lines at pipeline 1, and a third more in
/// a herd of five processes; an eighth fewer at pipeline 16.
fn runtime(servers: usize) -> io::Result<Runtime> {
    let mut builder = runtime::Builder::new_multi_thread();
    // If it is set, tokio reads it.
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads(cores.saturating_sub(usize::from(servers == 1)).max(1));
    }
    builder.enable_all().build()
}

/// Runs the servers, with logs if there is a router.
async fn run_until_stopped(
    config: &Config,
    servers: &[&ServerConfig],
    router: Option<&Router>,
    mut reloader: Reloader,
    max_files: Option<usize>,
) -> Result<()> {
    let mut hangup = Hangup::listen()?;
    let places = Places::start(&config.places)?;
    let bound = bind_all(config, servers, max_files).await?;
    let logs = open_logs(config, servers, router)?;
    if let Some(file) = places.file() {
        info!("{file}");
    }
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let max_clients = bound.iter().map(|server| server.plan().files.clients).min();
    if let Some(max_clients) = max_clients.filter(|&max| max < config.clients.max_connections) {
        info!(
            "the limit on open files permits {max_clients} clients of each server; \
             raise it (ulimit -n) for the {} of the config",
            config.clients.max_connections
        );
    }
    // Before this there is nothing to drain, and a signal ends the process at once, also
    // while it loads a long list of places.
    let mut stop = Stop::listen()?;
    let mut running = start_all(bound, logs, &places)?;
    print_in_background(banner(config, servers, router.is_some()));

    let failure = loop {
        tokio::select! {
            () = stop.wait() => break None,
            failure = any_failed(&mut running) => break Some(failure),
            () = hangup.wait() => {}
        }
        // A SIGHUP that arrives meanwhile is handled after this one.
        tokio::select! {
            () = stop.wait() => break None,
            read = reloader.read() => reloader.apply(read, &mut running).await,
        }
    };
    tokio::select! {
        () = drain_all(running) => {}
        () = stop.wait() => return Err("stopped at once by a second signal; reports may be lost".into()),
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// Opens all sockets before any server starts, so that all start or none.
async fn bind_all(
    config: &Config,
    servers: &[&ServerConfig],
    max_files: Option<usize>,
) -> Result<Vec<BoundServer>> {
    let mut bound = Vec::new();
    for plan in plans(config, servers, max_files) {
        bound.push(BoundServer::open(plan).await?);
    }
    Ok(bound)
}

/// Opens all logs before any server starts, so that all start or none.
fn open_logs(
    config: &Config,
    servers: &[&ServerConfig],
    router: Option<&Router>,
) -> Result<Vec<Log>> {
    let mut logs = Vec::new();
    for server in servers {
        let name = server.name.as_str();
        let Some(router) = router else {
            logs.push(Log::off());
            continue;
        };
        let log = Log::open(&config.log, name)?;
        router.register(name, &log);
        logs.push(log);
    }
    Ok(logs)
}

fn start_all(
    bound: Vec<BoundServer>,
    logs: Vec<Log>,
    places: &Places,
) -> Result<Vec<RunningServer>> {
    let mut running = Vec::new();
    for (bound, log) in bound.into_iter().zip(logs) {
        running.push(bound.start(places.clone(), log, Clock::system())?);
    }
    Ok(running)
}

/// Prints in a thread of its own, so that a terminal that takes nothing delays neither
/// the start nor the stop.
fn print_in_background(text: String) {
    tokio::task::spawn_blocking(move || {
        let _ = io::stdout().write_all(text.as_bytes());
    });
}

/// Returns the addresses of the servers, and a first command to try.
fn banner(config: &Config, servers: &[&ServerConfig], is_logged: bool) -> String {
    let mut text = format!(
        "proxyherd {}: herd {}\n",
        env!("CARGO_PKG_VERSION"),
        config.herd
    );
    let width = servers
        .iter()
        .map(|server| server.name.as_str().len())
        .max()
        .unwrap_or(0);
    for server in servers {
        let ServerConfig {
            name,
            bind_clients,
            bind_peers,
            bind_clients_tls,
            bind_web,
            ..
        } = server;
        let name = name.as_str();
        let with_tls = bind_clients_tls.as_ref();
        let with_tls = with_tls.map_or(String::new(), |tls| format!(" (with TLS on {tls})"));
        let _ = writeln!(
            text,
            "  {name:width$}  clients on {bind_clients}{with_tls}, neighbours on {bind_peers}{}",
            bind_web
                .as_ref()
                .map_or(String::new(), |address| format!(", web on {address}"))
        );
    }
    if is_logged {
        let _ = writeln!(text, "logs in {}", config.log.dir.display());
    }
    if let Some(first) = servers.first() {
        let (host, port) = (first.clients.host(), first.clients.port());
        let host = host.trim_matches(['[', ']']);
        let _ = writeln!(
            text,
            "try, from another terminal:\n  printf 'IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503\\n\
             WHATSAT kiwi.cs.ucla.edu 10 5\\n' | nc -N {host} {port}\nCtrl-C stops it"
        );
    }
    text
}

async fn any_failed(running: &mut [RunningServer]) -> String {
    let mut failures: Vec<_> = running
        .iter_mut()
        .map(|server| Box::pin(server.failed()))
        .collect();
    std::future::poll_fn(|context| {
        let mut failed = failures
            .iter_mut()
            .map(|failure| failure.as_mut().poll(context));
        failed
            .find(std::task::Poll::is_ready)
            .unwrap_or(std::task::Poll::Pending)
    })
    .await
}

async fn drain_all(running: Vec<RunningServer>) {
    let draining: Vec<_> = running
        .into_iter()
        .map(|server| tokio::spawn(server.drain()))
        .collect();
    for drained in draining {
        // The panic hook has logged a panic.
        let _ = drained.await;
    }
}

/// Ctrl-C and SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        let signal = tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        };
        info!("stopping on {signal}");
    }
}

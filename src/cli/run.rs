//! `proxyherd up` and `proxyherd serve`: run servers until a signal stops them.

use std::error::Error;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use tokio::runtime::{self, Runtime};
use tracing::{info, warn};

use super::files;
use super::plans::plans;
use super::reload::{Hangup, Reloader};
use super::service_manager::ServiceManager;
use crate::config::{BoundPorts, Config, LocalServers, ServerConfig};
use crate::gateway::Clock;
use crate::log::{self, Log, Router};
use crate::model::address::Address;
use crate::places::Places;
use crate::server::{BoundServer, ListeningAddresses, RunningServer};
use crate::signals::{self, Stop, StopSignal};
use crate::{output, threads};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Number of threads beside the workers and the writers of the logs: places, lookups of names,
/// blocking calls, standard error, signals, the service manager. With fewer the process starts, and
/// some of these wait.
const OTHER_THREADS: usize = 8;

/// What this process runs.
struct Run<'a> {
    /// The file of the config.
    file: &'a Path,
    config: &'a Config,
    servers: Vec<&'a ServerConfig>,
    /// Whether it prints JSON for a program in place of text for people.
    is_json: bool,
}

/// Runs every server of the herd in this process.
pub(super) fn up(path: &Path, is_json: bool) -> Result<()> {
    let config = Config::load(path)?;
    let servers: Vec<_> = config.servers.iter().collect();
    config.check_overlaps(&servers)?;
    let run = Run {
        file: path,
        config: &config,
        servers,
        is_json,
    };
    run_process(&run, true)
}

/// Runs one server of the herd.
pub(super) fn serve(name: &str, path: &Path, is_json: bool) -> Result<()> {
    let config = Config::load(path)?;
    let server = config.server(name)?;
    config.check_ports(server)?;
    let run = Run {
        file: path,
        config: &config,
        servers: vec![server],
        is_json,
    };
    run_process(&run, false)
}

fn run_process(run: &Run<'_>, is_whole_herd: bool) -> Result<()> {
    let Run {
        config, servers, ..
    } = run;
    config.check_exposure(servers)?;
    let router = Router::new();
    let levels = log::install(&router, config.log_level)?;
    log::log_panics(&router);
    let max_files = files::raise_limit();
    let runtime = runtime(servers.len())?;
    let here = LocalServers {
        servers: servers.iter().map(|server| server.name.clone()).collect(),
        is_whole_herd,
        fixed_level_reason: None,
    };
    let router = levels.is_on().then_some(&router);
    let reloader = |config: &Config| Reloader::new(run.file, config, here, &levels, max_files);
    let serving = run_until_stopped(run, router, reloader, max_files);
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
///
/// # Errors
///
/// The environment sets no valid number, or the system permits too few threads.
fn runtime(servers: usize) -> Result<Runtime> {
    let workers = threads::workers_from_environment()?.unwrap_or_else(|| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        cores.saturating_sub(usize::from(servers == 1)).max(1)
    });
    threads::check(workers + servers + OTHER_THREADS)?;
    let mut builder = runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(workers).enable_all().build();
    Ok(runtime?)
}

/// Runs the servers, with logs if there is a router. `reloader` makes one for the config with the
/// ports that were picked.
async fn run_until_stopped(
    run: &Run<'_>,
    router: Option<&Router>,
    reloader: impl FnOnce(&Config) -> Reloader,
    max_files: Option<usize>,
) -> Result<()> {
    let Run {
        config, servers, ..
    } = run;
    signals::survive_file_size_limit()?;
    let mut hangup = Hangup::listen()?;
    let mut manager = ServiceManager::from_environment()?;
    let places = Places::start(&config.places)?;
    let mut bound = bind_all(config, servers, max_files).await?;
    let config = &with_picked_ports(config, &bound)?;
    let servers = &same_servers(config, servers)?;
    for (server, plan) in bound.iter_mut().zip(plans(config, servers, max_files)?) {
        server.set_addresses(plan);
    }
    let mut reloader = reloader(config);
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
    let bound = recover_all(bound).await?;
    // Before this there is nothing to drain, and a signal ends the process at once, also
    // while it loads a long list of places.
    let mut stop = Stop::listen()?;
    let addresses: Vec<_> = bound.iter().map(BoundServer::addresses).collect();
    let mut running = start_all(bound, logs, &places)?;
    manager.serving(&running);
    if run.is_json {
        print_in_background(json_line(config, servers));
    } else if router.is_none() || !config.log.is_on_stdout() {
        // Whoever reads a log there wants nothing else; it names the addresses too.
        print_in_background(banner(config, servers, &addresses, router.is_some()));
    }

    let failure = loop {
        tokio::select! {
            signal = stop.wait() => break stopping(signal),
            failure = any_failed(&mut running) => break Some(failure),
            () = hangup.wait() => manager.reloading(),
        }
        // A SIGHUP that arrives meanwhile is handled after this one.
        tokio::select! {
            signal = stop.wait() => break stopping(signal),
            read = reloader.read() => {
                reloader.apply(read, &mut running).await;
                manager.ready(&running);
            }
        }
    };
    manager.stopping();
    tokio::select! {
        () = drain_all(running) => {}
        _ = stop.wait() => return Err("stopped at once by a second signal; reports may be lost".into()),
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// Logs the signal that stops the servers. It is no failure.
fn stopping(signal: StopSignal) -> Option<String> {
    info!("stopping on {}", signal.name());
    None
}

/// Opens all sockets before any server starts, so that all start or none.
async fn bind_all(
    config: &Config,
    servers: &[&ServerConfig],
    max_files: Option<usize>,
) -> Result<Vec<BoundServer>> {
    let mut bound = Vec::new();
    for plan in plans(config, servers, max_files)? {
        bound.push(BoundServer::open(plan).await?);
    }
    Ok(bound)
}

/// Returns the config with the ports that the system picked in place of each port 0.
fn with_picked_ports(config: &Config, bound: &[BoundServer]) -> Result<Config> {
    let mut picked = config.clone();
    for server in bound {
        let port = |address: io::Result<SocketAddr>| address.map(|address| address.port());
        let ports = BoundPorts {
            clients: port(server.clients_address())?,
            clients_tls: server.clients_tls_address().map(port).transpose()?,
            peers: port(server.peers_address())?,
            web: server.web_address().map(port).transpose()?,
        };
        picked.set_ports(&server.plan().name, ports);
    }
    Ok(picked)
}

/// Returns the servers of another config that have the names of these.
fn same_servers<'a>(
    config: &'a Config,
    servers: &[&ServerConfig],
) -> Result<Vec<&'a ServerConfig>> {
    let same = |server: &&ServerConfig| config.server(server.name.as_str()).map_err(Into::into);
    servers.iter().map(same).collect()
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

/// Recovers the reports of all servers, side by side.
async fn recover_all(bound: Vec<BoundServer>) -> Result<Vec<BoundServer>> {
    let recover = |mut bound: BoundServer| {
        tokio::task::spawn_blocking(move || {
            bound.recover(&Clock::system());
            bound
        })
    };
    let recovering: Vec<_> = bound.into_iter().map(recover).collect();
    let mut recovered = Vec::new();
    for server in recovering {
        recovered.push(server.await?);
    }
    Ok(recovered)
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
    // The servers run, whoever reads this.
    tokio::task::spawn_blocking(move || output::print(&text));
}

/// Returns the addresses at which the servers of this process are reached, for a program.
fn json_line(config: &Config, servers: &[&ServerConfig]) -> String {
    let shown = |address: &Address| address.to_string();
    let server = |server: &&ServerConfig| {
        serde_json::json!({
            "name": server.name.as_str(),
            "clients": shown(&server.clients),
            "clients_tls": server.clients_tls.as_ref().map(shown),
            "peers": shown(&server.peers),
            "web": server.web.as_ref().map(shown),
        })
    };
    let servers: Vec<_> = servers.iter().map(server).collect();
    let herd = config.herd.as_str();
    format!(
        "{}\n",
        serde_json::json!({ "herd": herd, "servers": servers })
    )
}

/// Returns the addresses on which the servers listen, and a first command to try.
fn banner(
    config: &Config,
    servers: &[&ServerConfig],
    addresses: &[ListeningAddresses],
    is_logged: bool,
) -> String {
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
    for (server, addresses) in servers.iter().zip(addresses) {
        let ListeningAddresses {
            clients,
            clients_tls,
            peers,
            web,
        } = addresses;
        let name = server.name.as_str();
        let with_tls = clients_tls.as_ref();
        let with_tls = with_tls.map_or(String::new(), |tls| format!(" (with TLS on {tls})"));
        let web = web.as_ref();
        let web = web.map_or(String::new(), |address| format!(", web on {address}"));
        let _ = writeln!(
            text,
            "  {name:width$}  clients on {clients}{with_tls}, neighbours on {peers}{web}",
        );
    }
    let has_page = |server: &&&ServerConfig| config.web.api && server.web.is_some();
    for address in servers
        .iter()
        .filter(has_page)
        .filter_map(|it| it.web.as_ref())
    {
        let scheme = if config.web.tls { "https" } else { "http" };
        let _ = writeln!(text, "live page: {scheme}://{address}/");
    }
    if is_logged {
        let _ = writeln!(text, "logs in {}", config.log.dir.display());
    }
    if let Some(first) = servers.first() {
        let (host, port) = (first.clients.bare_host(), first.clients.port());
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

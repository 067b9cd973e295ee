//! The five servers as processes, and the proxies between them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tokio::runtime::{Builder, Runtime};

use super::server_process::{Ports, ServerProcess};
use crate::common::{CLASSIC, Mode, Process, Proxy, Site, eventually, free_ports, loopback};

pub(crate) const NAMES: &[&str] = CLASSIC.0;

/// The number of files that a server may open. It needs some 30 for itself, its links and the
/// clients of a run.
pub(crate) const FILE_LIMIT: usize = 128;

pub(crate) struct Herd {
    site: Site,
    routes: Vec<Route>,
    /// All running processes, including frozen ones. Two may have the same name.
    processes: Mutex<Vec<Arc<ServerProcess>>>,
    started: AtomicUsize,
    // Last, so that the proxies outlive the servers.
    _wires: Runtime,
}

/// The proxy through which one server connects to another.
pub(crate) struct Route {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    proxy: Proxy,
}

impl Herd {
    pub(crate) fn start() -> Self {
        let wires = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let both_directions = CLASSIC.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        let route = |(from, to)| Route {
            from,
            to,
            proxy: Proxy::start(wires.handle()),
        };
        let herd = Self {
            site: Site::new(CLASSIC, ""),
            routes: both_directions.map(route).collect(),
            processes: Mutex::default(),
            started: AtomicUsize::new(0),
            _wires: wires,
        };
        for name in NAMES {
            herd.launch(name);
        }
        herd
    }

    /// Starts a server on free ports.
    pub(crate) fn launch(&self, name: &'static str) -> Arc<ServerProcess> {
        eventually("the server has free ports", || {
            let ports = free_ports(2);
            let (clients, peers) = (ports[0], ports[1]);
            self.try_launch(name, Ports { clients, peers })
        })
    }

    /// Starts a server on the ports of its earlier process.
    pub(crate) fn relaunch(&self, name: &'static str, ports: Ports) -> Arc<ServerProcess> {
        eventually("the ports are free", || self.try_launch(name, ports))
    }

    fn try_launch(&self, name: &'static str, ports: Ports) -> Option<Arc<ServerProcess>> {
        let number = self.started.fetch_add(1, SeqCst);
        let file = format!("{name}-{number}.toml");
        fs::write(self.site.path(&file), self.config(name, number, ports)).unwrap();
        let mut command = Command::new("sh");
        // Sets both limits, so that the program cannot raise its own.
        let script = format!("ulimit -n {FILE_LIMIT} && exec \"$0\" serve \"$1\" --config \"$2\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_proxyherd"), name, &file]);
        command
            .current_dir(self.site.path(""))
            .env_remove("RUST_LOG");
        let process = Process::spawn(&mut command).serving().ok()?;
        for route in self.routes.iter().filter(|route| route.to == name) {
            route.proxy.set_target(loopback(ports.peers));
        }
        let process = Arc::new(ServerProcess::new(name, number, ports, process));
        self.processes.lock().unwrap().push(process.clone());
        Some(process)
    }

    /// Returns the config of one process, whose neighbours are behind proxies.
    fn config(&self, own: &str, number: usize, ports: Ports) -> String {
        let mut text = "[herd]\nname = \"test\"\n".to_owned();
        for server in self.site.servers() {
            let route = self.routes.iter();
            let mut route = route.filter(|route| route.from == own && route.to == server.name);
            let peers = route.next().map(|route| route.proxy.address().port());
            let (clients, peers) = if server.name == own {
                (ports.clients, ports.peers)
            } else {
                (server.clients, peers.unwrap_or(server.peers))
            };
            let talks_to = CLASSIC.1.iter().filter(|(from, _)| *from == server.name);
            let talks_to: Vec<&str> = talks_to.map(|&(_, to)| to).collect();
            let _ = write!(
                text,
                "[[servers]]\nname = \"{}\"\nclients = \"127.0.0.1:{clients}\"\n\
                 peers = \"127.0.0.1:{peers}\"\ntalks_to = {talks_to:?}\n",
                server.name
            );
        }
        let logs = logs(number);
        text + &format!("[places]\nfile = \"places.csv\"\n[log]\ndir = \"{logs}\"\n")
    }

    pub(crate) fn processes(&self) -> Vec<Arc<ServerProcess>> {
        self.processes.lock().unwrap().clone()
    }

    /// Returns the newest process of a server, to which its neighbours connect.
    pub(crate) fn current(&self, name: &str) -> Option<Arc<ServerProcess>> {
        let processes = self.processes.lock().unwrap();
        processes
            .iter()
            .rev()
            .find(|process| process.name == name)
            .cloned()
    }

    /// Removes a process that has ended.
    pub(crate) fn forget(&self, process: &ServerProcess) {
        let mut processes = self.processes.lock().unwrap();
        processes.retain(|other| other.number != process.number);
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Returns the length of all logs of running servers.
    pub(crate) fn logged(&self) -> u64 {
        let log = |process: &Arc<ServerProcess>| {
            let name = format!("{}/{}.log", logs(process.number), process.name);
            fs::metadata(self.site.path(&name)).map_or(0, |log| log.len())
        };
        self.processes().iter().map(log).sum()
    }

    /// Returns the directory of the configs and the logs.
    pub(crate) fn directory(&self) -> PathBuf {
        self.site.path("")
    }
}

impl Route {
    pub(crate) fn set(&self, mode: Mode) {
        self.proxy.set_mode(mode);
    }
}

fn logs(number: usize) -> String {
    format!("logs-{number}")
}

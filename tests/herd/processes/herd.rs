//! The five servers as processes, and the ways between them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tokio::runtime::{Builder, Runtime};

use super::life::{Life, Ports};
use crate::common::{CLASSIC, Mode, Process, Proxy, Site, eventually, free_ports, loopback};

pub(crate) const NAMES: &[&str] = CLASSIC.0;

pub(crate) struct Herd {
    site: Site,
    ways: Vec<Way>,
    /// All that run, frozen ones too. Two may have the same name.
    lives: Mutex<Vec<Arc<Life>>>,
    started: AtomicUsize,
    // Last, so that the proxies outlive the servers.
    _wires: Runtime,
}

/// How one server reaches another.
pub(crate) struct Way {
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
        let both_ways = CLASSIC.1.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        let way = |(from, to)| Way {
            from,
            to,
            proxy: Proxy::start(wires.handle()),
        };
        let herd = Self {
            site: Site::new(CLASSIC, ""),
            ways: both_ways.map(way).collect(),
            lives: Mutex::default(),
            started: AtomicUsize::new(0),
            _wires: wires,
        };
        for name in NAMES {
            herd.launch(name);
        }
        herd
    }

    /// Starts a server on ports that nobody has.
    pub(crate) fn launch(&self, name: &'static str) -> Arc<Life> {
        eventually("it has ports of its own", || {
            let ports = free_ports(2);
            let (clients, peers) = (ports[0], ports[1]);
            self.try_launch(name, Ports { clients, peers })
        })
    }

    /// Starts a server where another life of it was.
    pub(crate) fn relaunch(&self, name: &'static str, ports: Ports) -> Arc<Life> {
        eventually("it has its ports again", || self.try_launch(name, ports))
    }

    fn try_launch(&self, name: &'static str, ports: Ports) -> Option<Arc<Life>> {
        let number = self.started.fetch_add(1, SeqCst);
        let file = format!("{name}-{number}.toml");
        fs::write(self.site.path(&file), self.config(name, number, ports)).unwrap();
        let mut command = self.site.command_alone(&["serve", name, "--config", &file]);
        let process = Process::spawn(&mut command).serving().ok()?;
        for way in self.ways.iter().filter(|way| way.to == name) {
            way.proxy.lead_to(loopback(ports.peers));
        }
        let life = Arc::new(Life::new(name, number, ports, process));
        self.lives.lock().unwrap().push(life.clone());
        Some(life)
    }

    /// The config as one life of a server has it: it reaches its neighbours
    /// through proxies.
    fn config(&self, own: &str, number: usize, ports: Ports) -> String {
        let mut text = "[herd]\nname = \"test\"\n".to_owned();
        for server in self.site.servers() {
            let way = self.ways.iter();
            let mut way = way.filter(|way| way.from == own && way.to == server.name);
            let peers = way.next().map(|way| way.proxy.address().port());
            let (clients, peers) = match server.name == own {
                true => (ports.clients, ports.peers),
                false => (server.clients, peers.unwrap_or(server.peers)),
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

    pub(crate) fn lives(&self) -> Vec<Arc<Life>> {
        self.lives.lock().unwrap().clone()
    }

    /// The life of a server that its neighbours reach: the youngest.
    pub(crate) fn current(&self, name: &str) -> Option<Arc<Life>> {
        let lives = self.lives.lock().unwrap();
        lives.iter().rev().find(|life| life.name == name).cloned()
    }

    /// A life has ended.
    pub(crate) fn forget(&self, life: &Life) {
        let mut lives = self.lives.lock().unwrap();
        lives.retain(|other| other.number != life.number);
    }

    pub(crate) fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// How much the servers that run have written down.
    pub(crate) fn logged(&self) -> u64 {
        let log = |life: &Arc<Life>| {
            let name = format!("{}/{}.log", logs(life.number), life.name);
            fs::metadata(self.site.path(&name)).map_or(0, |log| log.len())
        };
        self.lives().iter().map(log).sum()
    }

    /// Where the configs and the logs are.
    pub(crate) fn directory(&self) -> PathBuf {
        self.site.path("")
    }
}

impl Way {
    pub(crate) fn set(&self, mode: Mode) {
        self.proxy.set_mode(mode);
    }
}

fn logs(number: usize) -> String {
    format!("logs-{number}")
}

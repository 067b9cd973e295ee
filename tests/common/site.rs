//! A directory with the config of a herd, for the program to run in.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use tempfile::TempDir;

use super::{Client, PortTaken, Process, Topology, eventually};

/// The maximum number of starts, each on other ports. Another program may take a free port
/// before its use.
const MAX_STARTS: usize = 10;

/// A directory with the config of a herd, in which the program runs.
pub struct Site {
    dir: TempDir,
    servers: Vec<Server>,
}

/// One server of a config.
pub struct Server {
    pub name: String,
    pub clients: u16,
    pub peers: u16,
}

impl Site {
    /// Creates the config of a herd on free ports, with two places near UCLA. `settings` are
    /// whole tables, which are appended.
    pub fn new(topology: Topology<'_>, settings: &str) -> Self {
        let own_places = if settings.contains("[places]") {
            ""
        } else {
            "[places]\nfile = \"places.csv\"\n"
        };
        let site = Self::with_built_in_places(topology, &format!("{own_places}{settings}"));
        let places =
            "name,lat,lon\nWestwood,34.05612,-118.43063\nCentury City,34.05557,-118.41786\n";
        fs::write(site.path("places.csv"), places).unwrap();
        site
    }

    /// Creates the config of a herd with the built-in places, which take time to load.
    pub fn with_built_in_places((names, links): Topology<'_>, settings: &str) -> Self {
        let mut ports = free_ports(2 * names.len()).into_iter();
        let mut port = || ports.next().expect("two for each server");
        let server = |name: &&str| Server {
            name: (*name).to_owned(),
            clients: port(),
            peers: port(),
        };
        let servers: Vec<Server> = names.iter().map(server).collect();
        let mut text = "[herd]\nname = \"test\"\n".to_owned();
        for Server {
            name,
            clients,
            peers,
        } in &servers
        {
            let talks_to = links.iter().filter(|(from, _)| from == name);
            let talks_to: Vec<&str> = talks_to.map(|&(_, to)| to).collect();
            let _ = write!(
                text,
                "[[servers]]\nname = \"{name}\"\nclients = \"127.0.0.1:{clients}\"\n\
                 peers = \"127.0.0.1:{peers}\"\ntalks_to = {talks_to:?}\n"
            );
        }
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("herd.toml"), text + settings).unwrap();
        Self { dir, servers }
    }

    /// Makes a site and starts servers there, again on other ports if one is taken.
    pub fn start<T>(
        make: impl Fn() -> Site,
        start: impl Fn(&Site) -> Result<T, PortTaken>,
    ) -> (Self, T) {
        for _ in 0..MAX_STARTS {
            let site = make();
            if let Ok(started) = start(&site) {
                return (site, started);
            }
        }
        panic!("no free ports after {MAX_STARTS} starts");
    }

    /// Makes a site, and starts its herd in one process.
    pub fn up(topology: Topology<'_>, settings: &str) -> (Self, Process) {
        let make = || Site::new(topology, settings);
        Site::start(make, |site| site.run(&["up"]))
    }

    /// Makes a site, and starts a process for each server.
    pub fn serve_each(topology: Topology<'_>, settings: &str) -> (Self, Vec<Process>) {
        let make = || Site::new(topology, settings);
        let serve = |site: &Site| {
            topology
                .0
                .iter()
                .map(|name| site.run(&["serve", name]))
                .collect()
        };
        Site::start(make, serve)
    }

    /// Runs the program until it serves.
    pub fn run(&self, arguments: &[&str]) -> Result<Process, PortTaken> {
        Process::spawn(&mut self.command(arguments)).serving()
    }

    /// Returns the program with the site's config, in its directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_alone(arguments);
        command.args(["--config", "herd.toml"]);
        command
    }

    /// Returns the program in the site's directory, without the environment variables of this
    /// process that affect it.
    pub fn command_alone(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxyherd"));
        command.args(arguments).current_dir(self.dir.path());
        for variable in [
            "RUST_LOG",
            "RUST_BACKTRACE",
            "NOTIFY_SOCKET",
            "PROXYHERD_CONFIG",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// Returns a path in the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> String {
        fs::read_to_string(self.path("herd.toml")).unwrap()
    }

    pub fn set_config(&self, text: &str) {
        fs::write(self.path("herd.toml"), text).unwrap();
    }

    /// Returns a server's log, which is empty if there is none.
    pub fn log(&self, server: &str) -> String {
        let path = self.path("logs").join(format!("{server}.log"));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Waits until a server's log contains a text, and returns the first line with it.
    #[track_caller]
    pub fn await_log(&self, server: &str, text: &str) -> String {
        eventually(&format!("the log of {server} has {text:?}"), || {
            let log = self.log(server);
            log.lines()
                .find(|line| line.contains(text))
                .map(str::to_owned)
        })
    }

    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub fn server(&self, name: &str) -> &Server {
        let mut servers = self.servers.iter();
        servers
            .find(|server| server.name == name)
            .expect("a server")
    }

    /// Connects a client to a server.
    pub fn client(&self, server: &str) -> Client {
        Client::connect(loopback(self.server(server).clients))
    }

    /// Returns the AT line that a server has of a client.
    pub fn report(&self, server: &str, client: &str) -> Option<String> {
        let mut connection = self.client(server);
        let answer = connection.ask(&format!("WHATSAT {client} 0 0"));
        answer.starts_with("AT ").then_some(answer)
    }

    /// Waits until all these servers have this AT line of a client.
    #[track_caller]
    pub fn await_report(&self, servers: &[&str], client: &str, at_line: &str) {
        for server in servers {
            eventually(&format!("{server} has {at_line:?}"), || {
                (self.report(server, client)? == at_line).then_some(())
            });
        }
    }
}

pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Returns ports on which no program listens. They are below the ephemeral ports, so that no
/// connection takes one before the program listens there.
pub fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    // Test programs that run at the same time begin at different ports.
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(997) as u16 % COUNT;
    let next = || FIRST + TAKEN.fetch_add(1, Relaxed).wrapping_add(start) % COUNT;
    let is_free = |port: &u16| TcpListener::bind(loopback(*port)).is_ok();
    std::iter::repeat_with(next)
        .filter(is_free)
        .take(count)
        .collect()
}

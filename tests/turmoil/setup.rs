//! What a seed draws before anything runs: the herd, its net and its load.

use std::time::Duration;

use proxyherd::model::address::Address;
use proxyherd::model::name::Name;
use proxyherd::server::ServerPlan;
use proxyherd::{clients, gateway, peers, web};

use crate::faults::{Kind, Rates};
use crate::random::Random;
use crate::topology::{self, Link, NAMES};

/// Every client's ID begins with this, and nothing else on the wire does.
pub(crate) const CLIENT_MARK: &str = "kiwi-";

/// Where every server listens.
pub(crate) const CLIENTS_PORT: u16 = 12000;
pub(crate) const PEERS_PORT: u16 = 13000;

/// What time it is when a simulation begins, in nanoseconds since 1970.
const START: i64 = 1_621_464_827_000_000_000;

const MOST_SERVERS: usize = 6;

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) servers: usize,
    pub(crate) links: Vec<Link>,
    /// Who is reported about.
    pub(crate) clients: usize,
    /// Who reports: each over one connection at a time.
    pub(crate) phones: usize,
    /// How far each server's clock is off, in nanoseconds.
    pub(crate) offsets: Vec<i64>,
    /// The shortest and the longest way of a message.
    pub(crate) latency: (Duration, Duration),
    /// How often a message breaks the way that it goes, for a moment.
    pub(crate) loss: f64,
    /// What happens within so much time happens at once. No message is quicker,
    /// or it could arrive before it was sent.
    pub(crate) tick: Duration,
    /// How long things fail.
    pub(crate) chaos: Duration,
    pub(crate) rates: Rates,
    pub(crate) peers: peers::PeerSettings,
}

impl Setup {
    pub(crate) fn draw(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let (servers, links) = draw_herd(random);
        let tick = random.pick(&[5, 10, 10]);
        let longest = random.pick(&[10, 20, 20, 100, 300]);
        let millis = Duration::from_millis;
        Self {
            seed,
            servers,
            links,
            clients: random.between(1, 6) as usize,
            phones: random.between(1, 4) as usize,
            offsets: (0..servers).map(|_| draw_offset(random)).collect(),
            latency: (millis(random.between(tick, longest)), millis(longest)),
            loss: random.pick(&[0.0, 0.0, 0.0005, 0.005]),
            tick: millis(tick),
            chaos: millis(random.between(2_000, 6_000)),
            rates: Kind::draw_rates(random),
            peers: draw_settings(longest, random),
        }
    }

    /// The time by a server's clock, when the simulation has run for so long.
    pub(crate) fn clock(&self, server: usize, elapsed: Duration) -> i64 {
        self.offsets[server] + true_time(elapsed)
    }

    /// A link that broke is found, and dialled again, within this time at worst,
    /// and a server away hears of it some calls later.
    pub(crate) fn healing(&self) -> Duration {
        let peers = &self.peers;
        let silence = peers.keep_alive + peers.keep_alive_timeout;
        let call = peers.attempt * 3 / 2;
        silence + call + peers.backoff_cap + 20 * self.latency.1
    }

    pub(crate) fn plan(&self, server: usize) -> ServerPlan {
        let name = |server: usize| Name::parse(NAMES[server]).expect("a name");
        let here = |port| Address::parse(&format!("0.0.0.0:{port}")).expect("an address");
        let there = |server: usize| {
            let address = format!("{}:{PEERS_PORT}", NAMES[server]);
            (name(server), Address::parse(&address).expect("an address"))
        };
        ServerPlan {
            herd: name(0),
            name: name(server),
            members: (0..self.servers).map(name).collect(),
            neighbours: self.neighbours(server).map(there).collect(),
            bind_clients: here(CLIENTS_PORT),
            bind_peers: here(PEERS_PORT),
            tls: None,
            clients_tls: None,
            bind_web: None,
            clients: clients::ClientSettings::default(),
            web: web::WebSettings::default(),
            gateway: gateway::GatewaySettings::default(),
            peers: self.peers.clone(),
        }
    }

    fn neighbours(&self, server: usize) -> impl Iterator<Item = usize> {
        let other = move |&(one, other): &Link| match server {
            _ if server == one => Some(other),
            _ if server == other => Some(one),
            _ => None,
        };
        self.links.iter().filter_map(other)
    }
}

/// The time by a clock that is right.
pub(crate) fn true_time(elapsed: Duration) -> i64 {
    START + elapsed.as_nanos() as i64
}

fn draw_herd(random: &mut Random) -> (usize, Vec<Link>) {
    if random.chance(150) {
        return (2, topology::line(2));
    }
    loop {
        let (servers, links) = topology::draw(random);
        if servers <= MOST_SERVERS {
            return (servers, links);
        }
    }
}

fn draw_offset(random: &mut Random) -> i64 {
    let seconds = random.pick(&[0, 0, 1, -3, 3600, -3600]);
    seconds * 1_000_000_000 + random.between(0, 1_000_000) as i64
}

/// The settings that people run with; or quicker ones, where the net is.
fn draw_settings(longest: u64, random: &mut Random) -> peers::PeerSettings {
    let batch_reports = random.pick(&[1, 3, 10_000]);
    let usual = peers::PeerSettings {
        batch_reports,
        linger: Duration::from_millis(random.pick(&[0, 5, 50])),
        ..peers::PeerSettings::default()
    };
    if longest > 100 || random.chance(500) {
        return usual;
    }
    peers::PeerSettings {
        heartbeat: Duration::from_millis(100),
        keep_alive: Duration::from_millis(300),
        keep_alive_timeout: Duration::from_millis(500),
        attempt: Duration::from_secs(1),
        ..usual
    }
}

//! The connections and the rate limit of each address that clients connect from.
//!
//! An address stands for everything that one customer has, as [`Network::of_customer`] defines:
//! an IPv6 address counts as its /64.
//!
//! Memory: about 150 bytes for each address that has a connection, or whose budget of lines is not
//! full again, which takes about a second. Unused entries are removed when the table has doubled.
//! There are never more than [`MAX_IDLE_ENTRIES`] entries without a connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::gateway::Gateway;
use crate::lock::lock;
use crate::log::LogThrottle;
use crate::model::networks::Network;

use super::rate::{Gcra, LineRate};

/// Maximum number of entries without a connection that are kept because their budget is not full.
/// Beyond it they are removed, and the addresses start with a full budget.
const MAX_IDLE_ENTRIES: usize = 65_536;

/// Minimum number of entries at which the table is swept.
const MIN_SWEEP_ENTRIES: usize = 1024;

/// Maximum time that a rate-limited connection waits before it looks at the limit again, which may
/// have changed.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Interval between log messages about an address that reaches a limit. Suppressed ones are
/// counted.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The addresses of one server's clients, and what each has used of its limits.
#[derive(Debug)]
pub(super) struct Addresses {
    gateway: Arc<Gateway>,
    table: Mutex<AddressTable>,
    rejections: LogThrottle,
    rate_limitings: LogThrottle,
}

impl Addresses {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            gateway,
            table: Mutex::new(AddressTable::new()),
            rejections: LogThrottle::new(LOG_INTERVAL),
            rate_limitings: LogThrottle::new(LOG_INTERVAL),
        }
    }

    /// Returns the permit of a connection from this address, or `None` if the address has
    /// `max_connections` or more, which is counted and logged.
    pub(super) fn permit(
        self: &Arc<Self>,
        from: IpAddr,
        max_connections: Option<usize>,
    ) -> Option<AddressPermit> {
        let network = Network::of_customer(from);
        let entered = self.table().enter(network, Instant::now(), max_connections);
        if let Err(max_connections) = entered {
            self.note_rejected(network, max_connections);
            return None;
        }
        let addresses = self.clone();
        Some(AddressPermit { addresses, network })
    }

    /// Returns a connection's part in the rate limit of its address. The connection must hold a
    /// permit.
    pub(super) fn rate_limiter(self: &Arc<Self>, from: IpAddr) -> RateLimiter {
        let network = Network::of_customer(from);
        RateLimiter {
            addresses: self.clone(),
            network,
            budget: self.table().budget(network),
            reserved: None,
            is_limited: false,
            is_waived: false,
        }
    }

    fn note_rejected(&self, network: Network, max_connections: usize) {
        self.gateway
            .counters()
            .client_connections_rejected
            .per_address
            .add(1);
        if let Some(suppressed) = self.rejections.admit() {
            warn!(
                "rejected a connection from {network} to the client port: {max_connections} from \
                 there are open, which is the limit; raise connections_per_address if many clients \
                 share an address{suppressed}"
            );
        }
    }

    fn note_rate_limited(&self, network: Network, rate: LineRate) {
        self.gateway.counters().client_reads_delayed.add(1);
        if let Some(suppressed) = self.rate_limitings.admit() {
            let per_second = rate.per_second();
            warn!(
                "{network} is rate limited: it sends more than {per_second} commands a second; \
                 raise commands_per_second if many clients share an address{suppressed}"
            );
        }
    }

    /// The lock is held for a lookup, and rarely for a sweep of all entries.
    fn table(&self) -> MutexGuard<'_, AddressTable> {
        lock(&self.table)
    }
}

/// Invariant: an address with a connection has an entry.
#[derive(Debug)]
struct AddressTable {
    entries: HashMap<Network, AddressEntry>,
    /// Number of entries at which unused ones are removed.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct AddressEntry {
    connections: usize,
    /// The lock is held for a few reads and writes.
    budget: Arc<Mutex<Gcra>>,
}

impl AddressEntry {
    fn is_unused(&self, now: Instant) -> bool {
        self.connections == 0 && lock(&self.budget).is_full(now)
    }
}

impl AddressTable {
    fn new() -> Self {
        Self {
            entries: HashMap::new(),
            sweep_at: MIN_SWEEP_ENTRIES,
        }
    }

    /// Adds a connection of the address. If it has as many as it may, returns the limit as error.
    fn enter(
        &mut self,
        network: Network,
        now: Instant,
        max_connections: Option<usize>,
    ) -> Result<(), usize> {
        let open = self
            .entries
            .get(&network)
            .map_or(0, |entry| entry.connections);
        if let Some(max_connections) = max_connections.filter(|&max| open >= max) {
            return Err(max_connections);
        }
        if self.entries.len() >= self.sweep_at {
            self.sweep(now);
        }
        self.entries.entry(network).or_default().connections += 1;
        Ok(())
    }

    fn leave(&mut self, network: Network, now: Instant) {
        let Some(entry) = self.entries.get_mut(&network) else {
            return;
        };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.is_unused(now) {
            self.entries.remove(&network);
        }
    }

    fn budget(&self, network: Network) -> Arc<Mutex<Gcra>> {
        let entry = self.entries.get(&network);
        entry.map(|entry| entry.budget.clone()).unwrap_or_default()
    }

    fn sweep(&mut self, now: Instant) {
        self.entries.retain(|_, entry| !entry.is_unused(now));
        let is_idle = |entry: &AddressEntry| entry.connections == 0;
        let idle = self.entries.values().filter(|entry| is_idle(entry)).count();
        if idle > MAX_IDLE_ENTRIES / 2 {
            self.entries.retain(|_, entry| !is_idle(entry));
        }
        let entries = self.entries.len();
        self.sweep_at = (2 * entries).clamp(MIN_SWEEP_ENTRIES, entries + MAX_IDLE_ENTRIES / 2);
        self.entries.shrink_to(self.sweep_at);
    }
}

/// The right of an address to one connection, until this is dropped.
#[derive(Debug)]
pub(super) struct AddressPermit {
    addresses: Arc<Addresses>,
    network: Network,
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        self.addresses.table().leave(self.network, Instant::now());
    }
}

/// The times at which one connection may take lines, by the rate limit of its address.
#[derive(Debug)]
pub(super) struct RateLimiter {
    addresses: Arc<Addresses>,
    network: Network,
    budget: Arc<Mutex<Gcra>>,
    /// The time at which one line may be taken that is charged already, and its rate.
    reserved: Option<(Instant, LineRate)>,
    /// Whether lines were waiting at the last call, and none could be taken.
    is_limited: bool,
    is_waived: bool,
}

impl RateLimiter {
    /// Returns the number of lines that may be taken now at `rate`, given that at least one is
    /// waiting. If it is 0, [`retry_at`](Self::retry_at) is the time of the next call.
    pub(super) fn available(&mut self, now: Instant, rate: Option<LineRate>) -> usize {
        let lines = self.available_or_reserve(now, rate);
        self.is_limited = lines == 0;
        lines
    }

    fn available_or_reserve(&mut self, now: Instant, rate: Option<LineRate>) -> usize {
        let Some(rate) = rate.filter(|_| !self.is_waived) else {
            self.reserved = None;
            return usize::MAX;
        };
        // After a change of the rate, every budget is full.
        self.reserved = self.reserved.filter(|(_, charged_at)| *charged_at == rate);
        let mut budget = lock(&self.budget);
        let available = budget.available(now, rate);
        match self.reserved {
            Some((at, _)) if now < at => 0,
            Some(_) => available + 1,
            None if available > 0 => available,
            None => {
                self.reserved = Some((budget.reserve(now, rate), rate));
                drop(budget);
                self.addresses.note_rate_limited(self.network, rate);
                0
            }
        }
    }

    /// Charges lines that were taken at `now`.
    pub(super) fn took(&mut self, now: Instant, lines: usize, rate: Option<LineRate>) {
        let Some(rate) = rate.filter(|_| lines > 0) else {
            return;
        };
        let charged = usize::from(self.reserved.take().is_some());
        lock(&self.budget).charge(now, lines - charged, rate);
    }

    /// Returns the time at which to call [`available`](Self::available) again, if lines wait for
    /// it. The time may have passed already.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        let (at, _) = self.reserved.filter(|_| self.is_limited)?;
        Some(at.min(Instant::now() + RECHECK_INTERVAL))
    }

    /// Lifts the limit from this connection, which is about to end.
    pub(super) fn waive(&mut self) {
        self.is_waived = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::samples;

    fn network(address: &str) -> Network {
        Network::of_customer(address.parse().unwrap())
    }

    /// Returns empty addresses, and a rate.
    fn addresses(per_second: u32) -> (Arc<Addresses>, Option<LineRate>) {
        let addresses = Addresses::new(samples::gateway());
        (Arc::new(addresses), Some(LineRate::new(per_second)))
    }

    #[test]
    fn an_ipv6_address_counts_as_its_64_and_a_mapped_one_as_ipv4() {
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::"));
        assert_ne!(network("2001:db8:1:2::"), network("2001:db8:1:3::"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(network("10.0.0.1").to_string(), "10.0.0.1");
    }

    #[test]
    fn a_connection_that_closes_makes_room_for_another_of_its_address() {
        let (mut table, now) = (AddressTable::new(), Instant::now());
        let (one, other) = (network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(table.enter(one, now, Some(2)), Ok(()));
        assert_eq!(table.enter(one, now, Some(2)), Ok(()));
        assert_eq!(table.enter(one, now, Some(2)), Err(2));
        assert_eq!(table.enter(other, now, Some(2)), Ok(()));
        table.leave(one, now);
        assert_eq!(table.enter(one, now, Some(2)), Ok(()));
        assert_eq!(table.enter(one, now, Some(2)), Err(2));
        for _ in 0..2 {
            table.leave(one, now);
        }
        table.leave(other, now);
        assert!(table.entries.is_empty(), "{table:?}");
    }

    #[test]
    fn an_address_that_reconnects_finds_its_budget_as_it_left_it() {
        let (mut table, now, rate) = (AddressTable::new(), Instant::now(), LineRate::new(10));
        let one = network("10.0.0.1");
        table.enter(one, now, None).unwrap();
        lock(&table.budget(one)).charge(now, 10, rate);
        table.leave(one, now);
        table.enter(one, now, None).unwrap();
        assert_eq!(lock(&table.budget(one)).available(now, rate), 0);
        table.leave(one, now + Duration::from_secs(2));
        assert!(table.entries.is_empty());
    }

    #[test]
    fn unused_entries_are_removed_and_the_others_stay() {
        let (mut table, start, rate) = (AddressTable::new(), Instant::now(), LineRate::new(1000));
        let staying = network("192.0.2.1");
        table.enter(staying, start, None).unwrap();
        let mut most = 0;
        // A new address each 100 microseconds, which takes the lines of one second.
        for n in 0..100_000_u32 {
            let now = start + Duration::from_micros(100) * n;
            let one = Network::of_customer(IpAddr::V4(n.into()));
            table.enter(one, now, None).unwrap();
            lock(&table.budget(one)).charge(now, 1000, rate);
            table.leave(one, now);
            most = most.max(table.entries.len());
        }
        assert!((10_000..=20_002).contains(&most), "{most}");
        assert_eq!(table.entries[&staying].connections, 1);
    }

    #[test]
    fn the_number_of_entries_is_bounded_however_many_addresses_connect() {
        let (mut table, now, rate) = (AddressTable::new(), Instant::now(), LineRate::new(1));
        let staying = network("2001:db8::1");
        table.enter(staying, now, None).unwrap();
        for n in 0..300_000_u32 {
            let one = Network::of_customer(IpAddr::V4(n.into()));
            table.enter(one, now, None).unwrap();
            lock(&table.budget(one)).charge(now, 1, rate);
            table.leave(one, now);
            assert!(table.entries.len() <= MAX_IDLE_ENTRIES + 2);
        }
        assert!(table.entries.contains_key(&staying));
    }

    #[test]
    fn connections_of_one_address_share_its_budget_and_reserve_in_order() {
        let ((addresses, rate), start) = (addresses(10), Instant::now());
        let from = "10.0.0.1".parse().unwrap();
        let _permit = addresses.permit(from, None).unwrap();
        let (mut one, mut other) = (addresses.rate_limiter(from), addresses.rate_limiter(from));
        assert_eq!(one.available(start, rate), 10);
        one.took(start, 7, rate);
        assert_eq!(other.available(start, rate), 3);
        other.took(start, 3, rate);
        let millis = |millis| start + Duration::from_millis(millis);
        for limiter in [&mut one, &mut other] {
            assert_eq!(limiter.available(start, rate), 0);
            assert!(limiter.retry_at().is_some());
        }
        assert_eq!(other.available(millis(100), rate), 0);
        assert_eq!(one.available(millis(100), rate), 1);
        one.took(millis(100), 1, rate);
        assert_eq!(one.available(millis(200), rate), 0);
        assert_eq!(other.available(millis(200), rate), 1);
        assert_eq!(addresses.gateway.counters().client_reads_delayed.get(), 3);
        // Another address has a budget of its own.
        assert_eq!(
            addresses
                .rate_limiter("10.0.0.2".parse().unwrap())
                .available(start, rate),
            10
        );
    }

    #[test]
    fn a_reservation_that_found_no_whole_line_is_kept() {
        let ((addresses, rate), start) = (addresses(1), Instant::now());
        let from = "10.0.0.1".parse().unwrap();
        let _permit = addresses.permit(from, None).unwrap();
        let mut limiter = addresses.rate_limiter(from);
        limiter.took(start, 1, rate);
        assert_eq!(limiter.available(start, rate), 0);
        let later = start + Duration::from_millis(1500);
        for _ in 0..3 {
            assert_eq!(limiter.available(later, rate), 1);
            limiter.took(later, 0, rate);
        }
        limiter.took(later, 1, rate);
        assert_eq!(limiter.available(later, rate), 0);
    }

    #[test]
    fn a_reservation_that_is_due_before_its_connection_waits_is_not_lost() {
        let ((addresses, rate), now) = (addresses(1000), Instant::now());
        let from = "10.0.0.1".parse().unwrap();
        let _permit = addresses.permit(from, None).unwrap();
        let mut limiter = addresses.rate_limiter(from);
        limiter.took(now, 1000, rate);
        assert_eq!(limiter.available(now, rate), 0);
        std::thread::sleep(Duration::from_millis(5));
        let at = limiter.retry_at().expect("lines are waiting");
        assert!(at <= Instant::now());
        assert!(limiter.available(at, rate) > 0);
        assert_eq!(limiter.retry_at(), None);
    }

    #[test]
    fn changed_limits_apply_at_once_to_open_connections() {
        let ((addresses, rate), start) = (addresses(1), Instant::now());
        let from = "10.0.0.1".parse().unwrap();
        let _permit = addresses.permit(from, None).unwrap();
        let mut limiter = addresses.rate_limiter(from);
        limiter.took(start, 1, rate);
        for _ in 0..100 {
            addresses.rate_limiter(from).available(start, rate);
        }
        assert_eq!(limiter.available(start, rate), 0);
        let higher = Some(LineRate::new(20));
        assert_eq!(limiter.available(start, higher), 20);
        limiter.took(start, 20, higher);
        assert_eq!(limiter.available(start, higher), 0);
        assert_eq!(limiter.available(start, None), usize::MAX);
        assert_eq!(limiter.retry_at(), None);
        assert!(addresses.permit(from, Some(1)).is_none(), "it has one");
        let rejected = &addresses.gateway.counters().client_connections_rejected;
        assert_eq!(rejected.per_address.get(), 1);
        assert!(addresses.permit(from, None).is_some());
    }
}

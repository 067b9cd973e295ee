//! What is kept of each address that clients come from: how many connections it
//! has, and what is left of its pace.
//!
//! An address stands for all that one customer has, as
//! [`Network::of_customer`] has it: for an IPv6 address, its /64.
//!
//! Memory: about 150 bytes for each address that has a connection, or whose pace
//! is not yet whole again, which takes a second or so. Those that are over go
//! when the table has doubled, and of those without a connection there are never
//! more than [`MAX_LEFT`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::gateway::Gateway;
use crate::log::LogThrottle;
use crate::model::networks::Network;

use super::ClientSettings;
use super::rate::{Gcra, Rate};

/// Most addresses without a connection that are kept since their pace is not
/// whole yet. Past that they are forgotten, and may send on at once.
const MAX_LEFT: usize = 65_536;

/// The table is not gone over for fewer addresses than this.
const FEW: usize = 1024;

/// Who waits looks at the limits so often: they may have been changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// That an address goes too far is told once in this time.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// All addresses of one server's clients, and what each may take. The limits
/// can be changed at any time.
#[derive(Debug)]
pub(super) struct Addresses {
    gateway: Arc<Gateway>,
    /// Read before lines are taken, so not behind the lock; 0 for no limit.
    lines_per_second: AtomicU32,
    table: Mutex<Table>,
    crowded: LogThrottle,
    hasty: LogThrottle,
}

impl Addresses {
    pub(super) fn new(gateway: Arc<Gateway>, settings: &ClientSettings) -> Self {
        Self {
            gateway,
            lines_per_second: AtomicU32::new(settings.commands_per_second.unwrap_or(0)),
            table: Mutex::new(Table::new(settings.connections_per_address)),
            crowded: LogThrottle::new(TELL_PAUSE),
            hasty: LogThrottle::new(TELL_PAUSE),
        }
    }

    /// From now on these are the limits. An address that has more connections
    /// than it may keeps them. With another pace all begin anew.
    pub(super) fn change(&self, settings: &ClientSettings) {
        let mut table = self.table();
        table.most = settings.connections_per_address;
        let new = settings.commands_per_second.unwrap_or(0);
        if self.lines_per_second.swap(new, Relaxed) != new {
            table.forgive();
        }
    }

    /// A place for a connection from there, for as long as it is held; `None`
    /// where the address has as many as it may.
    pub(super) fn place(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let network = Network::of_customer(from);
        if let Err(most) = self.table().enter(network, Instant::now()) {
            self.note_crowded(network, most);
            return None;
        }
        let addresses = self.clone();
        Some(Place { addresses, network })
    }

    /// The part of a connection from there in the pace of its address. The
    /// connection has a place.
    pub(super) fn turns(self: &Arc<Self>, from: IpAddr) -> RateLimiter {
        let network = Network::of_customer(from);
        RateLimiter {
            addresses: self.clone(),
            network,
            budget: self.table().budget(network),
            next: None,
            is_put_off: false,
            is_waived: false,
        }
    }

    fn pace(&self) -> Option<Rate> {
        match self.lines_per_second.load(Relaxed) {
            0 => None,
            lines => Some(Rate::new(lines)),
        }
    }

    fn note_crowded(&self, network: Network, most: usize) {
        self.gateway
            .counters()
            .client_connections_rejected
            .per_address
            .add(1);
        if let Some(suppressed) = self.crowded.admit() {
            warn!(
                "{network} has as many connections as it may ({most}): further ones are closed; raise \
                 connections_per_address if many clients share an address{suppressed}"
            );
        }
    }

    fn note_hasty(&self, network: Network, pace: Rate) {
        self.gateway
            .counters()
            .client_reads_delayed
            .rate_limit
            .add(1);
        if let Some(suppressed) = self.hasty.admit() {
            let per_second = pace.per_second();
            warn!(
                "{network} sends more than {per_second} commands a second: it is read on later; raise \
                 commands_per_second if many clients share an address{suppressed}"
            );
        }
    }

    /// Held for a lookup, and seldom for going over all addresses.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Invariant: an address is in it while it has a connection.
#[derive(Debug)]
struct Table {
    /// How many connections each may have.
    most: Option<usize>,
    entries: HashMap<Network, Entry>,
    /// With so many entries, those that are over are looked for.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Entry {
    connections: usize,
    budget: Arc<Mutex<Gcra>>,
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        self.connections == 0 && lock(&self.budget).is_full(now)
    }
}

impl Table {
    fn new(most: Option<usize>) -> Self {
        Self {
            most,
            entries: HashMap::new(),
            sweep_at: FEW,
        }
    }

    /// One more connection of the address; where it has as many as it may, how
    /// many those are.
    fn enter(&mut self, network: Network, now: Instant) -> Result<(), usize> {
        let has = self
            .entries
            .get(&network)
            .map_or(0, |entry| entry.connections);
        if let Some(most) = self.most.filter(|&most| has >= most) {
            return Err(most);
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
        if entry.is_over(now) {
            self.entries.remove(&network);
        }
    }

    fn budget(&self, network: Network) -> Arc<Mutex<Gcra>> {
        let entry = self.entries.get(&network);
        entry.map(|entry| entry.budget.clone()).unwrap_or_default()
    }

    fn sweep(&mut self, now: Instant) {
        self.entries.retain(|_, entry| !entry.is_over(now));
        let left = |entry: &Entry| entry.connections == 0;
        if self.entries.values().filter(|entry| left(entry)).count() > MAX_LEFT / 2 {
            self.entries.retain(|_, entry| !left(entry));
        }
        self.sweep_at = (2 * self.entries.len()).clamp(FEW, self.entries.len() + MAX_LEFT / 2);
        self.entries.shrink_to(self.sweep_at);
    }

    fn forgive(&mut self) {
        for entry in self.entries.values() {
            *lock(&entry.budget) = Gcra::default();
        }
    }
}

/// Held for a few reads and writes.
fn lock(budget: &Mutex<Gcra>) -> MutexGuard<'_, Gcra> {
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection among those of its address. Gives its place back when it is
/// dropped.
#[derive(Debug)]
pub(super) struct Place {
    addresses: Arc<Addresses>,
    network: Network,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.addresses.table().leave(self.network, Instant::now());
    }
}

/// When one connection may take lines, by the pace of its address.
#[derive(Debug)]
pub(super) struct RateLimiter {
    addresses: Arc<Addresses>,
    network: Network,
    budget: Arc<Mutex<Gcra>>,
    /// A line may be taken then, and is paid for; by this pace.
    next: Option<(Instant, Rate)>,
    /// Were lines there when this was asked last, and none to be taken?
    is_put_off: bool,
    is_waived: bool,
}

impl RateLimiter {
    /// How many lines may be taken now, of one or more that are there. Where none
    /// may, [`pause`](Self::pause) says when to ask again.
    pub(super) fn may_take(&mut self, now: Instant) -> usize {
        let most = self.due(now);
        self.is_put_off = most == 0;
        most
    }

    fn due(&mut self, now: Instant) -> usize {
        let Some(pace) = self.addresses.pace().filter(|_| !self.is_waived) else {
            self.next = None;
            return usize::MAX;
        };
        // With another pace, all have begun anew.
        self.next = self.next.filter(|(_, paid_at)| *paid_at == pace);
        let mut budget = lock(&self.budget);
        let left = budget.left(now, pace);
        match self.next {
            Some((at, _)) if now < at => 0,
            Some(_) => left + 1,
            None if left > 0 => left,
            None => {
                self.next = Some((budget.turn(now, pace), pace));
                drop(budget);
                self.addresses.note_hasty(self.network, pace);
                0
            }
        }
    }

    /// So many lines were taken.
    pub(super) fn took(&mut self, now: Instant, lines: usize) {
        let Some(pace) = self.addresses.pace().filter(|_| lines > 0) else {
            return;
        };
        let paid = usize::from(self.next.take().is_some());
        lock(&self.budget).charge(now, lines - paid, pace);
    }

    /// When to ask again, where lines wait: it may have come by now, and whoever
    /// does not ask leaves them there.
    pub(super) fn pause(&self) -> Option<Instant> {
        let (at, _) = self.next.filter(|_| self.is_put_off)?;
        Some(at.min(Instant::now() + LOOK_AGAIN))
    }

    /// From now on any number of lines may be taken: it is the end.
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

    fn addresses(per_second: u32) -> Arc<Addresses> {
        let settings = ClientSettings {
            commands_per_second: Some(per_second),
            ..ClientSettings::default()
        };
        Arc::new(Addresses::new(samples::gateway(), &settings))
    }

    #[test]
    fn an_ipv6_address_is_its_64_and_a_mapped_one_is_ipv4() {
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::"));
        assert_ne!(network("2001:db8:1:2::"), network("2001:db8:1:3::"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(network("10.0.0.1").to_string(), "10.0.0.1");
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_leaves() {
        let (mut table, now) = (Table::new(Some(2)), Instant::now());
        let (one, other) = (network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(table.enter(one, now), Ok(()));
        assert_eq!(table.enter(one, now), Ok(()));
        assert_eq!(table.enter(one, now), Err(2));
        assert_eq!(table.enter(other, now), Ok(()));
        table.leave(one, now);
        assert_eq!(table.enter(one, now), Ok(()));
        assert_eq!(table.enter(one, now), Err(2));
        for _ in 0..2 {
            table.leave(one, now);
        }
        table.leave(other, now);
        assert!(table.entries.is_empty(), "{table:?}");
    }

    #[test]
    fn an_address_that_comes_back_finds_what_it_left_of_its_pace() {
        let (mut table, now, pace) = (Table::new(None), Instant::now(), Rate::new(10));
        let one = network("10.0.0.1");
        table.enter(one, now).unwrap();
        lock(&table.budget(one)).charge(now, 10, pace);
        table.leave(one, now);
        table.enter(one, now).unwrap();
        assert_eq!(lock(&table.budget(one)).left(now, pace), 0);
        table.leave(one, now + Duration::from_secs(2));
        assert!(table.entries.is_empty());
    }

    #[test]
    fn addresses_that_are_over_go_and_the_others_stay() {
        let (mut table, start, pace) = (Table::new(None), Instant::now(), Rate::new(1000));
        let staying = network("192.0.2.1");
        table.enter(staying, start).unwrap();
        let mut most = 0;
        // A new address each 100 microseconds, which takes a second's worth.
        for n in 0..100_000_u32 {
            let now = start + Duration::from_micros(100) * n;
            let one = Network::of_customer(IpAddr::V4(n.into()));
            table.enter(one, now).unwrap();
            lock(&table.budget(one)).charge(now, 1000, pace);
            table.leave(one, now);
            most = most.max(table.entries.len());
        }
        assert!((10_000..=20_002).contains(&most), "{most}");
        assert_eq!(table.entries[&staying].connections, 1);
    }

    #[test]
    fn however_many_addresses_come_memory_is_bounded() {
        let (mut table, now, pace) = (Table::new(None), Instant::now(), Rate::new(1));
        let staying = network("2001:db8::1");
        table.enter(staying, now).unwrap();
        for n in 0..300_000_u32 {
            let one = Network::of_customer(IpAddr::V4(n.into()));
            table.enter(one, now).unwrap();
            lock(&table.budget(one)).charge(now, 1, pace);
            table.leave(one, now);
            assert!(table.entries.len() <= MAX_LEFT + 2);
        }
        assert!(table.entries.contains_key(&staying));
    }

    #[test]
    fn connections_of_one_address_share_its_pace_and_come_in_turn() {
        let (addresses, start) = (addresses(10), Instant::now());
        let from = "10.0.0.1".parse().unwrap();
        let _place = addresses.place(from).unwrap();
        let (mut one, mut other) = (addresses.turns(from), addresses.turns(from));
        assert_eq!(one.may_take(start), 10);
        one.took(start, 7);
        assert_eq!(other.may_take(start), 3);
        other.took(start, 3);
        let millis = |millis| start + Duration::from_millis(millis);
        for turns in [&mut one, &mut other] {
            assert_eq!(turns.may_take(start), 0);
            assert!(turns.pause().is_some());
        }
        assert_eq!(other.may_take(millis(100)), 0);
        assert_eq!(one.may_take(millis(100)), 1);
        one.took(millis(100), 1);
        assert_eq!(one.may_take(millis(200)), 0);
        assert_eq!(other.may_take(millis(200)), 1);
        assert_eq!(
            addresses
                .gateway
                .counters()
                .client_reads_delayed
                .rate_limit
                .get(),
            3
        );
        // Another address has a pace of its own.
        assert_eq!(
            addresses.turns("10.0.0.2".parse().unwrap()).may_take(start),
            10
        );
    }

    #[test]
    fn a_turn_that_found_no_whole_line_is_kept() {
        let (addresses, start) = (addresses(1), Instant::now());
        let from = "10.0.0.1".parse().unwrap();
        let _place = addresses.place(from).unwrap();
        let mut turns = addresses.turns(from);
        turns.took(start, 1);
        assert_eq!(turns.may_take(start), 0);
        let later = start + Duration::from_millis(1500);
        for _ in 0..3 {
            assert_eq!(turns.may_take(later), 1);
            turns.took(later, 0);
        }
        turns.took(later, 1);
        assert_eq!(turns.may_take(later), 0);
    }

    #[test]
    fn a_turn_that_comes_before_anybody_waits_for_it_is_not_lost() {
        let (addresses, now) = (addresses(1000), Instant::now());
        let from = "10.0.0.1".parse().unwrap();
        let _place = addresses.place(from).unwrap();
        let mut turns = addresses.turns(from);
        turns.took(now, 1000);
        assert_eq!(turns.may_take(now), 0);
        std::thread::sleep(Duration::from_millis(5));
        let at = turns.pause().expect("lines wait");
        assert!(at <= Instant::now());
        assert!(turns.may_take(at) > 0);
        assert_eq!(turns.pause(), None);
    }

    #[test]
    fn changed_limits_hold_at_once_for_whoever_is_there() {
        let (addresses, start) = (addresses(1), Instant::now());
        let from = "10.0.0.1".parse().unwrap();
        let _place = addresses.place(from).unwrap();
        let mut turns = addresses.turns(from);
        turns.took(start, 1);
        for _ in 0..100 {
            addresses.turns(from).may_take(start);
        }
        assert_eq!(turns.may_take(start), 0);
        let with = |commands_per_second| ClientSettings {
            commands_per_second,
            connections_per_address: Some(1),
            ..ClientSettings::default()
        };
        addresses.change(&with(Some(20)));
        assert_eq!(turns.may_take(start), 20);
        turns.took(start, 20);
        assert_eq!(turns.may_take(start), 0);
        addresses.change(&with(None));
        assert_eq!(turns.may_take(start), usize::MAX);
        assert_eq!(turns.pause(), None);
        assert!(addresses.place(from).is_none(), "it has one already");
        assert_eq!(
            addresses
                .gateway
                .counters()
                .client_connections_rejected
                .per_address
                .get(),
            1
        );
        addresses.change(&ClientSettings::default());
        assert!(addresses.place(from).is_some());
    }
}

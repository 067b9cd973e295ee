//! A limit that evicts its oldest member for a newcomer.
//!
//! Nothing is rejected, since the newcomer may be the one that matters: a neighbour that has
//! restarted is unidentified at first, and unidentified connections that hold all slots would
//! keep it out forever. The evicted member is the oldest unidentified one of the network with the
//! most unidentified members. A network that opens many connections therefore evicts only its
//! own. Within one network the oldest is the least likely to succeed, because a legitimate
//! connection is identified, or done, within milliseconds. Systems hold half-open TCP connections
//! in this way (Lemon, "Resisting SYN flood DoS attacks with a SYN cache", 2002); the fairness
//! between networks is added.
//!
//! Identified members are evicted only if there is no unidentified one, or never: see
//! [`EvictingLimit::try_enter`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tracing::warn;

use crate::lock::lock;
use crate::log::LogThrottle;
use crate::metrics::Counter;
use crate::model::networks::Network;

use super::LIMIT_LOG_INTERVAL;

/// A set of at most so many members, shared by its clones.
#[derive(Clone, Debug)]
pub struct EvictingLimit(Arc<EvictingSet>);

#[derive(Debug)]
struct EvictingSet {
    max_members: usize,
    what: String,
    members: Mutex<SlotTable>,
    evicted: Arc<Counter>,
    evictions: LogThrottle,
}

#[derive(Debug, Default)]
struct SlotTable {
    /// Number of members that ever entered.
    entered: u64,
    unidentified: SlotGroup,
    identified: SlotGroup,
}

/// SlotTable by network and by order of arrival, with the signal of their eviction.
#[derive(Debug, Default)]
struct SlotGroup {
    networks: HashMap<Network, BTreeMap<u64, Arc<Notify>>>,
    count: usize,
}

/// One membership in an [`EvictingLimit`], until it is dropped.
#[derive(Debug)]
pub struct Slot {
    limit: EvictingLimit,
    network: Network,
    number: u64,
    eviction: Arc<Notify>,
}

impl EvictingLimit {
    /// Creates a limit of `max_members`, at least one. `what` names the members in the log, such
    /// as "connections to the peer port". Evictions are counted with `evicted`.
    pub fn new(max_members: usize, what: impl Into<String>, evicted: Arc<Counter>) -> Self {
        Self(Arc::new(EvictingSet {
            max_members: max_members.max(1),
            what: what.into(),
            members: Mutex::default(),
            evicted,
            evictions: LogThrottle::new(LIMIT_LOG_INTERVAL),
        }))
    }

    /// Adds an unidentified member at this address. Evicts another if there are too many.
    pub fn enter(&self, from: IpAddr) -> Slot {
        self.insert(self.members(), from, self.0.max_members)
    }

    /// Adds an unidentified member at this address to a set of at most `max_members`, which may
    /// change. Evicts unidentified members if there are too many, and returns `None` if that does
    /// not suffice.
    pub fn try_enter(&self, from: IpAddr, max_members: usize) -> Option<Slot> {
        let members = self.members();
        let has_room = members.identified.count < max_members;
        has_room.then(|| self.insert(members, from, max_members))
    }

    fn insert(
        &self,
        mut members: MutexGuard<'_, SlotTable>,
        from: IpAddr,
        max_members: usize,
    ) -> Slot {
        let network = Network::of_customer(from);
        let eviction = Arc::new(Notify::new());
        members.entered += 1;
        let number = members.entered;
        members
            .unidentified
            .insert(network, number, eviction.clone());
        let (mut evicted, mut last_from) = (0, None);
        // More than one after the maximum was lowered.
        while members.count() > max_members
            && let Some(network) = members.evict(number)
        {
            evicted += 1;
            last_from = Some(network);
        }
        drop(members);
        self.0.evicted.add(evicted);
        if let Some(network) = last_from {
            self.log_eviction(network, max_members);
        }
        Slot {
            limit: self.clone(),
            network,
            number,
            eviction,
        }
    }

    fn log_eviction(&self, network: Network, max_members: usize) {
        if let Some(suppressed) = self.0.evictions.admit() {
            let what = &self.0.what;
            warn!(
                "more than {max_members} {what}: evicted the oldest from {network}; block that \
                 network if it is not yours{suppressed}"
            );
        }
    }

    /// The lock is held for a few lookups, and during an eviction for a look at each network.
    fn members(&self) -> MutexGuard<'_, SlotTable> {
        lock(&self.0.members)
    }
}

impl SlotTable {
    fn count(&self) -> usize {
        self.unidentified.count + self.identified.count
    }

    /// Evicts one member, but not the newest. Returns its network.
    fn evict(&mut self, newest: u64) -> Option<Network> {
        let group = match self.unidentified.next_to_evict() {
            Some((_, number)) if number != newest => &mut self.unidentified,
            _ => &mut self.identified,
        };
        let (network, number) = group.next_to_evict()?;
        group.remove(network, number)?.notify_one();
        Some(network)
    }
}

impl SlotGroup {
    /// Returns the oldest member of the network with the most members; if several networks have
    /// as many, the oldest of them all.
    fn next_to_evict(&self) -> Option<(Network, u64)> {
        let oldest = |(network, members): (&Network, &BTreeMap<u64, _>)| {
            let (&number, _) = members.first_key_value()?;
            Some((members.len(), Reverse(number), *network))
        };
        let found = self.networks.iter().filter_map(oldest);
        let (_, number, network) = found.max_by_key(|&(count, oldest, _)| (count, oldest))?;
        Some((network, number.0))
    }

    fn insert(&mut self, network: Network, number: u64, eviction: Arc<Notify>) {
        self.networks
            .entry(network)
            .or_default()
            .insert(number, eviction);
        self.count += 1;
    }

    fn remove(&mut self, network: Network, number: u64) -> Option<Arc<Notify>> {
        let members = self.networks.get_mut(&network)?;
        let removed = members.remove(&number)?;
        if members.is_empty() {
            self.networks.remove(&network);
        }
        self.count -= 1;
        Some(removed)
    }
}

impl Slot {
    /// Resolves when this member is evicted.
    pub fn evicted(&self) -> impl Future<Output = ()> + Send + use<> {
        let eviction = self.eviction.clone();
        async move { eviction.notified().await }
    }

    /// Marks this member as identified.
    pub fn identify(&self) {
        let mut members = self.limit.members();
        if let Some(eviction) = members.unidentified.remove(self.network, self.number) {
            members
                .identified
                .insert(self.network, self.number, eviction);
        }
    }

    /// Gives the slot back, as dropping it does.
    pub fn release(&self) {
        let mut members = self.limit.members();
        let (network, number) = (self.network, self.number);
        if members.unidentified.remove(network, number).is_none() {
            members.identified.remove(network, number);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    /// Returns true once for an evicted slot: `Notify` signals once.
    fn is_evicted(slot: &Slot) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(slot.evicted()).poll(&mut context).is_ready()
    }

    fn filled(max_members: usize, from: &[[u8; 4]]) -> (EvictingLimit, Vec<Slot>) {
        let limit = EvictingLimit::new(max_members, "members", Arc::default());
        let slots = from.iter().map(|&from| limit.enter(from.into())).collect();
        (limit, slots)
    }

    fn evicted(slots: &[Slot]) -> Vec<usize> {
        (0..slots.len())
            .filter(|&i| is_evicted(&slots[i]))
            .collect()
    }

    #[test]
    fn the_oldest_of_the_network_with_the_most_members_is_evicted() {
        let (_limit, slots) = filled(3, &[B, A, A, A, A]);
        assert_eq!(evicted(&slots), [1, 2]);
    }

    #[test]
    fn of_networks_with_as_many_members_the_oldest_is_evicted() {
        let (_limit, slots) = filled(2, &[A, B, [1; 4], [2; 4]]);
        assert_eq!(evicted(&slots), [0, 1]);
    }

    #[test]
    fn an_identified_member_is_evicted_only_if_no_other_is_unidentified() {
        let (limit, slots) = filled(3, &[A, A, A]);
        slots[..2].iter().for_each(Slot::identify);
        let later = [limit.enter(B.into()), limit.enter(B.into())];
        assert_eq!((evicted(&slots), evicted(&later)), (vec![2], vec![0]));
        later[1].identify();
        let last = limit.enter(B.into());
        assert_eq!((evicted(&slots), is_evicted(&last)), (vec![0], false));
    }

    #[test]
    fn evictions_are_counted() {
        let (limit, _slots) = filled(2, &[A, A, A, B, B]);
        assert_eq!(limit.0.evicted.get(), 3);
    }

    #[test]
    fn with_try_enter_identified_members_stay_and_keep_newcomers_out() {
        let (limit, slots) = filled(3, &[A, A, A]);
        slots[0].identify();
        let newcomer = limit.try_enter(B.into(), 3).unwrap();
        assert_eq!(evicted(&slots), [1]);
        newcomer.identify();
        slots[2].identify();
        assert!(limit.try_enter(B.into(), 3).is_none());
        assert_eq!(evicted(&slots), [0; 0]);
        drop(newcomer);
        assert!(limit.try_enter(B.into(), 3).is_some());
    }

    #[test]
    fn a_lowered_maximum_evicts_as_many_as_are_too_many() {
        let limit = EvictingLimit::new(1, "members", Arc::default());
        let slots: Vec<_> = (0..5)
            .map(|_| limit.try_enter(A.into(), 5).unwrap())
            .collect();
        slots[4].identify();
        assert!(limit.try_enter(B.into(), 1).is_none());
        assert_eq!(evicted(&slots), [0; 0]);
        let newest = limit.try_enter(B.into(), 3).unwrap();
        assert_eq!(
            (evicted(&slots), is_evicted(&newest)),
            (vec![0, 1, 2], false)
        );
    }

    #[test]
    fn a_dropped_slot_makes_room_and_an_evicted_one_has_none_to_give_back() {
        let (limit, mut slots) = filled(2, &[A, A, A]);
        slots[0].identify();
        drop(slots.remove(0));
        drop(slots.remove(0));
        slots.push(limit.enter(A.into()));
        assert_eq!(evicted(&slots), [0; 0]);
        slots.push(limit.enter(A.into()));
        assert_eq!(evicted(&slots), [0]);
        let members = limit.members();
        let counts = (members.unidentified.count, members.identified.count);
        assert_eq!(counts, (2, 0));
    }
}

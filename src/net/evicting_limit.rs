//! So many at a time: one that comes too many takes the place of another.
//!
//! Nobody is turned away, since who is turned away may be the one that matters:
//! a neighbour that has restarted comes as a stranger, and strangers that hold
//! all places would keep it out for good. Who gives way is the oldest stranger
//! of the network that has the most here. So one network, however much it
//! presses, is at its own throat only; and within one network the oldest is the
//! least likely to come to anything, since who means well is known, or through,
//! in milliseconds. That is how systems hold half-open TCP connections (Lemon,
//! "Resisting SYN flood DoS attacks with a SYN cache", 2002), made fair by
//! network.
//!
//! Those that are known give way only where there is no stranger.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use crate::log::LogThrottle;
use crate::model::networks::Network;

/// That somebody gave way is told once in this time.
const TELL_PAUSE: Duration = Duration::from_secs(10);

/// Those that are there, and how many there may be. Its clones are the same.
#[derive(Clone, Debug)]
pub struct EvictingLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    what: &'static str,
    state: Mutex<State>,
    pushed_out: LogThrottle,
}

#[derive(Debug, Default)]
struct State {
    /// How many ever came.
    count: u64,
    strangers: Group,
    known: Group,
}

/// Numbers in order of arrival, and whom to tell.
#[derive(Debug, Default)]
struct Group {
    networks: HashMap<Network, BTreeMap<u64, Arc<Notify>>>,
    count: usize,
}

/// A place in a crowd, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    crowd: EvictingLimit,
    network: Network,
    number: u64,
    pushed_out: Arc<Notify>,
}

impl EvictingLimit {
    /// At most `most`, at least one; `what` stands behind the number in the
    /// warning.
    pub fn new(most: usize, what: &'static str) -> Self {
        Self(Arc::new(Inner {
            most: most.max(1),
            what,
            state: Mutex::default(),
            pushed_out: LogThrottle::new(TELL_PAUSE),
        }))
    }

    /// A place for a stranger from this address. Where there are too many,
    /// another has to give way.
    pub fn enter(&self, from: IpAddr) -> Slot {
        let network = Network::of_customer(from);
        let pushed_out = Arc::new(Notify::new());
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        state.strangers.insert(network, number, pushed_out.clone());
        let victim = match state.strangers.count + state.known.count > self.0.most {
            true => state.push_out(number),
            false => None,
        };
        drop(state);
        if let Some(network) = victim {
            self.tell(network);
        }
        Slot {
            crowd: self.clone(),
            network,
            number,
            pushed_out,
        }
    }

    fn tell(&self, network: Network) {
        if let Some(suppressed) = self.0.pushed_out.admit() {
            let Inner { most, what, .. } = &*self.0;
            warn!("{most} {what}: the oldest from {network} gave way to a new one{suppressed}");
        }
    }

    /// Held for a few look-ups; where somebody must give way, for a look at each
    /// network.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes one give way, but not the newest. Gives where it was from.
    fn push_out(&mut self, newest: u64) -> Option<Network> {
        let group = match self.strangers.first_to_go() {
            Some((_, number)) if number != newest => &mut self.strangers,
            _ => &mut self.known,
        };
        let (network, number) = group.first_to_go()?;
        group.remove(network, number)?.notify_one();
        Some(network)
    }
}

impl Group {
    /// The oldest of the network that has the most; of several such, the oldest
    /// of all.
    fn first_to_go(&self) -> Option<(Network, u64)> {
        let oldest = |(network, members): (&Network, &BTreeMap<u64, _>)| {
            let (&number, _) = members.first_key_value()?;
            Some((members.len(), std::cmp::Reverse(number), *network))
        };
        let found = self.networks.iter().filter_map(oldest);
        let (_, number, network) = found.max_by_key(|&(many, oldest, _)| (many, oldest))?;
        Some((network, number.0))
    }

    fn insert(&mut self, network: Network, number: u64, whom: Arc<Notify>) {
        self.networks
            .entry(network)
            .or_default()
            .insert(number, whom);
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
    /// Resolves when this one has to give way.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let pushed_out = self.pushed_out.clone();
        async move { pushed_out.notified().await }
    }

    /// Whoever is here is no stranger any more.
    pub fn become_known(&self) {
        let mut state = self.crowd.state();
        if let Some(whom) = state.strangers.remove(self.network, self.number) {
            state.known.insert(self.network, self.number, whom);
        }
    }

    /// Gives the place back; dropping it does so too.
    pub fn leave(&self) {
        let mut state = self.crowd.state();
        let (network, number) = (self.network, self.number);
        if state.strangers.remove(network, number).is_none() {
            state.known.remove(network, number);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    /// Told once only, as all that `Notify` tells.
    fn is_lost(place: &Slot) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(place.lost()).poll(&mut context).is_ready()
    }

    fn crowd(most: usize, from: &[[u8; 4]]) -> (EvictingLimit, Vec<Slot>) {
        let crowd = EvictingLimit::new(most, "are here");
        let places = from.iter().map(|&from| crowd.enter(from.into())).collect();
        (crowd, places)
    }

    fn lost(places: &[Slot]) -> Vec<usize> {
        (0..places.len()).filter(|&i| is_lost(&places[i])).collect()
    }

    #[test]
    fn the_oldest_of_the_network_that_has_the_most_gives_way() {
        let (_crowd, places) = crowd(3, &[B, A, A, A, A]);
        assert_eq!(lost(&places), [1, 2]);
    }

    #[test]
    fn of_networks_that_have_as_many_the_oldest_gives_way() {
        let (_crowd, places) = crowd(2, &[A, B, [1; 4], [2; 4]]);
        assert_eq!(lost(&places), [0, 1]);
    }

    #[test]
    fn who_is_known_gives_way_only_where_there_is_no_stranger() {
        let (crowd, places) = crowd(3, &[A, A, A]);
        places[..2].iter().for_each(Slot::become_known);
        let later = [crowd.enter(B.into()), crowd.enter(B.into())];
        assert_eq!((lost(&places), lost(&later)), (vec![2], vec![0]));
        later[1].become_known();
        let last = crowd.enter(B.into());
        assert_eq!((lost(&places), is_lost(&last)), (vec![0], false));
    }

    #[test]
    fn who_leaves_makes_room_and_who_lost_its_place_has_none_to_give_back() {
        let (crowd, mut places) = crowd(2, &[A, A, A]);
        places[0].become_known();
        drop(places.remove(0));
        drop(places.remove(0));
        places.push(crowd.enter(A.into()));
        assert_eq!(lost(&places), [0; 0]);
        places.push(crowd.enter(A.into()));
        assert_eq!(lost(&places), [0]);
        let state = crowd.state();
        assert_eq!((state.strangers.count, state.known.count), (2, 0));
    }

    #[test]
    fn a_network_is_what_one_customer_has() {
        let network = |address: &str| Network::of_customer(address.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("2001:db8::1").to_string(), "2001:db8::/64");
    }
}

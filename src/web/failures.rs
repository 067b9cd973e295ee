//! The addresses that sent wrong tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;
use crate::model::networks::Network;

/// Number of wrong tokens that an address may send within [`WINDOW`].
const MAX_FAILURES: u32 = 10;

/// Time for which wrong tokens count.
const WINDOW: Duration = Duration::from_secs(60);

/// Maximum number of addresses with wrong tokens. Beyond it all of them are forgotten.
const MAX_ADDRESSES: usize = 4096;

/// The addresses that sent wrong tokens. An IPv6 address counts as its /64.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<Network, Window>>);

/// Wrong tokens of one address.
#[derive(Clone, Copy, Debug)]
struct Window {
    ends: Instant,
    failures: u32,
}

impl Failures {
    /// Returns the time for which an address must wait, if it sent too many wrong tokens.
    pub(super) fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let failures = lock(&self.0);
        let window = failures.get(&Network::of_customer(from))?;
        let is_limited = window.failures >= MAX_FAILURES && window.ends > now;
        is_limited.then(|| window.ends - now)
    }

    /// Counts a wrong token.
    pub(super) fn add(&self, from: IpAddr, now: Instant) {
        let mut failures = lock(&self.0);
        if failures.len() >= MAX_ADDRESSES {
            failures.retain(|_, window| window.ends > now);
        }
        if failures.len() >= MAX_ADDRESSES {
            failures.clear();
        }
        let fresh = Window {
            ends: now + WINDOW,
            failures: 0,
        };
        let window = failures.entry(Network::of_customer(from)).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        window.failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_too_many_wrong_tokens_waits_and_others_do_not() {
        let (failures, start) = (Failures::default(), Instant::now());
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        for _ in 0..MAX_FAILURES {
            assert_eq!(failures.wait(one, start), None);
            failures.add(one, start);
        }
        assert_eq!(failures.wait(one, start), Some(WINDOW));
        assert_eq!(failures.wait(other, start), None);
        assert_eq!(failures.wait(one, start + WINDOW), None);
        failures.add(one, start + WINDOW);
        assert_eq!(failures.wait(one, start + WINDOW), None);
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let (failures, now) = (Failures::default(), Instant::now());
        for n in 0..3 * MAX_ADDRESSES as u32 {
            failures.add(std::net::Ipv4Addr::from(n).into(), now);
        }
        assert!(lock(&failures.0).len() <= MAX_ADDRESSES);
    }
}

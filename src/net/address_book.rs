//! The order in which the addresses of a host are tried.

use std::net::SocketAddr;

/// Which addresses of a host worked and which failed.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    /// The address that worked last, unless it has failed since.
    worked: Option<SocketAddr>,
    /// The addresses whose last trial failed, the earliest failure first.
    failed: Vec<SocketAddr>,
}

impl AddressBook {
    /// Returns `found`, each address once: the one that worked last, then those that did not
    /// fail, with the families in turn and otherwise in their order (RFC 8305, section 4), then
    /// those that failed, the earliest failure first. So each address is first at some time for
    /// as long as none works.
    pub(super) fn order(&mut self, found: &[SocketAddr]) -> Vec<SocketAddr> {
        self.failed.retain(|failed| found.contains(failed));
        let mut ordered = interleave(found);
        // A stable sort.
        ordered.sort_by_key(|address| {
            let failed = self.failed.iter().position(|failed| failed == address);
            let is_preferred = self.worked == Some(*address);
            (!is_preferred, failed.map_or(0, |place| place + 1))
        });
        ordered
    }

    /// Notes that an address worked.
    pub(super) fn note_worked(&mut self, address: SocketAddr) {
        self.failed.retain(|failed| *failed != address);
        self.worked = Some(address);
    }

    /// Notes that an address failed, or is not known to work yet.
    pub(super) fn note_failed(&mut self, address: SocketAddr) {
        self.failed.retain(|failed| *failed != address);
        self.failed.push(address);
        if self.worked == Some(address) {
            self.worked = None;
        }
    }
}

/// Returns the addresses, each once, of both families in turn. The family of the first one is
/// first.
fn interleave(found: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_ipv6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let of = |is_ipv6| found.iter().filter(move |a| a.is_ipv6() == is_ipv6);
    let (mut first, mut second) = (of(is_ipv6), of(!is_ipv6));
    let mut ordered: Vec<SocketAddr> = Vec::with_capacity(found.len());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return ordered;
        }
        for address in pair.into_iter().flatten() {
            if !ordered.contains(address) {
                ordered.push(*address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_begin_with_the_one_that_the_system_prefers() {
        let mut book = AddressBook::default();
        let found = addresses(&["[::1]:1", "[::2]:1", "[::1]:1", "[::3]:1", "1.1.1.1:1"]);
        let ordered = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(book.order(&found), ordered);
        let found = addresses(&["1.1.1.1:1", "2.2.2.2:1", "[::1]:1"]);
        let ordered = addresses(&["1.1.1.1:1", "[::1]:1", "2.2.2.2:1"]);
        assert_eq!(book.order(&found), ordered);
        assert_eq!(book.order(&[]), []);
    }

    #[test]
    fn the_address_that_worked_last_is_first_and_failed_ones_are_last_in_turn() {
        let mut book = AddressBook::default();
        let found = addresses(&["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"]);
        book.note_worked(found[1]);
        book.note_failed(found[0]);
        assert_eq!(book.order(&found), [found[1], found[2], found[0]]);
        book.note_failed(found[1]);
        assert_eq!(book.order(&found), [found[2], found[0], found[1]]);
        book.note_worked(found[0]);
        assert_eq!(book.order(&found), [found[0], found[2], found[1]]);
        // An address that a name no longer has is forgotten.
        assert_eq!(book.order(&found[..1]), [found[0]]);
        assert!(book.failed.is_empty());
    }

    #[test]
    fn every_address_is_first_at_some_time_while_all_fail() {
        let mut book = AddressBook::default();
        let found = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1"]);
        let mut firsts = Vec::new();
        for _ in 0..found.len() {
            let first = book.order(&found)[0];
            book.note_failed(first);
            firsts.push(first);
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), found.len());
    }
}

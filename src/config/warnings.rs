//! What is allowed in a herd's file, and yet worth a second look.

use std::collections::{BTreeSet, HashSet};

use super::{Config, Server, messages};
use crate::model::name::Name;
use crate::model::networks::Networks;
use crate::places::PlacesSettings;

impl Config {
    /// What somebody who runs this herd should know: a sentence or two on each
    /// thing, without a line end. Empty for most herds.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(self.partition());
        warnings.extend(self.servers.iter().filter_map(undialable));
        warnings.extend(self.unencrypted());
        warnings.extend(self.key_in_clear());
        warnings.extend(allowed_in_vain("[clients]", &self.clients.networks));
        warnings.extend(allowed_in_vain("[web]", &self.web.networks));
        warnings
    }

    fn key_in_clear(&self) -> Option<String> {
        let PlacesSettings::Google(google) = &self.places else {
            return None;
        };
        let url = google.base_url.as_ref().filter(|url| !url.is_private())?;
        Some(format!(
            "the key for the places provider travels unencrypted to {url}, and who can watch \
             it on its way can use it: begin base_url with https."
        ))
    }

    fn partition(&self) -> Option<String> {
        let parts = self.parts();
        let names: Vec<String> = parts.iter().map(|part| describe(part)).collect();
        (parts.len() > 1).then(|| {
            format!(
                "the herd is in {} parts with no link between them, so no report reaches all \
                 servers: {}. A name in talks_to joins two parts.",
                parts.len(),
                names.join(" | ")
            )
        })
    }

    /// The servers, grouped by whom their reports can reach.
    fn parts(&self) -> Vec<Vec<&Server>> {
        let mut parts = Vec::new();
        let mut rest: Vec<&Server> = self.servers.iter().collect();
        while let Some(first) = rest.first() {
            let reached = self.reach(first);
            let (part, others) = rest
                .into_iter()
                .partition(|server| reached.contains(&server.name));
            parts.push(part);
            rest = others;
        }
        parts
    }

    /// The names of all servers that a report of `start` can reach, itself too.
    fn reach<'a>(&'a self, start: &'a Server) -> HashSet<&'a Name> {
        let mut reached = HashSet::from([&start.name]);
        let mut next = vec![start];
        while let Some(server) = next.pop() {
            let new = self
                .neighbours(server)
                .filter(|neighbour| reached.insert(&neighbour.name));
            next.extend(new);
        }
        reached
    }

    fn unencrypted(&self) -> Option<String> {
        let everyone: Vec<&Server> = self.servers.iter().collect();
        let exposed = self.exposed(&everyone);
        if self.tls.is_on() || exposed.is_empty() {
            return None;
        }
        let addresses: BTreeSet<String> = exposed.iter().map(|e| e.address.to_string()).collect();
        let addresses = messages::list(addresses.iter().map(String::as_str), "and");
        let refused = everyone
            .iter()
            .filter(|server| self.check_exposure(&[server]).is_err())
            .map(|server| server.name.as_str());
        Some(match self.insecure {
            true => format!(
                "insecure = true, and servers talk unencrypted on {addresses}: who can reach or \
                 watch these addresses can read reports, and forge them."
            ),
            false => format!(
                "without certificates or insecure = true under [security], {} will not start: \
                 servers talk unencrypted, and not on loopback addresses only ({addresses}).",
                messages::list(refused, "and")
            ),
        })
    }
}

fn describe(part: &[&Server]) -> String {
    match part {
        [alone] => format!("{} (without neighbours)", alone.name),
        many => messages::list(many.iter().map(|server| server.name.as_str()), "and"),
    }
}

fn allowed_in_vain(table: &str, networks: &Networks) -> Option<String> {
    let all = networks.ineffective_allows();
    let all: Vec<String> = all
        .map(|(allow, deny)| format!("{allow} in {deny}"))
        .collect();
    (!all.is_empty()).then(|| {
        format!(
            "{table} allows networks in vain, since deny wins: {}.",
            messages::list(all.iter().map(String::as_str), "and")
        )
    })
}

/// 0.0.0.0 means every address to a listener, and to who dials it, itself.
fn undialable(server: &Server) -> Option<String> {
    let ip = server.peers.ip()?;
    let dialled = ip.is_unspecified() && !server.neighbours.is_empty();
    dialled.then(|| {
        format!(
            "{} is an address to listen on, and the neighbours of {} would dial it: let \
             bind_peers be that, and peers the address at which others reach it.",
            server.peers, server.name
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::config::samples::{alone, herd, parse};

    #[test]
    fn a_herd_in_one_part_on_loopback_needs_none() {
        let chain = herd(&[("A", &["B"]), ("B", &["C"]), ("C", &[])]);
        for text in [alone(), chain + "[security]\ninsecure = true"] {
            assert_eq!(parse(&text).warnings(), Vec::<String>::new());
        }
    }

    #[test]
    fn parts_that_cannot_reach_each_other_are_told() {
        let text = herd(&[
            ("A", &["C"]),
            ("B", &[]),
            ("C", &["E"]),
            ("D", &["F"]),
            ("E", &[]),
            ("F", &[]),
        ]);
        assert_eq!(
            parse(&text).warnings(),
            [
                "the herd is in 3 parts with no link between them, so no report reaches all \
              servers: A, C and E | B (without neighbours) | D and F. \
              A name in talks_to joins two parts."
            ]
        );
    }

    #[test]
    fn unencrypted_talk_is_told_with_its_addresses() {
        let text = herd(&[("A", &["B"]), ("B", &[]), ("C", &["B"])])
            .replace("127.0.0.1:13000", "10.0.0.1:13000");
        assert_eq!(
            parse(&text).warnings(),
            [
                "without certificates or insecure = true under [security], A and B will not \
              start: servers talk unencrypted, and not on loopback addresses only \
              (10.0.0.1:13000)."
            ]
        );
        assert_eq!(
            parse(&(text + "[security]\ninsecure = true")).warnings(),
            [
                "insecure = true, and servers talk unencrypted on 10.0.0.1:13000: who can \
              reach or watch these addresses can read reports, and forge them."
            ]
        );
    }

    #[test]
    fn an_address_that_only_a_listener_can_use_is_told() {
        let text = herd(&[("A", &["B"]), ("B", &[])]).replace("127.0.0.1:13001", "[::]:13001");
        let warnings = parse(&(text + "[security]\ninsecure = true")).warnings();
        assert!(
            warnings[0]
                .starts_with("[::]:13001 is an address to listen on, and the neighbours of B")
        );
    }

    #[test]
    fn networks_that_are_allowed_in_vain_are_told() {
        let text = "[clients]\nallow = [\"10.1.0.0/16\", \"::1\"]\ndeny = [\"10.0.0.0/8\"]\n\
                    [web]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.0.0/16\"]\n";
        assert_eq!(
            parse(&(alone() + text)).warnings(),
            ["[clients] allows networks in vain, since deny wins: 10.1.0.0/16 in 10.0.0.0/8."]
        );
    }

    #[test]
    fn a_key_that_travels_in_clear_is_told() {
        let with = |provider: &str, url: &str| {
            let places = format!(
                "[places]\nprovider = \"{provider}\"\n[places.google]\nbase_url = \"{url}\"\n"
            );
            parse(&(alone() + &places)).warnings()
        };
        for provider in ["google", "google-new"] {
            let warnings = with(provider, "http://places.example.org");
            assert_eq!(
                warnings,
                ["the key for the places provider travels unencrypted to \
                  http://places.example.org, and who can watch it on its way can use it: begin \
                  base_url with https."]
            );
            for url in ["http://127.0.0.1:8080", "https://places.example.org"] {
                assert!(with(provider, url).is_empty(), "{url}");
            }
        }
        assert!(with("offline", "http://places.example.org").is_empty());
    }
}

//! Warnings about valid configs.

use std::collections::{BTreeSet, HashSet};

use super::{Config, ServerConfig, messages};
use crate::model::name::Name;
use crate::model::networks::Networks;
use crate::places::PlacesSettings;

impl Config {
    /// Returns warnings for the operator: each is a sentence or two without a line end.
    /// Most herds have none.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(self.partition());
        warnings.extend(self.servers.iter().filter_map(undialable));
        warnings.extend(self.unencrypted());
        warnings.extend(self.unencrypted_key());
        warnings.extend(self.exposed_web());
        warnings.extend(ineffective_allows("[clients]", &self.clients.networks));
        warnings.extend(ineffective_allows("[web]", &self.web.networks));
        warnings
    }

    fn unencrypted_key(&self) -> Option<String> {
        let PlacesSettings::Google(google) = &self.places else {
            return None;
        };
        let url = google.base_url.as_ref().filter(|url| !url.is_private())?;
        Some(format!(
            "the key of the places provider is sent unencrypted to {url}, and others on the way \
             can use it; write base_url with https."
        ))
    }

    /// Warns of web ports beyond loopback that will not start, or whose token is sent unencrypted.
    fn exposed_web(&self) -> Option<String> {
        let is_exposed = |server: &&ServerConfig| {
            let address = server.bind_web.as_ref();
            address.is_some_and(|address| !address.is_loopback())
        };
        let exposed = self.servers.iter().filter(is_exposed);
        let names = messages::short_list(exposed.map(|server| server.name.as_str()), "and");
        if !self.web.api || self.servers.iter().filter(is_exposed).count() == 0 {
            None
        } else if self.web.token_file.is_none() {
            Some(format!(
                "{names} will not start: their web ports would show positions beyond loopback. Set \
                 token_file or api = false under [web]."
            ))
        } else if self.web.tls {
            None
        } else {
            Some(format!(
                "the web ports of {names} use no TLS, so everyone on the networks in between can \
                 read positions and the token. Set tls = true under [web]."
            ))
        }
    }

    fn partition(&self) -> Option<String> {
        let parts = self.parts();
        let names: Vec<String> = parts.iter().map(|part| describe(part)).collect();
        (parts.len() > 1).then(|| {
            format!(
                "the herd is in {} parts with no link between them, so no report reaches all \
                 servers: {}. Join them with a name in talks_to.",
                parts.len(),
                names.join(" | ")
            )
        })
    }

    /// Returns the connected components of the herd.
    fn parts(&self) -> Vec<Vec<&ServerConfig>> {
        let mut parts = Vec::new();
        let mut rest: Vec<&ServerConfig> = self.servers.iter().collect();
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

    /// Returns the names of all servers that a report of `start` can reach, including itself.
    fn reach<'a>(&'a self, start: &'a ServerConfig) -> HashSet<&'a Name> {
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
        let everyone: Vec<&ServerConfig> = self.servers.iter().collect();
        let exposed = self.exposed(&everyone);
        if self.tls.is_on() || exposed.is_empty() {
            return None;
        }
        let addresses: BTreeSet<String> = exposed.iter().map(|e| e.address.to_string()).collect();
        let addresses = messages::short_list(addresses.iter().map(String::as_str), "and");
        let rejected = everyone
            .iter()
            .filter(|server| !self.exposed_links(&[server]).is_empty())
            .map(|server| server.name.as_str());
        Some(if self.insecure {
            format!(
                "insecure = true: servers talk unencrypted on {addresses}, and everyone on the \
                 networks in between can read and forge reports."
            )
        } else {
            format!(
                "{} will not start: servers would talk unencrypted on {addresses}. Set \
                 certificates or insecure = true under [security].",
                messages::short_list(rejected, "and")
            )
        })
    }
}

fn describe(part: &[&ServerConfig]) -> String {
    match part {
        [alone] => format!("{} (without neighbours)", alone.name),
        many => messages::short_list(many.iter().map(|server| server.name.as_str()), "and"),
    }
}

fn ineffective_allows(table: &str, networks: &Networks) -> Option<String> {
    let all = networks.ineffective_allows();
    let all: Vec<String> = all
        .map(|(allow, deny)| format!("{allow} in {deny}"))
        .collect();
    (!all.is_empty()).then(|| {
        format!(
            "{table} allow has no effect for {}, since deny overrides it.",
            messages::short_list(all.iter().map(String::as_str), "and")
        )
    })
}

/// Warns of an unspecified address such as 0.0.0.0 that neighbours would dial: to them it
/// means their own machine.
fn undialable(server: &ServerConfig) -> Option<String> {
    let ip = server.peers.ip()?;
    let dialled = ip.is_unspecified() && !server.neighbours.is_empty();
    dialled.then(|| {
        format!(
            "{} is a listening address, and the neighbours of {} would dial it; set bind_peers \
             to it, and peers to the address that others use.",
            server.peers, server.name
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::config::samples::{alone, herd, parse};

    #[test]
    fn a_connected_herd_on_loopback_has_no_warnings() {
        let chain = herd(&[("A", &["B"]), ("B", &["C"]), ("C", &[])]);
        for text in [alone(), chain + "[security]\ninsecure = true"] {
            assert_eq!(parse(&text).warnings(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_herd_in_parts_has_a_warning() {
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
              Join them with a name in talks_to."
            ]
        );
    }

    #[test]
    fn unencrypted_addresses_have_a_warning() {
        let text = herd(&[("A", &["B"]), ("B", &[]), ("C", &["B"])])
            .replace("127.0.0.1:13000", "10.0.0.1:13000");
        assert_eq!(
            parse(&text).warnings(),
            [
                "A and B will not start: servers would talk unencrypted on 10.0.0.1:13000. Set \
                 certificates or insecure = true under [security]."
            ]
        );
        assert_eq!(
            parse(&(text + "[security]\ninsecure = true")).warnings(),
            [
                "insecure = true: servers talk unencrypted on 10.0.0.1:13000, and everyone on \
                 the networks in between can read and forge reports."
            ]
        );
    }

    #[test]
    fn a_dialled_address_that_is_unspecified_has_a_warning() {
        let text = herd(&[("A", &["B"]), ("B", &[])]).replace("127.0.0.1:13001", "[::]:13001");
        let warnings = parse(&(text + "[security]\ninsecure = true")).warnings();
        assert!(
            warnings[0]
                .starts_with("[::]:13001 is a listening address, and the neighbours of B would")
        );
    }

    #[test]
    fn an_allowed_network_inside_a_denied_one_has_a_warning() {
        let text = "[clients]\nallow = [\"10.1.0.0/16\", \"::1\"]\ndeny = [\"10.0.0.0/8\"]\n\
                    [web]\nallow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.0.0/16\"]\n";
        assert_eq!(
            parse(&(alone() + text)).warnings(),
            [
                "[clients] allow has no effect for 10.1.0.0/16 in 10.0.0.0/8, since deny overrides \
              it."
            ]
        );
    }

    #[test]
    fn a_key_that_is_sent_unencrypted_has_a_warning() {
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
                ["the key of the places provider is sent unencrypted to \
                  http://places.example.org, and others on the way can use it; write base_url \
                  with https."]
            );
            for url in ["http://127.0.0.1:8080", "https://places.example.org"] {
                assert!(with(provider, url).is_empty(), "{url}");
            }
        }
        assert!(with("offline", "http://places.example.org").is_empty());
    }
}

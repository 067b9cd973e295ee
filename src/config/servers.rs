//! The `[[servers]]` of the file: each by itself, then all together.

use std::collections::{BTreeSet, HashMap};

use toml::Spanned;

use super::ServerConfig;
use super::messages;
use super::overlap::{Host, overlap};
use super::problems::Problems;
use super::section::Section;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::replication::seen_by::MAX_SENDERS;

/// Maximum number of servers of one herd. Every server holds every report, so useful herds
/// are far smaller, and lists of this length need no index.
pub const MAX_SERVERS: usize = 1000;

/// Maximum number of links of one server. Each report keeps which neighbours have sent it in a few
/// bits, and a neighbour that restarts needs one more for a while; without a bit for each, reports
/// would be sent back to neighbours that have them.
const MAX_LINKS: usize = 60;

const _: () = assert!(MAX_LINKS < MAX_SENDERS);

/// Reads all servers and checks that they fit together. `None` means that a problem was
/// added.
pub(super) fn read(file: &mut Section<'_, '_>) -> Option<Vec<ServerConfig>> {
    let entries = file.each("servers", "[[servers]]", ServerTable::read)?;
    let problems = file.problems();
    if entries.is_empty() {
        problems.general("a herd needs servers: write a [[servers]] entry for each");
    }
    if entries.len() > MAX_SERVERS {
        problems.general(format!("a herd has at most {MAX_SERVERS} servers"));
        return None;
    }
    check_names(&entries, problems);
    check_addresses(&entries, problems);
    check_web(&entries, problems);
    let links = links(&entries, problems);
    check_links(&entries, &links, problems);
    let name = |&i: &usize| entries[i].name().cloned();
    let neighbours: Vec<Option<Vec<Name>>> = links
        .iter()
        .map(|linked| linked.iter().map(name).collect())
        .collect();
    entries
        .into_iter()
        .zip(neighbours)
        .map(|(entry, neighbours)| entry.into_server(neighbours?))
        .collect()
}

/// A `[[servers]]` table as far as it is valid. A problem was added for each required
/// value that is `None`.
struct ServerTable {
    line: usize,
    name: Option<Spanned<Name>>,
    clients: Option<Spanned<Address>>,
    peers: Option<Spanned<Address>>,
    clients_tls: Option<Spanned<Address>>,
    bind_clients: Option<Spanned<Address>>,
    bind_peers: Option<Spanned<Address>>,
    bind_clients_tls: Option<Spanned<Address>>,
    web: Option<Spanned<Address>>,
    bind_web: Option<Spanned<Address>>,
    talks_to: Vec<Spanned<String>>,
}

impl ServerTable {
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            line: section.line(),
            name: section.required("name"),
            clients: section.required("clients"),
            peers: section.required("peers"),
            clients_tls: section.optional("clients_tls"),
            bind_clients: section.optional("bind_clients"),
            bind_peers: section.optional("bind_peers"),
            bind_clients_tls: section.optional("bind_clients_tls"),
            web: section.optional("web"),
            bind_web: section.optional("bind_web"),
            talks_to: section
                .optional("talks_to")
                .map(Spanned::into_inner)
                .unwrap_or_default(),
        }
    }

    fn into_server(self, neighbours: Vec<Name>) -> Option<ServerConfig> {
        let clients = self.clients?.into_inner();
        let peers = self.peers?.into_inner();
        let clients_tls = self.clients_tls.map(Spanned::into_inner);
        let web = self.web.map(Spanned::into_inner);
        let or = |bind: Option<Spanned<Address>>, address: &Address| {
            bind.map_or_else(|| address.clone(), Spanned::into_inner)
        };
        Some(ServerConfig {
            line: self.line,
            name: self.name?.into_inner(),
            bind_clients: or(self.bind_clients, &clients),
            bind_peers: or(self.bind_peers, &peers),
            bind_clients_tls: match self.bind_clients_tls {
                Some(bind) if clients_tls.is_some() => Some(bind.into_inner()),
                _ => clients_tls.clone(),
            },
            clients_tls,
            bind_web: web.as_ref().map(|web| or(self.bind_web, web)),
            clients,
            peers,
            web,
            neighbours,
        })
    }

    fn name(&self) -> Option<&Name> {
        self.name.as_ref().map(Spanned::get_ref)
    }

    /// Returns the name in messages.
    fn title(&self) -> &str {
        self.name().map_or("an unnamed server", Name::as_str)
    }

    /// Returns the addresses that others dial, with their keys.
    fn dialled(&self) -> impl Iterator<Item = (&'static str, &Spanned<Address>)> {
        let clients = self.clients.iter().map(|address| ("clients", address));
        let peers = self.peers.iter().map(|address| ("peers", address));
        let tls = self.clients_tls.iter();
        let tls = tls.map(|address| ("clients_tls", address));
        let web = self.web.iter().map(|address| ("web", address));
        clients.chain(peers).chain(tls).chain(web)
    }

    /// Returns the listening addresses: the purpose, the address, and whether it has its own
    /// key, which begins with `bind_`.
    fn listeners(&self) -> impl Iterator<Item = (&'static str, &Spanned<Address>, bool)> {
        let each = [
            ("clients", &self.bind_clients, &self.clients),
            ("neighbours", &self.bind_peers, &self.peers),
            (
                "clients with TLS",
                &self.bind_clients_tls,
                &self.clients_tls,
            ),
            ("web", &self.bind_web, &self.web),
        ];
        each.into_iter().filter_map(|(purpose, bind, address)| {
            let own = bind.as_ref().map(|bind| (purpose, bind, true));
            own.or_else(|| Some((purpose, address.as_ref()?, false)))
        })
    }
}

/// Rejects names that differ only by case: a name becomes part of file names and DNS
/// names, where case may not count.
fn check_names(entries: &[ServerTable], problems: &mut Problems) {
    let mut seen: HashMap<String, &ServerTable> = HashMap::new();
    for entry in entries {
        let Some(name) = &entry.name else { continue };
        let folded = name.get_ref().as_str().to_ascii_lowercase();
        let Some(first) = seen.insert(folded, entry) else {
            continue;
        };
        let message = format!(
            "name = \"{}\": the server on line {} has the name {}; names must differ by more than \
             case",
            name.get_ref(),
            first.line,
            first.title(),
        );
        problems.add(name.span().start, message);
    }
}

/// Rejects addresses that are dialled for more than one service.
fn check_addresses(entries: &[ServerTable], problems: &mut Problems) {
    let mut seen: HashMap<u16, Vec<(Host, String)>> = HashMap::new();
    for entry in entries {
        // Port 0 is another port for each.
        let dialled = entry
            .dialled()
            .filter(|(_, address)| address.get_ref().port() != 0);
        for (key, address) in dialled {
            let at = address.span().start;
            let host = Host::of(address.get_ref());
            let others = seen.entry(address.get_ref().port()).or_default();
            if let Some((_, first)) = others.iter().find(|(other, _)| host.is_same(other)) {
                let message = format!(
                    "{key} = \"{}\": already used for {first}; every service needs its own address",
                    address.get_ref()
                );
                problems.add(at, message);
            }
            let owner = format!("{key} of {} on line {}", entry.title(), problems.line(at));
            others.retain(|(other, _)| *other != host);
            others.push((host, owner));
        }
        check_picked_ports(entry, problems);
        check_listeners(entry, problems);
    }
}

/// Rejects a server whose port is picked by the system on one side only.
fn check_picked_ports(entry: &ServerTable, problems: &mut Problems) {
    for (key, address, bind) in [
        ("clients", &entry.clients, &entry.bind_clients),
        ("peers", &entry.peers, &entry.bind_peers),
        ("clients_tls", &entry.clients_tls, &entry.bind_clients_tls),
        ("web", &entry.web, &entry.bind_web),
    ] {
        if let (Some(address), Some(bind)) = (address, bind)
            && (address.get_ref().port() == 0) != (bind.get_ref().port() == 0)
        {
            let message = format!(
                "bind_{key} = \"{}\", and {key} = \"{}\": with port 0 the system picks a port, \
                 for both or for none of them",
                bind.get_ref(),
                address.get_ref()
            );
            problems.add(bind.span().start, message);
        }
    }
}

/// Rejects a server that would listen twice on one address.
fn check_listeners(entry: &ServerTable, problems: &mut Problems) {
    let mut seen: Vec<(&str, &Spanned<Address>, bool)> = Vec::new();
    for (purpose, address, is_own) in entry.listeners() {
        let this = address.get_ref();
        let clash = seen.iter().find(|(_, other, other_is_own)| {
            // Addresses without their own keys were compared with those that others dial.
            let is_compared =
                !is_own && !other_is_own && Host::of(this).is_same(&Host::of(other.get_ref()));
            !is_compared && overlap(this, other.get_ref())
        });
        if let Some((first, other, _)) = clash {
            let (title, at) = (entry.title(), other.span().start.max(address.span().start));
            let message = if other.get_ref() == this {
                format!(
                    "{title} cannot listen for both {first} and {purpose} on {this}; give each its \
                     own port"
                )
            } else {
                format!(
                    "{title} cannot listen for both {first} on {} and {purpose} on {this}: these \
                     overlap; give each its own port",
                    other.get_ref()
                )
            };
            problems.add(at, message);
        }
        seen.push((purpose, address, is_own));
    }
}

/// Rejects a listening address of a web port that does not exist.
fn check_web(entries: &[ServerTable], problems: &mut Problems) {
    for entry in entries {
        if let (None, Some(bind)) = (&entry.web, &entry.bind_web) {
            let message = format!(
                "bind_web has no effect, since {} has no web; add web = \"HOST:PORT\", the address \
                 that monitoring uses",
                entry.title()
            );
            problems.add(bind.span().start, message);
        }
    }
}

/// Returns the indexes of the entries that each entry has a link with.
fn links(entries: &[ServerTable], problems: &mut Problems) -> Vec<BTreeSet<usize>> {
    let mut links = vec![BTreeSet::new(); entries.len()];
    let numbers: HashMap<&str, usize> = entries
        .iter()
        .enumerate()
        .filter_map(|(i, entry)| Some((entry.name()?.as_str(), i)))
        .collect();
    for (i, entry) in entries.iter().enumerate() {
        for other in &entry.talks_to {
            match numbers.get(other.get_ref().as_str()) {
                Some(&j) if i == j => problems.add(
                    other.span().start,
                    format!("talks_to of {0} names {0} itself", entry.title()),
                ),
                Some(&j) => {
                    links[i].insert(j);
                    links[j].insert(i);
                }
                None => add_unknown_server(entries, other, problems),
            }
        }
    }
    links
}

/// Rejects a server with too many links.
fn check_links(entries: &[ServerTable], links: &[BTreeSet<usize>], problems: &mut Problems) {
    for (entry, linked) in entries.iter().zip(links) {
        if let Some(name) = entry.name.as_ref()
            && linked.len() > MAX_LINKS
        {
            let message = format!(
                "{} has links with {} servers, and at most {MAX_LINKS} are possible: link some of \
                 them with each other instead",
                name.get_ref(),
                linked.len()
            );
            problems.add(name.span().start, message);
        }
    }
}

fn add_unknown_server(entries: &[ServerTable], other: &Spanned<String>, problems: &mut Problems) {
    let names: Option<Vec<&str>> = entries
        .iter()
        .map(|entry| entry.name().map(Name::as_str))
        .collect();
    // The missing server may be the one whose name is invalid.
    let Some(names) = names else { return };
    let name = other.get_ref();
    let hint = match messages::did_you_mean(name, names.iter().copied()) {
        hint if hint.is_empty() => {
            format!("; its servers are {}", messages::short_list(names, "and"))
        }
        hint => hint,
    };
    let message = format!(
        "talks_to names {}, which is not a server of this herd{hint}",
        messages::quoted(name),
    );
    problems.add(other.span().start, message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::samples::{alone, error, herd, parse};

    fn neighbours(config: &Config) -> Vec<String> {
        let names = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
        let servers = config.servers.iter();
        servers.map(|server| names(&server.neighbours)).collect()
    }

    #[test]
    fn a_server_has_at_most_60_links_whichever_side_names_them() {
        let star = |links: usize| {
            let names: Vec<String> = (0..links).map(|n| format!("S{n}")).collect();
            let named: Vec<&str> = names.iter().map(String::as_str).collect();
            let (half, rest) = named.split_at(links / 2);
            let mut servers: Vec<(&str, &[&str])> = vec![("Hub", half)];
            servers.extend(half.iter().map(|&name| (name, &[] as &[&str])));
            servers.extend(rest.iter().map(|&name| (name, &["Hub"] as &[&str])));
            herd(&servers)
        };
        assert_eq!(parse(&star(60)).servers[0].neighbours.len(), 60);
        let error = error(&star(61));
        let expected = "Hub has links with 61 servers, and at most 60 are possible: link some of \
                        them with each other instead";
        assert!(error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn a_link_that_is_named_at_one_side_or_both_or_twice_is_one_link() {
        let once = parse(&herd(&[("A", &["C", "B"]), ("B", &[]), ("C", &["B"])]));
        assert_eq!(neighbours(&once), ["B C", "A C", "A B"]);
        let often: &[&str] = &["C", "B", "C"];
        let both = parse(&herd(&[
            ("A", often),
            ("B", &["A", "C"]),
            ("C", &["A", "B"]),
        ]));
        assert_eq!(neighbours(&both), neighbours(&once));
    }

    #[test]
    fn talks_to_must_name_other_servers_of_the_herd() {
        let talks_to: &[&str] = &["Jaques", "jaquez", "Riley", "Zed", "Jaquez"];
        let text = herd(&[("Riley", talks_to), ("Jaquez", &[])]);
        assert_eq!(
            error(&text),
            "h:7: talks_to names \"Jaques\", which is not a server of this herd; \
             did you mean \"Jaquez\"?\n\
             h:7: talks_to names \"jaquez\", which is not a server of this herd; \
             did you mean \"Jaquez\" (case counts)?\n\
             h:7: talks_to of Riley names Riley itself\n\
             h:7: talks_to names \"Zed\", which is not a server of this herd; \
             its servers are Riley and Jaquez"
        );
    }

    #[test]
    fn a_server_with_an_invalid_name_causes_no_error_at_those_that_name_it() {
        let text = herd(&[("Riley", &["Zoe_1"]), ("Zoe_1", &[])]);
        assert_eq!(
            error(&text),
            "h:10: name = \"Zoe_1\": a name has 1 to 63 ASCII letters, digits and inner hyphens"
        );
    }

    #[test]
    fn names_that_differ_only_by_case_are_rejected() {
        let text = herd(&[("Riley", &[]), ("riley", &[]), ("Riley", &[])]);
        assert_eq!(
            error(&text),
            "h:10: name = \"riley\": the server on line 3 has the name Riley; \
             names must differ by more than case\n\
             h:16: name = \"Riley\": the server on line 9 has the name riley; \
             names must differ by more than case"
        );
    }

    #[test]
    fn equal_addresses_are_rejected() {
        let two = herd(&[("A", &[]), ("B", &[])]);
        for (old, new, expected) in [
            (
                "13001",
                "13000",
                "12: peers = \"127.0.0.1:13000\": already used for peers of A on line 6",
            ),
            (
                "12001",
                "12000",
                "11: clients = \"127.0.0.1:12000\": already used for clients of A on line 5",
            ),
            (
                "12001",
                "13000",
                "11: clients = \"127.0.0.1:13000\": already used for peers of A on line 6",
            ),
            (
                "13001",
                "12001",
                "12: peers = \"127.0.0.1:12001\": already used for clients of B on line 11",
            ),
        ] {
            let expected = format!("h:{expected}; every service needs its own address");
            assert_eq!(error(&two.replace(old, new)), expected);
        }
        let same = two
            .replace("127.0.0.1:13000", "[::1]:13000")
            .replace("127.0.0.1:13001", "[0:0::1]:13000");
        assert!(error(&same).contains("already used for peers of A"));
        let same = two.replace("127.0.0.1:13001", "localhost:13000");
        assert!(error(&same).contains("already used for peers of A"));
        let same = two.replace("127.0.0.1:1300", "Edge.example.org:1300");
        let same = same.replace("Edge.example.org:13001", "edge.example.org:13000");
        assert!(error(&same).contains("already used for peers of A"));
    }

    #[test]
    fn addresses_need_a_host_and_a_port_that_can_be_dialled() {
        for (key, port) in [("clients", 12000), ("peers", 13000)] {
            let old = format!("{key} = \"127.0.0.1:{port}\"");
            for (new, why) in [
                ("127.0.0.1", "it must end in a colon and a port"),
                ("http://a:1", "an IPv6 address needs brackets"),
            ] {
                let errors = error(&alone().replace(&old, &format!("{key} = \"{new}\"")));
                let expected = format!("{key} = \"{new}\": {why}");
                assert!(errors.contains(&expected), "{errors}");
            }
            let errors = error(&alone().replace(&old, ""));
            assert!(errors.starts_with(&format!("h:3: [[servers]] needs {key}: an address")));
        }
    }

    #[test]
    fn port_0_is_picked_for_both_addresses_and_is_never_taken() {
        let two = herd(&[("A", &["B"]), ("B", &[])]);
        let free = |text: String, port| text.replace(&format!(":{port}\""), ":0\"");
        let config = parse(&[12_000, 12_001, 13_000, 13_001].into_iter().fold(two, free));
        assert_eq!(config.servers[1].peers.to_string(), "127.0.0.1:0");
        assert_eq!(config.servers[1].bind_peers.to_string(), "127.0.0.1:0");
        assert!(
            config
                .check_overlaps(&config.servers.iter().collect::<Vec<_>>())
                .is_ok()
        );
        assert_eq!(
            error(&(alone() + "bind_clients = \"0.0.0.0:0\"\n")),
            "h:9: bind_clients = \"0.0.0.0:0\", and clients = \"127.0.0.1:12000\": with port 0 the \
             system picks a port, for both or for none of them"
        );
    }

    #[test]
    fn a_server_listens_on_its_dialled_address_by_default() {
        let config = parse(&alone());
        assert_eq!(config.servers[0].bind_clients, config.servers[0].clients);
        assert_eq!(config.servers[0].bind_peers, config.servers[0].peers);
        let config = parse(&(alone() + "bind_peers = \"box.lan:1\"\nbind_clients = \"[::]:2\""));
        assert_eq!(config.servers[0].bind_peers.to_string(), "box.lan:1");
        assert_eq!(config.servers[0].bind_clients.to_string(), "[::]:2");
        assert_eq!(config.servers[0].peers.to_string(), "127.0.0.1:13000");
    }

    #[test]
    fn a_server_cannot_listen_twice_on_one_address() {
        let clash = "h:9: Riley cannot listen for both clients and neighbours on \
                     127.0.0.1:12000; give each its own port";
        assert_eq!(
            error(&(alone() + "bind_peers = \"127.0.0.1:12000\"")),
            clash
        );
        let everywhere = "bind_peers = \"0.0.0.0:5\"\nbind_clients = \"0.0.0.0:5\"";
        assert!(error(&(alone() + everywhere)).starts_with("h:10: Riley cannot listen for both"));
        for (bind, clash) in [
            (
                "bind_peers = \"0.0.0.0:12000\"",
                "h:9: Riley cannot listen for both clients on 127.0.0.1:12000 and neighbours on \
                 0.0.0.0:12000: these overlap; give each its own port",
            ),
            (
                "bind_clients = \"[::]:5\"\nbind_peers = \"localhost:5\"",
                "h:10: Riley cannot listen for both clients on [::]:5 and neighbours on \
                 localhost:5: these overlap; give each its own port",
            ),
        ] {
            assert_eq!(error(&(alone() + bind)), clash);
        }
    }

    #[test]
    fn a_server_has_a_web_port_only_if_the_file_sets_one() {
        let config = parse(&alone());
        assert_eq!(config.servers[0].web, None);
        assert_eq!(config.plan(&config.servers[0]).bind_web, None);
        let shown = |text: &str| {
            let server = parse(&(alone() + text)).servers.remove(0);
            [server.web, server.bind_web].map(|address| address.unwrap().to_string())
        };
        assert_eq!(shown("web = \"a.lan:1\""), ["a.lan:1", "a.lan:1"]);
        let both = "web = \"a.lan:1\"\nbind_web = \"0.0.0.0:2\"";
        assert_eq!(shown(both), ["a.lan:1", "0.0.0.0:2"]);
        assert_eq!(
            error(&(alone() + "bind_web = \"[::]:2\"")),
            "h:9: bind_web has no effect, since Riley has no web; add web = \"HOST:PORT\", the \
             address that monitoring uses"
        );
    }

    #[test]
    fn web_needs_its_own_address() {
        assert_eq!(
            error(&(alone() + "web = \"127.0.0.1:13000\"")),
            "h:9: web = \"127.0.0.1:13000\": already used for peers of Riley on line 6; \
             every service needs its own address"
        );
        let clash = "web = \"127.0.0.1:9\"\nbind_web = \"127.0.0.1:13000\"";
        assert_eq!(
            error(&(alone() + clash)),
            "h:10: Riley cannot listen for both neighbours and web on 127.0.0.1:13000; \
             give each its own port"
        );
    }

    #[test]
    fn servers_on_different_machines_may_listen_on_the_same_port() {
        let bind = "talks_to = []\nbind_peers = \"0.0.0.0:13000\"";
        let text = herd(&[("A", &[]), ("B", &[])]).replace("talks_to = []", bind);
        assert_eq!(parse(&text).servers.len(), 2);
    }

    #[test]
    fn a_herd_has_a_bounded_number_of_servers() {
        let names: Vec<String> = (0..=MAX_SERVERS).map(|i| format!("s{i}")).collect();
        let servers: Vec<(&str, &[&str])> =
            names.iter().map(|name| (name.as_str(), &[][..])).collect();
        assert_eq!(error(&herd(&servers)), "h: a herd has at most 1000 servers");
        assert_eq!(parse(&herd(&servers[1..])).servers.len(), MAX_SERVERS);
    }
}

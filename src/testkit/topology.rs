//! Servers and the links between them.

use std::collections::BTreeSet;

use crate::model::name::Name;

/// The servers of a herd and the links between them.
///
/// Every constructor panics if a name is not valid (1 to 63 ASCII letters, digits and inner
/// hyphens), if a server or a link is there twice, or if a link has an end that is no server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub(super) servers: Vec<String>,
    pub(super) links: Vec<(String, String)>,
}

impl Topology {
    /// Creates a topology of any servers and links.
    #[track_caller]
    pub fn new<A: Into<String>, B: Into<String>>(
        servers: impl IntoIterator<Item: Into<String>>,
        links: impl IntoIterator<Item = (A, B)>,
    ) -> Self {
        let links = links.into_iter().map(|(a, b)| (a.into(), b.into()));
        let topology = Self {
            servers: servers.into_iter().map(Into::into).collect(),
            links: links.collect(),
        };
        if let Some(problem) = topology.problem() {
            panic!("{problem}");
        }
        topology
    }

    /// Creates the topology of these links, with the servers that they name.
    #[track_caller]
    pub fn of_links<A: Into<String>, B: Into<String>>(
        links: impl IntoIterator<Item = (A, B)>,
    ) -> Self {
        let links = links.into_iter().map(|(a, b)| (a.into(), b.into()));
        let links: Vec<(String, String)> = links.collect();
        let mut servers: Vec<String> = Vec::new();
        for name in links.iter().flat_map(|(a, b)| [a, b]) {
            if !servers.contains(name) {
                servers.push(name.clone());
            }
        }
        Self::new(servers, links)
    }

    /// Creates a line: each server has a link with the next one.
    #[track_caller]
    pub fn line(servers: impl IntoIterator<Item: Into<String>>) -> Self {
        let servers: Vec<String> = servers.into_iter().map(Into::into).collect();
        let pairs = servers.windows(2);
        let links: Vec<_> = pairs
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect();
        Self::new(servers, links)
    }

    /// Creates a ring: a line whose last server has a link with the first. Two servers have one
    /// link.
    #[track_caller]
    pub fn ring(servers: impl IntoIterator<Item: Into<String>>) -> Self {
        let mut line = Self::line(servers);
        if let [first, _, .., last] = &line.servers[..] {
            line.links.push((last.clone(), first.clone()));
        }
        line
    }

    /// Creates a full mesh: each server has a link with every other.
    #[track_caller]
    pub fn mesh(servers: impl IntoIterator<Item: Into<String>>) -> Self {
        let servers: Vec<String> = servers.into_iter().map(Into::into).collect();
        let links = servers.iter().enumerate().flat_map(|(at, a)| {
            let later = servers[at + 1..].iter();
            later.map(move |b| (a.clone(), b.clone()))
        });
        let links: Vec<_> = links.collect();
        Self::new(servers, links)
    }

    /// Creates the herd of five of the shipped config.
    pub fn classic() -> Self {
        Self::new(
            ["Riley", "Jaquez", "Juzang", "Campbell", "Bernard"],
            [
                ("Riley", "Jaquez"),
                ("Riley", "Juzang"),
                ("Jaquez", "Bernard"),
                ("Juzang", "Bernard"),
                ("Juzang", "Campbell"),
                ("Campbell", "Bernard"),
            ],
        )
    }

    fn problem(&self) -> Option<String> {
        let mut servers = BTreeSet::new();
        for server in &self.servers {
            if Name::parse(server).is_none() {
                return Some(format!(
                    "{server:?} is no valid name of a server; use 1 to 63 ASCII letters, digits \
                     and inner hyphens"
                ));
            }
            if !servers.insert(server) {
                return Some(format!("server {server} is there twice; name each once"));
            }
        }
        let mut links = BTreeSet::new();
        for (a, b) in &self.links {
            if a == b {
                return Some(format!("server {a} has a link with itself; remove it"));
            }
            if let Some(end) = [a, b].into_iter().find(|end| !servers.contains(end)) {
                return Some(format!(
                    "the link {a} - {b} has an end that is no server; add {end} to the servers"
                ));
            }
            if !links.insert([a.min(b), a.max(b)]) {
                return Some(format!("the link {a} - {b} is there twice; name each once"));
            }
        }
        None
    }
}

/// The names of the servers, and the pairs that have a link.
impl<'a> From<(&'a [&'a str], &'a [(&'a str, &'a str)])> for Topology {
    #[track_caller]
    fn from((servers, links): (&'a [&'a str], &'a [(&'a str, &'a str)])) -> Self {
        Self::new(servers.iter().copied(), links.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(topology: &Topology) -> Vec<String> {
        let links = topology.links.iter();
        links.map(|(a, b)| format!("{a}-{b}")).collect()
    }

    #[test]
    fn topologies_have_the_links_of_their_names() {
        let names = ["A", "B", "C", "D"];
        assert_eq!(links(&Topology::line(names)), ["A-B", "B-C", "C-D"]);
        assert_eq!(links(&Topology::ring(names)), ["A-B", "B-C", "C-D", "D-A"]);
        assert_eq!(links(&Topology::ring(["A", "B"])), ["A-B"]);
        assert_eq!(links(&Topology::line(["A"])), [""; 0]);
        let mesh = Topology::mesh(["A", "B", "C"]);
        assert_eq!(links(&mesh), ["A-B", "A-C", "B-C"]);
        assert_eq!(mesh.servers, ["A", "B", "C"]);
    }

    #[test]
    fn problems_of_a_topology_have_a_cause_and_a_remedy() {
        let problem = |servers: &[&str], links: &[(&str, &str)]| {
            let owned = links.iter().map(|&(a, b)| (a.to_owned(), b.to_owned()));
            let topology = Topology {
                servers: servers.iter().map(|&name| name.to_owned()).collect(),
                links: owned.collect(),
            };
            topology.problem().unwrap_or_default()
        };
        assert_eq!(problem(&["A", "B"], &[("A", "B")]), "");
        for (servers, links, expected) in [
            (&["A", "a b"][..], &[][..], "\"a b\" is no valid name"),
            (&["A", "A"], &[], "server A is there twice"),
            (&["A"], &[("A", "A")], "server A has a link with itself"),
            (&["A"], &[("A", "B")], "add B to the servers"),
            (
                &["A", "B"],
                &[("A", "B"), ("B", "A")],
                "B - A is there twice",
            ),
        ] {
            let found = problem(servers, links);
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn the_classic_herd_is_that_of_the_shipped_config() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/herd.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let file: toml::Table = text.parse().unwrap();
        let servers = file["servers"].as_array().unwrap();
        let name = |server: &toml::Value| server["name"].as_str().unwrap().to_owned();
        let mut expected: Vec<_> = servers.iter().map(name).collect();
        expected.sort();
        let mut names = Topology::classic().servers;
        names.sort();
        assert_eq!(names, expected);
        let talks_to = servers.iter().flat_map(|server| {
            let others = server.get("talks_to").and_then(toml::Value::as_array);
            let others = others.into_iter().flatten();
            others.map(|other| (name(server), other.as_str().unwrap().to_owned()))
        });
        let in_order = |(a, b): (String, String)| if a < b { (a, b) } else { (b, a) };
        let expected: BTreeSet<_> = talks_to.map(in_order).collect();
        let links: BTreeSet<_> = Topology::classic()
            .links
            .into_iter()
            .map(in_order)
            .collect();
        assert_eq!(links, expected);
    }
}

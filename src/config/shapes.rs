//! Property tests: herds of any shape are parsed as written. `tests/security/fuzz` holds
//! that no other text panics.

use std::collections::HashSet;

use proptest::prelude::*;

use super::Config;
use super::samples::{herd, parse};

/// Asserts that names and dialled addresses are unique, and that every link has two
/// different ends that both list it.
fn assert_herd(config: &Config) {
    let servers = &config.servers;
    assert!(!servers.is_empty());
    let names: HashSet<String> = servers
        .iter()
        .map(|s| s.name.as_str().to_lowercase())
        .collect();
    assert_eq!(names.len(), servers.len());
    let dialled: HashSet<_> = servers
        .iter()
        .flat_map(|s| [&s.clients, &s.peers])
        .collect();
    assert_eq!(dialled.len(), 2 * servers.len());
    for server in servers {
        for name in &server.neighbours {
            let neighbour = config.server(name.as_str()).unwrap();
            assert!(neighbour.neighbours.contains(&server.name));
            assert_ne!(neighbour.name, server.name);
        }
    }
}

proptest! {
    #[test]
    fn a_herd_is_parsed_as_written(
        links in prop::collection::vec((0..8_usize, 0..8_usize), 0..20),
    ) {
        let names: Vec<String> = (0..8).map(|i| format!("s{i}")).collect();
        let named = |i: usize| -> Vec<&str> {
            let links = links.iter().filter(|(a, b)| *a == i && a != b);
            links.map(|(_, b)| names[*b].as_str()).collect()
        };
        let talks_to: Vec<Vec<&str>> = (0..8).map(named).collect();
        let servers: Vec<(&str, &[&str])> =
            names.iter().map(String::as_str).zip(talks_to.iter().map(Vec::as_slice)).collect();
        let config = parse(&herd(&servers));
        assert_herd(&config);
        for (i, server) in config.servers.iter().enumerate() {
            let read: Vec<&str> = server.neighbours.iter().map(|name| name.as_str()).collect();
            let linked = |j: usize| i != j && (links.contains(&(i, j)) || links.contains(&(j, i)));
            let written: Vec<&str> =
                (0..8).filter(|&j| linked(j)).map(|j| names[j].as_str()).collect();
            prop_assert_eq!(read, written);
        }
    }
}

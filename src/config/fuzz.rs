//! Whatever a file holds: an answer, and never a panic.

use std::collections::HashSet;

use proptest::prelude::*;

use super::samples::{herd, parse};
use super::{Config, ConfigError};

const SHIPPED: &str = include_str!("../../config/herd.toml");

/// Parses anything, and checks what must hold of the answer.
fn judge(text: &str) {
    match Config::parse(text, "h") {
        Ok(config) => {
            assert_herd(&config);
            assert!(config.explain().ends_with('\n'));
        }
        Err(ConfigError::Wrong { problems, .. }) => {
            let lines = text.matches('\n').count() + 1;
            assert!(!problems.is_empty());
            for problem in problems {
                let line = problem.line.unwrap_or(1);
                assert!((1..=lines).contains(&line), "{problem:?}");
                assert!(!problem.message.contains('\n'), "{problem:?}");
            }
        }
        Err(other) => panic!("{other}"),
    }
}

/// Names and dialled addresses are each there once, and every link has two
/// different ends that know of it.
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

/// The shipped file with a few of its defaults in force.
fn base() -> impl Strategy<Value = String> {
    any::<u64>().prop_map(|coins| {
        let line = |(i, line): (usize, &'static str)| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") && coins >> (i % 64) & 1 == 1 => setting,
            _ => line,
        };
        let lines: Vec<&str> = SHIPPED.lines().enumerate().map(line).collect();
        lines.join("\n")
    })
}

/// Pieces that mean something to TOML or to a herd.
fn piece() -> impl Strategy<Value = String> {
    let known = [
        "[",
        "]",
        "[[servers]]\n",
        "[log]\n",
        "=",
        "\"",
        "'''",
        "{",
        "}",
        ",",
        "\n",
        "# ",
        ".",
        "-1",
        "0",
        "1e9",
        "true",
        "\"Riley\"",
        "\"riley\"",
        "\"0.0.0.0:13000\"",
        "99999999999999999999",
        "\"1day\"",
        "talks_to = ",
        "name = ",
        "1979-05-27",
        "é",
        "\u{0}",
        "\r",
    ];
    prop_oneof![
        3 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => ".{0,8}",
    ]
}

/// Changes some places of a text: what stands there is replaced by a piece.
fn mutate(mut text: String, changes: Vec<(prop::sample::Index, usize, String)>) -> String {
    for (start, length, piece) in changes {
        let boundaries: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
        if boundaries.is_empty() {
            return piece;
        }
        let first = start.index(boundaries.len());
        let end = boundaries
            .get(first + length)
            .copied()
            .unwrap_or(text.len());
        text.replace_range(boundaries[first]..end, &piece);
    }
    text
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in "(?s).{0,200}") {
        judge(&text);
    }

    #[test]
    fn any_heap_of_pieces_has_an_answer(pieces in prop::collection::vec(piece(), 0..40)) {
        judge(&pieces.concat());
    }

    #[test]
    fn any_change_of_the_shipped_file_has_an_answer(
        text in base(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, piece()), 0..4),
    ) {
        judge(&mutate(text, changes));
    }

    #[test]
    fn a_herd_is_read_as_it_was_written(links in prop::collection::vec((0..8_usize, 0..8_usize), 0..20)) {
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
            let written: Vec<&str> = (0..8).filter(|&j| linked(j)).map(|j| names[j].as_str()).collect();
            prop_assert_eq!(read, written);
        }
    }
}

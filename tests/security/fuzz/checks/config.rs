//! Parsing of configs: a valid herd or errors with their locations, never a panic.

use std::collections::HashSet;

use proxyherd::config::{Config, ConfigError};

/// Checks the bytes of a file. Other encodings than UTF-8 are rejected before parsing.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let parsed = Config::parse(text, "h");
    match &parsed {
        Ok(config) => {
            check_herd(config);
            assert!(config.explain().ends_with('\n'));
            for server in &config.servers {
                let plan = config.plan(server);
                assert_eq!(plan.neighbours.len(), server.neighbours.len());
            }
        }
        Err(ConfigError::Invalid { problems, .. }) => {
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
    let explain = |parsed: &Result<Config, ConfigError>| match parsed {
        Ok(config) => config.explain(),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        explain(&Config::parse(text, "h")),
        explain(&parsed),
        "the same again"
    );
    // Comments and empty lines have no effect.
    if parsed.is_ok() {
        let longer = format!("# A comment.\n\n{text}\n# The end.\n");
        assert_eq!(explain(&Config::parse(&longer, "h")), explain(&parsed));
    }
}

/// Checks that names and dialled addresses are unique, and that every link has two different ends
/// that name each other.
fn check_herd(config: &Config) {
    let servers = &config.servers;
    assert!(!servers.is_empty());
    let names = servers.iter().map(|s| s.name.as_str().to_lowercase());
    assert_eq!(names.collect::<HashSet<_>>().len(), servers.len());
    let dialled = servers.iter().flat_map(|s| [&s.clients, &s.peers]);
    let dialled: Vec<_> = dialled.filter(|address| address.port() != 0).collect();
    assert_eq!(dialled.iter().collect::<HashSet<_>>().len(), dialled.len());
    for server in servers {
        for name in &server.neighbours {
            let neighbour = config.server(name.as_str()).unwrap();
            assert!(neighbour.neighbours.contains(&server.name));
            assert_ne!(neighbour.name, server.name);
        }
    }
}

//! Whatever a config holds: a herd that is right, or what is wrong with it and
//! where; never a panic.

use std::collections::HashSet;

use proxyherd::config::{Config, ConfigError};

/// Bytes of a file. What is not UTF-8 is refused before it is parsed.
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
    let told = |parsed: &Result<Config, ConfigError>| match parsed {
        Ok(config) => config.explain(),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        told(&Config::parse(text, "h")),
        told(&parsed),
        "the same again"
    );
    // Neither a comment nor an empty line means anything.
    if parsed.is_ok() {
        let longer = format!("# A comment.\n\n{text}\n# The end.\n");
        assert_eq!(told(&Config::parse(&longer, "h")), told(&parsed));
    }
}

/// Names and dialled addresses are each there once, and every link has two
/// different ends that know of it.
fn check_herd(config: &Config) {
    let servers = &config.servers;
    assert!(!servers.is_empty());
    let names = servers.iter().map(|s| s.name.as_str().to_lowercase());
    assert_eq!(names.collect::<HashSet<_>>().len(), servers.len());
    let dialled = servers.iter().flat_map(|s| [&s.clients, &s.peers]);
    assert_eq!(dialled.collect::<HashSet<_>>().len(), 2 * servers.len());
    for server in servers {
        for name in &server.neighbours {
            let neighbour = config.server(name.as_str()).unwrap();
            assert!(neighbour.neighbours.contains(&server.name));
            assert_ne!(neighbour.name, server.name);
        }
    }
}

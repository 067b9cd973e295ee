//! Small herds for the tests of this folder. Messages call their files `h`.

use std::fmt::Write;

use super::Config;

/// Returns the text of a herd on loopback, from the names and `talks_to` of its servers.
/// Every entry takes six lines, the first begins on line 3. The first server has
/// ports 12000 and 13000, the next 12001 and 13001.
pub(super) fn herd(servers: &[(&str, &[&str])]) -> String {
    let mut text = "[herd]\nname = \"sample\"\n".to_owned();
    for (i, (name, talks_to)) in servers.iter().enumerate() {
        write!(
            text,
            "[[servers]]\nname = \"{name}\"\nclients = \"127.0.0.1:{}\"\n\
             peers = \"127.0.0.1:{}\"\ntalks_to = {talks_to:?}\n\n",
            12000 + i,
            13000 + i
        )
        .unwrap();
    }
    text
}

/// Returns the text of a herd of one without settings: eight lines.
pub(super) fn alone() -> String {
    herd(&[("Riley", &[])])
}

/// Parses a valid text.
pub(super) fn parse(text: &str) -> Config {
    Config::parse(text, "h").unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

/// Returns the errors of an invalid text.
pub(super) fn error(text: &str) -> String {
    match Config::parse(text, "h") {
        Ok(_) => panic!("no error found in\n{text}"),
        Err(error) => error.to_string(),
    }
}

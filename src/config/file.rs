//! The tables of the file, and the config made of them.

use std::ffi::OsString;
use std::path::Path;

use toml::de::DeTable;

use super::problems::Problems;
use super::section::{self, Section};
use super::tls::TlsSettings;
use super::{Config, ServerConfig};
use super::{messages, provider, servers, settings, variables};
use crate::gateway::AcknowledgeLevel;
use crate::model::name::Name;
use crate::{gateway, log, peers, places, storage};

/// Parses a whole file. Errors are added to `problems`; `None` means that there is at least
/// one.
pub(super) fn read(
    text: &str,
    path: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
    problems: &mut Problems,
) -> Option<Config> {
    let (mut document, errors) = DeTable::parse_recoverable(text);
    // The parser may misread what follows an error of syntax: further messages would only
    // confuse.
    for error in &errors {
        add_syntax_error(error, problems);
    }
    if !errors.is_empty() {
        return None;
    }
    variables::expand(document.get_mut(), variable, problems);
    // What is not expanded is no valid value: further messages would only confuse.
    if !problems.is_empty() {
        return None;
    }
    section::document(document.get_ref(), problems, |file| config(file, path))
}

fn config(file: &mut Section<'_, '_>, path: &Path) -> Option<Config> {
    let herd = file.section("herd", "[herd]", |herd| herd.required::<Name>("name"));
    let servers = servers::read(file);

    let mut places = places::PlacesSettings::default();
    file.section("places", "[places]", |on| {
        provider::places(on, &mut places);
        on.section("google", "[places.google]", |on| {
            provider::google(on, &mut places);
        });
    });
    let (mut log, mut log_level) = (log::LogSettings::default(), log::DEFAULT_LEVEL);
    file.section("log", "[log]", |on| {
        settings::log(on, &mut log, &mut log_level);
    });
    let mut storage = storage::StorageSettings::default();
    file.section("storage", "[storage]", |on| {
        settings::storage(on, &mut storage);
    });
    let (mut insecure, mut tls) = (false, TlsSettings::default());
    file.section("security", "[security]", |on| {
        settings::security(on, &mut insecure, &mut tls);
        tls.check(on);
    });
    if let Some(servers) = &servers {
        tls.check_clients(servers, file.problems());
    }
    let (mut clients, mut gateway) = (
        gateway::ClientSettings::default(),
        gateway::GatewaySettings::default(),
    );
    file.section("clients", "[clients]", |on| {
        settings::clients(on, &mut clients, &mut gateway);
        let servers = servers.as_deref().unwrap_or_default();
        check_acknowledge(on, gateway.acknowledge, &storage, servers);
    });
    let mut web = gateway::WebSettings::default();
    file.section("web", "[web]", |on| {
        settings::web(on, &mut web);
        if web.tiles.is_some() != web.tiles_attribution.is_some() {
            on.add(
                "[web] lacks one of tiles and tiles_attribution; set both, since a map must show \
                 its credit, or none of them",
            );
        }
    });
    if let Some(servers) = servers.as_ref().filter(|_| web.tls) {
        tls.check_web(servers, file.problems());
    }
    file.section("limits", "[limits]", |on| {
        settings::limits(on, &mut clients, &mut gateway);
    });
    let mut peers = peers::PeerSettings::default();
    file.section("flooding", "[flooding]", |on| {
        settings::flooding(on, &mut peers);
    });

    Some(Config {
        path: path.to_owned(),
        herd: herd?.into_inner(),
        servers: servers?,
        places,
        log,
        log_level,
        clients,
        web,
        gateway,
        peers,
        storage,
        insecure,
        tls,
    })
}

/// Adds a problem if a level can never be reached.
fn check_acknowledge(
    on: &mut Section<'_, '_>,
    level: AcknowledgeLevel,
    storage: &storage::StorageSettings,
    servers: &[ServerConfig],
) {
    match level {
        AcknowledgeLevel::Received => {}
        AcknowledgeLevel::Disk if storage.dir.is_some() => {}
        AcknowledgeLevel::Disk => {
            on.add("acknowledge = \"disk\" needs a disk: set dir under [storage], or another level")
        }
        AcknowledgeLevel::Neighbour => {
            let alone = servers.iter().find(|server| server.neighbours.is_empty());
            if let Some(ServerConfig { name, .. }) = alone {
                on.add(format!(
                    "acknowledge = \"neighbour\" needs a neighbour for each server: {name} has \
                     none, and would never answer; name one in talks_to, or set another level"
                ));
            }
        }
    }
}

fn add_syntax_error(error: &toml::de::Error, problems: &mut Problems) {
    let span = error.span().unwrap_or_default();
    let written = messages::excerpt(problems.written(span.clone()));
    let near = if written.is_empty() {
        String::new()
    } else {
        format!(", at {written}")
    };
    problems.exact(
        span.start,
        format!("invalid TOML: {}{near}", error.message()),
    );
}

#[cfg(test)]
mod tests {
    use tracing::level_filters::LevelFilter;

    use super::*;
    use crate::config::samples::{alone, error, herd, parse};

    #[test]
    fn every_table_is_parsed() {
        let settings = r#"
            [places]
            file = "parks.csv"
            [places.google]
            timeout = "2s"
            [log]
            dir = "/var/log/herd"
            format = "json"
            level = "debug"
            max_bytes = 0x1_0000
            keep = 0
            [storage]
            dir = "/var/lib/herd"
            sync = "50ms"
            [security]
            insecure = true
            [clients]
            allow = ["10.0.0.0/8", "::1"]
            acknowledge = "disk"
            [web]
            deny = ["10.0.0.0/8"]
            [limits]
            commands_per_second = 50
            max_line = 1_000
            max_future = "1h 30min"
            expire_after = "2days"
            [flooding]
            retries = 0
            drain = "0s"
        "#;
        let config = parse(&(alone() + settings));
        let file = Some("parks.csv".into());
        assert_eq!(config.places, places::PlacesSettings::Offline { file });
        assert_eq!(config.log.dir, Path::new("/var/log/herd"));
        assert_eq!(config.log.format, log::LogFormat::Json);
        assert_eq!(config.log_level, LevelFilter::DEBUG);
        assert_eq!((config.log.max_bytes, config.log.keep), (65_536, 0));
        assert_eq!(config.storage.dir, Some("/var/lib/herd".into()));
        assert_eq!(config.storage.sync.as_millis(), 50);
        assert!(config.insecure);
        assert_eq!(config.clients.max_line, 1000);
        assert_eq!(config.clients.commands_per_second, Some(50));
        assert_eq!(config.clients.connections_per_address, None);
        assert_eq!(config.gateway.acknowledge, AcknowledgeLevel::Disk);
        let (clients, web) = (&config.clients.networks, &config.web.networks);
        assert_eq!((clients.allow.len(), clients.deny.len()), (2, 0));
        assert_eq!((web.allow.len(), web.deny.len()), (0, 1));
        assert_eq!(config.gateway.max_future.as_secs(), 5400);
        let expire_after = config.gateway.expire_after;
        assert_eq!(expire_after.map(|after| after.as_secs()), Some(172_800));
        assert_eq!((config.peers.retries, config.peers.drain.as_secs()), (0, 0));
        assert_eq!(config.clients.max_waiting, 16);
    }

    #[test]
    fn a_level_that_can_never_be_reached_is_rejected() {
        let level = |level: &str| format!("[clients]\nacknowledge = \"{level}\"\n");
        assert_eq!(
            error(&(alone() + &level("disk"))),
            "h:9: acknowledge = \"disk\" needs a disk: set dir under [storage], or another level"
        );
        assert_eq!(
            error(&(alone() + &level("neighbour"))),
            "h:9: acknowledge = \"neighbour\" needs a neighbour for each server: Riley has none, \
             and would never answer; name one in talks_to, or set another level"
        );
        let pair = herd(&[("Riley", &[]), ("Jaquez", &["Riley"])]);
        let config = parse(&(pair + &level("neighbour")));
        assert_eq!(config.gateway.acknowledge, AcknowledgeLevel::Neighbour);
    }

    #[test]
    fn other_spellings_of_the_same_toml_give_the_same_config() {
        let plain = parse(&alone());
        let windows = format!("\u{feff}{}", alone().replace('\n', "\r\n"));
        assert_eq!(parse(&windows), plain);
        let inline = r#"
            servers = [{ name = "Riley", clients = "127.0.0.1:12000", peers = '127.0.0.1:13000' }]
            herd.name = "sample""#;
        let mut inline = parse(inline);
        inline.servers[0].line = plain.servers[0].line;
        assert_eq!(inline, plain);
    }

    #[test]
    fn an_empty_file_is_rejected_with_the_required_tables() {
        let missing = "h: [herd] is missing; it needs name: a name in quotes, as in \"edge-1\"\n\
                       h: a herd needs servers: write a [[servers]] entry for each";
        for empty in ["", "\n\n", "# nothing yet\n"] {
            assert_eq!(error(empty), missing);
        }
        let without = "h:1: [herd] needs name: a name in quotes, as in \"edge-1\"";
        assert!(error("[herd]\n[[servers]]\n").starts_with(without));
    }

    #[test]
    fn errors_of_syntax_have_line_and_column_and_hide_all_others() {
        assert_eq!(
            error("[herd]\nnam = 1\nname = Riley\n[[servers]\n"),
            "h:3:8: invalid TOML: string values must be quoted, expected literal string, \
             at Riley\n\
             h:4:11: invalid TOML: unclosed array table, expected `]`"
        );
        assert_eq!(
            error("[log]\n[log]\n"),
            "h:2:2: invalid TOML: duplicate key, at log"
        );
    }
}

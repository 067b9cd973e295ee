//! The output of `proxyherd check`.

use super::setting_lines::setting_lines;
use super::{Config, ServerConfig, TlsSettings};
use crate::format::count;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::table::{Left, TextTable};
use crate::{gateway, log, peers, places, storage};

/// Maximum width of a line that can be wrapped, in columns.
const MAX_COLUMNS: u16 = 96;

/// Indentation of the table and of wrapped warnings.
const INDENT: &str = "  ";

impl Config {
    /// Returns the herd as text: servers and links, what the links cost and survive, the settings
    /// that differ from their defaults, and the [warnings](Self::warnings), to which those of
    /// weak links are added. Ends in a line end.
    pub fn explain(&self) -> String {
        let parts = [
            self.title(),
            self.table(),
            self.topology(),
            self.settings(),
            self.warning_lines(),
        ];
        join(parts)
    }

    /// Returns the herd as text without its servers and settings: what its links cost and survive,
    /// and the warnings. Ends in a line end.
    pub fn summary(&self) -> String {
        join([self.title(), self.topology(), self.warning_lines()])
    }

    fn title(&self) -> String {
        let ends: usize = self.servers.iter().map(|s| s.neighbours.len()).sum();
        format!(
            "{}: herd {} of {}, {}\n",
            self.path.display(),
            self.herd,
            count(self.servers.len() as u64, "server"),
            count(ends as u64 / 2, "link")
        )
    }

    fn table(&self) -> String {
        let mut columns = vec!["server", "clients", "peers", "web", "neighbours"];
        let mut rows: Vec<_> = self.servers.iter().flat_map(rows).map(Vec::from).collect();
        if self.servers.iter().all(|server| server.web.is_none()) {
            let web = 3;
            columns.remove(web);
            rows.iter_mut().for_each(|row| drop(row.remove(web)));
        }
        let columns: Vec<_> = columns.into_iter().map(|title| (title, Left)).collect();
        let mut table = TextTable::new(&columns);
        rows.into_iter().for_each(|row| table.row(row));
        table.wrap(MAX_COLUMNS - INDENT.len() as u16);
        table.text(INDENT)
    }

    fn settings(&self) -> String {
        let changed: String = setting_lines(self)
            .iter()
            .zip(setting_lines(&self.with_default_settings()))
            .filter(|(now, default)| now.value != default.value)
            .map(|(now, default)| {
                let (table, key) = (now.table, now.key);
                format!(
                    "  {table}.{key} = {} (default {})\n",
                    now.value, default.value
                )
            })
            .collect();
        if changed.is_empty() {
            "All settings have their defaults.\n".to_owned()
        } else {
            format!("Settings that differ from their defaults:\n{changed}")
        }
    }

    fn with_default_settings(&self) -> Self {
        Self {
            places: places::PlacesSettings::default(),
            log: log::LogSettings::default(),
            log_level: log::DEFAULT_LEVEL,
            clients: gateway::ClientSettings::default(),
            web: gateway::WebSettings::default(),
            gateway: gateway::GatewaySettings::default(),
            peers: peers::PeerSettings::default(),
            storage: storage::StorageSettings::default(),
            insecure: false,
            tls: TlsSettings::default(),
            ..self.clone()
        }
    }

    fn warning_lines(&self) -> String {
        let width = usize::from(MAX_COLUMNS) - INDENT.len();
        let wrapped = |text: &String| {
            wrap(&format!("Warning: {text}"), width).join(&format!("\n{INDENT}")) + "\n"
        };
        let warnings = self.warnings().into_iter().chain(self.weak_points());
        warnings.map(|text| wrapped(&text)).collect()
    }
}

/// Joins the parts that are not empty by empty lines.
fn join<const N: usize>(parts: [String; N]) -> String {
    let shown: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    shown.join("\n")
}

/// Returns the addresses that others dial, and the listening addresses in further rows if
/// those differ.
fn rows(server: &ServerConfig) -> Vec<[String; 5]> {
    let row = |title: &str, [clients, peers, web]: [Option<&Address>; 3], neighbours: String| {
        let shown = |address: Option<&Address>| address.map_or("-".into(), Address::to_string);
        let title = title.to_owned();
        [title, shown(clients), shown(peers), shown(web), neighbours]
    };
    let tls_row = |title: &str, clients: &Address| {
        let mut row = [const { String::new() }; 5];
        (row[0], row[1]) = (title.to_owned(), clients.to_string());
        row
    };
    let neighbours = if server.neighbours.is_empty() {
        "none".to_owned()
    } else {
        let names: Vec<&str> = server.neighbours.iter().map(Name::as_str).collect();
        names.join(", ")
    };
    let dialled = [
        Some(&server.clients),
        Some(&server.peers),
        server.web.as_ref(),
    ];
    let bound = [
        Some(&server.bind_clients),
        Some(&server.bind_peers),
        server.bind_web.as_ref(),
    ];
    let mut rows = vec![row(server.name.as_str(), dialled, neighbours)];
    if let Some(clients_tls) = &server.clients_tls {
        rows.push(tls_row("  with TLS", clients_tls));
    }
    if bound != dialled {
        rows.push(row("  listens on", bound, String::new()));
    }
    if let Some(bind) = &server.bind_clients_tls
        && server.clients_tls.as_ref() != Some(bind)
    {
        rows.push(tls_row("  listens, with TLS, on", bind));
    }
    rows
}

/// Wraps a text at its spaces into lines of at most `width` bytes. A longer word gets its own
/// line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::samples::{alone, herd, parse};

    #[test]
    fn a_herd_is_printed_with_servers_links_and_changed_settings() {
        let servers = herd(&[("Riley", &["Bo"]), ("Bo", &[]), ("Cy", &["Bo"])]);
        let text =
            servers + "bind_peers = \"[::1]:9\"\n[limits]\nidle = \"90s\"\n[log]\nkeep = 4\n";
        assert_eq!(
            parse(&text).explain(),
            "\
h: herd sample of 3 servers, 2 links

  server        clients          peers            neighbours
  Riley         127.0.0.1:12000  127.0.0.1:13000  Bo
  Bo            127.0.0.1:12001  127.0.0.1:13001  Riley, Cy
  Cy            127.0.0.1:12002  127.0.0.1:13002  Bo
    listens on  127.0.0.1:12002  [::1]:9

Topology:
  links     1 to 2 for each server
  hops      at most 2 between two servers
  pushes    2 for each report, the fewest possible
  survives  not every loss of one server

Settings that differ from their defaults:
  limits.idle = 1m 30s (default 10m)

Warning: one failure splits the herd: the loss of Bo, or of the link Riley - Bo or Bo - Cy.
  More links survive it; `proxyherd plan` chooses them.
"
        );
    }

    #[test]
    fn the_column_of_web_addresses_is_printed_if_any_server_has_one() {
        let text = herd(&[("A", &["B"]), ("B", &[])]);
        let explained = parse(&(text + "web = \"b.lan:9\"\nbind_web = \"[::]:9\"")).explain();
        let table = "
  server        clients          peers            web      neighbours
  A             127.0.0.1:12000  127.0.0.1:13000  -        B
  B             127.0.0.1:12001  127.0.0.1:13001  b.lan:9  A
    listens on  127.0.0.1:12001  127.0.0.1:13001  [::]:9
";
        assert!(explained.contains(table), "{explained}");
    }

    #[test]
    fn a_herd_of_one_is_printed_in_the_singular() {
        let explained = parse(&alone()).explain();
        assert!(
            explained.starts_with("h: herd sample of 1 server, 0 links\n"),
            "{explained}"
        );
        assert!(explained.contains("  Riley   127.0.0.1:12000  127.0.0.1:13000  none\n"));
        assert!(
            explained.ends_with("\nAll settings have their defaults.\n"),
            "{explained}"
        );
    }

    #[test]
    fn long_lists_and_warnings_are_wrapped() {
        let names: Vec<String> = (10..50).map(|i| format!("server-{i}")).collect();
        let mut servers: Vec<(&str, &[&str])> = Vec::new();
        let others: Vec<&str> = names[1..].iter().map(String::as_str).collect();
        servers.push((&names[0], &others));
        servers.extend(others.iter().map(|&name| (name, &[][..])));
        servers.push(("lonely", &[]));
        let explained = parse(&herd(&servers)).explain();
        assert!(
            explained
                .lines()
                .all(|line| line.len() <= usize::from(MAX_COLUMNS)),
            "{explained}"
        );
        assert!(explained.contains("server-49\n"), "{explained}");
        assert!(
            explained.contains("Warning: the herd is in 2 parts"),
            "{explained}"
        );
    }

    #[test]
    fn a_word_longer_than_a_line_gets_its_own_line() {
        assert_eq!(wrap("a bb cccccc d", 4), ["a bb", "cccccc", "d"]);
        assert_eq!(wrap("", 4), [""]);
    }
}

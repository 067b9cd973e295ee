//! The changes of a config file that apply to a running herd, and those that need a
//! restart.
//!
//! Both follow from three configs: the running one, the file, and the merged one, which
//! is the file except for what cannot change at run time. Only [`LocalServers::merge`]
//! decides which settings those are. It destructures configs without `..`, so that a new
//! field cannot be left out.

use super::setting_lines::setting_lines;
use super::{Config, ServerConfig};
use crate::gateway::{self, AcknowledgeLevel};
use crate::model::address::Address;
use crate::model::name::Name;

/// The servers of a herd that run in this process.
#[derive(Clone, Debug)]
pub struct LocalServers {
    /// Their names.
    pub servers: Vec<Name>,
    /// Whether the process runs every server of the herd, whatever the file lists.
    pub is_whole_herd: bool,
    /// The reason why the log level cannot change, if it cannot.
    pub fixed_level_reason: Option<&'static str>,
}

/// The effect of a config file on a running herd.
#[derive(Debug)]
pub struct ReloadPlan {
    /// The config to run with from now on.
    pub config: Config,
    /// The changes that apply, one message each.
    pub changes: Vec<String>,
    /// The changes that need a restart, one message each, which says so.
    pub deferred: Vec<String>,
}

impl LocalServers {
    /// Compares the running config with a new file.
    pub fn reload(&self, running: &Config, file: Config) -> ReloadPlan {
        let mut reload = ReloadPlan {
            config: self.merge(running, file.clone()),
            changes: Vec::new(),
            deferred: Vec::new(),
        };
        self.compare_servers(running, &file, &mut reload);
        self.compare_links(running, &mut reload);
        self.compare_settings(running, &file, &mut reload);
        reload
    }

    /// Returns the local servers of a config, in its order.
    pub fn those_of<'a>(&self, config: &'a Config) -> Vec<&'a ServerConfig> {
        let servers = config.servers.iter();
        servers.filter(|server| self.runs(&server.name)).collect()
    }

    fn runs(&self, name: &Name) -> bool {
        self.servers.contains(name)
    }

    /// Returns the file, except for what cannot change at run time.
    fn merge(&self, running: &Config, file: Config) -> Config {
        let servers = self.merge_servers(running, &file);
        let Config {
            path,
            herd: _,
            servers: _,
            places: _,
            log: _,
            log_level,
            web,
            clients,
            gateway,
            peers: _,
            storage: _,
            insecure,
            tls: _,
        } = file;
        let log_level = if self.fixed_level_reason.is_some() {
            running.log_level
        } else {
            log_level
        };
        Config {
            path,
            herd: running.herd.clone(),
            servers,
            places: running.places.clone(),
            log: running.log.clone(),
            log_level,
            // The port keeps listening as it does.
            web: gateway::WebSettings {
                tls: running.web.tls,
                ..web
            },
            clients,
            gateway: gateway::GatewaySettings {
                // What was computed from reports and what was purged depend on it.
                expire_after: running.gateway.expire_after,
                acknowledge: merge_acknowledge(running, gateway.acknowledge),
                ..gateway
            },
            peers: running.peers.clone(),
            storage: running.storage.clone(),
            insecure,
            tls: running.tls.clone(),
        }
    }

    /// Returns the servers of the file. Local ones keep their listening addresses; those that
    /// are no longer in the file stay, with their links to servers that are.
    fn merge_servers(&self, running: &Config, file: &Config) -> Vec<ServerConfig> {
        let mut servers = file.servers.clone();
        for old in self.those_of(running) {
            match servers.iter_mut().find(|server| server.name == old.name) {
                Some(server) => keep_listening_addresses(server, old),
                None => keep_removed(&mut servers, old),
            }
        }
        servers
    }

    fn compare_servers(&self, running: &Config, file: &Config, reload: &mut ReloadPlan) {
        if file.herd != running.herd {
            let change = change("herd.name", &running.herd, &file.herd);
            reload.deferred.push(self.after_restart(&change));
        }
        for old in self.those_of(running) {
            match file.servers.iter().find(|new| new.name == old.name) {
                Some(new) => {
                    let changes = listening_address_changes(old, new);
                    let deferred = changes.iter().map(|change| self.after_restart(change));
                    reload.deferred.extend(deferred);
                }
                None => reload.deferred.push(format!(
                    "{} is no longer in the file and keeps running; stop it, or add it again",
                    old.name
                )),
            }
        }
        self.compare_members(running, reload);
    }

    /// Compares the servers of other processes.
    fn compare_members(&self, running: &Config, reload: &mut ReloadPlan) {
        let lacks = |config: &Config, name: &Name| config.names().all(|other| other != name);
        for name in reload.config.names().filter(|name| lacks(running, name)) {
            if self.is_whole_herd {
                let message = format!("{name} is new in the file; restart the herd to run it");
                reload.deferred.push(message);
            } else {
                reload.changes.push(format!("{name} was added to the herd"));
            }
        }
        for name in running.names().filter(|name| lacks(&reload.config, name)) {
            let message = format!("{name} was removed from the herd");
            reload.changes.push(message);
        }
    }

    fn compare_links(&self, running: &Config, reload: &mut ReloadPlan) {
        for old in self.those_of(running) {
            let new = reload.config.servers.iter();
            let Some(new) = new.into_iter().find(|new| new.name == old.name) else {
                continue;
            };
            let (before, now) = (running.plan(old), reload.config.plan(new));
            let changes = link_changes(&old.name, &before.neighbours, &now.neighbours);
            reload.changes.extend(changes);
        }
    }

    fn compare_settings(&self, running: &Config, file: &Config, reload: &mut ReloadPlan) {
        let [old, new, merged] = &[running, file, &reload.config].map(setting_lines);
        for ((old, new), merged) in old.iter().zip(new).zip(merged) {
            if old.value == new.value {
                continue;
            }
            let setting = format!("{}.{}", new.table, new.key);
            let change = change(&setting, &old.value, &new.value);
            match self.fixed_level_reason {
                _ if merged.value == new.value => reload.changes.push(change),
                Some(reason) if setting == "log.level" => {
                    reload.deferred.push(format!("{change}; {reason}"));
                }
                _ => reload.deferred.push(self.after_restart(&change)),
            }
        }
    }

    fn after_restart(&self, change: &str) -> String {
        let target = match self.servers.as_slice() {
            [one] => one.as_str(),
            _ => "the herd",
        };
        format!("{change}; restart {target} to apply it")
    }
}

/// Returns the level of a file, unless it needs storage and the running herd has none.
fn merge_acknowledge(running: &Config, level: AcknowledgeLevel) -> AcknowledgeLevel {
    match level {
        AcknowledgeLevel::Disk if running.storage.dir.is_none() => running.gateway.acknowledge,
        level => level,
    }
}

fn change(setting: &str, old: impl std::fmt::Display, new: impl std::fmt::Display) -> String {
    format!("{setting}: {old} -> {new}")
}

/// Keeps the listening addresses of a running server. The addresses that others dial change
/// with the file, except where the listening address would have changed too.
fn keep_listening_addresses(server: &mut ServerConfig, old: &ServerConfig) {
    let keep = |dialled: &mut Address, bind: &mut Address, old: (&Address, &Address)| {
        if &*bind != old.1 {
            (*dialled, *bind) = (old.0.clone(), old.1.clone());
        }
    };
    let ServerConfig {
        line: _,
        name: _,
        clients,
        peers,
        bind_clients,
        clients_tls,
        bind_clients_tls,
        bind_peers,
        web,
        bind_web,
        neighbours: _,
    } = server;
    keep(clients, bind_clients, (&old.clients, &old.bind_clients));
    keep(peers, bind_peers, (&old.peers, &old.bind_peers));
    if *bind_clients_tls != old.bind_clients_tls {
        clients_tls.clone_from(&old.clients_tls);
        bind_clients_tls.clone_from(&old.bind_clients_tls);
    }
    if *bind_web != old.bind_web {
        web.clone_from(&old.web);
        bind_web.clone_from(&old.bind_web);
    }
}

/// Keeps a running server in the herd that is no longer in the file.
fn keep_removed(servers: &mut Vec<ServerConfig>, old: &ServerConfig) {
    let mut old = old.clone();
    old.neighbours
        .retain(|name| servers.iter().any(|server| server.name == *name));
    for server in servers.iter_mut() {
        if old.neighbours.contains(&server.name) {
            server.neighbours.push(old.name.clone());
        }
    }
    servers.push(old);
}

/// Returns the differences between the listening addresses of a server and those of the file,
/// each with its key.
fn listening_address_changes(old: &ServerConfig, new: &ServerConfig) -> Vec<String> {
    let addresses = |server: &ServerConfig| {
        let mandatory = |dialled: &Address, bind: &Address| (dialled == bind, Some(bind.clone()));
        let optional =
            |dialled: &Option<Address>, bind: &Option<Address>| (dialled == bind, bind.clone());
        [
            mandatory(&server.clients, &server.bind_clients),
            mandatory(&server.peers, &server.bind_peers),
            optional(&server.clients_tls, &server.bind_clients_tls),
            optional(&server.web, &server.bind_web),
        ]
    };
    let keys = ["clients", "peers", "clients_tls", "web"];
    let difference = |((key, (_, old)), (is_dialled, new)): ((&str, _), _)| {
        let bind = if is_dialled { "" } else { "bind_" };
        let shown =
            |address: Option<Address>| address.map_or("none".to_owned(), |it| it.to_string());
        let changed = old != new;
        changed.then(|| (format!("{bind}{key}"), shown(old), shown(new)))
    };
    let pairs = keys.into_iter().zip(addresses(old)).zip(addresses(new));
    pairs
        .filter_map(difference)
        .map(|(key, from, to)| change(&format!("{}.{key}", new.name), from, to))
        .collect()
}

fn link_changes(server: &Name, before: &[(Name, Address)], now: &[(Name, Address)]) -> Vec<String> {
    let at = |links: &[(Name, Address)], name: &Name| {
        let mut links = links.iter();
        links
            .find(|(other, _)| other == name)
            .map(|(_, at)| at.clone())
    };
    let is_gone = |(name, _): &&(Name, Address)| at(now, name).is_none();
    let mut changes: Vec<String> = before
        .iter()
        .filter(is_gone)
        .map(|(name, _)| format!("{server}: link to {name} removed"))
        .collect();
    for (name, address) in now {
        match at(before, name) {
            None => changes.push(format!("{server}: link to {name} at {address} added")),
            Some(old) if old != *address => {
                changes.push(format!(
                    "{server}: link to {name} moved from {old} to {address}"
                ));
            }
            Some(_) => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::samples::{herd, parse};

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn local(servers: &[&str]) -> LocalServers {
        LocalServers {
            servers: servers.iter().map(|text| name(text)).collect(),
            is_whole_herd: servers.len() > 1,
            fixed_level_reason: None,
        }
    }

    const PAIR: [(&str, &[&str]); 2] = [("Riley", &["Bo"]), ("Bo", &[])];

    /// Returns the effect of another file on a herd of two.
    fn reload(local_servers: &LocalServers, file: &str) -> ReloadPlan {
        local_servers.reload(&parse(&herd(&PAIR)), parse(file))
    }

    #[test]
    fn the_same_file_changes_nothing() {
        for local_servers in [local(&["Riley"]), local(&["Riley", "Bo"])] {
            let reload = reload(&local_servers, &(herd(&PAIR) + "# a comment\n"));
            assert!(reload.changes.is_empty() && reload.deferred.is_empty());
            assert_eq!(reload.config, parse(&herd(&PAIR)));
        }
    }

    #[test]
    fn settings_that_can_change_do_and_the_others_need_a_restart() {
        let file = herd(&PAIR)
            + "[limits]\nidle = \"5m\"\nexpire_after = \"1h\"\n[log]\nlevel = \"debug\"\nkeep = 1\n\
               [flooding]\nheartbeat = \"1s\"\n[places]\nprovider = \"google\"\n\
               [security]\ninsecure = true\n";
        let reload = reload(&local(&["Riley"]), &file);
        assert_eq!(
            reload.changes,
            [
                "log.level: info -> debug",
                "security.insecure: false -> true",
                "limits.idle: 10m -> 5m",
            ]
        );
        assert_eq!(
            reload.deferred,
            [
                "places.provider: offline -> google; restart Riley to apply it",
                "log.keep: 4 -> 1; restart Riley to apply it",
                "limits.expire_after: off -> 1h; restart Riley to apply it",
                "flooding.heartbeat: 500ms -> 1s; restart Riley to apply it",
            ]
        );
        let again = local(&["Riley"]).reload(&reload.config, parse(&file));
        assert!(again.changes.is_empty(), "{:?}", again.changes);
        assert_eq!(again.deferred, reload.deferred, "reported at each reload");
    }

    #[test]
    fn a_level_that_needs_storage_needs_a_restart_without_it() {
        let storage = "[storage]\ndir = \"state\"\n";
        let level = "[clients]\nacknowledge = \"disk\"\n";
        let file = herd(&PAIR) + storage + level;
        let without = reload(&local(&["Riley"]), &file);
        assert!(without.changes.is_empty(), "{:?}", without.changes);
        let deferred = "clients.acknowledge: received -> disk; restart Riley to apply it";
        assert!(without.deferred.contains(&deferred.to_owned()));
        let running = parse(&(herd(&PAIR) + storage));
        let with = local(&["Riley"]).reload(&running, parse(&file));
        assert_eq!(with.changes, ["clients.acknowledge: received -> disk"]);
        assert!(with.deferred.is_empty(), "{:?}", with.deferred);
    }

    #[test]
    fn a_fixed_level_does_not_change_and_the_reason_is_reported() {
        let local_servers = LocalServers {
            fixed_level_reason: Some("RUST_LOG overrides it"),
            ..local(&["Riley"])
        };
        let reload = reload(&local_servers, &(herd(&PAIR) + "[log]\nlevel = \"off\"\n"));
        assert!(reload.changes.is_empty());
        assert_eq!(
            reload.deferred,
            ["log.level: info -> off; RUST_LOG overrides it"]
        );
    }

    #[test]
    fn servers_of_other_processes_are_added_removed_and_moved() {
        let file = herd(&[("Riley", &["Cy"]), ("Cy", &[]), ("Dee", &["Cy"])]);
        let reload = reload(&local(&["Riley"]), &file);
        assert_eq!(
            reload.changes,
            [
                "Cy was added to the herd",
                "Dee was added to the herd",
                "Bo was removed from the herd",
                "Riley: link to Bo removed",
                "Riley: link to Cy at 127.0.0.1:13001 added",
            ]
        );
        let moved = file.replace("peers = \"127.0.0.1:13001\"", "peers = \"127.0.0.1:9\"");
        let reload = local(&["Riley"]).reload(&parse(&file), parse(&moved));
        let wanted = "Riley: link to Cy moved from 127.0.0.1:13001 to 127.0.0.1:9";
        assert_eq!(reload.changes, [wanted]);
        assert!(reload.deferred.is_empty());
    }

    #[test]
    fn a_local_server_keeps_its_listening_addresses() {
        let file = herd(&PAIR)
            .replace("127.0.0.1:13000", "127.0.0.1:9")
            .replace(
                "clients = \"127.0.0.1:12000\"",
                "clients = \"127.0.0.1:12000\"\nweb = \"[::1]:5\"",
            );
        let both = local(&["Riley", "Bo"]);
        let reload = reload(&both, &file);
        assert!(reload.changes.is_empty(), "{:?}", reload.changes);
        assert_eq!(
            reload.deferred,
            [
                "Riley.peers: 127.0.0.1:13000 -> 127.0.0.1:9; restart the herd to apply it",
                "Riley.web: none -> [::1]:5; restart the herd to apply it",
            ]
        );
        // The address that others dial changes without a restart.
        let file = herd(&PAIR).replace(
            "peers = \"127.0.0.1:13000\"",
            "peers = \"127.0.0.1:9\"\nbind_peers = \"127.0.0.1:13000\"",
        );
        let reload = both.reload(&parse(&herd(&PAIR)), parse(&file));
        let wanted = "Bo: link to Riley moved from 127.0.0.1:13000 to 127.0.0.1:9";
        assert_eq!(reload.changes, [wanted]);
    }

    #[test]
    fn a_local_server_that_is_not_in_the_file_keeps_running() {
        // Ports follow the order of the servers; Bo keeps its own.
        let file = herd(&[("Bo", &["Cy"]), ("Cy", &[])])
            .replace("2001", "2002")
            .replace("3001", "3002")
            .replace("2000", "2001")
            .replace("3000", "3001");
        let reload = reload(&local(&["Riley", "Bo"]), &file);
        let gone = "Riley is no longer in the file and keeps running; stop it, or add it again";
        let new = "Cy is new in the file; restart the herd to run it";
        assert_eq!(reload.deferred, [gone, new]);
        assert_eq!(reload.changes, ["Bo: link to Cy at 127.0.0.1:13002 added"]);
        let riley = reload.config.server("Riley").unwrap();
        assert_eq!(riley.neighbours, [name("Bo")]);
    }

    #[test]
    fn another_name_of_the_herd_needs_a_restart() {
        let file = herd(&PAIR).replace("sample", "other");
        let reload = reload(&local(&["Bo"]), &file);
        let wanted = "herd.name: sample -> other; restart Bo to apply it";
        assert_eq!(reload.deferred, [wanted]);
        assert_eq!(reload.config.herd.as_str(), "sample");
    }
}

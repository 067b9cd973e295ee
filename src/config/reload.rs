//! What a file that is read again changes in a herd that runs, and what has to
//! wait for a restart.
//!
//! Both are found by comparing three configs: what runs, what the file says, and
//! what runs from now on, which is the file but for what can not change. So no
//! list says which settings can: [`LocalServers::merge`] is the only place, and takes
//! configs apart field by field, so that none can be forgotten.

use super::setting_lines::tell;
use super::{Config, Server};
use crate::gateway;
use crate::model::address::Address;
use crate::model::name::Name;

/// What of a herd runs in this process.
#[derive(Clone, Debug)]
pub struct LocalServers {
    /// Its servers that do.
    pub servers: Vec<Name>,
    /// Is it to be all of them, whatever the file says?
    pub is_whole_herd: bool,
    /// Why the log's level can not change, if it can not.
    pub level_is_fixed: Option<&'static str>,
}

/// What becomes of a herd when its file was read again.
#[derive(Debug)]
pub struct ReloadPlan {
    /// How it runs from now on.
    pub config: Config,
    /// What changes, each in words.
    pub changes: Vec<String>,
    /// What stays as it is until a restart, each in words that say so.
    pub waiting: Vec<String>,
}

impl LocalServers {
    /// What becomes of a herd that runs as `running` says when its file is
    /// `file`.
    pub fn reload(&self, running: &Config, file: Config) -> ReloadPlan {
        let mut reload = ReloadPlan {
            config: self.merge(running, file.clone()),
            changes: Vec::new(),
            waiting: Vec::new(),
        };
        self.tell_servers(running, &file, &mut reload);
        self.tell_links(running, &mut reload);
        self.tell_settings(running, &file, &mut reload);
        reload
    }

    /// The servers of a config that run here, as it has them.
    pub fn those_of<'a>(&self, config: &'a Config) -> Vec<&'a Server> {
        let servers = config.servers.iter();
        servers.filter(|server| self.runs(&server.name)).collect()
    }

    fn runs(&self, name: &Name) -> bool {
        self.servers.contains(name)
    }

    /// The file, but for what can not change.
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
            insecure,
            tls: _,
        } = file;
        let log_level = match self.level_is_fixed {
            Some(_) => running.log_level,
            None => log_level,
        };
        Config {
            path,
            herd: running.herd.clone(),
            servers,
            places: running.places.clone(),
            log: running.log.clone(),
            log_level,
            web,
            clients,
            // What was worked out of reports and what was forgotten depend on it.
            gateway: gateway::GatewaySettings {
                expire_after: running.gateway.expire_after,
                ..gateway
            },
            peers: running.peers.clone(),
            insecure,
            tls: running.tls.clone(),
        }
    }

    /// The servers of the file, those here where they listen; and those here
    /// that the file has no more, with their links to those that it still has.
    fn merge_servers(&self, running: &Config, file: &Config) -> Vec<Server> {
        let mut servers = file.servers.clone();
        for old in self.those_of(running) {
            match servers.iter_mut().find(|server| server.name == old.name) {
                Some(server) => stay(server, old),
                None => run_on(&mut servers, old),
            }
        }
        servers
    }

    fn tell_servers(&self, running: &Config, file: &Config, reload: &mut ReloadPlan) {
        if file.herd != running.herd {
            let change = change("herd.name", &running.herd, &file.herd);
            reload.waiting.push(self.restart(&change));
        }
        for old in self.those_of(running) {
            match file.servers.iter().find(|new| new.name == old.name) {
                Some(new) => {
                    let moved = moved(old, new);
                    reload
                        .waiting
                        .extend(moved.iter().map(|it| self.restart(it)));
                }
                None => reload.waiting.push(format!(
                    "{} is not in the file any more, and runs on as it is: stop it, or put it back",
                    old.name
                )),
            }
        }
        self.tell_members(running, reload);
    }

    /// Who came to the herd and who left it, of those that run elsewhere.
    fn tell_members(&self, running: &Config, reload: &mut ReloadPlan) {
        let lacks = |config: &Config, name: &Name| config.names().all(|other| other != name);
        for name in reload.config.names().filter(|name| lacks(running, name)) {
            match self.is_whole_herd {
                true => reload.waiting.push(format!(
                    "{name} is new in the file: restart the herd to run it too"
                )),
                false => reload
                    .changes
                    .push(format!("{name} is a server of the herd now")),
            }
        }
        for name in running.names().filter(|name| lacks(&reload.config, name)) {
            reload
                .changes
                .push(format!("{name} is no server of the herd any more"));
        }
    }

    fn tell_links(&self, running: &Config, reload: &mut ReloadPlan) {
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

    fn tell_settings(&self, running: &Config, file: &Config, reload: &mut ReloadPlan) {
        let told = [running, file, &reload.config].map(tell);
        let [old, new, merged] = &told;
        for ((old, new), merged) in old.iter().zip(new).zip(merged) {
            if old.value == new.value {
                continue;
            }
            let setting = format!("{}.{}", new.table, new.key);
            let words = change(&setting, &old.value, &new.value);
            match self.level_is_fixed {
                _ if merged.value == new.value => reload.changes.push(words),
                Some(why) if setting == "log.level" => {
                    reload.waiting.push(format!("{words}: {why}"));
                }
                _ => reload.waiting.push(self.restart(&words)),
            }
        }
    }

    fn restart(&self, change: &str) -> String {
        let whom = match self.servers.as_slice() {
            [one] => one.as_str(),
            _ => "the herd",
        };
        format!("{change}: restart {whom} to change it")
    }
}

fn change(setting: &str, old: impl std::fmt::Display, new: impl std::fmt::Display) -> String {
    format!("{setting}: {old} -> {new}")
}

/// A server that runs listens where it does. Others reach it where the file
/// says, unless that is where it will listen after a restart.
fn stay(server: &mut Server, old: &Server) {
    let stay = |place: &mut Address, bind: &mut Address, old: (&Address, &Address)| {
        if &*bind != old.1 {
            (*place, *bind) = (old.0.clone(), old.1.clone());
        }
    };
    let Server {
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
    stay(clients, bind_clients, (&old.clients, &old.bind_clients));
    stay(peers, bind_peers, (&old.peers, &old.bind_peers));
    if *bind_clients_tls != old.bind_clients_tls {
        clients_tls.clone_from(&old.clients_tls);
        bind_clients_tls.clone_from(&old.bind_clients_tls);
    }
    if *bind_web != old.bind_web {
        web.clone_from(&old.web);
        bind_web.clone_from(&old.bind_web);
    }
}

/// A server that runs here stays in the herd, though the file has it no more.
fn run_on(servers: &mut Vec<Server>, old: &Server) {
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

/// Where a server listens, and where it would by the file, in the file's words.
fn moved(old: &Server, new: &Server) -> Vec<String> {
    let places = |server: &Server| {
        let mandatory = |place: &Address, bind: &Address| (place == bind, Some(bind.clone()));
        let optional =
            |place: &Option<Address>, bind: &Option<Address>| (place == bind, bind.clone());
        [
            mandatory(&server.clients, &server.bind_clients),
            mandatory(&server.peers, &server.bind_peers),
            optional(&server.clients_tls, &server.bind_clients_tls),
            optional(&server.web, &server.bind_web),
        ]
    };
    let keys = ["clients", "peers", "clients_tls", "web"];
    let told = |((key, (_, old)), (is_place, new)): ((&str, _), _)| {
        let bind = if is_place { "" } else { "bind_" };
        let shown =
            |address: Option<Address>| address.map_or("none".to_owned(), |it| it.to_string());
        let changed = old != new;
        changed.then(|| (format!("{bind}{key}"), shown(old), shown(new)))
    };
    let moved = keys.into_iter().zip(places(old)).zip(places(new));
    moved
        .filter_map(told)
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
        .map(|(name, _)| format!("{server} talks to {name} no more"))
        .collect();
    for (name, address) in now {
        match at(before, name) {
            None => changes.push(format!("{server} talks to {name} at {address} now")),
            Some(old) if old != *address => {
                changes.push(format!(
                    "{server} reaches {name} at {address} now, not at {old}"
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

    fn here(servers: &[&str]) -> LocalServers {
        LocalServers {
            servers: servers.iter().map(|text| name(text)).collect(),
            is_whole_herd: servers.len() > 1,
            level_is_fixed: None,
        }
    }

    const PAIR: [(&str, &[&str]); 2] = [("Riley", &["Bo"]), ("Bo", &[])];

    /// What a herd of two makes of another file.
    fn reload(here: &LocalServers, file: &str) -> ReloadPlan {
        here.reload(&parse(&herd(&PAIR)), parse(file))
    }

    #[test]
    fn the_same_file_changes_nothing() {
        for here in [here(&["Riley"]), here(&["Riley", "Bo"])] {
            let reload = reload(&here, &(herd(&PAIR) + "# as it was\n"));
            assert!(reload.changes.is_empty() && reload.waiting.is_empty());
            assert_eq!(reload.config, parse(&herd(&PAIR)));
        }
    }

    #[test]
    fn what_can_change_does_and_the_rest_is_said_by_name() {
        let file = herd(&PAIR)
            + "[limits]\nidle = \"5m\"\nexpire_after = \"1h\"\n[log]\nlevel = \"debug\"\nkeep = 1\n\
               [flooding]\nheartbeat = \"1s\"\n[places]\nprovider = \"google\"\n\
               [security]\ninsecure = true\n";
        let reload = reload(&here(&["Riley"]), &file);
        assert_eq!(
            reload.changes,
            [
                "log.level: info -> debug",
                "security.insecure: false -> true",
                "limits.idle: 10m -> 5m",
            ]
        );
        assert_eq!(
            reload.waiting,
            [
                "places.provider: offline -> google: restart Riley to change it",
                "log.keep: 4 -> 1: restart Riley to change it",
                "limits.expire_after: off -> 1h: restart Riley to change it",
                "flooding.heartbeat: 500ms -> 1s: restart Riley to change it",
            ]
        );
        let again = here(&["Riley"]).reload(&reload.config, parse(&file));
        assert!(again.changes.is_empty(), "{:?}", again.changes);
        assert_eq!(again.waiting, reload.waiting, "said again, each time");
    }

    #[test]
    fn a_level_that_is_fixed_says_why() {
        let here = LocalServers {
            level_is_fixed: Some("RUST_LOG wins"),
            ..here(&["Riley"])
        };
        let reload = reload(&here, &(herd(&PAIR) + "[log]\nlevel = \"off\"\n"));
        assert!(reload.changes.is_empty());
        assert_eq!(reload.waiting, ["log.level: info -> off: RUST_LOG wins"]);
    }

    #[test]
    fn servers_elsewhere_come_go_and_move() {
        let file = herd(&[("Riley", &["Cy"]), ("Cy", &[]), ("Dee", &["Cy"])]);
        let reload = reload(&here(&["Riley"]), &file);
        assert_eq!(
            reload.changes,
            [
                "Cy is a server of the herd now",
                "Dee is a server of the herd now",
                "Bo is no server of the herd any more",
                "Riley talks to Bo no more",
                "Riley talks to Cy at 127.0.0.1:13001 now",
            ]
        );
        let moved = file.replace("peers = \"127.0.0.1:13001\"", "peers = \"127.0.0.1:9\"");
        let reload = here(&["Riley"]).reload(&parse(&file), parse(&moved));
        let wanted = "Riley reaches Cy at 127.0.0.1:9 now, not at 127.0.0.1:13001";
        assert_eq!(reload.changes, [wanted]);
        assert!(reload.waiting.is_empty());
    }

    #[test]
    fn a_server_that_runs_here_listens_where_it_does() {
        let file = herd(&PAIR)
            .replace("127.0.0.1:13000", "127.0.0.1:9")
            .replace(
                "clients = \"127.0.0.1:12000\"",
                "clients = \"127.0.0.1:12000\"\nweb = \"[::1]:5\"",
            );
        let both = here(&["Riley", "Bo"]);
        let reload = reload(&both, &file);
        assert!(reload.changes.is_empty(), "{:?}", reload.changes);
        assert_eq!(
            reload.waiting,
            [
                "Riley.peers: 127.0.0.1:13000 -> 127.0.0.1:9: restart the herd to change it",
                "Riley.web: none -> [::1]:5: restart the herd to change it",
            ]
        );
        // Others may be told to reach it elsewhere without that.
        let file = herd(&PAIR).replace(
            "peers = \"127.0.0.1:13000\"",
            "peers = \"127.0.0.1:9\"\nbind_peers = \"127.0.0.1:13000\"",
        );
        let reload = both.reload(&parse(&herd(&PAIR)), parse(&file));
        let wanted = "Bo reaches Riley at 127.0.0.1:9 now, not at 127.0.0.1:13000";
        assert_eq!(reload.changes, [wanted]);
    }

    #[test]
    fn a_server_that_runs_here_and_is_not_in_the_file_runs_on() {
        // The ports go by the order, and Bo keeps its own.
        let file = herd(&[("Bo", &["Cy"]), ("Cy", &[])])
            .replace("2001", "2002")
            .replace("3001", "3002")
            .replace("2000", "2001")
            .replace("3000", "3001");
        let reload = reload(&here(&["Riley", "Bo"]), &file);
        let gone =
            "Riley is not in the file any more, and runs on as it is: stop it, or put it back";
        let new = "Cy is new in the file: restart the herd to run it too";
        assert_eq!(reload.waiting, [gone, new]);
        assert_eq!(reload.changes, ["Bo talks to Cy at 127.0.0.1:13002 now"]);
        let riley = reload.config.server("Riley").unwrap();
        assert_eq!(riley.neighbours, [name("Bo")]);
    }

    #[test]
    fn another_herd_is_another_start() {
        let file = herd(&PAIR).replace("sample", "other");
        let reload = reload(&here(&["Bo"]), &file);
        let wanted = "herd.name: sample -> other: restart Bo to change it";
        assert_eq!(reload.waiting, [wanted]);
        assert_eq!(reload.config.herd.as_str(), "sample");
    }
}

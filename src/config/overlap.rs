//! Listening addresses that exclude each other, as far as that can be known without a
//! resolver.
//!
//! On one machine, `0.0.0.0` takes the port of every IPv4 address and `[::]` that of every
//! address. `localhost` stands for both loopback addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::{ConfigError, ConfigProblem};
use super::{Config, ServerConfig};
use crate::model::address::Address;

/// The addresses of this machine that a host stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// All of them.
    Any,
    /// All of IPv4.
    AnyV4,
    /// Both loopback addresses.
    Localhost,
    /// One address.
    Ip(IpAddr),
    /// Those of any other name, in lower case.
    Name(String),
}

impl Host {
    /// Returns the host of an address.
    pub(super) fn of(address: &Address) -> Self {
        let Some(socket) = address.socket() else {
            // Without the dot at its end, but with the interface of a link-local address.
            let host = address.bare_host().trim_end_matches('.');
            return match host.to_ascii_lowercase() {
                name if name == "localhost" => Self::Localhost,
                name => Self::Name(name),
            };
        };
        match socket.ip().to_canonical() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Self::Any,
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Self::AnyV4,
            ip => Self::Ip(ip),
        }
    }

    /// Returns whether both are certainly the same to those that dial them.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let is_loopback = |host: &Self| match host {
            Self::Localhost => true,
            Self::Ip(ip) => [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ]
            .contains(ip),
            _ => false,
        };
        let has_name = [self, other].contains(&&Self::Localhost);
        self == other || has_name && is_loopback(self) && is_loopback(other)
    }

    /// Returns whether one port certainly cannot be listened to on both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let is_v4 = |host: &Self| matches!(host, Self::Localhost | Self::Ip(IpAddr::V4(_)));
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::AnyV4, host) | (host, Self::AnyV4) if is_v4(host) => true,
            _ => self.is_same(other),
        }
    }
}

/// Returns whether a machine cannot listen on both addresses. Port 0 is any free port.
pub(super) fn overlap(one: &Address, other: &Address) -> bool {
    one.port() != 0 && one.port() == other.port() && Host::of(one).overlaps(&Host::of(other))
}

impl Config {
    /// Checks that no two of these servers, which are to run on one machine, listen on one
    /// address. A server by itself was checked when the file was parsed.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with each server that takes an address of one before it.
    pub fn check_overlaps(&self, running: &[&ServerConfig]) -> Result<(), ConfigError> {
        let clash = |(i, server): (usize, &&ServerConfig)| {
            let mut before = running[..i].iter();
            before.find_map(|other| clash(other, server))
        };
        let problems: Vec<_> = running.iter().enumerate().filter_map(clash).collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid {
            path: self.path.clone(),
            problems,
        })
    }
}

fn clash(first: &ServerConfig, second: &ServerConfig) -> Option<ConfigProblem> {
    let theirs = listeners(first);
    let (one, other) = listeners(second).find_map(|other| {
        let one = theirs.clone().find(|one| overlap(one.1, other.1))?;
        Some((one, other))
    })?;
    let (first_name, second_name) = (&first.name, &second.name);
    Some(ConfigProblem {
        line: Some(second.line),
        column: None,
        message: format!(
            "{first_name} and {second_name} both listen on {}: {first_name} for {} on {}, and \
             {second_name} for {} on {}; on one machine each needs its own port; if they are for \
             two machines, run them there with `serve {first_name}` and `serve {second_name}`",
            other.1, one.0, one.1, other.0, other.1
        ),
    })
}

fn listeners(server: &ServerConfig) -> impl Iterator<Item = (&'static str, &Address)> + Clone {
    let clients = ("clients", &server.bind_clients);
    let peers = ("neighbours", &server.bind_peers);
    let tls = server.bind_clients_tls.iter();
    let tls = tls.map(|address| ("clients with TLS", address));
    let web = server.bind_web.iter().map(|address| ("web", address));
    [clients, peers].into_iter().chain(tls).chain(web)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::samples::{herd, parse};

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn unspecified_addresses_cover_others_and_localhost_is_loopback() {
        for (one, other, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "10.0.0.1:1", true),
            ("0.0.0.0:1", "localhost:1", true),
            ("0.0.0.0:1", "[::ffff:10.0.0.1]:1", true),
            ("[::ffff:0.0.0.0]:1", "10.0.0.1:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("0.0.0.0:1", "[::]:1", true),
            ("[::]:1", "10.0.0.1:1", true),
            ("[::]:1", "[2001:db8::1]:1", true),
            ("[::]:1", "box.lan:1", true),
            ("[::]:1", "box.lan:2", false),
            ("localhost:1", "127.0.0.1:1", true),
            ("LOCALHOST.:1", "[::1]:1", true),
            ("localhost:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "[::1]:1", false),
            ("box.lan:1", "Box.lan.:1", true),
            ("box.lan:1", "0.0.0.0:1", false),
            ("box.lan:1", "localhost:1", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("[fe80::1%a]:1", "[fe80::1%a]:1", true),
            ("[fe80::1%a]:1", "[fe80::1%b]:1", false),
        ] {
            let (a, b) = (address(one), address(other));
            assert_eq!(overlap(&a, &b), expected, "{one} {other}");
            assert_eq!(overlap(&b, &a), expected, "{other} {one}");
        }
    }

    #[test]
    fn two_servers_of_one_machine_need_different_addresses() {
        let bind = "talks_to = []\nbind_peers = \"0.0.0.0:12001\"";
        let text = herd(&[("A", &[]), ("B", &[])]).replacen("talks_to = []", bind, 1);
        let config = parse(&text);
        let all: Vec<&ServerConfig> = config.servers.iter().collect();
        for server in &all {
            config.check_overlaps(&[server]).unwrap();
        }
        let error = config.check_overlaps(&all).unwrap_err().to_string();
        assert_eq!(
            error,
            "h:10: A and B both listen on 127.0.0.1:12001: A for neighbours on 0.0.0.0:12001, and \
             B for clients on 127.0.0.1:12001; on one machine each needs its own port; if they \
             are for two machines, run them there with `serve A` and `serve B`"
        );
    }
}

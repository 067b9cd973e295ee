//! The addresses of `plan`'s servers: one pattern for all of them.

use std::str::FromStr;

use crate::model::address::Address;
use crate::model::name::Name;

/// The placeholder for the name of a server.
const NAME: &str = "{name}";

/// `HOST:PORT`, where the host may contain `{name}`, and a `+` after the port makes it count up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AddressPattern {
    host: String,
    port: u16,
    counts_up: bool,
}

impl FromStr for AddressPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, counts_up) = match text.strip_suffix('+') {
            Some(address) => (address, true),
            None => (text, false),
        };
        // Any name of a server is valid in a host if this one is.
        let sample = Address::parse(&address.replace(NAME, "name"));
        let port = sample.map_err(|error| error.to_string())?.port();
        if port == 0 && counts_up {
            return Err(
                "port 0 stands for a port that the system picks, and has no next one".into(),
            );
        }
        let host = address
            .rsplit_once(':')
            .map_or("", |(host, _)| host)
            .to_owned();
        Ok(Self {
            host,
            port,
            counts_up,
        })
    }
}

impl AddressPattern {
    /// Returns the address of the server with this name and number, counted from 0.
    ///
    /// # Errors
    ///
    /// There is no such port, or the host becomes too long.
    pub(super) fn of(&self, name: &Name, number: usize) -> Result<Address, String> {
        let step = if self.counts_up { number } else { 0 };
        let port = usize::from(self.port) + step;
        if port > usize::from(u16::MAX) {
            let last = self.port;
            return Err(format!(
                "ports that count up from {last} end before server {name}"
            ));
        }
        let address = format!("{}:{port}", self.host.replace(NAME, name.as_str()));
        Address::parse(&address).map_err(|error| format!("{address}: {error}"))
    }

    /// Returns whether all servers would have the same address.
    pub(super) fn is_same_for_all(&self) -> bool {
        !self.counts_up && self.port != 0 && !self.host.contains(NAME)
    }
}

/// Parses a host to listen on.
pub(super) fn host(text: &str) -> Result<String, String> {
    match Address::parse(&format!("{text}:1")) {
        Ok(address) => Ok(address.host().to_owned()),
        Err(error) => Err(format!("{error}, and here without the colon and the port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_gives_each_server_its_address() {
        let name = Name::parse("edge-1").unwrap();
        let of = |pattern: &str, number| {
            let pattern: AddressPattern = pattern.parse().unwrap();
            (
                pattern.of(&name, number).map(|it| it.to_string()),
                pattern.is_same_for_all(),
            )
        };
        let ok = |address: &str| Ok(address.to_owned());
        assert_eq!(of("127.0.0.1:12000+", 7), (ok("127.0.0.1:12007"), false));
        assert_eq!(of("{name}.herd:13000", 7), (ok("edge-1.herd:13000"), false));
        assert_eq!(of("[::1]:0", 7), (ok("[::1]:0"), false));
        assert_eq!(of("127.0.0.1:12000", 7), (ok("127.0.0.1:12000"), true));
        assert!(of("h:65535+", 0).0.is_ok() && of("h:65535+", 1).0.is_err());
        for wrong in ["h", "h:", "h:1++", "h:0+", "{x}:1", "{name}", "a b:1"] {
            assert!(wrong.parse::<AddressPattern>().is_err(), "{wrong}");
        }
        assert!(host("0.0.0.0").is_ok() && host("[::]").is_ok());
        assert!(host("0.0.0.0:1").is_err() && host("").is_err());
    }
}

//! Addresses on which a server listens or at which it is reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// `HOST:PORT`, where the host is an IPv4 address, an IPv6 address in brackets or a DNS name. A
/// name is resolved anew at each dial, so it is kept as text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: Arc<str>,
    port: u16,
}

/// The reason why a text is not an address. Its message describes a valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// There is no `:PORT`, or the port is not a number from 0 to 65535.
    Port,
    /// The host is empty, or neither an IP address nor a DNS name.
    Host,
    /// An IPv6 address has no brackets.
    Brackets,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Port => {
                "it must end in a colon and a port from 0 to 65535, as in \
                127.0.0.1:12000"
            }
            Self::Host => {
                "its host must be an IP address or a DNS name, as in 127.0.0.1:12000 or \
                edge1.example.org:12000"
            }
            Self::Brackets => "an IPv6 address needs brackets, as in [::1]:12000",
        })
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Parses `HOST:PORT`. Port 0 is an address to listen on: the system picks the port.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Port)?;
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or(AddressError::Port)?;
        check_host(host)?;
        let host = host.into();
        Ok(Self { host, port })
    }

    /// Returns the host as it was written; an IPv6 address has its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the IP address; `None` if the host is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare.parse().ok()
    }

    /// Returns whether the address is certainly on this machine: a loopback address or `localhost`.
    /// Any other name counts as remote.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        Self {
            host: host.into(),
            port: address.port(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn check_host(host: &str) -> Result<(), AddressError> {
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let v6 = inner.parse::<std::net::Ipv6Addr>().is_ok();
        return v6.then_some(()).ok_or(AddressError::Host);
    }
    if host.contains(':') {
        return Err(AddressError::Brackets);
    }
    // A host of digits and dots alone can only be meant as an IPv4 address.
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let valid = if numeric {
        host.parse::<std::net::Ipv4Addr>().is_ok()
    } else {
        host.len() <= 253 && host.trim_end_matches('.').split('.').all(is_label)
    };
    valid.then_some(()).ok_or(AddressError::Host)
}

/// Accepts underscores too: RFC 952 excludes them, but container networks assign such names.
fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_were_written() {
        for good in [
            "127.0.0.1:0",
            "[::1]:65535",
            "edge1.example.org:12000",
            "localhost:1",
            "my_box:9",
        ] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
    }

    #[test]
    fn an_invalid_address_gets_its_reason() {
        for (bad, why) in [
            ("127.0.0.1", AddressError::Port),
            ("127.0.0.1:", AddressError::Port),
            ("127.0.0.1:+80", AddressError::Port),
            ("127.0.0.1:65536", AddressError::Port),
            (":80", AddressError::Host),
            ("127.0.0.256:80", AddressError::Host),
            ("a b:80", AddressError::Host),
            ("http://a:80", AddressError::Brackets),
            ("::1:80", AddressError::Brackets),
            ("[::g]:80", AddressError::Host),
        ] {
            assert_eq!(Address::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn only_loopback_addresses_and_localhost_are_loopback() {
        for near in [
            "127.8.8.8:1",
            "[::1]:1",
            "LocalHost:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(Address::parse(near).unwrap().is_loopback(), "{near}");
        }
        for far in [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "localhost.example.org:1",
        ] {
            assert!(!Address::parse(far).unwrap().is_loopback(), "{far}");
        }
    }
}

//! Addresses on which a server listens or at which it is reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// `HOST:PORT`, where the host is an IPv4 address, an IPv6 address in brackets or a DNS name. A
/// name is resolved anew at each dial, so it is kept as text, and so is an IPv6 address with the
/// name of a network interface (`[fe80::1%eth0]`, RFC 4007).
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

    /// Returns the same host with another port.
    pub fn with_port(&self, port: u16) -> Self {
        let host = self.host.clone();
        Self { host, port }
    }

    /// Returns the host without the brackets of an IPv6 address, as the system's resolver takes it.
    pub fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Returns the IP address, without its interface; `None` if the host is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.split_zone().0.parse().ok()
    }

    /// Returns the address of the socket; `None` if the system has to resolve the host, as a name
    /// or for the name of an interface.
    pub fn socket(&self) -> Option<SocketAddr> {
        let has_zone = self.split_zone().1.is_some();
        let ip = self.ip().filter(|_| !has_zone)?;
        Some(SocketAddr::new(ip, self.port))
    }

    /// Returns the address as URIs have it: the interface means nothing to the other end.
    pub fn authority(&self) -> String {
        match self.split_zone() {
            (host, Some(_)) => format!("[{host}]:{}", self.port),
            _ => self.to_string(),
        }
    }

    fn split_zone(&self) -> (&str, Option<&str>) {
        let host = self.bare_host();
        host.split_once('%')
            .map_or((host, None), |(host, zone)| (host, Some(zone)))
    }

    /// Returns the host as a certificate names it: an IPv6 address without brackets, a DNS name
    /// without a dot at its end.
    pub fn subject_host(&self) -> String {
        match self.ip() {
            Some(ip) => ip.to_string(),
            None => self.host.trim_end_matches('.').to_owned(),
        }
    }

    /// Returns whether the address is certainly on this machine: a loopback address or `localhost`.
    /// Any other name counts as remote.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => self.subject_host().eq_ignore_ascii_case("localhost"),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) if v6.scope_id() > 0 => format!("[{}%{}]", v6.ip(), v6.scope_id()),
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
        let (ip, is_zone) = match inner.split_once('%') {
            Some((ip, zone)) => (ip, is_interface(zone)),
            None => (inner, true),
        };
        let v6 = ip.parse::<std::net::Ipv6Addr>().is_ok();
        return (v6 && is_zone).then_some(()).ok_or(AddressError::Host);
    }
    if host.contains(':') {
        return Err(AddressError::Brackets);
    }
    // A host of digits and dots alone can only be meant as an IPv4 address.
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let valid = if numeric {
        host.parse::<std::net::Ipv4Addr>().is_ok()
    } else {
        // The dot at the end of a full name is the root of DNS.
        host.len() <= 253
            && host
                .strip_suffix('.')
                .unwrap_or(host)
                .split('.')
                .all(is_label)
    };
    valid.then_some(()).ok_or(AddressError::Host)
}

/// Returns true if a text may be the name or the number of a network interface.
fn is_interface(zone: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    // Linux has room for 15 bytes.
    (1..=15).contains(&zone.len()) && zone.bytes().all(is_inner)
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
            "edge1.example.org.:12000",
            "my_box:9",
            "[fe80::1%eth0]:12000",
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
            ("[fe80::1%]:80", AddressError::Host),
            ("[fe80::1%e/0]:80", AddressError::Host),
            ("127.0.0.1%eth0:80", AddressError::Host),
            ("a..b:80", AddressError::Host),
            ("a.b..:80", AddressError::Host),
            (".a:80", AddressError::Host),
            (".:80", AddressError::Host),
        ] {
            assert_eq!(Address::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn an_interface_is_kept_for_the_system_and_no_part_of_a_uri() {
        let linked = Address::parse("[fe80::1%eth0]:12000").unwrap();
        assert_eq!(linked.bare_host(), "fe80::1%eth0");
        assert_eq!(linked.ip(), "fe80::1".parse().ok());
        assert_eq!(linked.socket(), None);
        assert_eq!(linked.authority(), "[fe80::1]:12000");
        let plain = Address::parse("[::1]:12000").unwrap();
        assert_eq!(plain.socket(), "[::1]:12000".parse().ok());
        assert_eq!(plain.authority(), "[::1]:12000");
    }

    #[test]
    fn only_loopback_addresses_and_localhost_are_loopback() {
        for near in [
            "127.8.8.8:1",
            "[::1]:1",
            "LocalHost:1",
            "localhost.:1",
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

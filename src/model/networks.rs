//! Networks of IP addresses, and access lists of networks.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Length of the prefix that identifies a customer in an IPv6 address.
const CUSTOMER_PREFIX_V6: u8 = 64;

/// A network, such as `10.0.0.0/8` or `2001:db8::/32`, or a single address. An IPv4 network that is
/// mapped into IPv6 becomes IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

/// The reason why a text is not a network. Its message describes a valid one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// The text is neither an address nor an address and a length.
    Syntax,
    /// The address has bits after the length. This is the network that contains it.
    HostBits(Network),
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str(
                "it must be an IP address and a length, as in 10.0.0.0/8 or 2001:db8::/32, or one \
                IP address",
            ),
            Self::HostBits(network) => write!(
                f,
                "its address has bits after its length: write {network}, or a greater length"
            ),
        }
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// Parses an address and a length (CIDR), or a single address.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let net = read(text).ok_or(NetworkError::Syntax)?;
        if net.trunc() == net {
            Ok(Self(canonical(net)))
        } else {
            Err(NetworkError::HostBits(Self(canonical(net.trunc()))))
        }
    }

    /// Returns the network that belongs to one customer: an IPv4 address by itself, or the /64 of
    /// an IPv6 address (RFC 6177), since a customer with one address of a /64 has all of them.
    pub fn of_customer(address: IpAddr) -> Self {
        let net = match address.to_canonical() {
            IpAddr::V4(v4) => Ipv4Net::from(v4).into(),
            IpAddr::V6(v6) => Ipv6Net::new_assert(v6, CUSTOMER_PREFIX_V6).trunc().into(),
        };
        Self(net)
    }

    /// Returns whether the network contains the address. An IPv4 address that is mapped into IPv6
    /// counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Returns whether the network contains all of the other one.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

/// Parses an address and an optional length. Rejects leading zeros, which some programs read as
/// octal.
fn read(text: &str) -> Option<IpNet> {
    let Some((address, length)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let is_number = length.bytes().all(|b| b.is_ascii_digit());
    let length = length.parse().ok().filter(|_| is_number)?;
    IpNet::new(address.parse().ok()?, length).ok()
}

/// Converts a mapped network to IPv4: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6.addr().to_ipv4_mapped();
    let length = v6.prefix_len().checked_sub(96);
    let v4 = mapped.zip(length);
    let v4 = v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    v4.map_or(net, IpNet::V4)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An access list: networks from which connections are accepted. The default accepts all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Networks that are allowed; all networks if the list is empty.
    pub allow: Vec<Network>,
    /// Networks that are denied, even if they are allowed.
    pub deny: Vec<Network>,
}

/// The reason why an address is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The address is in this denied network.
    By(Network),
    /// The list of allowed networks is not empty, and none contains the address.
    NotAllowed,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(network) => write!(f, "deny contains {network}"),
            Self::NotAllowed => f.write_str("allow does not contain it"),
        }
    }
}

impl Networks {
    /// Checks whether an address is accepted. Takes a few nanoseconds for each network.
    ///
    /// # Errors
    ///
    /// Returns the reason if the address is denied.
    pub fn check(&self, address: IpAddr) -> Result<(), Denied> {
        let contains = |network: &&Network| network.contains(address);
        if let Some(network) = self.deny.iter().find(contains) {
            return Err(Denied::By(*network));
        }
        if self.allow.is_empty() || self.allow.iter().any(|network| network.contains(address)) {
            Ok(())
        } else {
            Err(Denied::NotAllowed)
        }
    }

    /// Returns the allowed networks without effect, each with a denied network that covers it.
    pub fn ineffective_allows(&self) -> impl Iterator<Item = (&Network, &Network)> {
        self.allow.iter().filter_map(|allowed| {
            let mut denied = self.deny.iter();
            Some((allowed, denied.find(|denied| denied.covers(allowed))?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        let parse = |text: &&str| Network::parse(text).unwrap();
        texts.iter().map(parse).collect()
    }

    fn check(networks: &Networks, address: &str) -> Result<(), Denied> {
        networks.check(address.parse().unwrap())
    }

    #[test]
    fn networks_print_in_canonical_form() {
        for (written, meant) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(Network::parse(written).unwrap().to_string(), meant);
        }
    }

    #[test]
    fn an_invalid_network_gets_a_message_with_a_valid_form() {
        for text in [
            "",
            "10",
            "10.0.0/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/-1",
            "10.0.0.0/8 ",
            "::/129",
            "[::1]",
            "example.org",
            "10.0.0.1:80",
            "010.0.0.0/8",
        ] {
            assert_eq!(Network::parse(text), Err(NetworkError::Syntax), "{text}");
        }
        for (text, meant) in [
            ("10.1.2.3/8", "write 10.0.0.0/8,"),
            ("2001:db8::1/64", "write 2001:db8::/64,"),
            ("::ffff:10.1.2.3/104", "write 10.0.0.0/8,"),
        ] {
            let error = Network::parse(text).unwrap_err().to_string();
            assert!(error.contains(meant), "{error}");
        }
    }

    #[test]
    fn an_empty_access_list_accepts_every_address() {
        for address in ["10.0.0.1", "::1", "::ffff:10.0.0.1"] {
            assert_eq!(check(&Networks::default(), address), Ok(()));
        }
    }

    #[test]
    fn deny_overrides_allow_and_unlisted_addresses_are_denied() {
        let rules = Networks {
            allow: networks(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]),
            deny: networks(&["10.1.0.0/16", "2001:db8:1::/48"]),
        };
        for address in [
            "10.0.0.1",
            "10.2.0.1",
            "2001:db8::1",
            "192.0.2.7",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(check(&rules, address), Ok(()), "{address}");
        }
        for (address, denied) in [
            ("10.1.2.3", Denied::By(rules.deny[0])),
            ("::ffff:10.1.2.3", Denied::By(rules.deny[0])),
            ("2001:db8:1::5", Denied::By(rules.deny[1])),
            ("192.0.2.8", Denied::NotAllowed),
            ("::1", Denied::NotAllowed),
        ] {
            assert_eq!(check(&rules, address), Err(denied), "{address}");
        }
        assert_eq!(
            Denied::By(rules.deny[0]).to_string(),
            "deny contains 10.1.0.0/16"
        );
    }

    #[test]
    fn a_network_of_all_ipv6_contains_no_ipv4() {
        let deny = networks(&["::/0"]);
        let allow = Vec::new();
        let rules = Networks { allow, deny };
        assert_eq!(check(&rules, "::ffff:10.0.0.1"), Ok(()));
        assert!(check(&rules, "::2").is_err());
    }

    #[test]
    fn allowed_networks_without_effect_are_found() {
        let rules = Networks {
            allow: networks(&["10.1.0.0/16", "10.0.0.0/8", "::1"]),
            deny: networks(&["::/0", "10.1.0.0/16"]),
        };
        let found: Vec<_> = rules.ineffective_allows().collect();
        let (allow, deny) = (&rules.allow, &rules.deny);
        assert_eq!(found, [(&allow[0], &deny[1]), (&allow[2], &deny[0])]);
    }
}

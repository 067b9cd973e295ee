//! Networks of IP addresses, and who may come in from where.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How many bits of an IPv6 address name a customer.
const CUSTOMER_PREFIX_V6: u8 = 64;

/// A network, such as `10.0.0.0/8` or `2001:db8::/32`, or one address. What is
/// written as IPv4 mapped into IPv6 is IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

/// Why a text is no network; says what would be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// It is neither an address nor an address and a length.
    Syntax,
    /// Its address has bits behind the length. The network it lies in is this.
    HostBits(Network),
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str(
                "it must be an IP address and a length, as in 10.0.0.0/8 or 2001:db8::/32, or one IP address",
            ),
            Self::HostBits(network) => write!(
                f,
                "its address goes on behind its length: write {network}, or a greater length"
            ),
        }
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// Reads an address and a length (CIDR), or one address.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let net = read(text).ok_or(NetworkError::Syntax)?;
        match net.trunc() == net {
            true => Ok(Self(canonical(net))),
            false => Err(NetworkError::HostBits(Self(canonical(net.trunc())))),
        }
    }

    /// What one customer has at least, who has this address: the address, if it is
    /// IPv4; and its /64, if it is IPv6 (RFC 6177), since whoever has one address of
    /// that has all of them.
    pub fn of_customer(address: IpAddr) -> Self {
        let net = match address.to_canonical() {
            IpAddr::V4(v4) => Ipv4Net::from(v4).into(),
            IpAddr::V6(v6) => Ipv6Net::new_assert(v6, CUSTOMER_PREFIX_V6).trunc().into(),
        };
        Self(net)
    }

    /// Does the address lie in it? An IPv4 address that is mapped into IPv6
    /// counts as IPv4.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Does all of the other network lie in it?
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

/// Takes no address with leading zeros, which some read as octal.
fn read(text: &str) -> Option<IpNet> {
    let Some((address, length)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let is_number = length.bytes().all(|b| b.is_ascii_digit());
    let length = length.parse().ok().filter(|_| is_number)?;
    IpNet::new(address.parse().ok()?, length).ok()
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
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
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// From which networks one may come in. The default is from everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// From these; from everywhere, if there are none.
    pub allow: Vec<Network>,
    /// Never from these, whatever is allowed.
    pub deny: Vec<Network>,
}

/// Why one may not come in from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// This network is denied.
    By(Network),
    /// Others are allowed, and none of them holds it.
    NotAllowed,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(network) => write!(f, "deny holds {network}"),
            Self::NotAllowed => f.write_str("allow holds other networks only"),
        }
    }
}

impl Networks {
    /// Says why one may not come in from there. Takes longer the more networks
    /// there are, a few nanoseconds each.
    pub fn judge(&self, address: IpAddr) -> Result<(), Denied> {
        let holds = |network: &&Network| network.holds(address);
        if let Some(network) = self.deny.iter().find(holds) {
            return Err(Denied::By(*network));
        }
        match self.allow.is_empty() || self.allow.iter().any(|network| network.holds(address)) {
            true => Ok(()),
            false => Err(Denied::NotAllowed),
        }
    }

    /// The networks that are allowed in vain, each with one that is denied and
    /// covers it.
    pub fn contradictions(&self) -> impl Iterator<Item = (&Network, &Network)> {
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

    fn judge(networks: &Networks, address: &str) -> Result<(), Denied> {
        networks.judge(address.parse().unwrap())
    }

    #[test]
    fn networks_print_as_they_are_meant() {
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
    fn what_is_no_network_says_what_would_be_one() {
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
    fn without_networks_everybody_may_come_in() {
        for address in ["10.0.0.1", "::1", "::ffff:10.0.0.1"] {
            assert_eq!(judge(&Networks::default(), address), Ok(()));
        }
    }

    #[test]
    fn what_is_denied_wins_and_what_is_not_allowed_stays_out() {
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
            assert_eq!(judge(&rules, address), Ok(()), "{address}");
        }
        for (address, denied) in [
            ("10.1.2.3", Denied::By(rules.deny[0])),
            ("::ffff:10.1.2.3", Denied::By(rules.deny[0])),
            ("2001:db8:1::5", Denied::By(rules.deny[1])),
            ("192.0.2.8", Denied::NotAllowed),
            ("::1", Denied::NotAllowed),
        ] {
            assert_eq!(judge(&rules, address), Err(denied), "{address}");
        }
        assert_eq!(
            Denied::By(rules.deny[0]).to_string(),
            "deny holds 10.1.0.0/16"
        );
    }

    #[test]
    fn all_of_ipv6_is_nothing_of_ipv4() {
        let deny = networks(&["::/0"]);
        let allow = Vec::new();
        let rules = Networks { allow, deny };
        assert_eq!(judge(&rules, "::ffff:10.0.0.1"), Ok(()));
        assert!(judge(&rules, "::2").is_err());
    }

    #[test]
    fn what_is_allowed_in_vain_is_found() {
        let rules = Networks {
            allow: networks(&["10.1.0.0/16", "10.0.0.0/8", "::1"]),
            deny: networks(&["::/0", "10.1.0.0/16"]),
        };
        let found: Vec<_> = rules.contradictions().collect();
        let (allow, deny) = (&rules.allow, &rules.deny);
        assert_eq!(found, [(&allow[0], &deny[1]), (&allow[2], &deny[0])]);
    }
}

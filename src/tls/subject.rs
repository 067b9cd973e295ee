//! The names in a herd's certificates, as DNS names (subject alternative names):
//!
//! - a server's is `NAME.HERD.proxyherd`;
//! - an operator's is `OPERATOR.operator.HERD.proxyherd`. It is one label longer, so that no
//!   choice of names makes one look like the other.
//!
//! Case is ignored, as in DNS. A wildcard names no member.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::format::list;
use crate::model::name::{Name, is_name};

/// The last label of all these names.
const SUFFIX: &str = "proxyherd";

/// The label before the herd's in an operator's name.
const OPERATOR: &str = "operator";

/// Maximum number of names of a certificate in a message.
const MAX_PRINTED_NAMES: usize = 3;

/// A member of a herd: a server or an operator.
#[derive(Clone, Debug)]
pub struct Subject {
    name: Name,
    herd: Name,
    is_operator: bool,
}

impl Subject {
    /// Returns a server of a herd.
    pub fn server(name: &Name, herd: &Name) -> Self {
        Self {
            name: name.clone(),
            herd: herd.clone(),
            is_operator: false,
        }
    }

    /// Returns an operator of a herd.
    pub fn operator(name: &Name, herd: &Name) -> Self {
        Self {
            is_operator: true,
            ..Self::server(name, herd)
        }
    }

    /// Parses a DNS name; `None` if it has neither of the two forms.
    pub fn parse(dns_name: &str) -> Option<Self> {
        let labels: Vec<&str> = dns_name.split('.').collect();
        let (name, herd, suffix, is_operator) = match labels[..] {
            [name, herd, suffix] => (name, herd, suffix, false),
            [name, role, herd, suffix] if role.eq_ignore_ascii_case(OPERATOR) => {
                (name, herd, suffix, true)
            }
            _ => return None,
        };
        suffix.eq_ignore_ascii_case(SUFFIX).then_some(())?;
        Some(Self {
            name: Name::parse(name)?,
            herd: Name::parse(herd)?,
            is_operator,
        })
    }

    /// Returns its own name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns true for an operator, false for a server.
    pub fn is_operator(&self) -> bool {
        self.is_operator
    }

    fn is_same(&self, other: &Self) -> bool {
        self.is_operator == other.is_operator
            && is_same(&self.name, other.name.as_str())
            && is_same(&self.herd, other.herd.as_str())
    }
}

/// Prints the DNS name.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, herd, .. } = self;
        if self.is_operator {
            write!(f, "{name}.{OPERATOR}.{herd}.{SUFFIX}")
        } else {
            write!(f, "{name}.{herd}.{SUFFIX}")
        }
    }
}

fn is_same(name: &Name, other: &str) -> bool {
    name.as_str().eq_ignore_ascii_case(other)
}

/// The members of herds that a certificate names.
#[derive(Clone, Debug, Default)]
pub struct PeerIdentity(Vec<Subject>);

impl PeerIdentity {
    /// Reads the names of a certificate. Its chain must be verified.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let parsed = X509Certificate::from_der(certificate);
        let Ok((_, certificate)) = &parsed else {
            return Self::default();
        };
        let Ok(Some(names)) = certificate.subject_alternative_name() else {
            return Self::default();
        };
        let subject = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(dns_name) => Subject::parse(dns_name),
            _ => None,
        };
        Self(
            names
                .value
                .general_names
                .iter()
                .filter_map(subject)
                .collect(),
        )
    }

    /// Returns true if it is for this server or operator.
    pub fn is(&self, subject: &Subject) -> bool {
        self.0.iter().any(|own| own.is_same(subject))
    }

    /// Returns true if it is for the server `name` of `herd`.
    pub fn is_server_called(&self, name: &str, herd: &Name) -> bool {
        let mut servers = self.servers_of(herd);
        servers.any(|own| is_same(&own.name, name))
    }

    /// Returns true if it is for a server of `herd`.
    pub fn is_server_of(&self, herd: &Name) -> bool {
        self.servers_of(herd).next().is_some()
    }

    /// Returns true if it is for a server or an operator of `herd`.
    pub fn is_member_of(&self, herd: &Name) -> bool {
        self.0.iter().any(|own| is_same(&own.herd, herd.as_str()))
    }

    /// Returns true if it names no member of a herd.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn servers_of(&self, herd: &Name) -> impl Iterator<Item = &Subject> {
        let of = move |own: &&Subject| !own.is_operator && is_same(&own.herd, herd.as_str());
        self.0.iter().filter(of)
    }
}

/// Prints the names, at most three.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no member of a herd");
        }
        let names = self.0.iter().take(MAX_PRINTED_NAMES);
        f.write_str(&list(names.map(Subject::to_string), "and"))
    }
}

/// Returns a name that a stranger sent in quotes. An invalid name is not repeated.
pub fn quote_name(name: &str) -> String {
    if is_name(name.as_bytes()) {
        format!("{name:?}")
    } else {
        "by an invalid name".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_printed_name_parses_to_the_same_member_in_either_case() {
        let (riley, test) = (name("Riley"), name("test"));
        let server = Subject::server(&riley, &test);
        let operator = Subject::operator(&riley, &test);
        assert_eq!(server.to_string(), "Riley.test.proxyherd");
        assert_eq!(operator.to_string(), "Riley.operator.test.proxyherd");
        for (subject, other) in [(&server, &operator), (&operator, &server)] {
            let folded = subject.to_string().to_ascii_uppercase();
            let identity = PeerIdentity(vec![Subject::parse(&folded).unwrap()]);
            assert!(identity.is(subject) && !identity.is(other), "{identity}");
        }
    }

    #[test]
    fn no_name_of_an_operator_looks_like_a_server_s() {
        let herd = name("test");
        for operator in ["Riley", "operator", "test", "proxyherd"] {
            let subject = Subject::operator(&name(operator), &herd);
            let identity = PeerIdentity(vec![Subject::parse(&subject.to_string()).unwrap()]);
            assert!(!identity.is_server_of(&herd), "{identity}");
            assert!(identity.is_member_of(&herd), "{identity}");
        }
        // A server named "operator", in a herd of that name, is a server.
        let odd = Subject::server(&name("operator"), &name("operator"));
        let identity = PeerIdentity(vec![Subject::parse(&odd.to_string()).unwrap()]);
        assert!(identity.is_server_called("Operator", &name("operator")));
    }

    #[test]
    fn a_name_of_another_form_is_invalid() {
        for other in [
            "",
            "proxyherd",
            "test.proxyherd",
            "*.test.proxyherd",
            "Riley.test.example",
            "Riley.test.proxyherd.",
            ".test.proxyherd",
            "a.b.test.proxyherd",
            "a.b.operator.test.proxyherd",
        ] {
            assert!(Subject::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn an_invalid_certificate_names_no_member() {
        let identity = PeerIdentity::of(&CertificateDer::from(vec![0x30, 0x80, 1]));
        assert!(identity.is_empty());
        assert_eq!(identity.to_string(), "no member of a herd");
    }
}

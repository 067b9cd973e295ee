//! The names that a herd's certificates carry, as DNS names (subject
//! alternative names):
//!
//! - a server's is `NAME.HERD.proxyherd`;
//! - an operator's is `OPERATOR.operator.HERD.proxyherd`, one label longer, so
//!   that neither can be taken for the other whatever people are called.
//!
//! As in DNS, case does not count. A wildcard names nobody.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::format::list;
use crate::model::name::{Name, is_name};

/// The last label of all these names.
const SUFFIX: &str = "proxyherd";

/// The label that stands before the herd's in an operator's name.
const OPERATOR: &str = "operator";

/// Most names of one certificate that messages repeat.
const MAX_TOLD: usize = 3;

/// Somebody of a herd.
#[derive(Clone, Debug)]
pub struct Subject {
    name: Name,
    herd: Name,
    is_operator: bool,
}

impl Subject {
    /// A server of a herd.
    pub fn server(name: &Name, herd: &Name) -> Self {
        Self {
            name: name.clone(),
            herd: herd.clone(),
            is_operator: false,
        }
    }

    /// An operator of a herd.
    pub fn operator(name: &Name, herd: &Name) -> Self {
        Self {
            is_operator: true,
            ..Self::server(name, herd)
        }
    }

    /// Whom a DNS name is for; `None` if it is not of the two forms.
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

    /// Its own name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Is it an operator, and no server?
    pub fn is_operator(&self) -> bool {
        self.is_operator
    }

    fn is_same(&self, other: &Self) -> bool {
        self.is_operator == other.is_operator
            && is_same(&self.name, other.name.as_str())
            && is_same(&self.herd, other.herd.as_str())
    }
}

/// The DNS name.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, herd, .. } = self;
        match self.is_operator {
            true => write!(f, "{name}.{OPERATOR}.{herd}.{SUFFIX}"),
            false => write!(f, "{name}.{herd}.{SUFFIX}"),
        }
    }
}

fn is_same(name: &Name, other: &str) -> bool {
    name.as_str().eq_ignore_ascii_case(other)
}

/// Whom a certificate is for, and everything else that it says of that.
#[derive(Clone, Debug, Default)]
pub struct PeerIdentity(Vec<Subject>);

impl PeerIdentity {
    /// Reads the names of a certificate whose chain was verified.
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

    /// Is it for this server or operator?
    pub fn is(&self, subject: &Subject) -> bool {
        self.0.iter().any(|own| own.is_same(subject))
    }

    /// Is it for a server of `herd` that calls itself `name`?
    pub fn is_server_called(&self, name: &str, herd: &Name) -> bool {
        let mut servers = self.servers_of(herd);
        servers.any(|own| is_same(&own.name, name))
    }

    /// Is it for a server of `herd`?
    pub fn is_server_of(&self, herd: &Name) -> bool {
        self.servers_of(herd).next().is_some()
    }

    /// Is it for a server or an operator of `herd`?
    pub fn is_member_of(&self, herd: &Name) -> bool {
        self.0.iter().any(|own| is_same(&own.herd, herd.as_str()))
    }

    /// Is it for nobody of any herd?
    pub fn is_nobody(&self) -> bool {
        self.0.is_empty()
    }

    fn servers_of(&self, herd: &Name) -> impl Iterator<Item = &Subject> {
        let of = move |own: &&Subject| !own.is_operator && is_same(&own.herd, herd.as_str());
        self.0.iter().filter(of)
    }
}

/// The names, for people.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.0.iter().take(MAX_TOLD).map(Subject::to_string);
        if self.is_nobody() {
            f.write_str("nobody of a herd")
        } else {
            f.write_str(&list(told, "and"))
        }
    }
}

/// A name that somebody gave, in quotes if it is one: what is no name is not
/// repeated.
pub fn repeat(name: &str) -> String {
    match is_name(name.as_bytes()) {
        true => format!("{name:?}"),
        false => "by what is no name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_read_as_they_are_written_and_case_does_not_count() {
        let (riley, test) = (name("Riley"), name("test"));
        let server = Subject::server(&riley, &test);
        let operator = Subject::operator(&riley, &test);
        assert_eq!(server.to_string(), "Riley.test.proxyherd");
        assert_eq!(operator.to_string(), "Riley.operator.test.proxyherd");
        for (subject, other) in [(&server, &operator), (&operator, &server)] {
            let folded = subject.to_string().to_ascii_uppercase();
            let holder = PeerIdentity(vec![Subject::parse(&folded).unwrap()]);
            assert!(holder.is(subject) && !holder.is(other), "{holder}");
        }
    }

    #[test]
    fn nobody_is_called_so_that_they_are_taken_for_another() {
        let herd = name("test");
        for operator in ["Riley", "operator", "test", "proxyherd"] {
            let subject = Subject::operator(&name(operator), &herd);
            let holder = PeerIdentity(vec![Subject::parse(&subject.to_string()).unwrap()]);
            assert!(!holder.is_server_of(&herd), "{holder}");
            assert!(holder.is_member_of(&herd), "{holder}");
        }
        // A server whose herd, or who itself, is called "operator" stays one.
        let odd = Subject::server(&name("operator"), &name("operator"));
        let holder = PeerIdentity(vec![Subject::parse(&odd.to_string()).unwrap()]);
        assert!(holder.is_server_called("Operator", &name("operator")));
    }

    #[test]
    fn other_names_are_for_nobody() {
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
    fn a_certificate_that_is_none_is_for_nobody() {
        let holder = PeerIdentity::of(&CertificateDer::from(vec![0x30, 0x80, 1]));
        assert!(holder.is_nobody());
        assert_eq!(holder.to_string(), "nobody of a herd");
    }
}

//! The TLS files that `[security]` names.

use std::path::{Path, PathBuf};

use super::ServerConfig;
use super::problems::Problems;
use super::section::Section;
use crate::format;
use crate::model::name::Name;
use crate::tls::{Files, Pair};

/// The placeholder for a server's name in a path.
const NAME_PLACEHOLDER: &str = "{name}";

/// The paths of certificates and keys. `ca`, `certificate` and `key` are all set or none
/// is, and so are the two for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub(super) ca: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) clients_certificate: Option<PathBuf>,
    pub(super) clients_key: Option<PathBuf>,
}

impl TlsSettings {
    /// Returns whether servers use TLS with each other.
    pub fn is_on(&self) -> bool {
        self.ca.is_some()
    }

    /// Returns the CA file of the herd, for callers of its servers.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// Returns the files of `server` for links, if servers use TLS.
    pub fn for_links_of(&self, server: &Name) -> Option<Files> {
        let own = self.pair(&self.certificate, &self.key, server)?;
        let ca = self.ca.clone()?;
        Some(Files { ca, own })
    }

    /// Returns the certificate and key of `server` for clients that use TLS.
    pub fn for_clients_of(&self, server: &Name) -> Option<Pair> {
        let own_for_clients = self.pair(&self.clients_certificate, &self.clients_key, server);
        own_for_clients.or_else(|| self.pair(&self.certificate, &self.key, server))
    }

    fn pair(
        &self,
        certificate: &Option<PathBuf>,
        key: &Option<PathBuf>,
        server: &Name,
    ) -> Option<Pair> {
        Some(Pair {
            certificate: for_server(certificate.as_deref()?, server),
            key: for_server(key.as_deref()?, server),
        })
    }

    /// Adds a problem for each path that is missing beside a related one.
    pub(super) fn check(&self, section: &mut Section<'_, '_>) {
        let links = [
            ("ca", &self.ca),
            ("certificate", &self.certificate),
            ("key", &self.key),
        ];
        let clients = [
            ("clients_certificate", &self.clients_certificate),
            ("clients_key", &self.clients_key),
        ];
        for group in [&links[..], &clients[..]] {
            let is_begun = group.iter().any(|(_, path)| path.is_some());
            for (key, _) in group.iter().filter(|(_, path)| is_begun && path.is_none()) {
                let all: Vec<&str> = group.iter().map(|(key, _)| *key).collect();
                let all = format::list(all, "and");
                section.add(format!(
                    "[security] lacks {key}; set {all} together, or none of them"
                ));
            }
        }
    }

    /// Adds a problem if a server has `clients_tls` and no certificate for it.
    pub(super) fn check_clients(&self, servers: &[ServerConfig], problems: &mut Problems) {
        let has_pair = self.certificate.is_some() || self.clients_certificate.is_some();
        let with_tls = servers.iter().find(|server| server.clients_tls.is_some());
        if let Some(server) = with_tls.filter(|_| !has_pair) {
            problems.general(format!(
                "{} has clients_tls and no certificate for it; set clients_certificate and \
                 clients_key under [security], or ca, certificate and key",
                server.name
            ));
        }
    }
}

/// Inserts the name of a server into a path. A path that is not UTF-8 stays as it is: it is
/// not from a config file.
fn for_server(path: &Path, server: &Name) -> PathBuf {
    match path.to_str() {
        Some(text) => text.replace(NAME_PLACEHOLDER, server.as_str()).into(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::samples::{alone, error, parse};

    const LINKS: &str = "[security]\nca = \"ca.pem\"\ncertificate = \"c/{name}.pem\"\n\
                         key = \"/{name}/{name}.key\"\n";

    #[test]
    fn the_placeholder_gives_every_server_its_own_files() {
        let config = parse(&(alone() + "clients_tls = \"127.0.0.1:9\"\n" + LINKS));
        let plan = config.plan(&config.servers[0]);
        let files = plan.tls.unwrap();
        assert_eq!(files.ca.to_str(), Some("ca.pem"));
        assert_eq!(files.own.certificate.to_str(), Some("c/Riley.pem"));
        assert_eq!(files.own.key.to_str(), Some("/Riley/Riley.key"));
        let (address, pair) = plan.clients_tls.unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:9");
        assert_eq!(pair, files.own);
    }

    #[test]
    fn clients_may_get_another_certificate_on_another_address() {
        let server = "clients_tls = \"riley.example.org:9\"\nbind_clients_tls = \"0.0.0.0:8\"\n";
        let clients = "clients_certificate = \"public.pem\"\nclients_key = \"public.key\"\n";
        for security in [LINKS, "[security]\n"] {
            let config = parse(&(alone() + server + security + clients));
            let plan = config.plan(&config.servers[0]);
            let (address, pair) = plan.clients_tls.unwrap();
            assert_eq!(address.to_string(), "0.0.0.0:8");
            assert_eq!(pair.certificate.to_str(), Some("public.pem"));
            assert_eq!(plan.tls.is_some(), security == LINKS);
            let text = config.explain();
            assert!(text.contains("with TLS  "), "{text}");
            assert!(
                text.contains("listens, with TLS, on  0.0.0.0:8\n"),
                "{text}"
            );
        }
    }

    #[test]
    fn related_paths_are_all_set_or_none_is() {
        let missing = error(&(alone() + "[security]\ncertificate = \"a\"\nclients_key = \"b\"\n"));
        assert_eq!(
            missing,
            "h:9: [security] lacks ca; set ca, certificate and key together, or none of them\n\
             h:9: [security] lacks key; set ca, certificate and key together, or none of them\n\
             h:9: [security] lacks clients_certificate; set clients_certificate and clients_key \
             together, or none of them"
        );
        let nothing = error(&(alone() + "clients_tls = \"127.0.0.1:9\"\n"));
        assert!(nothing.starts_with("h: Riley has clients_tls and no certificate for it"));
    }

    #[test]
    fn clients_tls_needs_its_own_address() {
        let errors = error(&(alone() + "clients_tls = \"127.0.0.1:12000\"\n" + LINKS));
        assert!(errors.contains("clients_tls = \"127.0.0.1:12000\": already used for clients of"));
        let server = "clients_tls = \"127.0.0.1:9\"\nbind_clients_tls = \"127.0.0.1:13000\"\n";
        let errors = error(&(alone() + server + LINKS));
        assert!(
            errors.contains("Riley cannot listen for both neighbours and clients with TLS on"),
            "{errors}"
        );
    }
}

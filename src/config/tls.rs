//! The files of TLS that `[security]` names.

use std::path::{Path, PathBuf};

use super::Server;
use super::problems::Problems;
use super::section::Section;
use crate::model::name::Name;
use crate::tls::{Files, Pair};

/// What stands for the name of a server in the path of a file.
const NAME: &str = "{name}";

/// Where certificates and keys are. Either all of `ca`, `certificate` and `key`
/// are there or none, and so with the two for clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    pub(super) ca: Option<PathBuf>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) clients_certificate: Option<PathBuf>,
    pub(super) clients_key: Option<PathBuf>,
}

impl TlsSettings {
    /// Do servers talk by TLS?
    pub fn is_on(&self) -> bool {
        self.ca.is_some()
    }

    /// The CA of the herd, for whoever calls its servers by TLS.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// What a server uses to talk with others, if they use TLS.
    pub fn links_of(&self, server: &Name) -> Option<Files> {
        let own = self.pair(&self.certificate, &self.key, server)?;
        let ca = self.ca.clone()?;
        Some(Files { ca, own })
    }

    /// What a server shows to clients that use TLS.
    pub fn shown_by(&self, server: &Name) -> Option<Pair> {
        let for_clients = self.pair(&self.clients_certificate, &self.clients_key, server);
        for_clients.or_else(|| self.pair(&self.certificate, &self.key, server))
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

    /// Notes what is missing beside what is there.
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
                let all = super::messages::list(all, "and");
                section.add(format!(
                    "[security] lacks {key}: {all} belong together, all of them or none"
                ));
            }
        }
    }

    /// Notes where there is nothing to show to clients.
    pub(super) fn check_clients(&self, servers: &[Server], problems: &mut Problems) {
        let has_pair = self.certificate.is_some() || self.clients_certificate.is_some();
        let with_tls = servers.iter().find(|server| server.clients_tls.is_some());
        if let Some(server) = with_tls.filter(|_| !has_pair) {
            problems.general(format!(
                "{} has clients_tls and no certificate to show there: set clients_certificate and \
                 clients_key under [security], or ca, certificate and key",
                server.name
            ));
        }
    }
}

/// A path that is no UTF-8 came from no file of ours, and stays as it is.
fn for_server(path: &Path, server: &Name) -> PathBuf {
    match path.to_str() {
        Some(text) => text.replace(NAME, server.as_str()).into(),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::samples::{alone, error, parse};

    const LINKS: &str = "[security]\nca = \"ca.pem\"\ncertificate = \"c/{name}.pem\"\n\
                         key = \"/{name}/{name}.key\"\n";

    #[test]
    fn every_server_has_files_of_its_own() {
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
    fn clients_may_be_shown_another_certificate_and_on_another_address() {
        let server = "clients_tls = \"riley.example.org:9\"\nbind_clients_tls = \"0.0.0.0:8\"\n";
        let clients = "clients_certificate = \"public.pem\"\nclients_key = \"public.key\"\n";
        for security in [LINKS, "[security]\n"] {
            let config = parse(&(alone() + server + security + clients));
            let plan = config.plan(&config.servers[0]);
            let (address, pair) = plan.clients_tls.unwrap();
            assert_eq!(address.to_string(), "0.0.0.0:8");
            assert_eq!(pair.certificate.to_str(), Some("public.pem"));
            assert_eq!(plan.tls.is_some(), security == LINKS);
            let told = config.explain();
            assert!(told.contains("with TLS  "), "{told}");
            assert!(
                told.contains("listens, with TLS, on  0.0.0.0:8\n"),
                "{told}"
            );
        }
    }

    #[test]
    fn what_belongs_together_is_there_or_not_at_all() {
        let missing = error(&(alone() + "[security]\ncertificate = \"a\"\nclients_key = \"b\"\n"));
        assert_eq!(
            missing,
            "h:9: [security] lacks ca: ca, certificate and key belong together, all of them or none\n\
             h:9: [security] lacks key: ca, certificate and key belong together, all of them or none\n\
             h:9: [security] lacks clients_certificate: clients_certificate and clients_key belong \
             together, all of them or none"
        );
        let nothing = error(&(alone() + "clients_tls = \"127.0.0.1:9\"\n"));
        assert!(nothing.starts_with("h: Riley has clients_tls and no certificate to show"));
    }

    #[test]
    fn every_port_is_a_port_of_its_own() {
        let told = error(&(alone() + "clients_tls = \"127.0.0.1:12000\"\n" + LINKS));
        assert!(told.contains("clients_tls = \"127.0.0.1:12000\": this is clients of Riley"));
        let server = "clients_tls = \"127.0.0.1:9\"\nbind_clients_tls = \"127.0.0.1:13000\"\n";
        let told = error(&(alone() + server + LINKS));
        assert!(
            told.contains("Riley would listen for its neighbours and for clients with TLS on"),
            "{told}"
        );
    }
}

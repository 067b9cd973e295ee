//! The TLS files that `[security]` names.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::ServerConfig;
use super::path_fault::path_fault;
use super::problems::Problems;
use super::section::Section;
use super::setting::Setting;
use super::value::{FromToml, ValueError, text};
use super::variables::IN_BRACES;
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
    pub(super) certificate: Option<ServerPath>,
    pub(super) key: Option<ServerPath>,
    pub(super) clients_certificate: Option<ServerPath>,
    pub(super) clients_key: Option<ServerPath>,
}

/// A path in which [`NAME_PLACEHOLDER`] stands for the name of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerPath(String);

impl ServerPath {
    /// Returns the path of one server.
    fn of(&self, server: &Name) -> PathBuf {
        self.0.replace(NAME_PLACEHOLDER, server.as_str()).into()
    }
}

impl FromToml for Option<ServerPath> {
    const WANTED: &'static str = r#"a path in quotes, as in "certs/servers/{name}.pem""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let path = text(value)?;
        match path_fault(&path.replace(NAME_PLACEHOLDER, "name"), IN_BRACES) {
            Some(fault) if path.contains(['{', '}']) => Err(ValueError::Value(format!(
                "{fault}; {NAME_PLACEHOLDER} is the only placeholder, for the name of the server"
            ))),
            Some(fault) => Err(ValueError::Value(fault)),
            None => Ok(Some(ServerPath(path.to_owned()))),
        }
    }
}

impl Setting for Option<ServerPath> {
    fn show(&self) -> String {
        let path = self.as_ref().map(|path| path.0.clone());
        path.unwrap_or_else(|| "none".to_owned())
    }
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
        certificate: &Option<ServerPath>,
        key: &Option<ServerPath>,
        server: &Name,
    ) -> Option<Pair> {
        Some(Pair {
            certificate: certificate.as_ref()?.of(server),
            key: key.as_ref()?.of(server),
        })
    }

    /// Adds a problem for each path that is missing beside a related one.
    pub(super) fn check(&self, section: &mut Section<'_, '_>) {
        let links = [
            ("ca", self.ca.is_some()),
            ("certificate", self.certificate.is_some()),
            ("key", self.key.is_some()),
        ];
        let clients = [
            ("clients_certificate", self.clients_certificate.is_some()),
            ("clients_key", self.clients_key.is_some()),
        ];
        for group in [&links[..], &clients[..]] {
            let is_begun = group.iter().any(|(_, is_set)| *is_set);
            for (key, _) in group.iter().filter(|(_, is_set)| is_begun && !is_set) {
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
        let with_tls = servers.iter().find(|server| server.clients_tls.is_some());
        self.check_pair(with_tls, "clients_tls", problems);
    }

    /// Adds a problem if a server has a web port with TLS and no certificate for it.
    pub(super) fn check_web(&self, servers: &[ServerConfig], problems: &mut Problems) {
        let with_web = servers.iter().find(|server| server.web.is_some());
        self.check_pair(with_web, "web with [web] tls", problems);
    }

    fn check_pair(&self, with_tls: Option<&ServerConfig>, what: &str, problems: &mut Problems) {
        let has_pair = self.certificate.is_some() || self.clients_certificate.is_some();
        if let Some(server) = with_tls.filter(|_| !has_pair) {
            problems.general(format!(
                "{} has {what} and no certificate for it; set clients_certificate and \
                 clients_key under [security], or ca, certificate and key",
                server.name
            ));
        }
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
    fn name_is_the_only_placeholder_and_only_of_a_servers_own_files() {
        let error_of = |key: &str, path: &str| {
            let all = LINKS.replace(
                &format!("\n{key} = \""),
                &format!("\n{key} = \"{path}\" # "),
            );
            error(&(alone() + &all))
        };
        let only = "; write the whole path; {name} is the only placeholder, for the name of the \
                    server";
        for (key, path, expected) in [
            ("certificate", "{Name}.pem", only),
            ("key", "{{name}}.key", only),
            (
                "key",
                "$DIR/{name}.key",
                "a variable ($) is not expanded here; write the whole path, or ${NAME} in braces",
            ),
            (
                "ca",
                "{name}/ca.pem",
                "a placeholder ({}) is not expanded here",
            ),
        ] {
            let errors = error_of(key, path);
            assert!(
                errors.contains(&format!("{key} = \"{path}\": ")),
                "{errors}"
            );
            assert!(errors.contains(expected), "{errors}");
        }
        let dir = error(&(alone() + "[log]\ndir = \"~/logs\"\n"));
        assert_eq!(
            dir,
            "h:10: dir = \"~/logs\": ~ is not expanded here; write the whole path, or ./~ for a \
             file that is called so"
        );
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

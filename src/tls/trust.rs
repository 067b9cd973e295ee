//! Which certificates of others are trusted, and the TLS configurations of links that hold to that.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore, ServerConfig, client::Resumption,
};

use super::errors;
use super::files::{self, FileError};
use super::subject::{PeerIdentity, Subject};

/// The protocol between servers, as ALPN (RFC 7301) names it.
const HTTP_2: &[u8] = b"h2";

/// The cause for which a file of CAs cannot be used, if none of its certificates has one.
const NO_CA: &str = "it holds no certificate of a CA that can be used";

/// What the other end of a connection is, which decides how its certificates are verified.
#[derive(Clone, Debug)]
pub enum PeerRole {
    /// It called this server.
    Caller,
    /// It was dialled as the server with this name.
    Server(ServerName<'static>),
}

/// Verifiers of certificates against the CAs.
pub(super) struct Trust {
    servers: Arc<WebPkiServerVerifier>,
    callers: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    pub(super) fn new(
        path: &Path,
        authorities: &[CertificateDer<'static>],
    ) -> Result<Self, FileError> {
        let mut roots = RootCertStore::empty();
        for (i, authority) in authorities.iter().enumerate() {
            roots.add(authority.clone()).map_err(|error| {
                let cause = errors::describe_authority(&error);
                FileError::new(path, format!("{cause} (number {})", i + 1))
            })?;
        }
        let (roots, wrong) = (Arc::new(roots), |cause: &str| FileError::new(path, cause));
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|_| wrong(NO_CA))?;
        let callers = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|_| wrong(NO_CA))?;
        Ok(Self { servers, callers })
    }

    /// Verifies that a path leads from the first of these certificates to a CA, over any of the
    /// others, and that all certificates of the path are valid now.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        role: &PeerRole,
    ) -> Result<(), Error> {
        let [own, between @ ..] = chain else {
            return Err(Error::NoCertificatesPresented);
        };
        let now = UnixTime::now();
        match role {
            PeerRole::Caller => {
                let verified = self.callers.verify_client_cert(own, between, now);
                verified.map(drop)
            }
            PeerRole::Server(name) => {
                let verified = self
                    .servers
                    .verify_server_cert(own, between, name, &[], now);
                verified.map(drop)
            }
        }
    }

    /// Checks that the herd would accept this certificate, as that of `server` if one is given.
    /// Dates are ignored, since they are logged separately.
    pub(super) fn check(
        &self,
        path: &Path,
        chain: &[CertificateDer<'_>],
        server: Option<&Subject>,
    ) -> Result<(), FileError> {
        let wrong = |cause: String| FileError::new(path, cause);
        let accept = |verified| ignore_dates(verified).map_err(|error| own_fault(chain, &error));
        accept(self.verify(chain, &PeerRole::Caller)).map_err(wrong)?;
        let Some(server) = server else {
            return Ok(());
        };
        let holder = chain.first().map(PeerIdentity::of).unwrap_or_default();
        if !holder.is(server) {
            return Err(wrong(format!(
                "it is for {holder}; this server needs one with the DNS name {server} (subject \
                 alternative name)"
            )));
        }
        let name = server_name(server).map_err(|error| wrong(errors::describe_own(&error)))?;
        accept(self.verify(chain, &PeerRole::Server(name))).map_err(wrong)
    }

    pub(super) fn configs(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(ServerConfig, ClientConfig), Error> {
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self.callers.clone())
            .with_single_cert(chain.clone(), key.clone_key())?;
        server.alpn_protocols = vec![HTTP_2.to_vec()];
        // A resumed session presents no certificate, so an expired one would go unnoticed.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_webpki_verifier(self.servers.clone())
            .with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![HTTP_2.to_vec()];
        client.resumption = Resumption::disabled();
        Ok((server, client))
    }
}

/// Returns the name that a server must present when it is dialled.
///
/// # Errors
///
/// If the name is not a valid DNS name.
pub fn server_name(server: &Subject) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(server.to_string())
        .map_err(|_| Error::General(format!("{server} is not a DNS name")))
}

fn ignore_dates(verified: Result<(), Error>) -> Result<(), Error> {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    match verified {
        Err(Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        )) => Ok(()),
        verified => verified,
    }
}

/// Describes why the herd would not accept a server's own certificate. In the message "it" is the
/// file.
fn own_fault(chain: &[CertificateDer<'_>], error: &Error) -> String {
    let fault = errors::describe_own(error);
    let is_unknown = matches!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    );
    match chain.last().filter(|_| is_unknown).and_then(files::issuer) {
        Some(issuer) => format!(
            "{fault}: {issuer}; if that is an intermediate CA, its certificate has to follow in \
             this file"
        ),
        None => fault,
    }
}

/// Returns the cryptography of every configuration.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

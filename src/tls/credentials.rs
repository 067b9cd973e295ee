//! What a server shows others of itself, and whom it trusts: read from files,
//! and again when they change.
//!
//! Everything is parsed and checked before anything is used: a file that is
//! broken, half-written or does not fit the others changes nothing. Connections
//! take the configuration of the moment at which they begin; whether they may go
//! on is judged by that of each moment (`until_untrusted`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

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

use tokio::sync::watch;

use super::errors;
use super::files::{self, FileError, Files, Pair, Stamp};
use super::handshake_error::HandshakeError;
use super::subject::{PeerIdentity, Subject};

/// The protocol between servers, as ALPN (RFC 7301) names it.
const HTTP_2: &[u8] = b"h2";

/// A certificate, its key, and the CA that others' certificates must be from.
pub struct Credentials {
    files: Files,
    purpose: Purpose,
    /// Looked at for as long as it takes to count a reference.
    current: watch::Sender<Arc<Loaded>>,
    /// The files as they were before they were read first.
    first: Vec<Option<Stamp>>,
}

/// What they are for.
#[derive(Clone, Debug)]
enum Purpose {
    /// Links, of this server.
    Links(Subject),
    /// Calls to servers, by an operator.
    Calls,
    /// Clients, who show no certificate and trust whom they like.
    Clients,
}

/// What was read, ready to use.
pub(super) struct Loaded {
    server: Arc<ServerConfig>,
    client: Option<Arc<ClientConfig>>,
    /// Who may call; nobody shows who they are to what is for clients.
    callers: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) expiries: Vec<CertificateExpiry>,
    pub(super) cautions: Vec<String>,
}

/// When a certificate ceases to be valid.
#[derive(Clone, Debug)]
pub(super) struct CertificateExpiry {
    pub(super) path: PathBuf,
    pub(super) at: SystemTime,
}

impl Credentials {
    /// What a server needs for its links. Fails where a file is broken, or the
    /// certificate is not the server's, or is of none of the CAs. Whether it
    /// has expired is told and does not count: that may change while it is used.
    pub fn of_server(files: Files, server: Subject) -> Result<Self, FileError> {
        Self::open(files, Purpose::Links(server))
    }

    /// What an operator needs to call servers.
    pub fn of_operator(files: Files) -> Result<Self, FileError> {
        Self::open(files, Purpose::Calls)
    }

    /// What a server shows to its clients.
    pub fn for_clients(pair: Pair) -> Result<Self, FileError> {
        let ca = PathBuf::new();
        Self::open(Files { ca, own: pair }, Purpose::Clients)
    }

    fn open(files: Files, purpose: Purpose) -> Result<Self, FileError> {
        let first = Stamp::all(&paths(&files, &purpose));
        let loaded = load(&files, &purpose)?;
        Ok(Self {
            files,
            purpose,
            current: watch::Sender::new(Arc::new(loaded)),
            first,
        })
    }

    /// For the next connection that comes in.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.current().server.clone()
    }

    /// For the next connection that is dialled; what is for clients dials
    /// nobody.
    pub fn client_config(&self) -> Option<Arc<ClientConfig>> {
        self.current().client.clone()
    }

    pub(super) fn current(&self) -> Arc<Loaded> {
        self.current.borrow().clone()
    }

    /// Tells when they were read again, from this call on.
    pub fn readings(&self) -> ReloadEvents {
        ReloadEvents(self.current.subscribe())
    }

    /// Reads all files again. Where that fails, nothing changes.
    pub(super) fn reload(&self) -> Result<(), FileError> {
        let loaded = load(&self.files, &self.purpose)?;
        self.current.send_replace(Arc::new(loaded));
        Ok(())
    }

    /// The files as they were before they were read first.
    pub(super) fn first_stamps(&self) -> &[Option<Stamp>] {
        &self.first
    }

    /// The files as they are.
    pub(super) fn stamps(&self) -> Vec<Option<Stamp>> {
        Stamp::all(&paths(&self.files, &self.purpose))
    }
}

/// Tells when credentials were read again.
pub struct ReloadEvents(watch::Receiver<Arc<Loaded>>);

impl ReloadEvents {
    /// Were they read again since this was last asked?
    pub fn is_new(&mut self) -> bool {
        let is_new = self.0.has_changed().unwrap_or(false);
        if is_new {
            self.0.mark_unchanged();
        }
        is_new
    }

    /// Resolves when they were read again since the last answer; never once the
    /// credentials are gone.
    pub(super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl fmt::Debug for ReloadEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readings")
    }
}

impl Loaded {
    /// Would somebody who calls now, and shows these certificates, get in?
    pub(super) fn check_caller(&self, chain: &[CertificateDer<'_>]) -> Result<(), HandshakeError> {
        let (Some(callers), [own, between @ ..]) = (&self.callers, chain) else {
            return Ok(());
        };
        let verified = callers.verify_client_cert(own, between, UnixTime::now());
        verified
            .map(drop)
            .map_err(|error| errors::refusal_of(&error))
    }
}

/// Keys are not for printing.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, purpose, .. } = self;
        write!(f, "Credentials({files:?}, {purpose:?})")
    }
}

fn paths(files: &Files, purpose: &Purpose) -> Vec<PathBuf> {
    let Pair { certificate, key } = &files.own;
    let mut paths = vec![certificate.clone(), key.clone()];
    if !matches!(purpose, Purpose::Clients) {
        paths.push(files.ca.clone());
    }
    paths
}

fn load(files: &Files, purpose: &Purpose) -> Result<Loaded, FileError> {
    let chain = files::certificates(&files.own.certificate)?;
    let key = files::key(&files.own.key)?;
    match purpose {
        Purpose::Clients => load_for_clients(files, chain, key),
        Purpose::Links(_) | Purpose::Calls => load_for_links(files, purpose, chain, key),
    }
}

fn load_for_clients(
    files: &Files,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Loaded, FileError> {
    let expiries = expiries(files, &chain, &[]);
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| unusable(&files.own, &error))?;
    Ok(Loaded {
        server: Arc::new(server),
        client: None,
        callers: None,
        expiries,
        cautions: files::exposed_key(&files.own.key).into_iter().collect(),
    })
}

fn load_for_links(
    files: &Files,
    purpose: &Purpose,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Loaded, FileError> {
    let authorities = files::certificates(&files.ca)?;
    let trust = Trust::new(&files.ca, &authorities)?;
    trust.check(&files.own.certificate, &chain, purpose)?;
    let expiries = expiries(files, &chain, &authorities);
    let callers = trust.callers.clone();
    let (server, client) = trust
        .configs(chain, key)
        .map_err(|error| unusable(&files.own, &error))?;
    Ok(Loaded {
        server: Arc::new(server),
        client: Some(Arc::new(client)),
        callers: Some(callers),
        expiries,
        cautions: files::exposed_key(&files.own.key).into_iter().collect(),
    })
}

/// The CAs that certificates must be from.
struct Trust {
    servers: Arc<WebPkiServerVerifier>,
    callers: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    fn new(path: &Path, authorities: &[CertificateDer<'static>]) -> Result<Self, FileError> {
        let mut roots = RootCertStore::empty();
        for (i, authority) in authorities.iter().enumerate() {
            roots.add(authority.clone()).map_err(|error| {
                let cause = format!("certificate {} in it is no CA's: {error}", i + 1);
                FileError::new(path, cause)
            })?;
        }
        let (roots, wrong) = (Arc::new(roots), |error: String| FileError::new(path, error));
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let callers = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { servers, callers })
    }

    /// Would others of the herd take this certificate for its owner's? Its dates
    /// aside, which are told on their own.
    fn check(
        &self,
        path: &Path,
        chain: &[CertificateDer<'_>],
        purpose: &Purpose,
    ) -> Result<(), FileError> {
        let now = UnixTime::now();
        let [own, between @ ..] = chain else {
            return Err(FileError::new(path, "there is no certificate in it"));
        };
        let wrong = |cause: String| FileError::new(path, cause);
        let called = self.callers.verify_client_cert(own, between, now);
        ignore_dates(called.map(drop)).map_err(wrong)?;
        let Purpose::Links(server) = purpose else {
            return Ok(());
        };
        let holder = PeerIdentity::of(own);
        if !holder.is(server) {
            return Err(wrong(format!(
                "it is for {holder}; this server needs one with the DNS name {server} (subject alternative name)"
            )));
        }
        let name = server_name(server).map_err(|error| wrong(error.to_string()))?;
        let dialled = self
            .servers
            .verify_server_cert(own, between, &name, &[], now);
        ignore_dates(dialled.map(drop)).map_err(wrong)
    }

    fn configs(
        self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(ServerConfig, ClientConfig), Error> {
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self.callers)
            .with_single_cert(chain.clone(), key.clone_key())?;
        server.alpn_protocols = vec![HTTP_2.to_vec()];
        // A connection that takes up an older one is not asked for its
        // certificate, whatever has become of that.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_webpki_verifier(self.servers)
            .with_client_auth_cert(chain, key)?;
        client.alpn_protocols = vec![HTTP_2.to_vec()];
        client.resumption = Resumption::disabled();
        Ok((server, client))
    }
}

/// The name by which a server is dialled.
pub fn server_name(server: &Subject) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(server.to_string())
        .map_err(|_| Error::General(format!("{server} is no DNS name")))
}

fn ignore_dates(verified: Result<(), Error>) -> Result<(), String> {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    match verified {
        Ok(())
        | Err(Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        )) => Ok(()),
        Err(Error::InvalidCertificate(error)) => Err(errors::own_certificate(&error)),
        Err(error) => Err(error.to_string()),
    }
}

/// rustls knows no more than that certificate and key do not go together.
fn unusable(pair: &Pair, error: &Error) -> FileError {
    let cause = match error {
        Error::InconsistentKeys(_) => {
            format!("it is not the key of {}", pair.certificate.display())
        }
        _ => format!(
            "it can not be used with {}: {error}",
            pair.certificate.display()
        ),
    };
    FileError::new(&pair.key, cause)
}

/// When the own certificate, and the CA's that it is from, cease to be valid. Of
/// a bundle, other CAs may well have expired.
fn expiries(
    files: &Files,
    chain: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
) -> Vec<CertificateExpiry> {
    let expiry = |path: &Path, certificate: &CertificateDer<'_>| {
        let (_, at) = files::validity(certificate)?;
        let path = path.to_owned();
        Some(CertificateExpiry { path, at })
    };
    let own = chain
        .first()
        .and_then(|own| expiry(&files.own.certificate, own));
    let last = chain.last();
    let issuers = authorities
        .iter()
        .filter(|ca| last.is_some_and(|last| files::is_issuer(ca, last)));
    let issuer = issuers
        .filter_map(|ca| expiry(&files.ca, ca))
        .max_by_key(|expiry| expiry.at);
    own.into_iter().chain(issuer).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

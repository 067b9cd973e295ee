//! The certificate of a server and the CAs it trusts, read from files, and again when they change.
//!
//! Everything is parsed and checked before it is used. A file that is invalid, half-written or
//! does not match the others changes nothing. A connection begins with the configuration of that
//! moment. `until_untrusted` ends it when the configuration of a later moment no longer trusts it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, Error, ServerConfig};
use tokio::sync::watch;

use crate::format;

use super::errors;
use super::expiry::CertificateExpiry;
use super::files::{self, FileError, FileStamp, Files, Pair};
use super::handshake_error::HandshakeError;
use super::subject::{PeerIdentity, Subject};
use super::trust::{PeerRole, Trust, provider};

/// A certificate with its key, and the CAs whose certificates are trusted.
pub struct Credentials {
    files: Files,
    purpose: Purpose,
    /// Borrowed only to count a reference.
    current: watch::Sender<Arc<LoadedCredentials>>,
    /// State of the files just before they were first read.
    first: Vec<Option<FileStamp>>,
}

/// The host of an address in the config that others dial, for which they may look in the
/// certificate.
#[derive(Clone, Debug)]
pub struct DialledHost {
    /// The key of the address.
    pub key: &'static str,
    /// The host.
    pub host: String,
}

/// The use of credentials.
#[derive(Clone, Debug)]
enum Purpose {
    /// Links of this server.
    Links(Subject),
    /// An operator's calls to servers.
    Calls,
    /// A port for clients, which present no certificate and may check this host.
    Clients(Option<DialledHost>),
}

/// TLS configurations made from the files.
pub(super) struct LoadedCredentials {
    server: Arc<ServerConfig>,
    client: Option<Arc<ClientConfig>>,
    /// `None` at a port for clients.
    trust: Option<Trust>,
    pub(super) expiries: Vec<CertificateExpiry>,
    /// What each file of certificates gave.
    pub(super) contents: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Credentials {
    /// Loads the credentials of a server for its links.
    ///
    /// # Errors
    ///
    /// If a file is invalid, or the certificate names another server or is from none of the CAs.
    /// An expired certificate is no error, as it may also expire while it is used; it is logged.
    pub fn of_server(files: Files, server: Subject) -> Result<Self, FileError> {
        Self::open(files, Purpose::Links(server))
    }

    /// Loads the credentials of an operator for calls to servers.
    ///
    /// # Errors
    ///
    /// As [`of_server`](Self::of_server), for any name.
    pub fn of_operator(files: Files) -> Result<Self, FileError> {
        Self::open(files, Purpose::Calls)
    }

    /// Loads the credentials that a server presents to those who dial `host`.
    ///
    /// # Errors
    ///
    /// If a file is invalid, or the key is not the certificate's. A certificate that clients may
    /// reject is no error, as not all of them check it; it is logged.
    pub fn for_clients(pair: Pair, host: Option<DialledHost>) -> Result<Self, FileError> {
        let ca = PathBuf::new();
        Self::open(Files { ca, own: pair }, Purpose::Clients(host))
    }

    fn open(files: Files, purpose: Purpose) -> Result<Self, FileError> {
        let first = FileStamp::all(&paths(&files, &purpose));
        let loaded = load(&files, &purpose)?;
        Ok(Self {
            files,
            purpose,
            current: watch::Sender::new(Arc::new(loaded)),
            first,
        })
    }

    /// Returns the configuration for the next incoming connection.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.current().server.clone()
    }

    /// Returns the configuration for the next connection that is dialled; `None` for credentials
    /// of a port for clients.
    pub fn client_config(&self) -> Option<Arc<ClientConfig>> {
        self.current().client.clone()
    }

    /// Returns what each file of certificates gave, in lines for people.
    pub fn contents(&self) -> Vec<String> {
        self.current().contents.clone()
    }

    /// Returns what does not keep a server from starting and others may reject, in lines for
    /// people.
    pub fn warnings(&self) -> Vec<String> {
        let (current, now) = (self.current(), SystemTime::now());
        let expiries = current.expiries.iter();
        let expiries = expiries.filter_map(|expiry| Some(expiry.state(now)?.into_message()));
        current.warnings.iter().cloned().chain(expiries).collect()
    }

    pub(super) fn current(&self) -> Arc<LoadedCredentials> {
        self.current.borrow().clone()
    }

    /// Returns the reloads from this call on.
    pub fn reload_events(&self) -> ReloadEvents {
        ReloadEvents(self.current.subscribe())
    }

    /// Reads all files again. Changes nothing if that fails.
    pub(super) fn reload(&self) -> Result<(), FileError> {
        let loaded = load(&self.files, &self.purpose)?;
        self.current.send_replace(Arc::new(loaded));
        Ok(())
    }

    /// Returns the state of the files just before they were first read.
    pub(super) fn first_stamps(&self) -> &[Option<FileStamp>] {
        &self.first
    }

    /// Returns the present state of the files.
    pub(super) fn stamps(&self) -> Vec<Option<FileStamp>> {
        FileStamp::all(&paths(&self.files, &self.purpose))
    }
}

/// The reloads of credentials.
pub struct ReloadEvents(watch::Receiver<Arc<LoadedCredentials>>);

impl ReloadEvents {
    /// Returns true if the credentials were reloaded since the last call.
    pub fn is_new(&mut self) -> bool {
        let is_new = self.0.has_changed().unwrap_or(false);
        if is_new {
            self.0.mark_unchanged();
        }
        is_new
    }

    /// Resolves when the credentials were reloaded since the last call. Never resolves once they
    /// are dropped.
    pub(super) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl fmt::Debug for ReloadEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReloadEvents")
    }
}

impl LoadedCredentials {
    /// Checks that the other end of a connection would be accepted now with these certificates,
    /// its own first. Those that are not in a path to a CA do not count.
    pub(super) fn check_peer(
        &self,
        chain: &[CertificateDer<'_>],
        role: &PeerRole,
    ) -> Result<(), HandshakeError> {
        let Some(trust) = &self.trust else {
            return Ok(());
        };
        trust
            .verify(chain, role)
            .map_err(|error| errors::from_rustls(&error))
    }
}

/// Prints no key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, purpose, .. } = self;
        write!(f, "Credentials({files:?}, {purpose:?})")
    }
}

fn paths(files: &Files, purpose: &Purpose) -> Vec<PathBuf> {
    let Pair { certificate, key } = &files.own;
    let mut paths = vec![certificate.clone(), key.clone()];
    if !matches!(purpose, Purpose::Clients(_)) {
        paths.push(files.ca.clone());
    }
    paths
}

fn load(files: &Files, purpose: &Purpose) -> Result<LoadedCredentials, FileError> {
    let own = OwnCertificate::read(&files.own)?;
    match purpose {
        Purpose::Clients(host) => load_for_clients(files, own, host.as_ref()),
        Purpose::Links(_) | Purpose::Calls => {
            let authorities = files::authorities(&files.ca)?;
            load_for_links(files, purpose, own, &authorities)
        }
    }
}

/// A certificate, those that follow it in its file, and its private key.
struct OwnCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl OwnCertificate {
    /// Reads the files, and checks that they belong together.
    fn read(pair: &Pair) -> Result<Self, FileError> {
        let chain = files::certificates(&pair.certificate)?;
        let key = files::key(&pair.key)?;
        let signing = ring::sign::any_supported_type(&key).map_err(|_| {
            let cause = format!(
                "it is damaged, or of a kind or size that is not supported; {}",
                files::SUPPORTED_KEYS
            );
            FileError::new(&pair.key, cause)
        })?;
        let public = signing.public_key().map(|key| key.to_vec());
        match chain
            .iter()
            .position(|one| files::public_key_info(one) == public)
        {
            Some(0) => Ok(Self { chain, key }),
            Some(number) => Err(FileError::new(
                &pair.certificate,
                format!(
                    "its certificates are in the wrong order: that of the key {} is number {}, and \
                     has to be the first, followed by that of its CA",
                    pair.key.display(),
                    number + 1
                ),
            )),
            None => Err(FileError::new(
                &pair.key,
                format!("it is not the key of {}", pair.certificate.display()),
            )),
        }
    }
}

fn load_for_clients(
    files: &Files,
    own: OwnCertificate,
    host: Option<&DialledHost>,
) -> Result<LoadedCredentials, FileError> {
    let OwnCertificate { chain, key } = own;
    let expiries = expiries(files, &chain, &[]);
    let path = files.own.certificate.display();
    let mut warnings = file_warnings(&files.own, None);
    let unfit = chain.first().and_then(files::unfit_for_servers);
    warnings.extend(unfit.map(|why| format!("{path}: {why}, and clients that check it reject it")));
    let lacking = host.filter(|dialled| !names_host(&chain, &dialled.host));
    warnings.extend(lacking.map(|DialledHost { key, host }| {
        format!(
            "{path}: it does not name {host}, which clients dial ({key}), and those that check it \
             reject it; renew it with this subject alternative name"
        )
    }));
    let contents = vec![describe_file(&files.own.certificate, "certificate", &chain)];
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| unusable(&files.own, &error))?;
    Ok(LoadedCredentials {
        server: Arc::new(server),
        client: None,
        trust: None,
        expiries,
        contents,
        warnings,
    })
}

fn load_for_links(
    files: &Files,
    purpose: &Purpose,
    own: OwnCertificate,
    authorities: &[CertificateDer<'static>],
) -> Result<LoadedCredentials, FileError> {
    let OwnCertificate { chain, key } = own;
    let trust = Trust::new(&files.ca, authorities)?;
    let server = match purpose {
        Purpose::Links(server) => Some(server),
        Purpose::Calls | Purpose::Clients(_) => None,
    };
    trust.check(&files.own.certificate, &chain, server)?;
    let expiries = expiries(files, &chain, authorities);
    let contents = vec![
        describe_file(&files.ca, "CA certificate", authorities),
        describe_file(&files.own.certificate, "certificate", &chain),
    ];
    let (server, client) = trust
        .configs(chain, key)
        .map_err(|error| unusable(&files.own, &error))?;
    Ok(LoadedCredentials {
        server: Arc::new(server),
        client: Some(Arc::new(client)),
        trust: Some(trust),
        expiries,
        contents,
        warnings: file_warnings(&files.own, Some(&files.ca)),
    })
}

/// Returns warnings about the form of files, in which nothing is wrong for this program.
fn file_warnings(own: &Pair, ca: Option<&PathBuf>) -> Vec<String> {
    let read = [Some(&own.certificate), ca].into_iter().flatten();
    let loose = read.filter_map(|path| files::loose_sections(path));
    files::exposed_key(&own.key)
        .into_iter()
        .chain(loose)
        .collect()
}

/// Describes what a file gave: `ca.pem: 2 CA certificates, valid until ...`, where the time is the
/// first at which one of them expires.
fn describe_file(path: &Path, what: &str, certificates: &[CertificateDer<'_>]) -> String {
    let ends = certificates.iter().filter_map(files::validity);
    let until = ends.map(|(_, until)| until).min();
    let valid = if certificates.len() == 1 {
        "valid"
    } else {
        "all valid"
    };
    format!(
        "{}: {}, {valid} until {}",
        path.display(),
        format::count(certificates.len() as u64, what),
        until.map_or("an unknown time".to_owned(), errors::format_time)
    )
}

/// Returns whether clients that dial `host` find it in the first of these certificates.
fn names_host(chain: &[CertificateDer<'_>], host: &str) -> bool {
    let names = || {
        let certificate = ParsedCertificate::try_from(chain.first()?).ok()?;
        let name = ServerName::try_from(host.to_owned()).ok()?;
        Some(verify_server_name(&certificate, &name).is_ok())
    };
    names().unwrap_or(false)
}

/// Checks that the herd would accept the certificate of these files as that of `member`, and its
/// clients as that of `hosts`. Only the first CA of the file `ca` counts: a herd that replaces its
/// CA has the new one there. Returns the certificate, and why it would not be accepted.
///
/// # Errors
///
/// If one of the files is invalid by itself.
pub(super) fn judge(
    files: &Files,
    member: &Subject,
    hosts: &[String],
) -> Result<(CertificateDer<'static>, Option<String>), FileError> {
    let authorities = files::authorities(&files.ca)?;
    let chain = files::certificates(&files.own.certificate)?;
    files::key(&files.own.key)?;
    let own = chain[0].clone();
    let fault = judge_first_ca(files, member, &chain, &authorities[..1]);
    let lacking = || {
        let host = hosts.iter().find(|host| !names_host(&chain, host))?;
        Some(format!(
            "does not name {host}, which clients dial (clients_tls)"
        ))
    };
    Ok((own, fault.or_else(lacking)))
}

fn judge_first_ca(
    files: &Files,
    member: &Subject,
    chain: &[CertificateDer<'static>],
    first: &[CertificateDer<'static>],
) -> Option<String> {
    let holder = PeerIdentity::of(&chain[0]);
    if !holder.is(member) {
        return Some(format!("is for {holder}, not for {member}"));
    }
    let purpose = if member.is_operator() {
        Purpose::Calls
    } else {
        Purpose::Links(member.clone())
    };
    let trust = Trust::new(&files.ca, first).ok()?;
    if let Err(Error::InvalidCertificate(
        CertificateError::UnknownIssuer | CertificateError::BadSignature,
    )) = trust.verify(chain, &PeerRole::Caller)
    {
        return Some("is from another CA than ca.pem".to_owned());
    }
    let loaded = OwnCertificate::read(&files.own)
        .and_then(|own| load_for_links(files, &purpose, own, first));
    loaded.err().map(|error| {
        let cause = error.cause();
        match cause.strip_prefix("it ") {
            Some(cause) if error.is_of(&files.own.certificate) => cause.to_owned(),
            _ if error.is_of(&files.own.key) => format!("cannot be used with its key ({cause})"),
            _ => error.to_string(),
        }
    })
}

/// Describes a certificate and key that rustls does not accept.
fn unusable(pair: &Pair, error: &Error) -> FileError {
    FileError::new(&pair.certificate, errors::describe_own(error))
}

/// Returns the expiries of the certificates in the path from the server's own to its CA. Others in
/// the files may have expired. Without a path, only the own certificate counts: a port for clients
/// does not know which CAs they trust.
fn expiries(
    files: &Files,
    chain: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
) -> Vec<CertificateExpiry> {
    let expiry = |path: &Path, certificate: &CertificateDer<'_>| {
        let (from, at) = files::validity(certificate)?;
        let path = path.to_owned();
        Some(CertificateExpiry { path, from, at })
    };
    let own_path = &files.own.certificate;
    let Some((own, mut between)) = chain.split_first().map(|(own, rest)| (own, rest.to_vec()))
    else {
        return Vec::new();
    };
    let own_expiry: Vec<_> = expiry(own_path, own).into_iter().collect();
    let (mut path, mut last) = (own_expiry.clone(), own.clone());
    loop {
        let roots = authorities.iter().filter(|ca| files::is_issuer(ca, &last));
        let roots = roots.filter_map(|ca| expiry(&files.ca, ca));
        if let Some(root) = roots.max_by_key(|expiry| expiry.at) {
            path.push(root);
            return path;
        }
        let issuers = between.iter().enumerate();
        let issuers = issuers.filter(|(_, ca)| files::is_issuer(ca, &last));
        let issuers = issuers.filter_map(|(i, ca)| Some((i, expiry(own_path, ca)?)));
        let Some((i, issuer)) = issuers.max_by_key(|(_, expiry)| expiry.at) else {
            return own_expiry;
        };
        path.push(issuer);
        last = between.swap_remove(i);
    }
}

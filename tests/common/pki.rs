//! Valid and invalid certificates for tests.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use proxyherd::model::name::Name;
use proxyherd::tls::issue::{Authority, Validity, generate_key};
use proxyherd::tls::{Files, Pair, Subject, handshake_error};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;
use tower::service_fn;

use super::{LIMIT, PeerClient};

/// A CA, and a directory with its certificate (`ca.pem`) and those that it issued.
pub struct Pki {
    dir: TempDir,
    pub ca: String,
}

pub fn server(name: &str, herd: &str) -> Subject {
    Subject::server(&Name::parse(name).unwrap(), &Name::parse(herd).unwrap())
}

pub fn operator(name: &str, herd: &str) -> Subject {
    Subject::operator(&Name::parse(name).unwrap(), &Name::parse(herd).unwrap())
}

/// Returns a validity from `from` to `until`, in days from now.
pub fn days(from: i64, until: i64) -> Validity {
    let day = |days: i64| {
        let span = Duration::from_secs(86_400 * days.unsigned_abs());
        let now = SystemTime::now();
        if days < 0 { now - span } else { now + span }
    };
    Validity {
        from: day(from),
        until: day(until),
    }
}

impl Pki {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let key = dir.path().join("own-ca.key");
        fs::write(&key, generate_key().unwrap()).unwrap();
        let herd = Name::parse("test").unwrap();
        let ca = Authority::make(&herd, &key, days(-40, 40)).unwrap();
        // Tests replace the other one.
        for name in ["own-ca.pem", "ca.pem"] {
            fs::write(dir.path().join(name), &ca).unwrap();
        }
        Self { dir, ca }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces or creates a file atomically.
    pub fn replace(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// Issues a certificate of this CA as `FILE.pem`, with its key as `FILE.key`.
    pub fn issue(&self, file: &str, subject: &Subject, validity: Validity) -> Pair {
        let pair = self.pair(file);
        fs::write(&pair.key, generate_key().unwrap()).unwrap();
        fs::set_permissions(&pair.key, Permissions::from_mode(0o600)).unwrap();
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = self.authority().issue(subject, &hosts, &pair.key, validity);
        self.replace(&format!("{file}.pem"), &made.unwrap());
        pair
    }

    /// Replaces the certificate of `pair` by a new one of this CA for the same key.
    pub fn renew(&self, pair: &Pair, subject: &Subject) {
        let made = self
            .authority()
            .issue(subject, &[], &pair.key, days(-1, 30));
        let new = pair.certificate.with_extension("new");
        fs::write(&new, made.unwrap()).unwrap();
        fs::rename(&new, &pair.certificate).unwrap();
    }

    fn authority(&self) -> Authority {
        Authority::load(&self.pair("own-ca")).unwrap()
    }

    pub fn pair(&self, file: &str) -> Pair {
        Pair {
            certificate: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        }
    }

    /// Returns the files of a server of the herd "test". Issues its certificate if there is none.
    pub fn files(&self, name: &str) -> Files {
        let own = if self.path(&format!("{name}.pem")).exists() {
            self.pair(name)
        } else {
            self.issue(name, &server(name, "test"), days(-1, 30))
        };
        let ca = self.path("ca.pem");
        Files { ca, own }
    }
}

pub fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(path).unwrap();
    read.map(Result::unwrap).collect()
}

/// Returns a config that trusts the CAs of a file, and presents a certificate or none.
pub fn client_config(ca: &Path, own: Option<&Pair>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for ca in certificates(ca) {
        roots.add(ca).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
            let chain = certificates(&own.certificate);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// Returns the config of a server that presents a certificate and requires none.
pub fn server_config(own: &Pair) -> ServerConfig {
    let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates(&own.certificate), key)
        .unwrap()
}

/// Dials a peer port by TLS. A server rejects a certificate only after the handshake, so this waits
/// for its first byte.
pub async fn reach(
    address: SocketAddr,
    mut config: ClientConfig,
    name: &str,
) -> Result<TlsStream<TcpStream>, String> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let message = |error: std::io::Error| {
        handshake_error(&error).map_or(format!("no TLS: {error}"), |error| error.message)
    };
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let mut stream = connecting.await.map_err(message)?;
    match stream.fill_buf().await.map_err(message)? {
        [] => Err("it closed".to_owned()),
        _ => Ok(stream),
    }
}

/// Returns a gRPC client with this certificate, or the reason why the server rejected it.
pub fn call_as(
    address: SocketAddr,
    ca: &Path,
    own: Option<&Pair>,
    name: &str,
) -> Result<PeerClient, String> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = client_config(ca, own);
    let reached = runtime.block_on(async {
        let reaching = reach(address, config, name);
        tokio::time::timeout(LIMIT, reaching).await.unwrap()
    });
    let once = Mutex::new(Some(reached?));
    let connector = service_fn(move |_| {
        let stream = once.lock().unwrap().take();
        async move { stream.map(TokioIo::new).ok_or("it broke".to_owned()) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = runtime.block_on(async { endpoint.connect_with_connector_lazy(connector) });
    Ok(PeerClient { channel, runtime })
}

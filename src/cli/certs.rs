//! `proxyherd certs`: makes and renews the certificates of a herd.
//!
//! ```text
//! certs/ca.pem, ca.key               the CA; servers need ca.pem and not its key
//! certs/servers/NAME.pem, NAME.key   what one server needs
//! certs/operators/NAME.pem, NAME.key what one operator needs
//! ```
//!
//! Existing files stay, except certificates that are renewed. Those are replaced as a
//! whole by others for the same key, so that a server that watches them reads the old
//! one or the new one and never a part.

use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Subcommand;

use crate::config::{Config, ServerConfig};
use crate::model::name::Name;
use crate::tls::issue::{Authority, Validity, generate_key};
use crate::tls::{Subject, format_time, inspect};

use super::{ConfigPath, print};
use crate::table::{Left, TextTable};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Validity of a CA, in days.
const CA_DAYS: u32 = 3650;

/// A certificate is due for renewal once less than its lifetime divided by this is left.
const RENEWAL_DIVISOR: u32 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct CertsArguments {
    #[command(subcommand)]
    command: Option<CertsCommand>,
    #[command(flatten)]
    config: ConfigPath,
    /// The directory of the files
    #[arg(long, global = true, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// Validity of new certificates, in days
    #[arg(
        long, global = true, value_name = "DAYS", default_value_t = 365,
        value_parser = clap::value_parser!(u32).range(1..=3650)
    )]
    days: u32,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Make a certificate for an operator, who may query servers and not push
    Operator {
        /// The operator's name: ASCII letters, digits and inner hyphens
        #[arg(value_parser = operator_name)]
        name: Name,
    },
    /// Renew certificates with less than a third of their lifetime left, or of another CA
    ///
    /// Keys stay. Running servers read the new certificates by themselves.
    Renew {
        /// Renew all certificates
        #[arg(long)]
        all: bool,
    },
}

/// Makes what is missing, or renews certificates, and prints the state of each file.
pub(super) fn certs(arguments: &CertsArguments) -> Result<()> {
    let config = Config::load(&arguments.config.path)?;
    let mut store = CertStore {
        herd: config.herd.clone(),
        dir: arguments.dir.clone(),
        days: arguments.days,
        files: TextTable::new(&[("file", Left), ("state", Left)]),
    };
    let advice = match &arguments.command {
        None => store.make_herd(&config),
        Some(CertsCommand::Operator { name }) => store.make_operator(name),
        Some(CertsCommand::Renew { all }) => store.renew(&config, *all).map(|()| String::new()),
    };
    // Files that were made before an error stay.
    print(&store.files.text(""))?;
    Ok(print(&advice?)?)
}

/// The directory of the certificates.
struct CertStore {
    herd: Name,
    dir: PathBuf,
    days: u32,
    /// The state of each file so far.
    files: TextTable,
}

/// A certificate to make: its holder, its hosts and its files.
struct CertOrder {
    subject: Subject,
    hosts: Vec<String>,
    certificate: PathBuf,
    key: PathBuf,
}

impl CertStore {
    /// Makes the CA and the certificates of servers. Returns the lines that the config
    /// needs, if it has none.
    fn make_herd(&mut self, config: &Config) -> Result<String> {
        self.make_authority()?;
        self.make_servers(config)?;
        if config.tls.is_on() {
            Ok(String::new())
        } else {
            Ok(self.config_lines())
        }
    }

    fn ca(&self) -> (PathBuf, PathBuf) {
        (self.dir.join("ca.pem"), self.dir.join("ca.key"))
    }

    fn make_authority(&mut self) -> Result<()> {
        let (certificate, key) = self.ca();
        make_dir(&self.dir)?;
        if certificate.exists() {
            self.add(&certificate, "exists: the CA of the herd");
            return Ok(());
        }
        let key_text = read_or_make_key(&key)?;
        let made = Authority::make(&self.herd, &key_text, Validity::days(CA_DAYS))?;
        create(&certificate, &made, 0o644)?;
        let until = format_time(Validity::days(CA_DAYS).until);
        let state = format!("made: the CA of herd {}, valid until {until}", self.herd);
        self.add(&certificate, &state);
        self.add(
            &key,
            "made: keep it secret, and on no server: it makes certificates",
        );
        Ok(())
    }

    fn make_servers(&mut self, config: &Config) -> Result<()> {
        let orders: Vec<CertOrder> = config.servers.iter().map(|s| self.server(s)).collect();
        orders.iter().try_for_each(|order| self.make(order))
    }

    /// Makes the certificate of an operator, and returns how to use it.
    fn make_operator(&mut self, name: &Name) -> Result<String> {
        let order = self.operator(name);
        self.make(&order)?;
        Ok(format!(
            "It may query every server of the herd and push to none. For example:\n  \
             grpcurl -cacert {} -cert {} -key {} -authority NAME.{}.proxyherd HOST:PORT list\n",
            self.ca().0.display(),
            order.certificate.display(),
            order.key.display(),
            self.herd,
        ))
    }

    fn server(&self, server: &ServerConfig) -> CertOrder {
        let host = |address: &crate::model::address::Address| match address.ip() {
            Some(ip) => ip.to_string(),
            None => address.host().to_owned(),
        };
        let folder = self.dir.join("servers");
        CertOrder {
            subject: Subject::server(&server.name, &self.herd),
            hosts: server.clients_tls.iter().map(host).collect(),
            certificate: folder.join(format!("{}.pem", server.name)),
            key: folder.join(format!("{}.key", server.name)),
        }
    }

    fn operator(&self, name: &Name) -> CertOrder {
        let folder = self.dir.join("operators");
        CertOrder {
            subject: Subject::operator(name, &self.herd),
            hosts: Vec::new(),
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        }
    }

    /// Makes a certificate, unless it exists.
    fn make(&mut self, order: &CertOrder) -> Result<()> {
        if order.certificate.exists() {
            return self.add_existing(order);
        }
        let authority = self.authority()?;
        if let Some(folder) = order.certificate.parent() {
            make_dir(folder)?;
        }
        let key = read_or_make_key(&order.key)?;
        let validity = Validity::days(self.days);
        let made = authority.issue(&order.subject, &order.hosts, &key, validity)?;
        create(&order.certificate, &made, 0o644)?;
        let until = format_time(validity.until);
        let state = format!("made: for {}, valid until {until}", order.subject);
        self.add(&order.certificate, &state);
        Ok(())
    }

    fn authority(&self) -> Result<Authority> {
        let (certificate, key) = self.ca();
        if !certificate.exists() {
            return Err(format!(
                "{}: no such CA; make it with `proxyherd certs`",
                certificate.display()
            )
            .into());
        }
        let unusable = |error| format!("{}: {error}", key.display());
        let loaded = Authority::load(&read(&certificate)?, &read(&key)?);
        Ok(loaded.map_err(unusable)?)
    }

    fn add_existing(&mut self, order: &CertOrder) -> Result<()> {
        if !order.key.exists() {
            return Err(format!(
                "{}: missing key; remove {} as well, and run `proxyherd certs` to make both anew",
                order.key.display(),
                order.certificate.display()
            )
            .into());
        }
        let state = self.state(order)?.description;
        self.add(&order.certificate, &state);
        Ok(())
    }

    /// Returns the state of an existing certificate.
    fn state(&self, order: &CertOrder) -> Result<CertState> {
        let (found, is_of_ca) = inspect(&order.certificate, &self.ca().0)?;
        let (until, now) = (format_time(found.until), SystemTime::now());
        let whole = found.until.duration_since(found.from).unwrap_or_default();
        let left = found.until.duration_since(now);
        let fault = match left {
            _ if !found.holder.is(&order.subject) => Some(format!(
                "is for {}, not for {}",
                found.holder, order.subject
            )),
            _ if !is_of_ca => Some("is from another CA than ca.pem".to_owned()),
            Err(_) => Some(format!("expired at {until}")),
            Ok(left) if left < whole / RENEWAL_DIVISOR => Some(format!("expires at {until}")),
            Ok(_) => None,
        };
        Ok(CertState {
            is_due: fault.is_some(),
            description: match fault {
                Some(fault) => format!("{fault}: replace it with `proxyherd certs renew`"),
                None => format!("exists: valid until {until}"),
            },
        })
    }

    fn renew(&mut self, config: &Config, all: bool) -> Result<()> {
        let authority = self.authority()?;
        let servers = config.servers.iter().map(|server| self.server(server));
        let operators = self.operators()?;
        let operators = operators.iter().map(|name| self.operator(name));
        for order in servers.chain(operators).collect::<Vec<_>>() {
            if !order.certificate.exists() {
                self.add(
                    &order.certificate,
                    "missing: make it with `proxyherd certs`",
                );
                continue;
            }
            let state = self.state(&order)?;
            if !all && !state.is_due {
                self.add(&order.certificate, &state.description);
                continue;
            }
            let validity = Validity::days(self.days);
            let key = read(&order.key)?;
            let made = authority.issue(&order.subject, &order.hosts, &key, validity)?;
            replace(&order.certificate, &made)?;
            let state = format!("renewed: valid until {}", format_time(validity.until));
            self.add(&order.certificate, &state);
        }
        Ok(())
    }

    /// Returns the operators that have a certificate.
    fn operators(&self) -> Result<Vec<Name>> {
        let folder = self.dir.join("operators");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| named(&folder, &error))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(|error| named(&folder, &error))?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".pem"));
            names.extend(name.and_then(Name::parse));
        }
        names.sort();
        Ok(names)
    }

    /// Returns the table that turns TLS on.
    fn config_lines(&self) -> String {
        let dir = self.dir.display();
        format!(
            "\nTo use TLS between servers, add to the config:\n\n[security]\nca = \"{dir}/ca.pem\"\n\
             certificate = \"{dir}/servers/{{name}}.pem\"\nkey = \"{dir}/servers/{{name}}.key\"\n"
        )
    }

    /// Adds the state of a file to the output.
    fn add(&mut self, path: &Path, state: &str) {
        let path = path.display().to_string();
        self.files.row([path.as_str(), state]);
    }
}

/// The state of an existing certificate.
struct CertState {
    description: String,
    /// True if it is to be renewed.
    is_due: bool,
}

fn operator_name(text: &str) -> std::result::Result<Name, &'static str> {
    Name::parse(text).ok_or("a name is 1 to 63 ASCII letters, digits and inner hyphens")
}

/// Returns the key in a file. Makes one if there is none; there may be one without a
/// certificate, after an interrupted run.
fn read_or_make_key(path: &Path) -> Result<String> {
    if path.exists() {
        return read(path);
    }
    let key = generate_key()?;
    create(path, &key, 0o600)?;
    Ok(key)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| named(path, &error).into())
}

fn make_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| named(path, &error).into())
}

/// Writes a file that must not exist.
fn create(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    write(file, text).map_err(|error| named(path, &error).into())
}

/// Writes a file beside an existing one, and renames it over that one.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("pem.new");
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&new);
    write(file, text)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|error| named(path, &error).into())
}

fn write(file: io::Result<File>, text: &str) -> io::Result<()> {
    let mut file = file?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn named(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

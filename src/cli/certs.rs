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
//! one or the new one and never a part. A symbolic link stays, and its target is replaced.

use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Subcommand;

use crate::config::{Config, ServerConfig, parse_path};
use crate::model::address::Address;
use crate::model::name::Name;
use crate::tls::issue::{Authority, Validity, generate_key};
use crate::tls::{Files, Pair, Subject, authority_expiry, format_time, inspect};

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
    #[arg(
        long, global = true, value_name = "DIR", default_value = "certs",
        value_parser = parse_path
    )]
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
    /// Renew certificates with less than a third of their lifetime left, or that the herd or its
    /// clients would not accept
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
            let state = authority_state(&certificate)?;
            self.add(&certificate, &state);
            if key.exists()
                && let Err(error) = self.authority()
            {
                self.add(&key, &format!("cannot be used: {error}"));
            }
            return Ok(());
        }
        let is_new = make_missing_key(&key)?;
        let made = Authority::make(&self.herd, &key, Validity::days(CA_DAYS))?;
        create(&certificate, &made, 0o644)?;
        let until = format_time(Validity::days(CA_DAYS).until);
        let state = format!("made: the CA of herd {}, valid until {until}", self.herd);
        self.add(&certificate, &state);
        let state = if is_new { "made" } else { "exists" };
        let state = format!("{state}: keep it secret, and on no server: it makes certificates");
        self.add(&key, &state);
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
        let folder = self.dir.join("servers");
        CertOrder {
            subject: Subject::server(&server.name, &self.herd),
            hosts: server
                .clients_tls
                .iter()
                .map(Address::subject_host)
                .collect(),
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
        make_missing_key(&order.key)?;
        let validity = Validity::days(self.days);
        let made = authority.issue(&order.subject, &order.hosts, &order.key, validity)?;
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
        if !key.exists() {
            return Err(format!(
                "{}: the key of the CA is not here, and only it makes certificates; bring it, or \
                 move {} away to make a new CA",
                key.display(),
                certificate.display()
            )
            .into());
        }
        Ok(Authority::load(&Pair { certificate, key })?)
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
        let own = Pair {
            certificate: order.certificate.clone(),
            key: order.key.clone(),
        };
        let ca = self.ca().0;
        let found = inspect(&Files { ca, own }, &order.subject, &order.hosts)?;
        let (until, now) = (format_time(found.until), SystemTime::now());
        let whole = found.until.duration_since(found.from).unwrap_or_default();
        let left = found.until.duration_since(now);
        let fault = match left {
            _ if found.fault.is_some() => found.fault,
            _ if now < found.from => {
                let from = format_time(found.from);
                Some(format!("is not valid before {from}: is the clock right?"))
            }
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
            let made = authority.issue(&order.subject, &order.hosts, &order.key, validity)?;
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

/// Returns the state of an existing file of CAs.
fn authority_state(path: &Path) -> Result<String> {
    let until = authority_expiry(path)?;
    Ok(match until.duration_since(SystemTime::now()) {
        Ok(_) => "exists: the CA of the herd".to_owned(),
        Err(_) => format!(
            "expired at {}: no certificate of this CA is accepted; move it and its key away, and \
             run `proxyherd certs` and `proxyherd certs renew`",
            format_time(until)
        ),
    })
}

/// Makes a key if there is none, and returns whether it did. There may be one without a
/// certificate, after an interrupted run.
fn make_missing_key(path: &Path) -> Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    create(path, &generate_key()?, 0o600)?;
    Ok(true)
}

fn make_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| named(path, &error).into())
}

/// Writes a file that must not exist, or the missing target of a symbolic link.
fn create(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).mode(mode);
    if path.is_symlink() {
        options.create(true);
    } else {
        options.create_new(true);
    }
    write(options.open(path), text).map_err(|error| named(path, &error).into())
}

/// Writes a file beside an existing one, and renames it over that one. It gets the same mode and,
/// as far as this process may set them, owner and group. A symbolic link stays.
fn replace(path: &Path, text: &str) -> Result<()> {
    replace_target(path, text).map_err(|error| named(path, &error).into())
}

fn replace_target(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path)?;
    let old = fs::metadata(&target)?;
    let mut name = target.clone().into_os_string();
    name.push(".new");
    let new = PathBuf::from(name);
    // It may be left of an interrupted run.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write(
        OpenOptions::new().write(true).create_new(true).open(&new),
        text,
    )?;
    let _ = chown(&new, Some(old.uid()), Some(old.gid()));
    fs::set_permissions(&new, old.permissions())?;
    fs::rename(&new, &target)
}

fn write(file: io::Result<File>, text: &str) -> io::Result<()> {
    let mut file = file?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn named(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

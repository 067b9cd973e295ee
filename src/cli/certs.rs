//! `proxyherd certs`: makes the certificates of a herd.
//!
//! ```text
//! certs/ca.pem, ca.key               the CA; servers need ca.pem and not its key
//! certs/servers/NAME.pem, NAME.key   what one server needs
//! certs/operators/NAME.pem, NAME.key what one operator needs
//! ```
//!
//! Whatever is there stays, but for certificates that are renewed: those are
//! replaced as a whole by others for the same key, so that a server that watches
//! them finds the old one or the new one and never a part.

use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Subcommand;

use crate::config::{Config, ServerConfig};
use crate::model::name::Name;
use crate::tls::issue::{Authority, Validity, draw_key};
use crate::tls::{Subject, inspect, moment};

use super::ConfigPath;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a CA is valid.
const CA_DAYS: u32 = 3650;

/// A certificate is renewed once less than this part of its time is left.
const RENEWED_PART: u32 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    config: ConfigPath,
    /// Where the files are, or are made
    #[arg(long, global = true, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// For how many days new certificates are valid
    #[arg(
        long, global = true, value_name = "DAYS", default_value_t = 365,
        value_parser = clap::value_parser!(u32).range(1..=3650)
    )]
    days: u32,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a certificate for an operator, who may ask servers and not push
    Operator {
        /// The operator's name: ASCII letters, digits and inner hyphens
        name: String,
    },
    /// Renew certificates that expire soon, or are not from the newest CA
    ///
    /// Soon is when less than a third of their time is left. Keys stay; running
    /// servers notice by themselves.
    Renew {
        /// Renew all, however long they are valid yet
        #[arg(long)]
        all: bool,
    },
}

/// Makes what is missing, or renews what is there.
pub(super) fn certs(arguments: &Arguments) -> Result<()> {
    let config = Config::load(&arguments.config.path)?;
    let desk = Desk {
        herd: config.herd.clone(),
        dir: arguments.dir.clone(),
        days: arguments.days,
    };
    match &arguments.what {
        None => {
            desk.make_authority()?;
            desk.make_servers(&config)?;
            if !config.tls.is_on() {
                desk.tell_config()?;
            }
            Ok(())
        }
        Some(What::Operator { name }) => desk.make_operator(name),
        Some(What::Renew { all }) => desk.renew(&config, *all),
    }
}

/// Where certificates are made.
struct Desk {
    herd: Name,
    dir: PathBuf,
    days: u32,
}

/// A certificate, its key and its holder.
struct Order {
    subject: Subject,
    hosts: Vec<String>,
    certificate: PathBuf,
    key: PathBuf,
}

impl Desk {
    fn ca(&self) -> (PathBuf, PathBuf) {
        (self.dir.join("ca.pem"), self.dir.join("ca.key"))
    }

    fn make_authority(&self) -> Result<()> {
        let (certificate, key) = self.ca();
        make_dir(&self.dir)?;
        if certificate.exists() {
            return say(&certificate, "is there: the CA of the herd");
        }
        let key_text = read_or_make_key(&key)?;
        let made = Authority::make(&self.herd, &key_text, Validity::days(CA_DAYS))?;
        create(&certificate, &made, 0o644)?;
        let until = moment(Validity::days(CA_DAYS).until);
        let words = format!("made: the CA of the herd {}, until {until}", self.herd);
        say(&certificate, &words)?;
        say(
            &key,
            "made: who has it can make servers and operators; no server needs it",
        )
    }

    fn make_servers(&self, config: &Config) -> Result<()> {
        let orders: Vec<Order> = config.servers.iter().map(|s| self.server(s)).collect();
        orders.iter().try_for_each(|order| self.make(order))
    }

    fn make_operator(&self, name: &str) -> Result<()> {
        let name = Name::parse(name).ok_or_else(|| {
            format!("{name:?} is no name: 1 to 63 ASCII letters, digits and inner hyphens")
        })?;
        let order = self.operator(&name);
        self.make(&order)?;
        tell(&format!(
            "It may ask every server of the herd and push to none. For instance:\n  \
             grpcurl -cacert {} -cert {} -key {} -authority NAME.{}.proxyherd HOST:PORT list\n",
            self.ca().0.display(),
            order.certificate.display(),
            order.key.display(),
            self.herd,
        ))
    }

    fn server(&self, server: &ServerConfig) -> Order {
        let host = |address: &crate::model::address::Address| match address.ip() {
            Some(ip) => ip.to_string(),
            None => address.host().to_owned(),
        };
        let folder = self.dir.join("servers");
        Order {
            subject: Subject::server(&server.name, &self.herd),
            hosts: server.clients_tls.iter().map(host).collect(),
            certificate: folder.join(format!("{}.pem", server.name)),
            key: folder.join(format!("{}.key", server.name)),
        }
    }

    fn operator(&self, name: &Name) -> Order {
        let folder = self.dir.join("operators");
        Order {
            subject: Subject::operator(name, &self.herd),
            hosts: Vec::new(),
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        }
    }

    /// Makes a certificate, unless it is there.
    fn make(&self, order: &Order) -> Result<()> {
        if order.certificate.exists() {
            return self.tell_state(order);
        }
        let authority = self.authority()?;
        if let Some(folder) = order.certificate.parent() {
            make_dir(folder)?;
        }
        let key = read_or_make_key(&order.key)?;
        let validity = Validity::days(self.days);
        let made = authority.issue(&order.subject, &order.hosts, &key, validity)?;
        create(&order.certificate, &made, 0o644)?;
        let words = format!(
            "made, for {}, until {}",
            order.subject,
            moment(validity.until)
        );
        say(&order.certificate, &words)
    }

    fn authority(&self) -> Result<Authority> {
        let (certificate, key) = self.ca();
        if !certificate.exists() {
            return Err(format!(
                "{}: there is no CA yet; `proxyherd certs` makes one",
                certificate.display()
            )
            .into());
        }
        let unusable = |error| format!("{}: {error}", key.display());
        let loaded = Authority::load(&read(&certificate)?, &read(&key)?);
        Ok(loaded.map_err(unusable)?)
    }

    fn tell_state(&self, order: &Order) -> Result<()> {
        if !order.key.exists() {
            return Err(format!(
                "{}: this key is missing; take {} away as well, and both are made anew",
                order.key.display(),
                order.certificate.display()
            )
            .into());
        }
        say(&order.certificate, &self.state(order)?.words)
    }

    /// What is to be said of a certificate that is there.
    fn state(&self, order: &Order) -> Result<State> {
        let (found, is_of_ca) = inspect(&order.certificate, &self.ca().0)?;
        let (until, now) = (moment(found.until), SystemTime::now());
        let whole = found.until.duration_since(found.from).unwrap_or_default();
        let left = found.until.duration_since(now);
        let (words, is_due) = match left {
            _ if !found.holder.is(&order.subject) => {
                let words = format!(
                    "is for {}, not for {}: `proxyherd certs renew` makes the right one",
                    found.holder, order.subject
                );
                (words, true)
            }
            _ if !is_of_ca => (
                "is from another CA than ca.pem: `proxyherd certs renew` makes a new one"
                    .to_owned(),
                true,
            ),
            Err(_) => (
                format!("expired at {until}: `proxyherd certs renew` makes a new one"),
                true,
            ),
            Ok(left) if left < whole / RENEWED_PART => (
                format!("expires at {until}: `proxyherd certs renew` makes a new one"),
                true,
            ),
            Ok(_) => (format!("is there, until {until}"), false),
        };
        Ok(State { words, is_due })
    }

    fn renew(&self, config: &Config, all: bool) -> Result<()> {
        let authority = self.authority()?;
        let servers = config.servers.iter().map(|server| self.server(server));
        let operators = self.operators()?;
        for order in servers.chain(operators.iter().map(|name| self.operator(name))) {
            if !order.certificate.exists() {
                say(
                    &order.certificate,
                    "is not there: `proxyherd certs` makes it",
                )?;
                continue;
            }
            let state = self.state(&order)?;
            if !all && !state.is_due {
                say(&order.certificate, &state.words)?;
                continue;
            }
            let validity = Validity::days(self.days);
            let key = read(&order.key)?;
            let made = authority.issue(&order.subject, &order.hosts, &key, validity)?;
            replace(&order.certificate, &made)?;
            let words = format!("renewed, until {}", moment(validity.until));
            say(&order.certificate, &words)?;
        }
        Ok(())
    }

    /// The operators that have a certificate.
    fn operators(&self) -> Result<Vec<Name>> {
        let folder = self.dir.join("operators");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| told(&folder, &error))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(|error| told(&folder, &error))?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".pem"));
            names.extend(name.and_then(Name::parse));
        }
        names.sort();
        Ok(names)
    }

    fn tell_config(&self) -> Result<()> {
        let dir = self.dir.display();
        tell(&format!(
            "Servers talk by TLS once the config says so:\n\n[security]\nca = \"{dir}/ca.pem\"\n\
             certificate = \"{dir}/servers/{{name}}.pem\"\nkey = \"{dir}/servers/{{name}}.key\"\n"
        ))
    }
}

struct State {
    words: String,
    is_due: bool,
}

/// The key of a file; a new one where there is none, as after a run that was
/// broken off.
fn read_or_make_key(path: &Path) -> Result<String> {
    if path.exists() {
        return read(path);
    }
    let key = draw_key()?;
    create(path, &key, 0o600)?;
    Ok(key)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| told(path, &error).into())
}

fn make_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| told(path, &error).into())
}

/// Writes a file that must not be there.
fn create(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    write(file, text).map_err(|error| told(path, &error).into())
}

/// Writes a file beside the one that is there, and puts it in its place.
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
        .map_err(|error| told(path, &error).into())
}

fn write(file: io::Result<File>, text: &str) -> io::Result<()> {
    let mut file = file?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn say(path: &Path, words: &str) -> Result<()> {
    tell(&format!("{}  {words}\n", path.display()))
}

fn tell(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // What was done is done, whether or not its reader stayed to the end.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

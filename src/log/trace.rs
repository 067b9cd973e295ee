//! The subscriber of events: each goes to the log of its server and, by its level, to the terminal.
//!
//! This is one layer with rules of its own, where per-layer filters and an `EnvFilter` would be
//! usual. Those check each span whenever it is entered, which is whenever a task of a server is
//! polled: 0.5 to 0.7 microseconds with two threads in one server's span, against 15 nanoseconds
//! here.

use std::env::{self, VarError};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::event;
use super::level::Level;
use super::router::{OURS, Router, Server, is_ours, is_within};
use super::stamp::Stamp;
use super::terminal;

/// The environment variable that overrides the configured level.
const VARIABLE: &str = "RUST_LOG";

/// The modules whose INFO events are too many for a terminal: clients connect and disconnect by the
/// thousand, the link to each neighbour that connects logs that as well, and a places provider that
/// is down fails every query.
const MANY: [&str; 4] = [
    concat!(env!("CARGO_CRATE_NAME"), "::clients"),
    concat!(env!("CARGO_CRATE_NAME"), "::peers::inbound"),
    concat!(env!("CARGO_CRATE_NAME"), "::peers::incoming"),
    concat!(env!("CARGO_CRATE_NAME"), "::places::google"),
];

/// Installs this process's subscriber of tracing events.
///
/// The log of an event's server holds this crate's events up to `level`. Events of other crates are
/// included from warnings up; from `level` up if that is fewer, or if it is debug or trace. An event
/// outside any server's span goes to all logs. The environment variable `RUST_LOG` overrides
/// `level`, in the form `warn,proxyherd=debug` (levels of targets; spans and fields cannot be
/// named). A value that is not of that form is ignored with a warning.
///
/// Returns the levels, which can be changed later. They also show whether anything goes to logs:
/// with [`Level::Off`], or `RUST_LOG=off`, nothing does, and there is no need to open any.
///
/// At any level, the terminal (stderr) shows warnings and errors of all crates, and the INFO events
/// of this crate except those of clients, of neighbours that connect, and of Google.
///
/// # Errors
///
/// If there is a subscriber already; it stays.
pub fn install(router: &Router, level: Level) -> Result<Levels, AlreadyInstalled> {
    let variable = env::var(VARIABLE);
    let is_set = variable.as_ref().is_ok_and(|text| !text.trim().is_empty());
    let rules = rules(level, variable);
    let to_logs = rules
        .as_ref()
        .map_or_else(|_| targets(level), Targets::clone);
    let levels = Levels::new(router, to_logs, is_set && rules.is_ok());
    let dispatch = dispatch(router, &levels, terminal::tell);
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| AlreadyInstalled)?;
    if let Err(misunderstood) = rules {
        tracing::warn!("{misunderstood}; level {level} is used");
    }
    Ok(levels)
}

/// The events that go to logs, changeable at run time.
#[derive(Clone, Debug)]
pub struct Levels {
    to_logs: Arc<RwLock<Targets>>,
    router: Router,
    is_forced: bool,
}

impl Levels {
    fn new(router: &Router, to_logs: Targets, is_forced: bool) -> Levels {
        Levels {
            to_logs: Arc::new(RwLock::new(to_logs)),
            router: router.clone(),
            is_forced,
        }
    }

    /// Returns true if anything goes to logs.
    pub fn is_on(&self) -> bool {
        says_anything(&self.targets())
    }

    /// Returns true if `RUST_LOG` sets the levels, whatever the configured one.
    pub fn is_forced(&self) -> bool {
        self.is_forced
    }

    /// Changes the level, for events and the transcripts of logs that are open. Does nothing if
    /// `RUST_LOG` [sets the levels](Self::is_forced).
    pub fn set(&self, level: Level) {
        if self.is_forced {
            return;
        }
        let to_logs = self.to_logs.write();
        *to_logs.unwrap_or_else(PoisonError::into_inner) = targets(level);
        self.router.mute(level == Level::Off);
        // tracing caches for each call site whether its events are enabled.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Locks the targets for one check: a thread that holds the lock logs nothing.
    fn targets(&self) -> RwLockReadGuard<'_, Targets> {
        self.to_logs.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn says_anything(to_logs: &Targets) -> bool {
    let levels = to_logs.iter().map(|(_, level)| level);
    levels
        .chain(to_logs.default_level())
        .any(|level| level != LevelFilter::OFF)
}

/// The process has a subscriber of tracing events already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyInstalled;

impl fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tracing events of this process have a subscriber already; install one only")
    }
}

impl std::error::Error for AlreadyInstalled {}

fn dispatch(
    router: &Router,
    levels: &Levels,
    tell: impl Fn(&[u8]) + Send + Sync + 'static,
) -> Dispatch {
    let events = Events {
        router: router.clone(),
        levels: levels.clone(),
        tell,
    };
    Dispatch::new(Registry::default().with(events))
}

/// Returns the levels of targets that go to logs, from the environment variable or else from
/// `level`.
fn rules(level: Level, variable: Result<String, VarError>) -> Result<Targets, Misunderstood> {
    let text = match variable {
        Err(VarError::NotPresent) => return Ok(targets(level)),
        Err(VarError::NotUnicode(_)) => return Err(Misunderstood("it is not UTF-8".to_owned())),
        Ok(text) if text.trim().is_empty() => return Ok(targets(level)),
        Ok(text) => text,
    };
    text.parse()
        .map_err(|error| Misunderstood(format!("{text:?}: {error}")))
}

/// Returns the levels of targets that go to logs at `level`.
fn targets(level: Level) -> Targets {
    let (ours, others) = match level {
        Level::Off => (LevelFilter::OFF, LevelFilter::OFF),
        Level::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        Level::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        Level::Info => (LevelFilter::INFO, LevelFilter::WARN),
        Level::Debug => (LevelFilter::DEBUG, LevelFilter::DEBUG),
        Level::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    Targets::new().with_default(others).with_target(OURS, ours)
}

/// The error of an environment variable that cannot be parsed.
#[derive(Debug)]
struct Misunderstood(String);

impl fmt::Display for Misunderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = &self.0;
        write!(
            f,
            "{VARIABLE} is not understood ({why}); it should be like warn,{OURS}=debug"
        )
    }
}

/// The layer that sends each event to logs and terminal. It enables no spans except the servers',
/// so spans of libraries cost next to nothing.
struct Events<T> {
    router: Router,
    levels: Levels,
    tell: T,
}

impl<T> Events<T> {
    fn is_wanted(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return Server::is_span(metadata);
        }
        self.is_for_logs(metadata) || is_for_the_terminal(metadata)
    }

    fn is_for_logs(&self, metadata: &Metadata<'_>) -> bool {
        self.levels
            .targets()
            .would_enable(metadata.target(), metadata.level())
    }
}

/// The destination of an event depends on its call site only, so tracing calls this once for each
/// call site, and again when the level changes.
impl<S, T> Layer<S> for Events<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    T: Fn(&[u8]) + Send + Sync + 'static,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.is_wanted(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.is_wanted(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let to_logs = self.levels.targets();
        let levels = to_logs.iter().map(|(_, level)| level);
        let most = levels.chain(to_logs.default_level()).max()?;
        Some(most.max(LevelFilter::INFO)) // the terminal's, and that of servers' spans
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        // Read before the span is locked: formatting a field may run foreign code.
        let server = Server::named_by(attributes);
        if let (Some(server), Some(span)) = (server, context.span(id)) {
            span.extensions_mut().replace(server);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let words = event::words(event);
        let server = Server::of(event, &context).map(|Server(name)| name);
        if self.is_for_logs(event.metadata()) {
            let entry = entry(event.metadata(), &words);
            for log in self.router.logs_of(server.as_deref()) {
                log.append(&entry, 1);
            }
        }
        if is_for_the_terminal(event.metadata()) {
            (self.tell)(&message(event.metadata(), server.as_deref(), &words));
        }
    }
}

fn is_for_the_terminal(metadata: &Metadata<'_>) -> bool {
    let (level, target) = (*metadata.level(), metadata.target());
    level <= tracing::Level::WARN
        || (level == tracing::Level::INFO
            && is_ours(target)
            && !MANY.iter().any(|many| is_within(target, many)))
}

/// Formats a line for the log: `2026-11-22T09:31:05.123456Z INFO  link is up neighbour=Jaquez`
fn entry(metadata: &Metadata<'_>, words: &[u8]) -> Vec<u8> {
    let mut line = Stamp::now().as_bytes().to_vec();
    line.extend_from_slice(format!(" {:<5} ", metadata.level().as_str()).as_bytes());
    add_words(&mut line, metadata, words);
    line
}

/// Formats a line for the terminal: `warning: Riley: link to Jaquez is down`
fn message(metadata: &Metadata<'_>, server: Option<&str>, words: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    line.extend_from_slice(match *metadata.level() {
        tracing::Level::ERROR => b"error: ",
        tracing::Level::WARN => b"warning: ",
        _ => b"",
    });
    if let Some(server) = server {
        super::escape_into(&mut line, server.as_bytes());
        line.extend_from_slice(b": ");
    }
    add_words(&mut line, metadata, words);
    line
}

/// Adds the target, if it is a library's, and the text of the event.
fn add_words(line: &mut Vec<u8>, metadata: &Metadata<'_>, words: &[u8]) {
    if !is_ours(metadata.target()) {
        super::escape_into(line, metadata.target().as_bytes());
        line.extend_from_slice(b": ");
    }
    line.extend_from_slice(words);
    line.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Log, LogSettings};
    use std::fs;
    use std::sync::{Arc, Mutex};
    use tempfile::TempDir;
    use tracing::dispatcher::with_default;
    use tracing::{debug, error, info, info_span, trace, warn};

    /// Two servers, Riley and Jaquez, in one process, and a terminal.
    struct Process {
        dir: TempDir,
        logs: [Log; 2],
        screen: Arc<Mutex<Vec<u8>>>,
        levels: Levels,
        dispatch: Dispatch,
    }

    impl Process {
        fn new(to_logs: Targets) -> Process {
            let dir = TempDir::new().unwrap();
            let settings = LogSettings {
                dir: dir.path().to_owned(),
                ..LogSettings::default()
            };
            let router = Router::new();
            let logs = ["Riley", "Jaquez"].map(|server| {
                let log = Log::open(&settings, server).unwrap();
                router.register(server, &log);
                log
            });
            let screen = Arc::new(Mutex::new(Vec::new()));
            let shown = Arc::clone(&screen);
            let tell = move |line: &[u8]| shown.lock().unwrap().extend_from_slice(line);
            let levels = Levels::new(&router, to_logs, false);
            Process {
                dir,
                logs,
                screen,
                dispatch: dispatch(&router, &levels, tell),
                levels,
            }
        }

        fn at(level: Level) -> Process {
            Process::new(targets(level))
        }

        fn run(&self, what: impl FnOnce()) {
            with_default(&self.dispatch, what);
        }

        /// Returns the lines of a server's log, without their times.
        fn log_of(&self, server: &str) -> Vec<String> {
            assert!(self.logs.iter().all(Log::flush));
            let text = fs::read_to_string(self.dir.path().join(format!("{server}.log")));
            let after_time = |line: &str| line[Stamp::LEN + 1..].to_owned();
            text.unwrap().lines().map(after_time).collect()
        }

        fn screen(&self) -> String {
            String::from_utf8(self.screen.lock().unwrap().clone()).unwrap()
        }
    }

    fn server(name: &str) -> tracing::Span {
        info_span!("server", server = name)
    }

    #[test]
    fn an_event_goes_to_the_log_of_its_server() {
        let process = Process::at(Level::Info);
        process.run(|| {
            let jaquez = server("Jaquez");
            server("Riley").in_scope(|| {
                info!("one");
                info_span!("inner").in_scope(|| info!("two"));
                jaquez.in_scope(|| info!("three"));
                info!(parent: &jaquez, "four");
            });
            info!("five");
            server("Nobody").in_scope(|| info!("six"));
        });
        assert_eq!(
            process.log_of("Riley"),
            ["INFO  one", "INFO  two", "INFO  five"]
        );
        assert_eq!(
            process.log_of("Jaquez"),
            ["INFO  three", "INFO  four", "INFO  five"]
        );
        assert_eq!(
            process.screen(),
            "Riley: one\nRiley: two\nJaquez: three\nJaquez: four\nfive\nNobody: six\n"
        );
    }

    #[test]
    fn an_entry_has_time_level_message_and_fields() {
        let process = Process::at(Level::Info);
        process.run(|| {
            server("Riley").in_scope(|| {
                warn!(neighbour = "Jaquez", tries = 3, "link is down");
                info!(%OURS, empty = "", why = "no route = lost", quote = ?"a b");
            });
        });
        let expected = r#"INFO  OURS=proxyherd empty="" why="no route = lost" quote="\"a b\"""#;
        assert_eq!(
            process.log_of("Riley"),
            ["WARN  link is down neighbour=Jaquez tries=3", expected]
        );
        let text = fs::read_to_string(process.dir.path().join("Riley.log")).unwrap();
        assert!(
            humantime::parse_rfc3339(&text[..Stamp::LEN]).is_ok(),
            "{text}"
        );
    }

    #[test]
    fn no_event_forges_a_line() {
        let process = Process::at(Level::Info);
        process.run(|| {
            server("Riley\x1b[1m").in_scope(|| warn!("refused"));
            warn!(name = "x\nforged", "client said {}", "a\r\nb\u{202e}");
        });
        let forged = r#"WARN  client said a\r\nb\u{202e} name="x\nforged""#;
        assert_eq!(process.log_of("Riley"), [forged]);
        assert!(
            process
                .screen()
                .starts_with("warning: Riley\\x1b[1m: refused\n")
        );
        assert_eq!(process.screen().lines().count(), 2);
    }

    #[test]
    fn a_text_without_end_is_cut() {
        let process = Process::at(Level::Info);
        process.run(|| warn!("{}", "ü".repeat(10_000)));
        assert!(process.screen().len() < 5000);
    }

    /// Emits one event of each level from this crate, and from a library.
    fn speak() {
        error!("error");
        warn!("warn");
        info!("info");
        debug!("debug");
        trace!("trace");
        error!(target: "h2::proto", "error");
        warn!(target: "h2::proto", "warn");
        info!(target: "h2::proto", "info");
        debug!(target: "h2::proto", "debug");
        trace!(target: "h2::proto", "trace");
    }

    #[test]
    fn the_level_says_what_is_logged() {
        let ours = [
            "ERROR error",
            "WARN  warn",
            "INFO  info",
            "DEBUG debug",
            "TRACE trace",
        ];
        let theirs = ours.map(|entry| format!("{} h2::proto: {}", &entry[..5], &entry[6..]));
        for (level, our_count, their_count) in [
            (Level::Off, 0, 0),
            (Level::Error, 1, 1),
            (Level::Warn, 2, 2),
            (Level::Info, 3, 2),
            (Level::Debug, 4, 4),
            (Level::Trace, 5, 5),
        ] {
            let process = Process::at(level);
            process.run(speak);
            let mut expected: Vec<_> = ours[..our_count].iter().map(ToString::to_string).collect();
            expected.extend_from_slice(&theirs[..their_count]);
            assert_eq!(process.log_of("Riley"), expected, "{level}");
        }
    }

    #[test]
    fn the_level_changes_while_the_process_runs() {
        let process = Process::at(Level::Info);
        let mut said = 0;
        for (level, our_count) in [
            (Level::Trace, 5),
            (Level::Error, 1),
            (Level::Off, 0),
            (Level::Debug, 4),
        ] {
            process.run(|| process.levels.set(level));
            assert_eq!(process.logs[0].is_on(), level != Level::Off);
            process.run(speak);
            let log = process.log_of("Riley");
            let ours = log[said..].iter().filter(|line| !line.contains("h2"));
            assert_eq!(ours.count(), our_count, "{level}");
            said = log.len();
        }
    }

    #[test]
    fn a_level_that_the_environment_says_stays() {
        let router = Router::new();
        let levels = Levels::new(&router, targets(Level::Warn), true);
        levels.set(Level::Off);
        assert!(levels.is_on());
    }

    #[test]
    fn the_terminal_shows_what_a_person_should_know_whatever_the_level() {
        for level in [Level::Off, Level::Trace] {
            let process = Process::at(level);
            process.run(|| {
                speak();
                info!(target: "proxyherd::clients::session", "a client came");
                warn!(target: "proxyherd::clients", "too many clients");
                info!(target: "proxyherd::clientsele", "not about clients");
                info!(target: "proxyherder", "not of this crate");
            });
            assert_eq!(
                process.screen(),
                "error: error\nwarning: warn\ninfo\n\
                 error: h2::proto: error\nwarning: h2::proto: warn\n\
                 warning: too many clients\nnot about clients\n"
            );
        }
    }

    #[test]
    fn the_environment_wins_unless_it_is_misunderstood() {
        let set = |text: &str| Ok(text.to_owned());
        let by_level = |level| rules(level, Err(VarError::NotPresent)).unwrap();
        assert_eq!(by_level(Level::Info), targets(Level::Info));
        assert_eq!(rules(Level::Warn, set(" ")).unwrap(), targets(Level::Warn));
        let is_on = |level, text| says_anything(&rules(level, set(text)).unwrap());
        assert!(is_on(Level::Off, "error"));
        assert!(is_on(Level::Off, "off,proxyherd=warn"));
        assert!(!is_on(Level::Info, "off"));
        assert!(!is_on(Level::Off, " "));

        let process = Process::new(rules(Level::Error, set("proxyherd=debug,h2=off")).unwrap());
        process.run(speak);
        let entries = ["ERROR error", "WARN  warn", "INFO  info", "DEBUG debug"];
        assert_eq!(process.log_of("Riley"), entries);

        for text in ["proxyherd=loud", "[server{server=Riley}]=debug"] {
            let words = rules(Level::Info, set(text)).unwrap_err().to_string();
            assert!(
                words.starts_with("RUST_LOG is not understood (\""),
                "{words}"
            );
            assert!(
                words.ends_with("it should be like warn,proxyherd=debug"),
                "{words}"
            );
        }
    }

    #[test]
    fn a_log_that_was_replaced_or_closed_gets_nothing_more() {
        let Process { logs, dispatch, .. } = Process::at(Level::Info);
        let [riley, jaquez] = logs;
        let router = Router::new();
        router.register("Riley", &riley);
        router.register("Jaquez", &jaquez);
        assert_eq!(router.logs_of(None).len(), 2);
        router.register("Riley", &Log::off());
        assert!(router.logs_of(Some("Riley")).is_empty());
        drop(jaquez);
        assert!(
            router.logs_of(None).is_empty(),
            "a router keeps no log open"
        );
        drop(dispatch);
    }
}

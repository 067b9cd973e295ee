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

use super::event::{self, CRATE, is_of_this_crate, is_within};
use super::line::append_text;
use super::router::{EventServer, Router};
use super::terminal;

/// The environment variable that overrides the configured level.
const VARIABLE: &str = "RUST_LOG";

/// The modules whose INFO events are too many for a terminal: clients connect and disconnect by the
/// thousand, the link to each neighbour that connects logs that as well, and a places provider that
/// is down fails every query.
const QUIET_ON_TERMINAL: [&str; 4] = [
    concat!(env!("CARGO_CRATE_NAME"), "::clients"),
    concat!(env!("CARGO_CRATE_NAME"), "::peers::inbound"),
    concat!(env!("CARGO_CRATE_NAME"), "::peers::incoming"),
    concat!(env!("CARGO_CRATE_NAME"), "::places::google"),
];

/// Installs this process's subscriber of tracing events.
///
/// The log of an event's server holds this crate's events up to `level`. Events of other crates are
/// included from warnings up; from `level` up if that is fewer, or if it is debug or trace. An
/// event outside any server's span goes to all logs. The environment variable `RUST_LOG` overrides
/// `level`, in the form `warn,proxyherd=debug` (levels of targets; spans and fields cannot be
/// named). A value that is not of that form is ignored with a warning.
///
/// Returns the levels, which can be changed later. They also show whether anything goes to logs:
/// with [`LevelFilter::OFF`], or `RUST_LOG=off`, nothing does, and there is no need to open any.
///
/// At any level, the terminal (stderr) shows warnings and errors of all crates, and the INFO events
/// of this crate except those of clients, of neighbours that connect, and of Google. While a log
/// goes to standard output the terminal shows none: whoever collects both would get them twice.
///
/// # Errors
///
/// If there is a subscriber already; it stays.
pub fn install(router: &Router, level: LevelFilter) -> Result<Levels, AlreadyInstalled> {
    let variable = env::var(VARIABLE);
    let is_set = variable.as_ref().is_ok_and(|text| !text.trim().is_empty());
    let rules = rules(level, variable);
    let to_logs = rules
        .as_ref()
        .map_or_else(|_| targets(level), Targets::clone);
    let levels = Levels::new(router, to_logs, is_set && rules.is_ok());
    let dispatch = dispatch(router, &levels, terminal::print_to_terminal);
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| AlreadyInstalled)?;
    if let Err(invalid) = rules {
        tracing::warn!("{invalid}; level {level} is used");
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
        enables_any(&self.targets())
    }

    /// Returns true if `RUST_LOG` sets the levels, whatever the configured one.
    pub fn is_forced(&self) -> bool {
        self.is_forced
    }

    /// Changes the level, for events and the transcripts of logs that are open. Does nothing if
    /// `RUST_LOG` [sets the levels](Self::is_forced).
    pub fn set(&self, level: LevelFilter) {
        if self.is_forced {
            return;
        }
        let to_logs = self.to_logs.write();
        *to_logs.unwrap_or_else(PoisonError::into_inner) = targets(level);
        self.router.mute(level == LevelFilter::OFF);
        // tracing caches for each call site whether its events are enabled.
        tracing::callsite::rebuild_interest_cache();
    }

    /// Locks the targets for one check: a thread that holds the lock logs nothing.
    fn targets(&self) -> RwLockReadGuard<'_, Targets> {
        self.to_logs.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn enables_any(to_logs: &Targets) -> bool {
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
    print: impl Fn(&[u8]) + Send + Sync + 'static,
) -> Dispatch {
    let events = EventLayer {
        router: router.clone(),
        levels: levels.clone(),
        print,
    };
    Dispatch::new(Registry::default().with(events))
}

/// Returns the levels of targets that go to logs, from the environment variable or else from
/// `level`.
fn rules(
    level: LevelFilter,
    variable: Result<String, VarError>,
) -> Result<Targets, InvalidVariable> {
    let text = match variable {
        Err(VarError::NotPresent) => return Ok(targets(level)),
        Err(VarError::NotUnicode(_)) => return Err(InvalidVariable("it is not UTF-8".to_owned())),
        Ok(text) if text.trim().is_empty() => return Ok(targets(level)),
        Ok(text) => text,
    };
    text.parse()
        .map_err(|error| InvalidVariable(format!("{text:?}: {error}")))
}

/// Returns the levels of targets that go to logs at `level`.
fn targets(level: LevelFilter) -> Targets {
    let others = if level == LevelFilter::INFO {
        LevelFilter::WARN
    } else {
        level
    };
    Targets::new()
        .with_default(others)
        .with_target(CRATE, level)
}

/// The error of an environment variable that cannot be parsed.
#[derive(Debug)]
struct InvalidVariable(String);

impl fmt::Display for InvalidVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = &self.0;
        write!(
            f,
            "{VARIABLE} is invalid ({why}); write it like warn,{CRATE}=debug"
        )
    }
}

/// The layer that sends each event to logs and terminal. It enables no spans except the servers',
/// so spans of libraries cost next to nothing.
struct EventLayer<T> {
    router: Router,
    levels: Levels,
    print: T,
}

impl<T> EventLayer<T> {
    fn is_wanted(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return EventServer::is_span(metadata);
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
impl<S, T> Layer<S> for EventLayer<T>
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
        let server = EventServer::named_by(attributes);
        if let (Some(server), Some(span)) = (server, context.span(id)) {
            span.extensions_mut().replace(server);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let text = event::format_event(event);
        let server = EventServer::of(event, &context).map(|EventServer(name)| name);
        if self.is_for_logs(event.metadata()) {
            for log in self.router.logs_of(server.as_deref()) {
                log.append_event(event, server.as_deref(), &text);
            }
        }
        if is_for_the_terminal(event.metadata()) && !self.router.is_on_stdout() {
            (self.print)(&message(event.metadata(), server.as_deref(), &text));
        }
    }
}

fn is_for_the_terminal(metadata: &Metadata<'_>) -> bool {
    let (level, target) = (*metadata.level(), metadata.target());
    level <= tracing::Level::WARN
        || (level == tracing::Level::INFO
            && is_of_this_crate(target)
            && !QUIET_ON_TERMINAL
                .iter()
                .any(|module| is_within(target, module)))
}

/// Formats a line for the terminal: `warning: Riley: link to Jaquez is down`
fn message(metadata: &Metadata<'_>, server: Option<&str>, text: &[u8]) -> Vec<u8> {
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
    append_text(&mut line, metadata, text);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::timestamp::LogTimestamp;
    use crate::log::{Log, LogFormat, LogSettings};
    use std::fs;
    use std::sync::{Arc, Mutex};
    use tempfile::TempDir;
    use tracing::dispatcher::with_default;
    use tracing::{debug, error, info, info_span, trace, warn};

    /// Two servers, Riley and Jaquez, in one process, and a terminal.
    struct TwoServers {
        dir: TempDir,
        logs: [Log; 2],
        screen: Arc<Mutex<Vec<u8>>>,
        levels: Levels,
        dispatch: Dispatch,
    }

    impl TwoServers {
        fn new(to_logs: Targets) -> TwoServers {
            TwoServers::with_format(to_logs, LogFormat::Text)
        }

        fn with_format(to_logs: Targets, format: LogFormat) -> TwoServers {
            let dir = TempDir::new().unwrap();
            let settings = LogSettings {
                dir: dir.path().to_owned(),
                format,
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
            let print = move |line: &[u8]| shown.lock().unwrap().extend_from_slice(line);
            let levels = Levels::new(&router, to_logs, false);
            TwoServers {
                dir,
                logs,
                screen,
                dispatch: dispatch(&router, &levels, print),
                levels,
            }
        }

        fn at(level: LevelFilter) -> TwoServers {
            TwoServers::new(targets(level))
        }

        fn run(&self, what: impl FnOnce()) {
            with_default(&self.dispatch, what);
        }

        /// Returns the lines of a server's log, without their times.
        fn log_of(&self, server: &str) -> Vec<String> {
            assert!(self.logs.iter().all(Log::flush));
            let text = fs::read_to_string(self.dir.path().join(format!("{server}.log")));
            let after_time = |line: &str| line[LogTimestamp::LEN + 1..].to_owned();
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
        let process = TwoServers::at(LevelFilter::INFO);
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
        let process = TwoServers::at(LevelFilter::INFO);
        process.run(|| {
            server("Riley").in_scope(|| {
                warn!(neighbour = "Jaquez", tries = 3, "link is down");
                info!(%CRATE, empty = "", why = "no route = lost", quote = ?"a b");
            });
        });
        let expected = r#"INFO  CRATE=proxyherd empty="" why="no route = lost" quote="\"a b\"""#;
        assert_eq!(
            process.log_of("Riley"),
            ["WARN  link is down neighbour=Jaquez tries=3", expected]
        );
        let text = fs::read_to_string(process.dir.path().join("Riley.log")).unwrap();
        assert!(
            humantime::parse_rfc3339(&text[..LogTimestamp::LEN]).is_ok(),
            "{text}"
        );
    }

    #[test]
    fn an_event_as_json_has_typed_fields_and_escaped_text() {
        let process = TwoServers::with_format(targets(LevelFilter::INFO), LogFormat::Json);
        process.run(|| {
            server("Riley").in_scope(|| {
                let (ratio, none) = (0.5, f64::NAN);
                warn!(
                    tries = 3,
                    is_up = false,
                    ratio,
                    none,
                    why = "a \"b\"\n\u{202e}",
                    "down"
                );
                info!("plain");
            });
            error!(target: "h2::proto", debt = -1);
        });
        assert!(process.logs.iter().all(Log::flush));
        let log = fs::read_to_string(process.dir.path().join("Riley.log")).unwrap();
        let ends: Vec<&str> = log
            .lines()
            .map(|line| {
                let (time, end) = line.split_once("\",\"level\":").unwrap();
                let time = time.strip_prefix("{\"timestamp\":\"").unwrap();
                assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
                end
            })
            .collect();
        let target = module_path!();
        let down = format!(
            r#""WARN","server":"Riley","target":"{target}","message":"down","fields":{{"tries":3,"is_up":false,"ratio":0.5,"none":"NaN","why":"a \"b\"\\n\\u{{202e}}"}}}}"#
        );
        let plain = format!(r#""INFO","server":"Riley","target":"{target}","message":"plain"}}"#);
        let theirs = r#""ERROR","target":"h2::proto","message":"","fields":{"debt":-1}}"#;
        assert_eq!(ends, [&*down, &*plain, theirs]);
    }

    #[test]
    fn an_event_cannot_forge_a_line() {
        let process = TwoServers::at(LevelFilter::INFO);
        process.run(|| {
            server("Riley\x1b[1m").in_scope(|| warn!("rejected"));
            warn!(name = "x\nforged", "client sent {}", "a\r\nb\u{202e}");
        });
        let forged = r#"WARN  client sent a\r\nb\u{202e} name="x\nforged""#;
        assert_eq!(process.log_of("Riley"), [forged]);
        assert!(
            process
                .screen()
                .starts_with("warning: Riley\\x1b[1m: rejected\n")
        );
        assert_eq!(process.screen().lines().count(), 2);
    }

    #[test]
    fn a_long_message_is_cut() {
        let process = TwoServers::at(LevelFilter::INFO);
        process.run(|| warn!("{}", "ü".repeat(10_000)));
        assert!(process.screen().len() < 5000);
    }

    /// Emits one event of each level from this crate, and from a library.
    fn emit_all_levels() {
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
    fn the_level_determines_the_logged_events() {
        let ours = [
            "ERROR error",
            "WARN  warn",
            "INFO  info",
            "DEBUG debug",
            "TRACE trace",
        ];
        let theirs = ours.map(|entry| format!("{} h2::proto: {}", &entry[..5], &entry[6..]));
        for (level, our_count, their_count) in [
            (LevelFilter::OFF, 0, 0),
            (LevelFilter::ERROR, 1, 1),
            (LevelFilter::WARN, 2, 2),
            (LevelFilter::INFO, 3, 2),
            (LevelFilter::DEBUG, 4, 4),
            (LevelFilter::TRACE, 5, 5),
        ] {
            let process = TwoServers::at(level);
            process.run(emit_all_levels);
            let mut expected: Vec<_> = ours[..our_count].iter().map(ToString::to_string).collect();
            expected.extend_from_slice(&theirs[..their_count]);
            assert_eq!(process.log_of("Riley"), expected, "{level}");
        }
    }

    #[test]
    fn the_level_changes_while_the_process_runs() {
        let process = TwoServers::at(LevelFilter::INFO);
        let mut seen = 0;
        for (level, our_count) in [
            (LevelFilter::TRACE, 5),
            (LevelFilter::ERROR, 1),
            (LevelFilter::OFF, 0),
            (LevelFilter::DEBUG, 4),
        ] {
            process.run(|| process.levels.set(level));
            assert_eq!(process.logs[0].is_on(), level != LevelFilter::OFF);
            process.run(emit_all_levels);
            let log = process.log_of("Riley");
            let ours = log[seen..].iter().filter(|line| !line.contains("h2"));
            assert_eq!(ours.count(), our_count, "{level}");
            seen = log.len();
        }
    }

    #[test]
    fn a_level_of_the_environment_does_not_change() {
        let router = Router::new();
        let levels = Levels::new(&router, targets(LevelFilter::WARN), true);
        levels.set(LevelFilter::OFF);
        assert!(levels.is_on());
    }

    #[test]
    fn the_terminal_shows_the_same_events_at_every_level() {
        for level in [LevelFilter::OFF, LevelFilter::TRACE] {
            let process = TwoServers::at(level);
            process.run(|| {
                emit_all_levels();
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
    fn the_environment_variable_overrides_the_level_unless_it_is_invalid() {
        let set = |text: &str| Ok(text.to_owned());
        let by_level = |level| rules(level, Err(VarError::NotPresent)).unwrap();
        assert_eq!(by_level(LevelFilter::INFO), targets(LevelFilter::INFO));
        assert_eq!(
            rules(LevelFilter::WARN, set(" ")).unwrap(),
            targets(LevelFilter::WARN)
        );
        let is_on = |level, text| enables_any(&rules(level, set(text)).unwrap());
        assert!(is_on(LevelFilter::OFF, "error"));
        assert!(is_on(LevelFilter::OFF, "off,proxyherd=warn"));
        assert!(!is_on(LevelFilter::INFO, "off"));
        assert!(!is_on(LevelFilter::OFF, " "));

        let process =
            TwoServers::new(rules(LevelFilter::ERROR, set("proxyherd=debug,h2=off")).unwrap());
        process.run(emit_all_levels);
        let entries = ["ERROR error", "WARN  warn", "INFO  info", "DEBUG debug"];
        assert_eq!(process.log_of("Riley"), entries);

        for text in ["proxyherd=loud", "[server{server=Riley}]=debug"] {
            let error = rules(LevelFilter::INFO, set(text)).unwrap_err().to_string();
            assert!(error.starts_with("RUST_LOG is invalid (\""), "{error}");
            assert!(
                error.ends_with("write it like warn,proxyherd=debug"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_replaced_or_closed_log_gets_no_more_events() {
        let TwoServers { logs, dispatch, .. } = TwoServers::at(LevelFilter::INFO);
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

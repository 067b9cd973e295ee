//! The transcripts in `golden/`: the lines that clients send, and all that they receive.
//!
//! A file is one herd whose clocks stand still. Successive lines that begin with `> `, or with
//! `NAME> ` for a server other than the first, are one connection: they are sent in one write,
//! and the sending half is closed. The lines below them that begin with `< ` are what the client
//! receives until the server closes. The comparison is exact.
//!
//! `\t`, `\r`, `\\`, `\xNN` (a byte) and `\u{N}` (a character) are escapes, `\{c*N}` is a
//! character N times, and `\` at the end of a line stands for the lack of an LF. Lines that begin
//! with `set ` are settings of the herd; `clock` may also be set between connections. With
//! `SNAPSHOTS=overwrite` a test run writes what it received into the files.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use proxyherd::gateway::{Clock, GatewaySettings};
use proxyherd::log::Log;
use proxyherd::model::timestamp::UnixNanos;
use snapbox::assert::DEFAULT_ACTION_ENV;
use snapbox::{Assert, Data};

use crate::common::{Herd, linked, places_from};

/// The time of all clocks unless a transcript sets it, in nanoseconds.
const NOW: i64 = 1_621_464_828_223_371_889;

/// The minimum number of successive equal characters that are abbreviated.
const MIN_RUN: usize = 64;

#[test]
fn clients_receive_what_the_transcripts_show() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocol/golden");
    let assert = Assert::new().action_env(DEFAULT_ACTION_ENV);
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut differing = 0;
    for file in files {
        let name = file.display();
        println!("{name}");
        let actual = replay(&fs::read_to_string(&file).unwrap());
        let expected = Data::read_from(&file, None).raw();
        if let Err(error) = assert.try_eq(Some(&name), actual.into(), expected) {
            println!("{error}");
            differing += 1;
        }
    }
    assert!(differing == 0, "{differing} transcripts differ");
}

/// Sends what a transcript sends, and returns it with what was received.
fn replay(transcript: &str) -> String {
    let mut settings = Settings::new();
    let mut herd = None;
    let mut replayed = String::new();
    let mut lines = transcript.lines().peekable();
    while let Some(line) = lines.next() {
        if is_received(line) {
            continue;
        }
        let _ = writeln!(replayed, "{line}");
        if let Some((server, text)) = sent(line) {
            let mut bytes = unescape(text);
            while let Some(line) =
                lines.next_if(|line| sent(line).is_some_and(|(to, _)| to == server))
            {
                let _ = writeln!(replayed, "{line}");
                bytes.extend(unescape(sent(line).expect("it is sent").1));
            }
            let herd = herd.get_or_insert_with(|| settings.launch());
            let server = if server.is_empty() {
                &settings.servers[0]
            } else {
                server
            };
            let mut client = herd.client(server);
            client.send(bytes);
            for received in client.finish().split_inclusive(|&byte| byte == b'\n') {
                let _ = writeln!(replayed, "<{}", escape(received));
            }
            herd.await_pushes();
        } else if let Some(setting) = line.strip_prefix("set ") {
            let (name, value) = setting.split_once(' ').expect("a name and a value");
            assert!(herd.is_none() || name == "clock", "too late: {line}");
            settings.set(name, value);
        } else {
            assert!(line.is_empty() || line.starts_with("# "), "{line}");
        }
    }
    replayed
}

fn is_received(line: &str) -> bool {
    line == "<" || line.starts_with("< ")
}

/// Returns the server to which a line is sent, which is empty for the first one, and the line
/// with its escapes.
fn sent(line: &str) -> Option<(&str, &str)> {
    let (server, text) = line.split_once('>')?;
    let is_name = server.bytes().all(|byte| byte.is_ascii_alphabetic());
    let text = text.strip_prefix(' ').or(text.is_empty().then_some(""))?;
    is_name.then_some((server, text))
}

/// Returns the bytes of a line with escapes.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        let Some(kind) = escape.chars().next() else {
            return bytes;
        };
        let (mut end, mut braced) = (1, "");
        if let Some((_, inside)) = escape.split_once('{').filter(|_| "u{".contains(kind)) {
            braced = inside.split_once('}').expect("a closing brace").0;
            end = escape.find('}').expect("a closing brace") + 1;
        }
        match kind {
            '\\' => bytes.push(b'\\'),
            't' => bytes.push(b'\t'),
            'r' => bytes.push(b'\r'),
            'x' => {
                bytes.push(u8::from_str_radix(&escape[1..3], 16).expect("two hex digits"));
                end = 3;
            }
            'u' => {
                let number = u32::from_str_radix(braced, 16).expect("hex digits");
                let char = char::from_u32(number).expect("a character");
                bytes.extend(char.encode_utf8(&mut [0; 4]).bytes());
            }
            '{' => {
                let (char, count) = braced.split_once('*').expect("a character and a number");
                bytes.extend(char.repeat(count.parse().expect("a number")).bytes());
            }
            _ => panic!("no escape: \\{kind}"),
        }
        rest = &escape[end..];
    }
    bytes.extend(rest.bytes());
    bytes.push(b'\n');
    bytes
}

/// Returns a line for a transcript, after a space if it is not empty.
fn escape(line: &[u8]) -> String {
    let mut escaped = String::new();
    let (line, end) = match line.strip_suffix(b"\n") {
        Some(line) => (line, ""),
        None => (line, "\\"),
    };
    for chunk in line.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(char) = rest.chars().next() {
            let run = &rest[..rest.len() - rest.trim_start_matches(char).len()];
            let count = run.chars().count();
            if count >= MIN_RUN {
                let _ = write!(escaped, "\\{{{char}*{count}}}");
                rest = &rest[run.len()..];
                continue;
            }
            match char {
                '"' | '\'' => escaped.push(char),
                '\0' => escaped.push_str("\\x00"),
                _ => escaped.extend(char.escape_debug()),
            }
            rest = &rest[char.len_utf8()..];
        }
        for byte in chunk.invalid() {
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    // Editors remove white space at the end of a line.
    if escaped.ends_with(' ') {
        escaped.truncate(escaped.len() - 1);
        escaped.push_str("\\x20");
    }
    escaped.push_str(end);
    if escaped.is_empty() {
        escaped
    } else {
        format!(" {escaped}")
    }
}

/// The settings of a transcript.
struct Settings {
    servers: Vec<String>,
    clock: Arc<AtomicI64>,
    gateway: GatewaySettings,
    /// The lines of a table of places.
    places: String,
}

impl Settings {
    fn new() -> Self {
        Self {
            servers: vec!["Riley".to_owned()],
            clock: Arc::new(AtomicI64::new(NOW)),
            gateway: GatewaySettings::default(),
            places: String::new(),
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        match name {
            // All are linked with the first.
            "servers" => self.servers = value.split(' ').map(str::to_owned).collect(),
            "clock" => self.clock.store(nanos(value), Relaxed),
            "max_future" => self.gateway.max_future = Duration::from_secs(value.parse().unwrap()),
            "expire_after" => {
                self.gateway.expire_after = Some(Duration::from_secs(value.parse().unwrap()));
            }
            "max_clients" => self.gateway.max_clients = value.parse().unwrap(),
            "place" => self.places += &format!("{value}\n"),
            _ => panic!("no setting: {name}"),
        }
    }

    fn launch(&self) -> Herd {
        let names: Vec<&str> = self.servers.iter().map(String::as_str).collect();
        let links: Vec<_> = names[1..].iter().map(|&other| (names[0], other)).collect();
        let gateway = self.gateway;
        let mut herd = Herd::new(linked(&names, &links)).adjust(move |plan| plan.gateway = gateway);
        if !self.places.is_empty() {
            herd = herd.with_places(places_from("places.csv", &self.places).unwrap());
        }
        for name in names {
            let clock = self.clock.clone();
            let clock = Clock::new(move || UnixNanos(clock.load(Relaxed)));
            herd.launch_with(name, clock, Log::off());
        }
        herd.await_links();
        herd
    }
}

/// Returns the nanoseconds of a time in seconds with nine decimals.
fn nanos(time: &str) -> i64 {
    let (seconds, decimals) = time.split_once('.').expect("decimals");
    assert_eq!(decimals.len(), 9, "nine decimals: {time}");
    format!("{seconds}{decimals}").parse().expect("a time")
}

//! A server of lines that does as a test says: what is right, late, wrong, or
//! nothing.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is done about a line.
#[derive(Clone)]
pub(crate) enum Does {
    /// What the protocol wants.
    Right,
    /// The same, this much later; everybody waits meanwhile.
    Late(Duration),
    /// Says this instead.
    Says(&'static str),
    /// Answers, and says this as well.
    SaysToo(&'static str),
    /// Takes it for an unknown client's.
    Refuses,
    /// Says nothing to it.
    Nothing,
    /// Ends the connection.
    Closes,
}

/// A server that ends with the test.
pub(crate) struct Liner {
    pub(crate) address: String,
    state: Arc<State>,
}

type Decide = Box<dyn Fn(usize, &str) -> Does + Send + Sync>;

/// What all connections of it share.
struct State {
    decide: Decide,
    lines: AtomicUsize,
    newest: Mutex<HashMap<String, String>>,
    stall: Mutex<()>,
}

impl Liner {
    /// `decide` gets the number of the line, over all connections, and the line.
    pub(crate) fn start(decide: impl Fn(usize, &str) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            decide: Box::new(decide),
            lines: AtomicUsize::new(0),
            newest: Mutex::default(),
            stall: Mutex::default(),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), shared.clone());
                // It ends when the bench closes, in whatever way.
                thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { address, state }
    }

    /// How many lines have come.
    pub(crate) fn lines(&self) -> usize {
        self.state.lines.load(Relaxed)
    }
}

fn serve(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let does = (state.decide)(state.lines.fetch_add(1, Relaxed), &line);
        let stalled = state.stall.lock().unwrap();
        if let Does::Late(time) = does {
            thread::sleep(time);
        }
        drop(stalled);
        let answer = right(&line, state);
        match does {
            Does::Right | Does::Late(_) => out.write_all(answer.as_bytes())?,
            Does::Says(text) => out.write_all(text.as_bytes())?,
            Does::SaysToo(text) => out.write_all(format!("{answer}{text}").as_bytes())?,
            Does::Refuses => out.write_all(format!("? {line}\n").as_bytes())?,
            Does::Nothing => {}
            Does::Closes => return Ok(()),
        }
    }
    Ok(())
}

fn right(line: &str, state: &State) -> String {
    let mut newest = state.newest.lock().unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    if words[0] == "IAMAT" {
        let fields = words[1..].join(" ");
        let answer = format!("AT Liner +0.000000001 {fields}\n");
        newest.insert(words[1].to_owned(), answer.clone());
        return answer;
    }
    match newest.get(words[1]) {
        Some(at_line) => format!("{at_line}{{\n \"results\" : [],\n \"status\" : \"OK\"\n}}\n\n"),
        None => format!("? {line}\n"),
    }
}

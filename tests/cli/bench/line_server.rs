//! A server of the line protocol that answers each line as a test decides: correctly, late,
//! wrongly, or not at all.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The reaction to a line.
#[derive(Clone)]
pub(crate) enum Action {
    /// Sends the correct answer.
    Answer,
    /// Sends the correct answer after a delay, during which no connection is served.
    AnswerAfter(Duration),
    /// Sends this text in place of the answer.
    Send(&'static str),
    /// Sends the correct answer and this text.
    AnswerAndSend(&'static str),
    /// Rejects the line as invalid.
    Reject,
    /// Sends nothing.
    Ignore,
    /// Closes the connection.
    Close,
}

/// A server that runs until the test process ends.
pub(crate) struct LineServer {
    pub(crate) address: String,
    state: Arc<ServerState>,
}

type Decide = Box<dyn Fn(usize, &str) -> Action + Send + Sync>;

/// The state that all connections share.
struct ServerState {
    decide: Decide,
    lines: AtomicUsize,
    newest: Mutex<HashMap<String, String>>,
    stall: Mutex<()>,
}

impl LineServer {
    /// Starts a server on loopback. `decide` receives the number of the line over all
    /// connections, from 0, and the line.
    pub(crate) fn start(decide: impl Fn(usize, &str) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(ServerState {
            decide: Box::new(decide),
            lines: AtomicUsize::new(0),
            newest: Mutex::default(),
            stall: Mutex::default(),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), shared.clone());
                // An error only means that the bench has closed the connection.
                thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { address, state }
    }

    /// Returns the number of received lines.
    pub(crate) fn lines(&self) -> usize {
        self.state.lines.load(Relaxed)
    }
}

fn serve(stream: &TcpStream, state: &ServerState) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let action = (state.decide)(state.lines.fetch_add(1, Relaxed), &line);
        let stalled = state.stall.lock().unwrap();
        if let Action::AnswerAfter(time) = action {
            thread::sleep(time);
        }
        drop(stalled);
        let answer = correct_answer(&line, state);
        match action {
            Action::Answer | Action::AnswerAfter(_) => out.write_all(answer.as_bytes())?,
            Action::Send(text) => out.write_all(text.as_bytes())?,
            Action::AnswerAndSend(text) => out.write_all(format!("{answer}{text}").as_bytes())?,
            Action::Reject => out.write_all(format!("? {line}\n").as_bytes())?,
            Action::Ignore => {}
            Action::Close => return Ok(()),
        }
    }
    Ok(())
}

fn correct_answer(line: &str, state: &ServerState) -> String {
    let mut newest = state.newest.lock().unwrap();
    let fields: Vec<&str> = line.split(' ').collect();
    if fields[0] == "IAMAT" {
        let report = fields[1..].join(" ");
        let answer = format!("AT Server +0.000000001 {report}\n");
        newest.insert(fields[1].to_owned(), answer.clone());
        return answer;
    }
    match newest.get(fields[1]) {
        Some(at_line) => format!("{at_line}{{\n \"results\" : [],\n \"status\" : \"OK\"\n}}\n\n"),
        None => format!("? {line}\n"),
    }
}

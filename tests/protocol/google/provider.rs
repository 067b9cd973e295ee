//! An HTTP server that simulates a places provider: it records every call, and treats each as the
//! test specifies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::common::{LIMIT, eventually};

/// The treatment of a call.
pub(crate) enum Treatment {
    /// A response with this status and body; the connection stays open.
    Answer(u16, Vec<u8>),
    /// These bytes and the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing while the caller waits.
    Begin(Vec<u8>),
    /// The head of a response and an endless body, in chunks.
    Endless,
}

/// A call as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The first line, as in `GET /x HTTP/1.1`.
    pub(crate) line: String,
    /// The other lines of the head.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

/// A provider on a port of its own.
pub(crate) struct Provider {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    calls: Mutex<Vec<Call>>,
    traffic: Mutex<Traffic>,
    gate: Gate,
}

/// The traffic of a provider.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// Number of connections so far.
    pub(crate) connections: usize,
    /// Number of calls that are not treated yet.
    pub(crate) under_way: usize,
    /// Maximum of `under_way` so far.
    pub(crate) most: usize,
    /// Number of bytes of endless bodies that were sent.
    pub(crate) sent: usize,
}

/// A gate that holds calls while it is shut.
#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Provider {
    /// Starts a provider that treats calls as `treat` specifies. The first call has number 0.
    pub(crate) fn start(treat: impl Fn(usize, &Call) -> Treatment + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let (treat, shared) = (Arc::new(treat), state.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (treat, state) = (treat.clone(), shared.clone());
                state.traffic.lock().unwrap().connections += 1;
                thread::spawn(move || serve(stream, &state, treat.as_ref()));
            }
        });
        Self { port, state }
    }

    /// Starts a provider whose responses are all the same.
    pub(crate) fn answering(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self::start(move |_, _| Treatment::Answer(status, body.clone()))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap().clone()
    }

    pub(crate) fn traffic(&self) -> Traffic {
        *self.state.traffic.lock().unwrap()
    }

    /// Holds all further calls until the gate opens.
    pub(crate) fn shut(&self) -> &Self {
        *self.state.gate.is_shut.lock().unwrap() = true;
        self
    }

    pub(crate) fn open(&self) {
        *self.state.gate.is_shut.lock().unwrap() = false;
        self.state.gate.opened.notify_all();
    }

    /// Waits until so many calls are under way.
    #[track_caller]
    pub(crate) fn await_under_way(&self, calls: usize) {
        eventually(&format!("{calls} calls are under way"), || {
            (self.traffic().under_way == calls).then_some(())
        });
    }
}

fn serve(stream: TcpStream, state: &State, treat: &(impl Fn(usize, &Call) -> Treatment + ?Sized)) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(call) = read_call(&mut reader) {
        let number = state.arrived(&call);
        state.gate.pass();
        let treatment = treat(number, &call);
        // Before the response is sent, since its receiver may call again.
        state.traffic.lock().unwrap().under_way -= 1;
        if !do_treat(reader.get_mut(), treatment, state) {
            return;
        }
    }
}

/// Returns true if the connection stays open.
fn do_treat(stream: &mut TcpStream, treatment: Treatment, state: &State) -> bool {
    match treatment {
        Treatment::Answer(status, body) => {
            let mut answer = head(status, &format!("content-length: {}", body.len()));
            answer.extend_from_slice(&body);
            stream.write_all(&answer).is_ok()
        }
        Treatment::Bytes(bytes) => {
            // Fails only if the caller has closed.
            let _ = stream.write_all(&bytes);
            false
        }
        Treatment::Begin(bytes) => {
            let _ = stream.write_all(&bytes);
            // Ends when the caller gives up.
            let _ = stream.read(&mut [0]);
            false
        }
        Treatment::Endless => {
            let mut chunk = b"10000\r\n".to_vec();
            chunk.resize(chunk.len() + 0x10000, b' ');
            chunk.extend_from_slice(b"\r\n");
            let mut next = head(200, "transfer-encoding: chunked");
            while stream.write_all(&next).is_ok() {
                state.traffic.lock().unwrap().sent += next.len();
                next.clone_from(&chunk);
            }
            false
        }
    }
}

/// Returns the head of a response.
pub(crate) fn head(status: u16, header: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} So\r\ncontent-type: application/json\r\n{header}\r\n\r\n").into()
}

fn read_call(reader: &mut BufReader<TcpStream>) -> Option<Call> {
    let line = read_line(reader)?;
    let mut headers = Vec::new();
    loop {
        match read_line(reader)? {
            end if end.is_empty() => break,
            header => headers.push(header),
        }
    }
    let mut call = Call {
        line,
        headers,
        body: String::new(),
    };
    let length = call
        .header("content-length")
        .unwrap_or("0")
        .parse()
        .unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    call.body = String::from_utf8(body).unwrap();
    Some(call)
}

fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

impl Call {
    /// Returns the value of a header; `name` is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |header: &&String| header.to_lowercase().starts_with(&format!("{name}:"));
        let header = self.headers.iter().find(named)?;
        Some(header.split_once(':')?.1.trim())
    }
}

impl State {
    fn arrived(&self, call: &Call) -> usize {
        let mut traffic = self.traffic.lock().unwrap();
        traffic.under_way += 1;
        traffic.most = traffic.most.max(traffic.under_way);
        drop(traffic);
        let mut calls = self.calls.lock().unwrap();
        calls.push(call.clone());
        calls.len() - 1
    }
}

impl Gate {
    fn pass(&self) {
        let shut = self.is_shut.lock().unwrap();
        let opened = self
            .opened
            .wait_timeout_while(shut, LIMIT, |is_shut| *is_shut)
            .unwrap();
        assert!(!opened.1.timed_out(), "the gate was not opened");
    }
}

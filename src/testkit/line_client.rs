//! A client of the line protocol.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpSocket;

use super::own_runtime::OwnRuntime;
use super::wait::MAX_WAIT;

/// Number of bytes of one read, more than any answer has.
const MAX_READ: usize = 1 << 20;

/// Time without progress after which a connection counts as full.
const FULL_AFTER: Duration = Duration::from_millis(300);

/// A connection to a server's port for clients. Methods panic on errors, and after [`MAX_WAIT`],
/// except those that return a result.
#[derive(Debug)]
pub struct LineClient {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

/// Connections.
impl LineClient {
    /// Connects to a server.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        done("connect", Self::try_connect(address))
    }

    /// Does the same as [`connect`](Self::connect) for a server that may have stopped.
    ///
    /// # Errors
    /// The connection is refused, or not made in time.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, MAX_WAIT)?)
    }

    /// Does the same as [`connect`](Self::connect) from another address of this machine, for limits
    /// per address. On Linux these include 127.0.0.0/8.
    #[track_caller]
    pub fn connect_from(source: &str, address: SocketAddr) -> Self {
        let source = source.parse().expect("an IP address");
        done("connect", dial_from(source, address).and_then(Self::over))
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(MAX_WAIT))?;
        stream.set_write_timeout(Some(MAX_WAIT))?;
        stream.set_nodelay(true)?;
        let answers = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, answers })
    }

    /// Returns the address of this end of the connection.
    #[track_caller]
    pub fn local_address(&self) -> SocketAddr {
        done("read the address", self.stream.local_addr())
    }

    /// Returns the receiving half.
    pub fn reader(self) -> impl Read {
        self.answers
    }

    /// Returns the sending half, for another thread.
    #[track_caller]
    pub fn sender(&self) -> TcpStream {
        done("clone the connection", self.stream.try_clone())
    }
}

/// Commands and their answers.
impl LineClient {
    /// Reports a position at the current time, and returns the AT line.
    ///
    /// # Panics
    /// The server rejects the command.
    #[track_caller]
    pub fn iamat(&mut self, client: &str, position: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("the system's clock is after 1970");
        let (seconds, nanos) = (now.as_secs(), now.subsec_nanos());
        let command = format!("IAMAT {client} {position} {seconds}.{nanos:09}");
        let answer = self.ask(&command);
        assert!(answer.starts_with("AT "), "{}", rejected(&command, &answer));
        answer
    }

    /// Asks what is near a client, within a radius in kilometres. Returns the AT line and the JSON,
    /// each without the newlines after it.
    ///
    /// # Panics
    /// The server rejects the command: it has no report of the client, for instance.
    #[track_caller]
    pub fn whatsat(&mut self, client: &str, radius: &str, limit: usize) -> (String, String) {
        self.send(format!("WHATSAT {client} {radius} {limit}\n"))
            .places()
    }

    /// Sends a line and returns the next line, both without LF.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n")).text()
    }

    /// Returns the next answer to a valid WHATSAT: its AT line and its JSON, each without the
    /// newlines after it.
    #[track_caller]
    pub fn places(&mut self) -> (String, String) {
        let at_line = self.text();
        assert!(
            at_line.starts_with("AT "),
            "{}",
            rejected("WHATSAT", &at_line)
        );
        let mut json = String::new();
        while !json.ends_with("\n\n") {
            json.push_str(&self.text());
            json.push('\n');
        }
        (at_line, json.trim_end().to_owned())
    }
}

/// Bytes in and out.
impl LineClient {
    /// Sends bytes in one write.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        done("send", self.try_send(bytes));
        self
    }

    /// Does the same as [`send`](Self::send) for a server that may have stopped.
    ///
    /// # Errors
    /// The connection has ended, or takes no byte for [`MAX_WAIT`].
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a line repeatedly until the server accepts no more bytes. Reads nothing.
    #[track_caller]
    pub fn fill(&mut self, line: &str) {
        let lines = line.repeat(1000);
        let limited = self.stream.set_write_timeout(Some(FULL_AFTER));
        done("limit the time of a write", limited);
        while self.stream.write_all(lines.as_bytes()).is_ok() {}
    }

    /// Returns the next line as text, without its LF.
    #[track_caller]
    pub fn text(&mut self) -> String {
        let line = String::from_utf8(self.line()).expect("answers are UTF-8 if commands are");
        match line.strip_suffix('\n') {
            Some(line) => line.to_owned(),
            None => panic!("the connection ended after {line:?}, before the end of a line"),
        }
    }

    /// Returns the next line with its LF, or the bytes before the end of the connection.
    #[track_caller]
    pub fn line(&mut self) -> Vec<u8> {
        done("read a line", self.try_line())
    }

    /// Does the same as [`line`](Self::line) for a server that may have stopped.
    ///
    /// # Errors
    /// The connection was reset, or no line arrived for [`MAX_WAIT`].
    pub fn try_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.answers.read_until(b'\n', &mut line)?;
        Ok(line)
    }

    /// Returns the bytes of one read with a buffer larger than any answer. Empty after the end of
    /// the connection. All earlier answers must have been read.
    #[track_caller]
    pub fn read_once(&mut self) -> Vec<u8> {
        assert!(
            self.answers.buffer().is_empty(),
            "earlier bytes are not read"
        );
        let mut bytes = vec![0; MAX_READ];
        let read = done("read", self.answers.read(&mut bytes));
        bytes.truncate(read);
        bytes
    }

    /// Returns all further bytes until the server closes the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        done("read to the end", self.answers.read_to_end(&mut rest));
        rest
    }
}

/// Ends.
impl LineClient {
    /// Closes the sending half of the connection.
    #[track_caller]
    pub fn half_close(&mut self) -> &mut Self {
        done("close", self.stream.shutdown(Shutdown::Write));
        self
    }

    /// Closes the sending half, and returns all further bytes.
    #[track_caller]
    pub fn finish(mut self) -> Vec<u8> {
        self.half_close().rest()
    }

    /// Returns all further bytes until the server closes the connection, or resets it because it
    /// has not read everything.
    #[track_caller]
    pub fn rest_until_cut(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.answers.read_to_end(&mut rest) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            read => _ = done("read to the end", read),
        }
        rest
    }

    /// Ends the connection with a reset, by closing it with an unread answer.
    #[track_caller]
    pub fn reset(mut self) {
        self.send("answered\n");
        let mut first = [0];
        done("read", self.stream.peek(&mut first));
    }
}

/// Returns what was to be done, and panics if it was not.
#[track_caller]
fn done<T>(what: &str, result: io::Result<T>) -> T {
    match result {
        Ok(done) => done,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("a client cannot {what}: nothing happened for {MAX_WAIT:?}")
        }
        Err(error) => panic!("a client cannot {what}: {error}"),
    }
}

fn rejected(command: &str, answer: &str) -> String {
    format!("the server rejected {command:?} with {answer:?}; docs/protocol.md has the rules")
}

/// Connects from `source`, which the standard library cannot do.
fn dial_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let connected = OwnRuntime::start()?.run(async {
        let socket = match source {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.bind((source, 0).into())?;
        socket.connect(address).await?.into_std()
    });
    let stream = connected?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

//! A client of the line protocol.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime::Builder;

use super::LIMIT;

/// A connection to a server's port for clients. Methods panic on errors and after [`LIMIT`],
/// except those that return a result.
pub struct Client {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// Does the same as [`connect`](Self::connect) for a server that may have stopped.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// Does the same as [`connect`](Self::connect) from another address of this machine. On
    /// Linux these include 127.0.0.0/8.
    pub fn connect_from(source: &str, address: SocketAddr) -> Self {
        Self::over(dial_from(source, address).unwrap()).unwrap()
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        let answers = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, answers })
    }

    /// Returns the address of this end of the connection.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends bytes in one write.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Returns the bytes of one read with a buffer larger than any answer. Empty after the end of
    /// the connection.
    pub fn read_once(&mut self) -> Vec<u8> {
        assert!(self.answers.buffer().is_empty(), "the buffer is not empty");
        let mut bytes = vec![0; 1 << 20];
        let read = self.answers.read(&mut bytes).unwrap();
        bytes.truncate(read);
        bytes
    }

    /// Does the same as [`send`](Self::send) for a server that may have stopped.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a line repeatedly until the server accepts no more bytes. Reads nothing.
    pub fn fill(&mut self, line: &str) {
        let lines = line.repeat(1000);
        let limit = Some(Duration::from_millis(300));
        self.stream.set_write_timeout(limit).unwrap();
        while self.stream.write_all(lines.as_bytes()).is_ok() {}
    }

    /// Returns the next line with its LF, or the bytes before the end of the connection.
    pub fn line(&mut self) -> Vec<u8> {
        self.try_line().unwrap()
    }

    /// Does the same as [`line`](Self::line) for a server that may have stopped.
    pub fn try_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.answers.read_until(b'\n', &mut line)?;
        Ok(line)
    }

    /// Returns the next line as text, without its LF.
    pub fn text(&mut self) -> String {
        let line = String::from_utf8(self.line()).unwrap();
        line.strip_suffix('\n').expect("a whole line").to_owned()
    }

    /// Returns the next answer to a valid WHATSAT: its AT line and its JSON, each without the
    /// newlines after it.
    pub fn places(&mut self) -> (String, String) {
        let at_line = self.text();
        assert!(at_line.starts_with("AT "), "{at_line}");
        let mut json = String::new();
        while !json.ends_with("\n\n") {
            json.push_str(&self.text());
            json.push('\n');
        }
        (at_line, json.trim_end().to_owned())
    }

    /// Sends a line and returns the next line, both without LF.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n")).text()
    }

    /// Closes the sending half of the connection.
    pub fn half_close(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Closes the sending half, and returns all further bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.half_close().rest()
    }

    /// Returns the receiving half.
    pub fn reader(self) -> impl Read {
        self.answers
    }

    /// Returns the sending half, for another thread.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Returns all further bytes until the server closes the connection, or resets it because it
    /// has not read everything.
    pub fn rest_until_cut(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.answers.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => rest,
        }
    }

    /// Ends the connection with a reset, by closing it with an unread answer.
    pub fn reset(mut self) {
        self.send("answered\n");
        let mut first = [0];
        self.stream.peek(&mut first).unwrap();
    }

    /// Returns all further bytes until the server closes the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.answers.read_to_end(&mut rest).unwrap();
        rest
    }
}

/// Connects from `source`, which the standard library cannot do.
pub fn dial_from(source: &str, address: SocketAddr) -> io::Result<TcpStream> {
    let source: IpAddr = source.parse().expect("an address");
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let connected = runtime.block_on(async {
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

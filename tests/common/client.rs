//! A client: bytes out, bytes in.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime::Builder;

use super::LIMIT;

/// A connection to a server's text edge.
pub struct Client {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// As [`connect`](Self::connect), to a server that may be gone.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// As [`connect`](Self::connect), from another address of this machine. On
    /// Linux all of 127.0.0.0/8 is.
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

    /// This end of the connection.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends bytes as they are, in one write.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// What one read gives, with room for more than any answer. Empty where the
    /// server has closed.
    pub fn read_once(&mut self) -> Vec<u8> {
        assert!(self.answers.buffer().is_empty(), "lines were read before");
        let mut bytes = vec![0; 1 << 20];
        let read = self.answers.read(&mut bytes).unwrap();
        bytes.truncate(read);
        bytes
    }

    /// As [`send`](Self::send), to a server that may be gone.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a line again and again until the server takes no more of it, and
    /// reads nothing.
    pub fn fill(&mut self, line: &str) {
        let many = line.repeat(1000);
        let limit = Some(Duration::from_millis(300));
        self.stream.set_write_timeout(limit).unwrap();
        while self.stream.write_all(many.as_bytes()).is_ok() {}
    }

    /// The next line of an answer, with its LF; what came before the end if
    /// the server closed.
    pub fn line(&mut self) -> Vec<u8> {
        self.try_line().unwrap()
    }

    /// As [`line`](Self::line), of a server that may be gone.
    pub fn try_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.answers.read_until(b'\n', &mut line)?;
        Ok(line)
    }

    /// The next line as text, without its LF.
    pub fn text(&mut self) -> String {
        let line = String::from_utf8(self.line()).unwrap();
        line.strip_suffix('\n').expect("a whole line").to_owned()
    }

    /// The next answer to a WHATSAT that the server could take: its AT line and
    /// its JSON, each without the newlines behind it.
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

    /// Sends a line and gives the one that answers it, both without LF.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n")).text()
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Says that nothing more will be sent, and gives all that still comes.
    pub fn finish(mut self) -> Vec<u8> {
        self.half_close().rest()
    }

    /// The receiving half, of which nothing was read yet.
    pub fn reader(self) -> impl Read {
        self.answers
    }

    /// The sending half, for a thread of its own.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// All that still comes until the server closes, or cuts the connection
    /// because something that it did not read was sent to it.
    pub fn rest_until_cut(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.answers.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => rest,
        }
    }

    /// Ends the connection with a reset: an answer comes, and is never read.
    pub fn reset(mut self) {
        self.send("answered\n");
        let mut first = [0];
        self.stream.peek(&mut first).unwrap();
    }

    /// All that still comes until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.answers.read_to_end(&mut rest).unwrap();
        rest
    }
}

/// Connects from `source`, which the standard library can not.
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

//! HTTP to a web port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::LIMIT;

/// The response to one request.
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The status line and the headers in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Sends a request unchanged, and reads until the server closes the connection.
pub fn http_send(address: SocketAddr, request: &str) -> HttpResponse {
    let mut stream = http_connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("a complete head");
    let status = head.strip_prefix("HTTP/1.1 ").expect("a status line");
    HttpResponse {
        status: status[..3].parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// Gets a path.
pub fn http_get(address: SocketAddr, path: &str) -> HttpResponse {
    http_get_with(address, path, "")
}

/// Gets a path, with further lines of the head, which end in CR LF.
pub fn http_get_with(address: SocketAddr, path: &str, headers: &str) -> HttpResponse {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    http_send(address, &request)
}

/// Gets a path whose answer is JSON. Returns the status and the answer.
#[track_caller]
pub fn http_json(address: SocketAddr, path: &str) -> (u16, serde_json::Value) {
    let response = http_get(address, path);
    let json = serde_json::from_str(&response.body);
    (
        response.status,
        json.unwrap_or_else(|error| panic!("{path}: {error}: {}", response.body)),
    )
}

/// Opens a connection whose reads end after [`LIMIT`].
pub fn http_connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

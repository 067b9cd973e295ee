//! What listens at an address that is no peer port: a guess for people, from its answer to a
//! request that each of the likely ports answers in its own way.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::net::TcpDialer;

/// A request of HTTP/1.1, which is an invalid command to the line protocol and plaintext to TLS.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: proxyherd\r\nConnection: close\r\n\r\n";

/// Maximum time of a probe. Longer: a command that fails anyway ends later.
const MAX_TIME: Duration = Duration::from_secs(1);

/// Number of bytes of the answer that tell the ports apart: two frames of HTTP/2, the second with
/// its error code.
const ANSWER_BYTES: usize = 26;

/// The description of a port for TLS.
const WITH_TLS: &str = "a port for TLS listens there: query a herd with TLS by its config, with \
                        --certificate and --key";

/// Returns what seems to listen there and the way out; `None` if nothing does, or if it may be a
/// peer port.
pub(crate) async fn what_listens(tcp: &TcpDialer, limit: Duration) -> Option<&'static str> {
    let limit = limit.min(MAX_TIME);
    let (mut stream, _) = tcp.connect(limit).await.ok()?;
    stream.write_all(REQUEST).await.ok()?;
    let mut answer = Vec::new();
    let reading = async {
        while answer.len() < ANSWER_BYTES && stream.read_buf(&mut answer).await? > 0 {}
        io::Result::Ok(())
    };
    // What came before an error or the time limit counts.
    let is_late = timeout(limit, reading).await.is_err();
    if answer.is_empty() && is_late {
        return None;
    }
    describe(&answer)
}

/// Describes a port by its answer to [`REQUEST`].
fn describe(answer: &[u8]) -> Option<&'static str> {
    /// Types of TLS records: an alert and a handshake (RFC 8446, section 5.1).
    const TLS_RECORDS: [u8; 2] = [21, 22];
    /// Types of HTTP/2 frames that begin and end a connection (RFC 9113, section 6).
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    /// An error code there (section 7).
    const INADEQUATE_SECURITY: u8 = 12;
    match answer {
        [] => Some(
            "it closes the connection without an answer: it may be a port for TLS, or reject this \
             machine; query a herd with TLS by its config, with --certificate and --key",
        ),
        _ if answer.starts_with(b"? GET /") => Some(
            "a port for clients (line protocol) listens there: use the address of \"peers\" in the \
             config",
        ),
        _ if answer.starts_with(b"HTTP/") => Some(
            "an HTTP server listens there, such as a web port: use the address of \"peers\" in the \
             config",
        ),
        [first, 3, ..] if TLS_RECORDS.contains(first) => Some(WITH_TLS),
        // An empty SETTINGS, and a GOAWAY: nine bytes of head, the last stream, the error code.
        [_, _, 0, SETTINGS, _, _, _, _, _, goaway @ ..]
            if goaway.get(3) == Some(&GOAWAY) && goaway.get(16) == Some(&INADEQUATE_SECURITY) =>
        {
            Some(WITH_TLS)
        }
        // A peer port, or HTTP/2 of something else, whose own words are kept.
        [_, _, _, SETTINGS, ..] => None,
        _ => Some("something that is no server of a herd listens there: check the address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_apart_by_their_first_bytes() {
        for (answer, what) in [
            (&b"? GET / HTTP/1.1\n? Host: x\n"[..], "a port for clients"),
            (b"HTTP/1.1 404 Not Found\r\n", "an HTTP server"),
            (b"\x15\x03\x03\0\x02\x02\x32", "a port for TLS"),
            (
                b"\0\0\0\x04\0\0\0\0\0\0\0\x1c\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0cthis",
                "a port for TLS",
            ),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "something that is no server"),
            (b"", "it closes the connection"),
        ] {
            let described = describe(answer).unwrap();
            assert!(described.starts_with(what), "{described}");
        }
        assert_eq!(describe(b"\0\0\x12\x04\0\0\0\0\0"), None);
    }
}

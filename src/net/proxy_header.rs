//! The PROXY protocol, versions 1 and 2: a header in front of a connection, in which a proxy names
//! the client that it speaks for.
//!
//! The specification is haproxy's (Willy Tarreau, "The PROXY protocol", 2020,
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). The crate `proxy-header` parses
//! complete headers. This file reads exactly the bytes of one, so that everything after it is left
//! to TLS or to the client protocol.
//!
//! A header is read only from addresses that the config names: from any other address it would let
//! a client choose whom limits and logs mean.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::metrics::Counter;

/// The first bytes of version 1 (section 2.1 of the specification).
const V1_PREFIX: &[u8] = b"PROXY ";

/// The first bytes of version 2 (section 2.2).
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Length of the shortest header, `PROXY UNKNOWN` and a line end.
const MIN_HEADER_BYTES: usize = 15;

/// Maximum length of a header of version 1 with its line end.
const MAX_V1_BYTES: usize = 107;

/// Length of what precedes the addresses in version 2: signature, command, family and length.
const V2_START_BYTES: usize = 16;

/// Maximum length of what follows in version 2: addresses of at most 216 bytes and further fields,
/// such as the certificate that a client presented to the proxy.
const MAX_V2_REST_BYTES: usize = 4096;

/// Low half of the 13th byte of version 2 if the connection is the proxy's own (LOCAL), such as a
/// health check.
const V2_LOCAL: u8 = 0;

/// The stage of a connection in which the header of a proxy is read.
#[derive(Clone, Debug)]
pub struct ProxyGate {
    /// Time limit of the header.
    pub time_limit: Duration,
    /// Counter of connections without a valid header.
    pub rejected: Arc<Counter>,
}

/// The reason why a connection of a proxy is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyHeaderError {
    /// The connection does not begin with a header.
    Missing,
    /// A header began and is malformed or too long.
    Invalid,
    /// The header did not arrive in time.
    TimedOut,
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => {
                "it sent no PROXY protocol header, and [clients] proxies in the config contains \
                 its address; let the proxy send one (haproxy: send-proxy), or remove the address"
            }
            Self::Invalid => "its PROXY protocol header is invalid",
            Self::TimedOut => "its PROXY protocol header was not complete in time",
        })
    }
}

impl ProxyGate {
    /// Reads a header. Returns the client that it names, or `None` if the connection is the
    /// proxy's own.
    ///
    /// # Errors
    ///
    /// The cause, which is counted, or `None` if the connection ended before its header was
    /// complete.
    pub(super) async fn open(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<SocketAddr>, Option<ProxyHeaderError>> {
        let read = timeout(self.time_limit, read(stream)).await;
        let read = read.unwrap_or(Err(Some(ProxyHeaderError::TimedOut)));
        if let Err(Some(_)) = read {
            self.rejected.add(1);
        }
        read
    }
}

/// Returns true if a connection that begins with these bytes begins with a header, as far as they
/// show. A header that is sent in one segment shows it at the first read.
pub fn begins_proxy_header(received: &[u8]) -> bool {
    [&b"PROXY TCP"[..], b"PROXY UNKNOWN", V2_SIGNATURE]
        .iter()
        .any(|start| received.starts_with(start))
}

/// Reads a header and nothing after it.
async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, Option<ProxyHeaderError>> {
    let mut header = Vec::with_capacity(MAX_V1_BYTES);
    loop {
        let missing = missing_bytes(&header)?;
        if missing == 0 {
            return Ok(client(&header)?);
        }
        // One that ends early, or breaks, is a probe.
        match (&mut *stream)
            .take(missing as u64)
            .read_buf(&mut header)
            .await
        {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(None),
        }
    }
}

/// Returns the number of further bytes that certainly belong to the header; 0 if it is complete.
fn missing_bytes(header: &[u8]) -> Result<usize, ProxyHeaderError> {
    let agrees_with = |start: &[u8]| {
        let both = header.len().min(start.len());
        header[..both] == start[..both]
    };
    if agrees_with(V2_SIGNATURE) && !header.is_empty() {
        let Some(length) = header.get(V2_START_BYTES - 2..V2_START_BYTES) else {
            return Ok(V2_START_BYTES - header.len());
        };
        let rest = usize::from(length[0]) << 8 | usize::from(length[1]);
        if rest > MAX_V2_REST_BYTES {
            return Err(ProxyHeaderError::Invalid);
        }
        return Ok(V2_START_BYTES + rest - header.len());
    }
    if !agrees_with(V1_PREFIX) {
        return Err(ProxyHeaderError::Missing);
    }
    if header.ends_with(b"\r\n") {
        return Ok(0);
    }
    let until_end = if header.ends_with(b"\r") { 1 } else { 2 };
    let missing = until_end.max(MIN_HEADER_BYTES.saturating_sub(header.len()));
    if header.len() + missing > MAX_V1_BYTES {
        return Err(ProxyHeaderError::Invalid);
    }
    Ok(missing)
}

/// Returns the client that a complete header names, or `None` if it names none.
fn client(header: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    // The addresses of such a header do not count, whatever they are.
    let is_version_2 = header.starts_with(V2_SIGNATURE);
    if is_version_2 && header[V2_SIGNATURE.len()] == 0x20 | V2_LOCAL {
        return Ok(None);
    }
    let (parsed, length) = ProxyHeader::parse(header, ParseConfig::default())
        .map_err(|_| ProxyHeaderError::Invalid)?;
    if length != header.len() {
        return Err(ProxyHeaderError::Invalid);
    }
    Ok(parsed.proxied_address().map(|addresses| addresses.source))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb];

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend((rest.len() as u16).to_be_bytes());
        header.extend(rest);
        header
    }

    /// Reads a header in front of `after`. Returns the result and what is left.
    fn opened(
        header: &[u8],
        after: &[u8],
    ) -> (
        Result<Option<SocketAddr>, Option<ProxyHeaderError>>,
        Vec<u8>,
    ) {
        let bytes = [header, after].concat();
        let mut stream = bytes.as_slice();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let read = runtime.block_on(read(&mut stream));
        (read, stream.to_vec())
    }

    fn address(text: &str) -> Option<SocketAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_header_names_the_client_and_nothing_after_it_is_read() {
        let six = [
            &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..],
            &[0; 16],
            &[0, 7, 0, 8],
        ];
        let with_fields = [&V4[..], &[0x04, 0, 2, 0, 0], &[0xea, 0, 3, 1, 2, 3]].concat();
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                       ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        let cases: [(Vec<u8>, Option<SocketAddr>); 9] = [
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
                address("192.0.2.1:1"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 7 8\r\n".to_vec(),
                address("[2001:db8::1]:7"),
            ),
            (
                longest.into(),
                address("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(),
                None,
            ),
            (v2(0x21, 0x11, &V4), address("192.0.2.1:56324")),
            (v2(0x21, 0x11, &with_fields), address("192.0.2.1:56324")),
            (v2(0x21, 0x21, &six.concat()), address("[2001:db8::1]:7")),
            (v2(0x21, 0x00, &[]), None),
        ];
        for (header, client) in cases {
            for after in [&b""[..], b"IAMAT kiwi", b"\x16\x03\x01"] {
                let (read, left) = opened(&header, after);
                assert_eq!(read, Ok(client), "{}", header.escape_ascii());
                assert_eq!(left, after, "{}", header.escape_ascii());
            }
        }
    }

    #[test]
    fn a_local_connection_names_nobody_whatever_its_addresses() {
        for (family, rest) in [(0x00, &b""[..]), (0x11, &V4), (0x11, b""), (0xff, b"x")] {
            let (read, left) = opened(&v2(0x20, family, rest), b"a\n");
            assert_eq!((read, left), (Ok(None), b"a\n".to_vec()), "{family}");
        }
    }

    #[test]
    fn what_is_no_header_is_rejected_as_soon_as_it_shows() {
        for text in [
            "I",
            "IAMAT",
            "PROXX",
            "PROXY\n",
            "\r\n\r\nx",
            "\x16\x03",
            "\n",
        ] {
            let (read, _) = opened(text.as_bytes(), b"");
            assert_eq!(read, Err(Some(ProxyHeaderError::Missing)), "{text:?}");
        }
    }

    #[test]
    fn an_invalid_header_is_rejected() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        let cases = [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.300 192.0.2.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
            long.into_bytes(),
            v2(0x31, 0x11, &V4),
            v2(0x22, 0x11, &V4),
            v2(0x21, 0x11, &V4[..11]),
            v2(0x21, 0x41, &V4),
            v2(0x21, 0x11, &[0; MAX_V2_REST_BYTES + 1]),
        ];
        for header in cases {
            let (read, _) = opened(&header, b"IAMAT");
            let invalid = Err(Some(ProxyHeaderError::Invalid));
            assert_eq!(read, invalid, "{}", header.escape_ascii());
        }
    }

    #[test]
    fn a_connection_that_ends_within_its_header_is_a_probe() {
        for header in [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
            v2(0x21, 0x11, &V4),
        ] {
            for length in 0..header.len() {
                assert_eq!(opened(&header[..length], b"").0, Err(None), "{length}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_counted_after_its_time() {
        let gate = ProxyGate {
            time_limit: Duration::from_secs(3),
            rejected: Arc::default(),
        };
        let (mut here, _there) = tokio::io::duplex(10);
        let opened = gate.open(&mut here).await;
        assert_eq!(opened, Err(Some(ProxyHeaderError::TimedOut)));
        assert_eq!(gate.rejected.get(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            start in prop::sample::select(vec![V1_PREFIX, b"PROXY TCP4 ", V2_SIGNATURE, b""]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = opened(start, &bytes);
        }
    }
}

//! Who may call the API: the `Host` header and the token.
//!
//! A page of another site can make a browser send requests to any address, and read the answers if
//! it has them sent to its own host name (DNS rebinding). Such a request has that name in its
//! `Host` header. An address as the host cannot be rebound, so every IP address is accepted.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::uri::Authority;
use tokio::time::Instant;

use crate::gateway::{RejectedWebCallCounters, Token};
use crate::model::address::Address;

use super::failures::Failures;
use super::problem::Problem;

/// The rules of access of one port.
#[derive(Debug)]
pub(super) struct Access {
    /// The configured addresses of the port.
    hosts: Vec<Address>,
    failures: Failures,
}

impl Access {
    /// Creates the rules of a port that has these addresses.
    pub(super) fn new(hosts: Vec<Address>) -> Self {
        Self {
            hosts,
            failures: Failures::default(),
        }
    }

    /// Checks the host of a request.
    pub(super) fn check_host(&self, request: &Parts) -> Result<(), Problem> {
        let header = request.headers.get(HOST);
        let header = header.and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        let host = request.uri.authority().or(header.as_ref());
        if host.is_some_and(|host| self.has_host(host.host())) {
            return Ok(());
        }
        Err(Problem::forbidden(
            "the Host header has a name that this port does not have: use an IP address, localhost \
             or the host of \"web\" in the config",
        ))
    }

    fn has_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_own = |address: &Address| address.host().eq_ignore_ascii_case(host);
        bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(is_own)
    }

    /// Checks the token of a request from this address, and counts a rejection.
    pub(super) fn check_token(
        &self,
        token: &Token,
        from: IpAddr,
        request: &Parts,
        rejected: &RejectedWebCallCounters,
    ) -> Result<(), Problem> {
        if let Some(wait) = self.failures.wait(from, Instant::now()) {
            rejected.rate_limited.add(1);
            return Err(Problem::too_many(
                "too many wrong tokens from this address: try again later",
                wait.as_secs() + 1,
            ));
        }
        let Some(given) = bearer(request) else {
            rejected.missing_token.add(1);
            return Err(Problem::unauthorized(
                "the token is missing: send the content of token_file in the header \
                 \"Authorization: Bearer TOKEN\"",
            ));
        };
        if token.is(given) {
            return Ok(());
        }
        rejected.wrong_token.add(1);
        self.failures.add(from, Instant::now());
        Err(Problem::unauthorized(
            "the token is wrong: send the content of token_file",
        ))
    }
}

fn bearer(request: &Parts) -> Option<&str> {
    let header = request.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn is_accepted(host: &str) -> bool {
        let access = Access::new(vec![Address::parse("herd.example.org:15000").unwrap()]);
        let request = Request::builder().header(HOST, host).body(()).unwrap();
        access.check_host(&request.into_parts().0).is_ok()
    }

    #[test]
    fn addresses_and_own_names_are_accepted_and_other_names_are_not() {
        for good in [
            "localhost:15000",
            "LocalHost",
            "127.0.0.1:15000",
            "[::1]:15000",
            "192.0.2.1",
            "herd.example.org",
            "HERD.example.org.:443",
        ] {
            assert!(is_accepted(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:15000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "herd.example.org.evil.example",
            "example.org",
            "a b",
        ] {
            assert!(!is_accepted(bad), "{bad}");
        }
        let (without, ()) = Request::new(()).into_parts();
        assert!(Access::new(Vec::new()).check_host(&without).is_err());
    }
}

//! The gRPC edge: a server's links to its neighbours, and theirs to it.
//!
//! | file | holds |
//! |---|---|
//! | `link` | the task for one neighbour: greets it and pushes what it lacks |
//! | `policy` | the tower stack of calls to a neighbour: time limits, retries, budget |
//! | `channel` | one attempt of a call: tonic's channel and the push stream over it |
//! | `dial` | connections to a neighbour, by TCP or TLS |
//! | `backoff` | the pauses of a link that is down |
//! | `progress` | whether a neighbour keeps up |
//! | `port` | the peer port: tonic's server, its services and limits |
//! | `incoming` | its connections |
//! | `calls` | the tower layer that each call to it passes |
//! | `admission` | which calls a certificate permits |
//! | `call_limits` | how many calls run at a time |
//! | `rejections` | the log of rejected calls |
//! | `push_streams` | the `Propagate` service: the life of a push stream |
//! | `inbound` | judges greetings and pushes, and merges reports |
//! | `closable` | a byte stream that this side can close at any time |
//! | `wire` | messages to model types and back |
//! | `protobuf` | the wire format of the message that is read in place |
//!
//! HTTP/2 and gRPC are tonic's. The rules of replication are in
//! [`crate::replication`]; this folder gives them a network. It does not trust one:
//! every wait has a limit, every message a size, and whatever fails is tried again with
//! backoff.

mod admission;
mod backoff;
mod call_limits;
mod calls;
mod channel;
mod closable;
mod dial;
mod inbound;
mod incoming;
mod link;
mod policy;
mod port;
mod progress;
mod protobuf;
mod push_streams;
mod rejections;
mod wire;

pub use channel::{dial, dial_secure};
pub use dial::tls_stream;
pub use inbound::Inbound;
pub use incoming::OtherEnd;
pub use link::Link;
pub use policy::{CallError, Caller, PeerRequest, PeerResponse, stack};
pub use port::{Health, Port};

use std::time::Duration;

use crate::replication::send_cursor::MAX_BATCH_REPORTS;

/// How links behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// How often a quiet link sends an empty push. Default 500 ms, 10 ms to
    /// 10 s. Too low costs calls; too high lets a neighbour's quick restart go
    /// unnoticed for so long.
    pub heartbeat: Duration,
    /// Time limit of one attempt of a call; of the whole call, quick retries
    /// included, half as much again; and of the silence before the first byte, or
    /// the TLS handshake, on the peer port. Default 2 s, 100 ms to 1 min. Too low gives up on slow but
    /// working networks; too high finds a hanging neighbour late.
    pub attempt: Duration,
    /// How often one call is quickly tried again. Default 2, at most 10. Too
    /// low takes a link down for every hiccup; too high only delays the link's
    /// own, slower retries.
    pub retries: u32,
    /// Longest pause between two tries of a link that is down. Default 1 s,
    /// 50 ms to 1 min. Too low bothers a dead neighbour's network; too high is
    /// how long after its return a neighbour goes without news.
    pub backoff_cap: Duration,
    /// Silence after which a connection is pinged. Default 1 s, 100 ms to
    /// 1 min. Too low costs packets; with the time limit of the answer it is
    /// how long a silent connection stays unnoticed.
    pub keep_alive: Duration,
    /// Time limit of the answer to such a ping. Default 2 s, 100 ms to 1 min.
    /// Too low cuts slow but working connections.
    pub keep_alive_timeout: Duration,
    /// How long reports gather for one push while a link is busy: while pushes
    /// hold 32 reports or more, the next is not sent sooner than this after the
    /// last; what comes to a quiet link goes at once. Default 5 ms, 0 to 1 s. Too low
    /// costs calls under load; too high makes a busy herd hear late, by so much
    /// for each link on the way.
    pub linger: Duration,
    /// By how much a neighbour that kept up may be behind, two round trips to it
    /// aside, before clients wait for it, up to 20 ms a read: they do so only
    /// while this server is short of time itself, and for a second at most.
    /// Default 15 ms, 1 to 500 ms, `None` for never. Too low lets clients wait
    /// for nothing; too high, a server that is given more than it can carry
    /// tells of it late.
    pub target_lag: Option<Duration>,
    /// Most reports in one push. Default and at most 10,000. Too low costs
    /// calls under load.
    pub batch_reports: usize,
    /// Most calls under way at a time on the peer port, for neighbours and for
    /// all others each; further ones of neighbours are refused, and of others
    /// take the place of an earlier one. Default 64, 1 to 10,000; each
    /// holds up to about 2 MiB. Too low refuses neighbours, too high lets
    /// strangers fill the memory.
    pub max_pushes: usize,
    /// How long a server that shuts down waits until its neighbours have all
    /// that it knows. Default 2 s, at most 1 min. Too low leaves reports
    /// behind; too high delays the exit beside a neighbour that hangs.
    pub drain: Duration,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            attempt: Duration::from_secs(2),
            retries: 2,
            backoff_cap: Duration::from_secs(1),
            keep_alive: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(2),
            linger: Duration::from_millis(5),
            target_lag: Some(Duration::from_millis(15)),
            batch_reports: MAX_BATCH_REPORTS,
            max_pushes: 64,
            drain: Duration::from_secs(2),
        }
    }
}

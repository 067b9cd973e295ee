//! The gRPC edge: a server's links to its neighbours, and theirs to it.
//!
//! | file | holds |
//! |---|---|
//! | `link` | the task for one neighbour: greets it and pushes what it lacks |
//! | `comparison` | the scans and the call of a comparison with the neighbour |
//! | `batch` | a batch under construction |
//! | `policy` | the tower stack of calls to a neighbour: time limits, retries, budget |
//! | `channel` | one attempt of a call: tonic's channel and the push stream over it |
//! | `clock_check` | how far a neighbour's clock is off |
//! | `port` | the peer port: its services over hyper's HTTP/2, with limits |
//! | `incoming` | its connections |
//! | `calls` | the rules that each call to it passes |
//! | `call_tasks` | the task of each call, and its reset |
//! | `methods` | what a call of each method may hold |
//! | `bodies` | requests that arrive, and answers that wait to be read |
//! | `admission` | which calls a certificate permits |
//! | `call_limits` | how many calls run at a time |
//! | `rejections` | the log of rejected calls |
//! | `push_streams` | the `Propagate` service: a push stream from its first push to its end |
//! | `inbound` | judges greetings and pushes, and merges reports |
//!
//! HTTP/2 is hyper's and h2's, gRPC is tonic's. The rules of replication are in
//! [`crate::replication`]; this folder gives them a network. It does not trust one:
//! every wait has a limit, every message a size, and whatever fails is tried again with
//! backoff.

mod admission;
mod batch;
mod bodies;
mod call_limits;
mod call_tasks;
mod calls;
mod channel;
mod clock_check;
mod comparison;
mod inbound;
mod incoming;
mod link;
mod methods;
mod policy;
mod port;
mod push_streams;
mod rejections;

pub use channel::dial;
pub use inbound::Inbound;
pub use incoming::OtherEnd;
pub use link::Link;
pub use policy::{CallError, Caller, PeerRequest, PeerResponse, stack};
pub use port::{Port, PortHealth};

use std::time::Duration;

use crate::replication::send_cursor::MAX_BATCH_REPORTS;

/// Settings of links and of the peer port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Interval of empty pushes on a quiet link, 10 ms to 10 s. Default: 500 ms. Too
    /// low costs calls; too high finds a neighbour's quick restart later.
    pub heartbeat: Duration,
    /// Time limit of an attempt of a call, 100 ms to 1 min. Default: 2 s. A call with
    /// its quick retries may take 1.5 times as long; a connection to the peer port may
    /// be silent for as long, or take as long for its TLS handshake; a dial may take as
    /// long, or twice as long with TLS, of which the lookup of a name takes at most half; a
    /// push, and each other message, must arrive within four times as long; and a frame of
    /// an answer must be read within 16 times as long, or the call is reset. Too low gives
    /// up on slow networks; too high finds a hanging neighbour late.
    pub attempt: Duration,
    /// Number of quick retries of a call, at most 10. Default: 2. Too low takes a link
    /// down for every hiccup; too high only delays the link's own, slower retries.
    pub retries: u32,
    /// Maximum delay between two attempts of a link that is down, 50 ms to 1 min.
    /// Default: 1 s. Too low loads a dead neighbour's network; too high delays the
    /// first push after its return.
    pub backoff_cap: Duration,
    /// Silence after which a connection is pinged, 100 ms to 1 min. Default: 1 s. Too
    /// low costs packets; too high finds a silent connection late.
    pub keep_alive: Duration,
    /// Time limit of the answer to a ping, 100 ms to 1 min. Default: 2 s. Too low closes
    /// slow connections; too high finds a silent connection late.
    pub keep_alive_timeout: Duration,
    /// Minimum time between two pushes of a busy link, whose pushes hold 32 reports or
    /// more, 0 to 1 s. Default: 5 ms. Reports gather meanwhile; the first one on a quiet
    /// link goes at once. Too low costs calls under load; too high adds as much delay
    /// on each link of the way.
    pub linger: Duration,
    /// Maximum time between two comparisons of what both servers hold, 100 ms to 1 d, on a
    /// link that has caught up, or `None` for none. Default: 5 min. Each costs both
    /// servers a scan, 0.15 s of CPU time for a million clients. Too low costs CPU time; too
    /// high mends a difference late.
    pub anti_entropy: Option<Duration>,
    /// Maximum number of reports in a push, up to 10,000. Default: 10,000. Too low
    /// costs calls under load.
    pub batch_reports: usize,
    /// Maximum number of concurrent calls on the peer port, 1 to 10,000: for neighbours,
    /// for all others, and for theirs to health and reflection. Default: 64. Further calls
    /// of neighbours are rejected; others take the place of an earlier one. A call counts
    /// until its answer was read, and holds up to a push of 1 MiB or an answer of 4 MiB.
    /// Too low rejects neighbours; too high lets strangers fill the memory.
    pub max_pushes: usize,
    /// Time for which a server that shuts down waits until its neighbours have all its
    /// reports, up to 1 min. Default: 2 s. Too low loses reports; too high delays the
    /// exit beside a neighbour that hangs.
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
            anti_entropy: Some(Duration::from_secs(300)),
            batch_reports: MAX_BATCH_REPORTS,
            max_pushes: 64,
            drain: Duration::from_secs(2),
        }
    }
}

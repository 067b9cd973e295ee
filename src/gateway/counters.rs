//! What a server has done since it started.

use std::sync::Arc;

use crate::metrics::{Counter, Histogram};
use crate::tls::HandshakeErrorCounters;

/// What became of the lines of clients. A connection counts those of one read
/// here, and hands them in together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounters {
    /// IAMATs whose report is the newest of its client.
    pub accepted: u64,
    /// IAMATs that were answered and changed nothing: the server knew as much.
    pub stale: u64,
    /// IAMATs whose time was too far in the future.
    pub from_the_future: u64,
    /// IAMATs of new clients, while the server knew as many as it may.
    pub past_the_limit: u64,
    /// WHATSATs that were answered with a report.
    pub located: u64,
    /// WHATSATs about a client of which the server has no report to show.
    pub unknown: u64,
    /// Lines that are no valid command by their form.
    pub malformed: u64,
}

/// What a server has done for its clients since it started. What it did for
/// its neighbours stands on the [`LinkTable`](super::LinkTable).
#[derive(Debug, Default)]
pub struct ServerCounters {
    accepted: Counter,
    stale: Counter,
    from_the_future: Counter,
    past_the_limit: Counter,
    located: Counter,
    unknown: Counter,
    malformed: Counter,
    requests: Histogram,
    connected: Counter,
    left: Counter,
    turned_away: Counter,
    denied: Counter,
    crowded_out: Counter,
    put_off: Counter,
    held_back: Counter,
    web_turned_away: Counter,
    web_denied: Counter,
    refused_calls: Counter,
    refused_by_name: Counter,
    peers_refused: Arc<HandshakeErrorCounters>,
    clients_refused: Arc<HandshakeErrorCounters>,
}

impl ServerCounters {
    /// Some lines were taken.
    pub fn add_lines(&self, lines: &LineCounters) {
        self.accepted.add(lines.accepted);
        self.stale.add(lines.stale);
        self.from_the_future.add(lines.from_the_future);
        self.past_the_limit.add(lines.past_the_limit);
        self.located.add(lines.located);
        self.unknown.add(lines.unknown);
        self.malformed.add(lines.malformed);
    }

    /// What became of all lines.
    pub fn lines(&self) -> LineCounters {
        LineCounters {
            accepted: self.accepted.get(),
            stale: self.stale.get(),
            from_the_future: self.from_the_future.get(),
            past_the_limit: self.past_the_limit.get(),
            located: self.located.get(),
            unknown: self.unknown.get(),
            malformed: self.malformed.get(),
        }
    }

    /// How long lines took, from being taken to their answers being written,
    /// places and what they held back included. A line whose answer could not
    /// be written is not in it.
    pub fn requests(&self) -> &Histogram {
        &self.requests
    }

    pub(super) fn note_connected(&self) {
        self.connected.add(1);
    }

    pub(super) fn note_left(&self) {
        self.left.add(1);
    }

    /// How many clients are connected now.
    pub fn connections(&self) -> u64 {
        self.connected.get().saturating_sub(self.left.get())
    }

    /// How many clients were ever connected.
    pub fn connections_ever(&self) -> u64 {
        self.connected.get()
    }

    /// Connections of clients that were closed since there were too many.
    pub fn turned_away(&self) -> &Counter {
        &self.turned_away
    }

    /// Connections of clients that were closed since they came from a network
    /// that may not connect.
    pub fn denied(&self) -> &Counter {
        &self.denied
    }

    /// Connections of clients that were closed since their address had as many
    /// as it may.
    pub fn crowded_out(&self) -> &Counter {
        &self.crowded_out
    }

    /// How often a client's connection was read on later, since its address had
    /// sent as many lines as it may.
    pub fn put_off(&self) -> &Counter {
        &self.put_off
    }

    /// How often a client's connection was left unread for some milliseconds
    /// since a neighbour lags and this server is short of time.
    pub fn held_back(&self) -> &Counter {
        &self.held_back
    }

    /// Connections to the web port that were closed since there were too many.
    pub fn web_turned_away(&self) -> &Counter {
        &self.web_turned_away
    }

    /// Connections to the web port that were closed since they came from a
    /// network that may not connect.
    pub fn web_denied(&self) -> &Counter {
        &self.web_denied
    }

    /// Greetings and pushes that were refused, and other calls that a certificate
    /// does not allow.
    pub fn refused_calls(&self) -> &Counter {
        &self.refused_calls
    }

    /// Those of them whose certificate is for somebody who may not make them.
    pub fn refused_by_name(&self) -> &Counter {
        &self.refused_by_name
    }

    /// Connections to the peer port that did not get in, or might not stay.
    pub fn peers_refused(&self) -> &Arc<HandshakeErrorCounters> {
        &self.peers_refused
    }

    /// Connections to the port for clients with TLS that did not get in.
    pub fn clients_refused(&self) -> &Arc<HandshakeErrorCounters> {
        &self.clients_refused
    }
}

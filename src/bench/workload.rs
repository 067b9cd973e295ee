//! The choice of a connection's next request.
//!
//! Each client belongs to one connection, and the times of a connection's reports only
//! increase. Every report is therefore the newest of its client, and every correct answer is
//! known in advance.

use super::walk::scatter;

/// The two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// A client's report of its position.
    Iamat,
    /// A query of the places near a client.
    Whatsat,
}

/// A request, and the report that its answer must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientRequest {
    pub(super) kind: RequestKind,
    pub(super) client: u32,
    /// The time of the client's newest report, in nanoseconds since 1970.
    pub(super) nanos: u64,
}

/// The clients of one connection.
#[derive(Debug)]
pub(super) struct Workload {
    /// The number of the first client. The others follow at intervals of `step`.
    first: u32,
    step: u32,
    /// The time of each client's newest report in nanoseconds since 1970, or 0.
    newest: Vec<u64>,
    /// The number of clients that [`preload`](Self::preload) has returned.
    preloaded: usize,
    /// The index of the client that reported last.
    turn: usize,
    /// The distance between two reporting clients. Every client reports once a round.
    stride: usize,
    last_nanos: u64,
    random: u64,
    /// The number of queries in 2^32 requests.
    queries: u64,
}

impl Workload {
    /// Creates the workload of connection `index` of `connections`, which share all
    /// `clients`. `queries` is the share of WHATSATs among its requests, from 0 to 1.
    pub(super) fn new(index: u32, connections: u32, clients: u32, queries: f64) -> Self {
        let count = (clients - index).div_ceil(connections) as usize;
        Self {
            first: index,
            step: connections,
            newest: vec![0; count],
            preloaded: 0,
            turn: 0,
            stride: coprime(count),
            last_nanos: 0,
            random: scatter(index.into()),
            queries: (queries * (1_u64 << 32) as f64) as u64,
        }
    }

    /// Returns the first report of the next client, or `None` after the last client. `now` is
    /// in nanoseconds since 1970.
    pub(super) fn preload(&mut self, now: u64) -> Option<ClientRequest> {
        let index = self.preloaded;
        if index == self.newest.len() {
            return None;
        }
        self.preloaded += 1;
        Some(self.report(index, now))
    }

    /// Returns the next request. `now` is in nanoseconds since 1970.
    pub(super) fn next(&mut self, now: u64) -> ClientRequest {
        if self.queries > 0 && self.random_u32() < self.queries {
            return self.query();
        }
        self.turn = (self.turn + self.stride) % self.newest.len();
        self.report(self.turn, now)
    }

    /// Returns every client that has reported, with the time of its newest report.
    pub(super) fn newest(&self) -> impl Iterator<Item = (u32, u64)> {
        let all = self.newest.iter().enumerate();
        let reported = all.filter(|&(_, &nanos)| nanos > 0);
        reported.map(|(index, &nanos)| (self.client(index), nanos))
    }

    fn report(&mut self, index: usize, now: u64) -> ClientRequest {
        self.last_nanos = now.max(self.last_nanos + 1);
        self.newest[index] = self.last_nanos;
        ClientRequest {
            kind: RequestKind::Iamat,
            client: self.client(index),
            nanos: self.last_nanos,
        }
    }

    fn query(&mut self) -> ClientRequest {
        let index = (self.random_u32() % self.newest.len() as u64) as usize;
        ClientRequest {
            kind: RequestKind::Whatsat,
            client: self.client(index),
            nanos: self.newest[index],
        }
    }

    /// Returns 32 pseudorandom bits. The sequence is the same in each run.
    fn random_u32(&mut self) -> u64 {
        self.random = self.random.wrapping_add(1);
        scatter(self.random) >> 32
    }

    fn client(&self, index: usize) -> u32 {
        self.first + index as u32 * self.step
    }
}

/// Returns a stride of about 0.618 of `count` that has no common divisor with it. It visits
/// all clients, and rarely adjacent ones in succession.
fn coprime(count: usize) -> usize {
    let golden = (count as f64 * 0.618) as usize;
    let mut candidates = golden.max(1)..=count.max(1);
    candidates.find(|&step| gcd(step, count) == 1).unwrap_or(1)
}

fn gcd(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_client_belongs_to_one_connection() {
        let mut all: Vec<u32> = (0..7)
            .flat_map(|index| {
                let mut workload = Workload::new(index, 7, 100, 0.0);
                while workload.preload(5).is_some() {}
                workload
                    .newest()
                    .map(|(client, _)| client)
                    .collect::<Vec<_>>()
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn every_client_reports_once_in_each_round() {
        for clients in [1, 2, 3, 10, 97, 1000] {
            let mut workload = Workload::new(0, 1, clients, 0.0);
            let round: HashSet<u32> = (0..clients).map(|_| workload.next(1).client).collect();
            assert_eq!(round.len(), clients as usize);
        }
    }

    #[test]
    fn report_times_increase_even_if_the_clock_does_not() {
        let mut workload = Workload::new(0, 1, 3, 0.0);
        let times: Vec<u64> = [9, 9, 3, 20].map(|now| workload.next(now).nanos).into();
        assert_eq!(times, [9, 10, 11, 20]);
    }

    #[test]
    fn a_query_has_the_time_of_the_newest_report() {
        let mut workload = Workload::new(0, 1, 10, 0.5);
        let mut newest = [0; 10];
        while let Some(request) = workload.preload(1) {
            newest[request.client as usize] = request.nanos;
        }
        let mut queries = 0;
        for _ in 0..10_000 {
            let request = workload.next(1);
            match request.kind {
                RequestKind::Iamat => newest[request.client as usize] = request.nanos,
                RequestKind::Whatsat => queries += 1,
            }
            assert_eq!(newest[request.client as usize], request.nanos);
        }
        assert!((4_800..5_200).contains(&queries), "{queries}");
    }

    #[test]
    fn shares_of_zero_and_one_are_exact() {
        for (share, kind) in [(0.0, RequestKind::Iamat), (1.0, RequestKind::Whatsat)] {
            let mut workload = Workload::new(0, 1, 10, share);
            while workload.preload(1).is_some() {}
            assert!((0..10_000).all(|_| workload.next(1).kind == kind));
        }
    }
}

//! What one connection says: which of its clients reports, or is asked for,
//! next.
//!
//! Each client belongs to one connection, and the connection's times only
//! grow; so each report wins, and what a client reported last is known without
//! asking anybody.

use super::payload::scatter;

/// The two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A client says where it is.
    Iamat,
    /// A client asks what is near another.
    Whatsat,
}

impl Kind {
    /// Both, in the order in which they are told.
    pub(super) const ALL: [Self; 2] = [Self::Iamat, Self::Whatsat];

    /// The command's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Iamat => "IAMAT",
            Self::Whatsat => "WHATSAT",
        }
    }
}

/// One request, and the report that its answer must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientRequest {
    pub(super) kind: Kind,
    pub(super) client: u32,
    /// The time of the client's newest report, in nanoseconds since 1970.
    pub(super) nanos: u64,
}

/// The clients of one connection.
#[derive(Debug)]
pub(super) struct Workload {
    /// Clients are numbered `first`, `first + step`, and so on.
    first: u32,
    step: u32,
    /// When each of them reported last; 0 for never.
    newest: Vec<u64>,
    /// How many have been told of by [`introduce`](Self::introduce).
    introduced: usize,
    /// Reports go round by `stride`, which visits every client once a round.
    turn: usize,
    stride: usize,
    last_nanos: u64,
    random: u64,
    /// Of 2^32 requests, how many are questions.
    questions: u64,
}

impl Workload {
    /// The clients below `clients` that the connection `index` of
    /// `connections` speaks for, at least one. A share of `questions`, from 0
    /// to 1, of its requests are WHATSATs.
    pub(super) fn new(index: u32, connections: u32, clients: u32, questions: f64) -> Self {
        let count = (clients - index).div_ceil(connections) as usize;
        Self {
            first: index,
            step: connections,
            newest: vec![0; count],
            introduced: 0,
            turn: 0,
            stride: coprime(count),
            last_nanos: 0,
            random: scatter(index.into()),
            questions: (questions * (1_u64 << 32) as f64) as u64,
        }
    }

    /// The first report of the next client that made none, if there is one.
    pub(super) fn introduce(&mut self, now: u64) -> Option<ClientRequest> {
        let index = self.introduced;
        if index == self.newest.len() {
            return None;
        }
        self.introduced += 1;
        Some(self.report(index, now))
    }

    /// The next request, at `now` in nanoseconds since 1970.
    pub(super) fn next(&mut self, now: u64) -> ClientRequest {
        match self.is_question() {
            true => self.question(),
            false => {
                self.turn = (self.turn + self.stride) % self.newest.len();
                self.report(self.turn, now)
            }
        }
    }

    /// Every client that has reported, with the time of its newest report.
    pub(super) fn newest(&self) -> impl Iterator<Item = (u32, u64)> {
        let all = self.newest.iter().enumerate();
        let reported = all.filter(|&(_, &nanos)| nanos > 0);
        reported.map(|(index, &nanos)| (self.client(index), nanos))
    }

    fn report(&mut self, index: usize, now: u64) -> ClientRequest {
        self.last_nanos = now.max(self.last_nanos + 1);
        self.newest[index] = self.last_nanos;
        ClientRequest {
            kind: Kind::Iamat,
            client: self.client(index),
            nanos: self.last_nanos,
        }
    }

    fn question(&mut self) -> ClientRequest {
        let index = (self.chance() % self.newest.len() as u64) as usize;
        ClientRequest {
            kind: Kind::Whatsat,
            client: self.client(index),
            nanos: self.newest[index],
        }
    }

    fn is_question(&mut self) -> bool {
        self.questions > 0 && self.chance() < self.questions
    }

    /// 32 bits, the same in each run.
    fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(1);
        scatter(self.random) >> 32
    }

    fn client(&self, index: usize) -> u32 {
        self.first + index as u32 * self.step
    }
}

/// A step of about 0.618 of the way round that has no divisor in common with
/// `count`: it visits all, and neighbours one after another seldom.
fn coprime(count: usize) -> usize {
    let golden = (count as f64 * 0.618) as usize;
    let mut candidates = golden.max(1)..=count.max(1);
    candidates
        .find(|&step| divisor(step, count) == 1)
        .unwrap_or(1)
}

fn divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn connections_share_the_clients_out() {
        let mut all: Vec<u32> = (0..7)
            .flat_map(|index| {
                let mut lane = Workload::new(index, 7, 100, 0.0);
                while lane.introduce(5).is_some() {}
                lane.newest().map(|(client, _)| client).collect::<Vec<_>>()
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn every_client_reports_once_a_round() {
        for clients in [1, 2, 3, 10, 97, 1000] {
            let mut lane = Workload::new(0, 1, clients, 0.0);
            let round: HashSet<u32> = (0..clients).map(|_| lane.next(1).client).collect();
            assert_eq!(round.len(), clients as usize);
        }
    }

    #[test]
    fn times_grow_though_the_clock_does_not() {
        let mut lane = Workload::new(0, 1, 3, 0.0);
        let times: Vec<u64> = [9, 9, 3, 20].map(|now| lane.next(now).nanos).into();
        assert_eq!(times, [9, 10, 11, 20]);
    }

    #[test]
    fn a_question_knows_the_newest_report() {
        let mut lane = Workload::new(0, 1, 10, 0.5);
        let mut newest = [0; 10];
        while let Some(request) = lane.introduce(1) {
            newest[request.client as usize] = request.nanos;
        }
        let mut questions = 0;
        for _ in 0..10_000 {
            let request = lane.next(1);
            match request.kind {
                Kind::Iamat => newest[request.client as usize] = request.nanos,
                Kind::Whatsat => questions += 1,
            }
            assert_eq!(newest[request.client as usize], request.nanos);
        }
        assert!((4_800..5_200).contains(&questions), "{questions}");
    }

    #[test]
    fn shares_of_nothing_and_everything_are_exact() {
        for (share, kind) in [(0.0, Kind::Iamat), (1.0, Kind::Whatsat)] {
            let mut lane = Workload::new(0, 1, 10, share);
            while lane.introduce(1).is_some() {}
            assert!((0..10_000).all(|_| lane.next(1).kind == kind));
        }
    }
}

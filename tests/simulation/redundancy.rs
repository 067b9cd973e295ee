//! The redundancy of flooding: how many times a report is sent until all servers have it, under
//! load, in herds of up to hundreds of servers.
//!
//! The same replicas and link machines as in the other schedules, with a model of time in place of
//! checks at each step: messages take time, and so does each server to send and to merge. A seed
//! determines everything. At the end all servers must have the same reports.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use proxyherd::model::client::ClientId;
use proxyherd::model::name::Name;
use proxyherd::model::position::Position;
use proxyherd::model::report::{Origin, Report};
use proxyherd::model::timestamp::{Skew, Timestamp, UnixNanos};
use proxyherd::queries::digest::{self, Buckets};
use proxyherd::queries::hash_range::HashRange;
use proxyherd::replication::link::{CallFailure, LinkAction, LinkMachine, LinkRules, MIN_LOAD};
use proxyherd::replication::messages::{
    GreetReply, Greeting, PushAnswer, PushHeader, Rejection, VERSION,
};
use proxyherd::replication::replica::{Replica, ServerIdentity};
use proxyherd::replication::send_cursor::{BatchBuilder, Span};
use proxyherd::replication::tag::{Tag, TaggedReport};
use proxyherd::replication::version_vector::OriginNumber;
use proxyherd::replication::{Incarnation, NeighbourId};

use crate::random::Random;
use crate::topology::{self, Link};

const HERD: &str = "classic";

const RULES: LinkRules = LinkRules {
    heartbeat: Duration::from_millis(500),
    attempt: Duration::from_secs(2),
    backoff_cap: Duration::from_secs(1),
    linger: Duration::from_millis(5),
    batch_reports: 10_000,
    min_load: MIN_LOAD,
    anti_entropy: None,
};

/// Microseconds that a server takes for a message, sent or received, and for each report in it.
const MESSAGE_TIME: f64 = 20.0;
const REPORT_TIME: f64 = 0.5;

/// Microseconds after which a call that got no response has failed.
const CALL_LIMIT: u64 = 200_000;

/// Size of a report, in bytes.
const REPORT_BYTES: usize = 100;

/// Maximum number of reports of a run.
const MAX_REPORTS: usize = 400_000;

static TIMES: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..MAX_REPORTS).map(|time| time.to_string()).collect());

static CLIENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    (0..100_000)
        .map(|client| format!("client-{client}"))
        .collect()
});

static SERVERS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..256).map(|server| format!("server-{server}")).collect());

/// A herd and its load.
#[derive(Clone)]
struct Herd {
    name: String,
    servers: usize,
    links: Vec<Link>,
    /// Reports of clients in a second, in the whole herd.
    rate: usize,
    clients: usize,
    /// Seconds before the measurement, and of it.
    seconds: (f64, f64),
    /// Microseconds that a message takes at least and at most.
    latency: (u64, u64),
    /// Lost messages, per mille.
    loss: u32,
    /// Servers that restart empty, in a second.
    restarts: f64,
    seed: u64,
}

impl Herd {
    fn new(name: &str, servers: usize, links: Vec<Link>) -> Self {
        Self {
            name: name.to_owned(),
            servers,
            links,
            rate: 20_000,
            clients: 20_000,
            seconds: (0.5, 0.5),
            latency: (100, 500),
            loss: 0,
            restarts: 0.0,
            seed: 1,
        }
    }

    fn classic() -> Self {
        Self::new("classic", 5, topology::classic())
    }

    fn mesh(servers: usize) -> Self {
        Self::new("full mesh", servers, topology::complete(servers))
    }

    fn ring(servers: usize) -> Self {
        Self::new("ring", servers, topology::ring(servers))
    }

    /// A random connected graph in which each server has `degree` links.
    fn regular(servers: usize, degree: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        loop {
            if let Some(links) = pair_ends(servers, degree, &mut random)
                && is_connected(servers, &links)
            {
                return Self::new(&format!("{degree}-regular"), servers, links);
            }
        }
    }

    fn neighbours(&self, server: usize) -> Vec<usize> {
        let other = |&(one, other): &Link| match server {
            _ if one == server => Some(other),
            _ if other == server => Some(one),
            _ => None,
        };
        self.links.iter().filter_map(other).collect()
    }
}

/// Joins random ends of links; `None` if a server would be linked with itself or twice.
fn pair_ends(servers: usize, degree: usize, random: &mut Random) -> Option<Vec<Link>> {
    let mut ends: Vec<usize> = (0..servers * degree).map(|end| end / degree).collect();
    let (mut links, mut seen) = (Vec::new(), HashSet::new());
    while let Some(one) = ends.pop() {
        // A few draws per end find a partner in most graphs; others are drawn anew.
        let other = (0..50).find_map(|_| {
            let at = random.below(ends.len().max(1));
            let other = *ends.get(at)?;
            let link = (one.min(other), one.max(other));
            (one != other && seen.insert(link)).then(|| ends.swap_remove(at))
        })?;
        links.push((one.min(other), one.max(other)));
    }
    Some(links)
}

fn is_connected(servers: usize, links: &[Link]) -> bool {
    let mut group: Vec<usize> = (0..servers).collect();
    for _ in 0..servers {
        for &(one, other) in links {
            let least = group[one].min(group[other]);
            (group[one], group[other]) = (least, least);
        }
    }
    group.iter().all(|&it| it == 0)
}

/// What a run counted while it measured.
#[derive(Default)]
struct Outcome {
    reports: u64,
    payloads: u64,
    messages: u64,
    /// Milliseconds until a report was at each other server, for reports that were not replaced.
    spreads: Vec<f64>,
}

impl Outcome {
    /// Returns the number of times that a report was sent.
    fn payloads(&self) -> f64 {
        self.payloads as f64 / self.reports as f64
    }

    /// Returns the same for each server that had to receive it.
    fn per_server(&self, herd: &Herd) -> f64 {
        self.payloads() / (herd.servers - 1) as f64
    }

    fn spread(&self, share: f64) -> f64 {
        let mut sorted = self.spreads.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() as f64 * share) as usize;
        sorted.get(at).copied().unwrap_or_default()
    }
}

/// The line of a table.
struct Row<'a>(&'a Herd, &'a Outcome);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(herd, outcome) = self;
        write!(
            f,
            "{:<11} servers {:>3} links {:>4} reports/s {:>6} loss {:>3} restarts/s {:>3}: \
             payloads {:>7.2}, for each server {:>5.2}, messages/s {:>8.0}, spread p50 {:>5.1} \
             p99 {:>6.1} ms",
            herd.name,
            herd.servers,
            herd.links.len(),
            herd.rate,
            herd.loss,
            herd.restarts,
            outcome.payloads(),
            outcome.per_server(herd),
            outcome.messages as f64 / herd.seconds.1,
            outcome.spread(0.5),
            outcome.spread(0.99),
        )
    }
}

/// Index of a report among those of a run.
type ReportId = u32;

struct SimulatedLink {
    machine: LinkMachine,
    /// The number of the call in flight.
    waiting: Option<u64>,
    wants_changes: bool,
    next_step: u64,
}

struct Server {
    replica: Replica,
    incarnation: u64,
    links: Vec<SimulatedLink>,
    /// It is busy until then.
    busy_until: f64,
}

enum Body {
    Greeting,
    Push {
        receiver: u64,
        span: Span,
        check: Option<u32>,
        reports: Vec<ReportId>,
        tags: Vec<Option<OriginNumber>>,
        vector: Vec<OriginNumber>,
    },
}

enum Answer {
    Greeted(GreetReply),
    Applied(PushAnswer),
    Rejected(Rejection),
}

enum Event {
    Report(usize),
    Restart,
    Step(usize, usize),
    /// A call of an incarnation of a server, over its link with this index.
    Arrive(usize, u64, usize, u64, Body),
    Answer(usize, u64, usize, u64, Answer),
    TimeOut(usize, u64, usize, u64),
}

/// A batch under construction.
struct Batch(Vec<ReportId>, Vec<Tag>);

impl BatchBuilder for Batch {
    fn add(&mut self, report: &Report<'_>, tag: Tag, max_bytes: usize) -> bool {
        if self.bytes() + REPORT_BYTES > max_bytes {
            return false;
        }
        let number = report.time.text().parse();
        self.0
            .push(number.expect("the time is the report's number"));
        self.1.push(tag);
        true
    }

    fn bytes(&self) -> usize {
        self.0.len() * REPORT_BYTES
    }
}

struct Run<'a> {
    herd: &'a Herd,
    random: Random,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    numbers: u64,
    servers: Vec<Server>,
    /// Client and origin of each report, its time, and the number of servers that got it.
    reports: Vec<(u32, u16, u64, u16)>,
    is_faulty: bool,
    outcome: Outcome,
}

fn name(server: usize) -> Name {
    Name::parse(&SERVERS[server]).expect("is a name")
}

impl<'a> Run<'a> {
    fn new(herd: &'a Herd) -> Self {
        let mut run = Self {
            random: Random::new(herd.seed),
            now: 0,
            queue: BinaryHeap::new(),
            events: std::collections::HashMap::new(),
            numbers: 0,
            servers: Vec::new(),
            reports: Vec::new(),
            is_faulty: true,
            outcome: Outcome::default(),
            herd,
        };
        for server in 0..herd.servers {
            let made = run.make(server);
            run.servers.push(made);
            run.wake(server);
            let at = run.random.below(1_000_000 * herd.servers / herd.rate);
            run.push(at as u64, Event::Report(server));
        }
        if herd.restarts > 0.0 {
            run.push(1, Event::Restart);
        }
        run
    }

    /// Makes an empty server.
    fn make(&mut self, server: usize) -> Server {
        let incarnation = self.random.number() | 1;
        let neighbours = self.herd.neighbours(server);
        let names: Vec<Name> = neighbours.iter().map(|&it| name(it)).collect();
        let identity = ServerIdentity {
            herd: Name::parse(HERD).expect("is a name"),
            name: name(server),
            incarnation: Incarnation::new(incarnation).expect("is odd"),
        };
        let link = |at| SimulatedLink {
            machine: LinkMachine::new(NeighbourId(at), RULES, 0),
            waiting: None,
            wants_changes: false,
            next_step: u64::MAX,
        };
        Server {
            replica: Replica::new(identity, names.clone(), names, [1, 2, 3, incarnation]),
            incarnation,
            links: (0..neighbours.len()).map(link).collect(),
            busy_until: self.now as f64,
        }
    }

    fn push(&mut self, at: u64, event: Event) {
        self.numbers += 1;
        self.queue.push(Reverse((at, self.numbers)));
        self.events.insert(self.numbers, event);
    }

    fn run_until(&mut self, end: u64) {
        while let Some(&Reverse((at, number))) = self.queue.peek()
            && at <= end
        {
            self.queue.pop();
            self.now = at;
            let event = self.events.remove(&number).expect("each has an event");
            self.handle(event);
        }
        self.now = end;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Report(server) => self.report(server),
            Event::Restart => self.restart(),
            Event::Step(server, link) => self.step(server, link),
            Event::Arrive(from, incarnation, link, number, body) => {
                self.arrive(from, incarnation, link, number, body);
            }
            Event::Answer(server, incarnation, link, number, answer) => {
                if self.servers[server].incarnation == incarnation {
                    self.answered(server, link, number, answer);
                }
            }
            Event::TimeOut(server, incarnation, link, number) => {
                if self.servers[server].incarnation == incarnation {
                    self.time_out(server, link, number);
                }
            }
        }
    }

    fn time(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    fn is_measured(&self, at: u64) -> bool {
        let (before, during) = self.herd.seconds;
        let at = at as f64 / 1e6;
        at >= before && at < before + during
    }

    /// Returns a report of the run.
    fn report_of(&self, id: ReportId) -> Report<'static> {
        let (client, origin, ..) = self.reports[id as usize];
        Report {
            client: ClientId::parse(CLIENTS[client as usize].as_bytes()).expect("is an ID"),
            origin: Origin::parse(SERVERS[usize::from(origin)].as_bytes()).expect("is a name"),
            position: Position::parse(b"+34.068930-118.445127").expect("is a position"),
            time: Timestamp::parse(TIMES[id as usize].as_bytes()).expect("is a time"),
            skew: Skew(0),
        }
    }

    fn report(&mut self, server: usize) {
        let (before, during) = self.herd.seconds;
        if self.now as f64 / 1e6 < before + during {
            let gap = 2_000_000 * self.herd.servers / self.herd.rate;
            let at = self.now + self.random.below(gap.max(1)) as u64;
            self.push(at, Event::Report(server));
        }
        let id = self.reports.len() as ReportId;
        let client = self.random.below(self.herd.clients) as u32;
        self.reports.push((client, server as u16, self.now, 0));
        let report = self.report_of(id);
        let replica = &self.servers[server].replica;
        let admitted = replica.admit(&report, UnixNanos(0), usize::MAX);
        admitted.expect("there is room");
        self.outcome.reports += u64::from(self.is_measured(self.now));
        self.wake(server);
    }

    fn restart(&mut self) {
        if !self.is_faulty {
            return;
        }
        let gap = 2e6 / self.herd.restarts;
        let at = self.now + self.random.below(gap as usize) as u64;
        self.push(at, Event::Restart);
        let server = self.random.below(self.herd.servers);
        self.servers[server] = self.make(server);
        for link in 0..self.servers[server].links.len() {
            self.step_at(server, link, self.now);
        }
    }

    /// Wakes the links of a server that wait for changes.
    fn wake(&mut self, server: usize) {
        for link in 0..self.servers[server].links.len() {
            let it = &mut self.servers[server].links[link];
            let is_first = it.waiting.is_none() && it.next_step == u64::MAX;
            if std::mem::take(&mut it.wants_changes) || is_first {
                let at = self.now + 1 + self.random.below(20) as u64;
                self.step_at(server, link, at);
            }
        }
    }

    fn step_at(&mut self, server: usize, link: usize, at: u64) {
        let next = &mut self.servers[server].links[link].next_step;
        if at < *next {
            *next = at;
            self.push(at, Event::Step(server, link));
        }
    }

    /// Lets a server work for some time. Returns when it is done.
    fn work(&mut self, server: usize, reports: usize) -> u64 {
        let busy_until = &mut self.servers[server].busy_until;
        let begin = busy_until.max(self.now as f64);
        *busy_until = begin + MESSAGE_TIME + REPORT_TIME * reports as f64;
        *busy_until as u64 + 1
    }

    fn step(&mut self, server: usize, at: usize) {
        let time = self.time();
        let Server { replica, links, .. } = &mut self.servers[server];
        let link = &mut links[at];
        if link.next_step != self.now || link.waiting.is_some() {
            return;
        }
        link.next_step = u64::MAX;
        link.wants_changes = false;
        let mut batch = Batch(Vec::new(), Vec::new());
        match link.machine.next(replica, (time, UnixNanos(0)), &mut batch) {
            LinkAction::Greet => self.call(server, at, Body::Greeting),
            LinkAction::Push(span) => {
                let check = (span.from < span.to).then(|| batch.0.iter().sum::<u32>());
                if let Some(check) = check {
                    link.machine.sent(replica, span, check);
                }
                let greeted = link.machine.cursor().greeted();
                let sent = |tag: &Tag| {
                    let (origin, number) = (replica.origin(tag.origin())?, tag.number());
                    Some(OriginNumber { origin, number })
                };
                let (reports, tags) = (batch.0, batch.1.iter().map(sent).collect());
                let vector = link.machine.vector().to_vec();
                let body = Body::Push {
                    receiver: greeted.expect("a link greets first").get(),
                    span,
                    check,
                    reports,
                    tags,
                    vector,
                };
                self.call(server, at, body);
            }
            LinkAction::Yield => self.step_at(server, at, self.now + 1),
            LinkAction::Wait { until, for_changes } => {
                link.wants_changes = for_changes;
                let until = until
                    .expect("no call is in flight")
                    .as_nanos()
                    .div_ceil(1000);
                self.step_at(server, at, (until as u64).max(self.now + 1));
            }
            LinkAction::PushAgain(_)
            | LinkAction::Compare
            | LinkAction::Collect(_)
            | LinkAction::End => unreachable!("links neither compare nor end"),
        }
    }

    fn latency(&mut self) -> u64 {
        let (least, most) = self.herd.latency;
        self.random.between(least, most)
    }

    fn is_lost(&mut self) -> bool {
        self.is_faulty && self.random.chance(self.herd.loss)
    }

    fn call(&mut self, server: usize, link: usize, body: Body) {
        self.numbers += 1;
        let number = self.numbers;
        let incarnation = self.servers[server].incarnation;
        self.servers[server].links[link].waiting = Some(number);
        let reports = match &body {
            Body::Push { reports, .. } => reports.len(),
            Body::Greeting => 0,
        };
        if let Body::Push { reports, .. } = &body {
            let measured = reports.iter().map(|&id| self.reports[id as usize].2);
            let measured = measured.filter(|&at| self.is_measured(at)).count();
            self.outcome.payloads += measured as u64;
        }
        self.outcome.messages += u64::from(self.is_measured(self.now));
        let sent = self.work(server, reports);
        self.push(
            sent + CALL_LIMIT,
            Event::TimeOut(server, incarnation, link, number),
        );
        if !self.is_lost() {
            let at = sent + self.latency();
            self.push(at, Event::Arrive(server, incarnation, link, number, body));
        }
    }

    fn arrive(&mut self, from: usize, incarnation: u64, link: usize, number: u64, body: Body) {
        let to = self.herd.neighbours(from)[link];
        let (answer, work) = match body {
            Body::Greeting => (self.greet(from, incarnation, to), 0),
            Body::Push {
                receiver,
                span,
                check,
                reports,
                tags,
                vector,
            } => {
                let header = PushHeader {
                    herd: HERD,
                    sender: &SERVERS[from],
                    sender_incarnation: incarnation,
                    receiver_incarnation: receiver,
                    from: span.from,
                    to: span.to,
                    check,
                };
                let answer = self.merge(to, &header, (&reports, &tags), &vector);
                (answer, reports.len())
            }
        };
        let done = self.work(to, work);
        if !self.is_lost() {
            let at = done + self.latency();
            self.push(at, Event::Answer(from, incarnation, link, number, answer));
        }
    }

    fn greet(&mut self, from: usize, incarnation: u64, to: usize) -> Answer {
        let greeting = Greeting {
            version: VERSION,
            herd: HERD,
            sender: &SERVERS[from],
            incarnation,
            receiver: &SERVERS[to],
            expire_after: None,
            acknowledged: None,
        };
        let reply = self.servers[to].replica.accept_greeting(&greeting);
        let reply = match reply {
            Ok(reply) => reply,
            Err(rejection) => return Answer::Rejected(rejection),
        };
        if reply.is_new {
            let link = &mut self.servers[to].links[reply.neighbour.0];
            if link.machine.neighbour_greeted(reply.greeter) {
                link.waiting = None;
                self.step_at(to, reply.neighbour.0, self.now + 1);
            }
        }
        Answer::Greeted(reply)
    }

    fn merge(
        &mut self,
        to: usize,
        header: &PushHeader<'_>,
        (ids, tags): (&[ReportId], &[Option<OriginNumber>]),
        vector: &[OriginNumber],
    ) -> Answer {
        let replica = &self.servers[to].replica;
        let pending = match replica.begin_push(header) {
            Ok(pending) => pending,
            Err(rejection) => return Answer::Rejected(rejection),
        };
        let origins: Vec<_> = tags.iter().flatten().map(|tag| tag.origin).collect();
        let origins = replica.push_origins(&origins);
        let mut tagged = 0;
        let mut tag_of = |tag: &OriginNumber| {
            tagged += 1;
            origins.tag(tagged - 1, tag.number)
        };
        let tagged = |(&id, tag): (&ReportId, &Option<OriginNumber>)| TaggedReport {
            report: self.report_of(id),
            tag: tag.as_ref().map_or(Tag::default(), &mut tag_of),
        };
        let reports: Vec<_> = ids.iter().zip(tags).map(tagged).collect();
        let newer = replica.merge(&pending, &reports, UnixNanos(0)).newer;
        let finished = replica.finish_push(&pending, vector);
        self.note_spread(ids);
        if newer > 0 {
            self.wake(to);
        }
        finished.map_or_else(Answer::Rejected, Answer::Applied)
    }

    fn note_spread(&mut self, ids: &[ReportId]) {
        for &id in ids {
            let (_, _, at, seen) = &mut self.reports[id as usize];
            *seen += 1;
            let (at, is_last) = (*at, usize::from(*seen) == self.herd.servers - 1);
            if is_last && self.is_measured(at) {
                self.outcome.spreads.push((self.now - at) as f64 / 1e3);
            }
        }
    }

    fn answered(&mut self, server: usize, at: usize, number: u64, answer: Answer) {
        let time = self.time();
        let Server { replica, links, .. } = &mut self.servers[server];
        let link = &mut links[at];
        if link.waiting != Some(number) {
            return;
        }
        link.waiting = None;
        let machine = &mut link.machine;
        let failure = match &answer {
            Answer::Greeted(reply) => machine
                .greeted(replica, time, reply.incarnation, &reply.progress)
                .err(),
            Answer::Applied(answer) => machine.acknowledged(replica, time, answer).err(),
            Answer::Rejected(rejection) => Some(CallFailure::OutOfStep(rejection.to_string())),
        };
        if let Some(failure) = failure {
            machine.failed(time, &failure, self.random.number());
        }
        self.step_at(server, at, self.now + 1);
    }

    fn time_out(&mut self, server: usize, at: usize, number: u64) {
        let (time, random) = (self.time(), self.random.number());
        let link = &mut self.servers[server].links[at];
        if link.waiting == Some(number) {
            link.waiting = None;
            let failure = CallFailure::NoResponse("silence".to_owned());
            link.machine.failed(time, &failure, random);
            self.step_at(server, at, self.now + 1);
        }
    }

    fn is_alike(&self) -> bool {
        let all = Buckets::new(HashRange::ALL.into(), 1).expect("there are hashes");
        let sums = |server: &Server| digest::scan(&server.replica, UnixNanos(0), &all, || ()).sums;
        let mut sums = self.servers.iter().map(sums);
        let first = sums.next();
        sums.all(|it| Some(it) == first)
    }
}

/// Runs a herd, and checks that it converges.
fn run(herd: &Herd) -> Outcome {
    let mut run = Run::new(herd);
    let (before, during) = herd.seconds;
    run.run_until(((before + during) * 1e6) as u64);
    run.is_faulty = false;
    let limit = run.now + 30_000_000;
    loop {
        run.run_until(run.now + 500_000);
        if run.is_alike() {
            break;
        }
        assert!(run.now < limit, "{} does not converge", herd.name);
    }
    println!("{}", Row(herd, &run.outcome));
    run.outcome
}

#[test]
fn a_report_is_sent_few_times_under_load() {
    let classic = Herd::classic();
    let faulty = Herd {
        loss: 5,
        restarts: 2.0,
        ..Herd::classic()
    };
    for (herd, most) in [
        (classic, 5.0 / 4.0),
        (Herd::mesh(20), 1.3),
        (Herd::ring(20), 1.3),
        (Herd::regular(20, 4, 1), 1.3),
        (faulty, 1.5),
    ] {
        let outcome = run(&herd);
        let found = outcome.per_server(&herd);
        assert!(found <= most, "{}: {found} for each server", herd.name);
    }
}

#[test]
fn a_quiet_herd_holds_nothing_back() {
    let herd = Herd {
        rate: 200,
        ..Herd::classic()
    };
    let outcome = run(&herd);
    // Three hops, and the wait of a busy server.
    assert!(outcome.spread(0.99) < 4.0, "{} ms", outcome.spread(0.99));
}

#[test]
#[ignore = "takes minutes; prints the chart of docs/performance.md"]
fn cost_by_servers_links_and_rate() {
    for servers in [5, 10, 20, 50, 100, 200] {
        run(&Herd::regular(servers, 4, 1));
    }
    for servers in [5, 10, 20, 40] {
        run(&Herd::mesh(servers));
    }
    for servers in [20, 100] {
        run(&Herd::ring(servers));
    }
    for rate in [1000, 5000, 20_000, 50_000, 100_000] {
        let herd = Herd::classic();
        run(&Herd { rate, ..herd });
    }
    for clients in [1000, 10_000, 100_000] {
        let herd = Herd::classic();
        run(&Herd { clients, ..herd });
    }
}

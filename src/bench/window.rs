//! What one connection has sent and has no answer to yet, and the comparison
//! of the two.
//!
//! The bytes of a request are kept until its answer is there, so that most of
//! an answer is checked by comparing memory. Nothing is allocated for a
//! request once the buffers have grown.

use std::collections::VecDeque;

use super::answer::{self, AnswerError};
use super::payload::Payload;
use super::tally::Tally;
use super::workload::{ClientRequest, Kind};

/// Answered bytes in front of the buffer are dropped once they are so many.
const MAX_STALE: usize = 64 * 1024;

/// Of so many places in a row, the JSON of one is read as a whole.
const SAMPLED: u64 = 64;

/// How much of a text is shown in a complaint, in bytes.
const MAX_SHOWN: usize = 120;

/// What the connections of one thread share.
pub(super) struct WorkerState {
    pub(super) payload: Payload,
    /// Most places that a question asks for.
    pub(super) most: u32,
    /// Whether answers are looked at, or lines only counted.
    pub(super) is_checked: bool,
    pub(super) tally: Tally,
    /// Answers since the beginning, for the progress bar.
    pub(super) answered: u64,
    pub(super) scratch: Vec<u8>,
}

/// Requests under way on one connection to one server.
#[derive(Debug)]
pub(super) struct Window {
    server: usize,
    /// The server's name, as its first AT line has it.
    name: Vec<u8>,
    pending: VecDeque<Pending>,
    /// Requests as they were sent, from the oldest without an answer on.
    bytes: Vec<u8>,
    /// What was dropped in front of `bytes` so far.
    dropped: usize,
    /// How many of `bytes` are on their way.
    written: usize,
    places: u64,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    request: ClientRequest,
    /// Where it stands, from the first byte of the connection on.
    start: usize,
    timing: Timing,
}

/// When a request began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// When it was due: what its latency counts from.
    pub(super) due: u64,
    /// When it was handed to the system.
    pub(super) sent: u64,
    /// It comes after the warm-up.
    pub(super) counts: bool,
}

/// Answers in a row that took the same time: recorded at once.
struct Run {
    kind: Kind,
    timing: Timing,
    answers: u64,
    right: u64,
}

impl Window {
    pub(super) fn new(server: usize) -> Self {
        Self {
            server,
            name: Vec::new(),
            pending: VecDeque::new(),
            bytes: Vec::new(),
            dropped: 0,
            written: 0,
            places: 0,
        }
    }

    /// How many requests have no answer.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// When the oldest of them was sent.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.pending.front().map(|pending| pending.timing.sent)
    }

    /// Writes a request behind the others.
    pub(super) fn push(&mut self, request: ClientRequest, timing: Timing, desk: &mut WorkerState) {
        self.drop_answered();
        let start = self.dropped + self.bytes.len();
        let ClientRequest { client, nanos, .. } = request;
        match request.kind {
            Kind::Iamat => desk.payload.iamat(&mut self.bytes, client, nanos),
            Kind::Whatsat => desk.payload.whatsat(&mut self.bytes, client),
        }
        self.pending.push_back(Pending {
            request,
            start,
            timing,
        });
        desk.tally.servers[self.server].kind(request.kind).sent += u64::from(timing.counts);
    }

    /// What is to be written to the socket.
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// So many bytes of it are on their way.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// Takes the answers that are complete in `bytes`, read at `now`. Gives how
    /// many bytes those were.
    pub(super) fn take(&mut self, bytes: &[u8], now: u64, desk: &mut WorkerState) -> usize {
        let mut taken = 0;
        let mut run = None;
        while let Some(length) = self.answer_length(&bytes[taken..], desk.is_checked) {
            let answer = &bytes[taken..taken + length];
            taken += length;
            let Some(pending) = self.pending.pop_front() else {
                self.complain_of_unexpected(answer, desk);
                continue;
            };
            let is_right = self.judge(&pending, answer, desk);
            let run = run_of(&mut run, &pending, now, self.server, desk);
            run.answers += 1;
            run.right += u64::from(is_right);
        }
        finish(run, now, self.server, desk);
        taken
    }

    /// The connection is gone: what has no answer will never have one.
    pub(super) fn give_up(&mut self, desk: &mut WorkerState) {
        let missing = self.pending.drain(..).count();
        desk.tally.servers[self.server].faults.missing += missing as u64;
        self.bytes.clear();
        self.written = 0;
    }

    /// The length of the first answer in `bytes`, if all of it is there.
    fn answer_length(&self, bytes: &[u8], is_checked: bool) -> Option<usize> {
        let line = answer::line_end(bytes)? + 1;
        let asked = self.pending.front().map(|pending| pending.request.kind);
        let has_places = is_checked && asked == Some(Kind::Whatsat) && bytes.starts_with(b"AT ");
        match has_places {
            true => Some(line + answer::places_length(&bytes[line..])?),
            false => Some(line),
        }
    }

    fn judge(&mut self, pending: &Pending, answer: &[u8], desk: &mut WorkerState) -> bool {
        desk.answered += 1;
        if !desk.is_checked {
            return true;
        }
        match self.check(pending, answer, desk) {
            Ok(()) => true,
            Err(wrong) => {
                self.complain(pending, answer, wrong, desk);
                false
            }
        }
    }

    fn check(
        &mut self,
        pending: &Pending,
        answer: &[u8],
        desk: &mut WorkerState,
    ) -> Result<(), AnswerError> {
        let line = answer::line_end(answer).unwrap_or(answer.len());
        let (at_line, places) = answer.split_at(line);
        let name = match pending.request.kind {
            Kind::Iamat => answer::at_line(at_line, Payload::fields(self.request(pending)))?,
            Kind::Whatsat => {
                desk.scratch.clear();
                let ClientRequest { client, nanos, .. } = pending.request;
                desk.payload.iamat(&mut desk.scratch, client, nanos);
                let name = answer::at_line(at_line, Payload::fields(&desk.scratch))?;
                self.check_places(places, desk.most)?;
                name
            }
        };
        self.check_name(name, &mut desk.tally)
    }

    fn check_places(&mut self, json: &[u8], most: u32) -> Result<(), AnswerError> {
        self.places += 1;
        answer::places_look_right(json)?;
        match self.places % SAMPLED {
            1 => answer::places_are_right(json, most),
            _ => Ok(()),
        }
    }

    fn check_name(&mut self, name: &[u8], tally: &mut Tally) -> Result<(), AnswerError> {
        if self.name.is_empty() {
            self.name = name.to_vec();
            tally.servers[self.server].name = Some(shown(name));
        }
        match self.name == name {
            true => Ok(()),
            false => Err(AnswerError::OtherName),
        }
    }

    /// The bytes of a request whose answer is being taken.
    fn request(&self, pending: &Pending) -> &[u8] {
        let start = pending.start - self.dropped;
        let end = self.pending.front().map(|next| next.start - self.dropped);
        &self.bytes[start..end.unwrap_or(self.bytes.len())]
    }

    fn complain(
        &self,
        pending: &Pending,
        answer: &[u8],
        wrong: AnswerError,
        desk: &mut WorkerState,
    ) {
        desk.tally.servers[self.server].faults.wrong += 1;
        let request = self.request(pending);
        let server = self.known_as();
        desk.tally.example(|| {
            let (request, answer) = (shown(request), shown(answer));
            format!("{server} answered \"{answer}\" to \"{request}\": {wrong}")
        });
    }

    fn complain_of_unexpected(&self, line: &[u8], desk: &mut WorkerState) {
        desk.tally.servers[self.server].faults.unexpected += 1;
        let server = self.known_as();
        let tally = &mut desk.tally;
        tally.example(|| format!("{server} said \"{}\" unasked", shown(line)));
    }

    fn known_as(&self) -> String {
        match self.name.as_slice() {
            [] => format!("server {}", self.server + 1),
            name => shown(name),
        }
    }

    /// Makes room in front, where nothing is needed any more: at no cost where
    /// everything is answered, seldom otherwise.
    fn drop_answered(&mut self) {
        let needed = self.pending.front().map(|pending| pending.start);
        let stale = needed.map_or(self.bytes.len(), |start| start - self.dropped);
        let stale = stale.min(self.written);
        if stale == self.bytes.len() || stale >= MAX_STALE {
            self.bytes.drain(..stale);
            self.written -= stale;
            self.dropped += stale;
        }
    }
}

/// The run that an answer belongs to; the one before is recorded.
fn run_of<'a>(
    run: &'a mut Option<Run>,
    pending: &Pending,
    now: u64,
    server: usize,
    desk: &mut WorkerState,
) -> &'a mut Run {
    let (kind, timing) = (pending.request.kind, pending.timing);
    if !matches!(run, Some(run) if run.kind == kind && run.timing == timing) {
        finish(run.take(), now, server, desk);
    }
    run.get_or_insert(Run {
        kind,
        timing,
        answers: 0,
        right: 0,
    })
}

fn finish(run: Option<Run>, now: u64, server: usize, desk: &mut WorkerState) {
    let Some(run) = run.filter(|run| run.timing.counts) else {
        return;
    };
    let requests = desk.tally.servers[server].kind(run.kind);
    requests.answered += run.right;
    let latency = now.saturating_sub(run.timing.due);
    requests.times.record(latency, run.answers);
    desk.tally.last_answer = now;
}

/// Bytes of others, safe and short enough for a terminal.
pub(super) fn shown(bytes: &[u8]) -> String {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let start = &line[..line.len().min(MAX_SHOWN)];
    let dots = if start.len() < line.len() { "..." } else { "" };
    format!("{}{dots}", start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Timing = Timing {
        due: 1_000,
        sent: 2_000,
        counts: true,
    };

    fn desk() -> WorkerState {
        WorkerState {
            payload: Payload::new("b", 3, "10", 1),
            most: 1,
            is_checked: true,
            tally: Tally::new(1),
            answered: 0,
            scratch: Vec::new(),
        }
    }

    fn request(kind: Kind, client: u32) -> ClientRequest {
        ClientRequest {
            kind,
            client,
            nanos: 1_621_464_827_000_000_000,
        }
    }

    /// A window with these requests under way, all of them written.
    fn window(requests: &[ClientRequest], desk: &mut WorkerState) -> Window {
        let mut window = Window::new(0);
        for &request in requests {
            window.push(request, SENT, desk);
        }
        window.wrote(window.unwritten().len());
        window
    }

    fn at_line(name: &str, request: ClientRequest, desk: &WorkerState) -> Vec<u8> {
        let mut iamat = Vec::new();
        desk.payload
            .iamat(&mut iamat, request.client, request.nanos);
        let fields = Payload::fields(&iamat);
        [b"AT ", name.as_bytes(), b" +0.000000001", fields, b"\n"].concat()
    }

    const PLACES: &[u8] = b"{\n\"results\" : [],\n\"status\" : \"OK\"\n}\n\n";

    #[test]
    fn right_answers_count_from_when_they_were_due_however_they_are_cut() {
        let mut desk = desk();
        let asked = [(Kind::Iamat, 1), (Kind::Whatsat, 2), (Kind::Iamat, 3)];
        let asked = asked.map(|(kind, client)| request(kind, client));
        let lines = asked.map(|request| at_line("Riley", request, &desk));
        let answers = [&lines[0], &lines[1], PLACES, &lines[2]].concat();
        for cut in 0..answers.len() {
            desk.tally = Tally::new(1);
            let mut window = window(&asked, &mut desk);
            let taken = window.take(&answers[..cut], 51_000, &mut desk);
            assert!(taken <= cut);
            let rest = window.take(&answers[taken..], 51_000, &mut desk);
            assert_eq!((taken + rest, window.len()), (answers.len(), 0));
            let all = desk.tally.all();
            assert_eq!((all.sent, all.answered, all.times.count()), (3, 3, 3));
            assert!(all.times.min().abs_diff(50_000) < 50);
            assert_eq!(desk.tally.faults(), Default::default());
            assert_eq!(desk.tally.servers[0].name.as_deref(), Some("Riley"));
        }
    }

    #[test]
    fn each_wrong_answer_counts_once_and_is_told() {
        let mut desk = desk();
        let asked = [
            request(Kind::Iamat, 1),
            request(Kind::Whatsat, 2),
            request(Kind::Iamat, 3),
            request(Kind::Whatsat, 4),
            request(Kind::Iamat, 5),
        ];
        let answers = [
            at_line("Riley", asked[0], &desk),
            b"? WHATSAT b02 10 1\n".to_vec(),
            at_line("Jaquez", asked[2], &desk),
            at_line("Riley", asked[3], &desk),
            b"{\"status\" : \"UNKNOWN_ERROR\"}\n\n".to_vec(),
            at_line("Riley", asked[0], &desk),
            b"and\xff more\n".to_vec(),
        ];
        let mut window = window(&asked, &mut desk);
        window.take(&answers.concat(), 3_000, &mut desk);
        let faults = desk.tally.faults();
        assert_eq!((faults.wrong, faults.unexpected, faults.missing), (4, 1, 0));
        assert_eq!(desk.tally.all().answered, 1);
        let told = desk.tally.examples.join("\n");
        for words in [
            "Riley answered \"? WHATSAT b02 10 1\" to \"WHATSAT b02 10 1\": the server took it",
            "the server had another name before",
            "neither OK nor ZERO_RESULTS",
            "its fields are not those",
            "Riley said \"and\\xff more\" unasked",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn what_was_never_answered_is_missing() {
        let mut desk = desk();
        let mut window = window(&[request(Kind::Iamat, 1); 3], &mut desk);
        assert_eq!(window.oldest(), Some(2_000));
        window.give_up(&mut desk);
        assert_eq!(desk.tally.faults().missing, 3);
        assert_eq!(window.oldest(), None);
    }

    #[test]
    fn an_unchecked_answer_is_any_line() {
        let mut desk = desk();
        desk.is_checked = false;
        let mut window = window(&[request(Kind::Iamat, 1); 2], &mut desk);
        assert_eq!(window.take(b"one\ntwo\nthr", 3_000, &mut desk), 8);
        assert_eq!(desk.tally.all().answered, 2);
    }

    #[test]
    fn a_window_that_is_never_empty_holds_little() {
        let mut desk = desk();
        let mut window = window(&[request(Kind::Iamat, 1)], &mut desk);
        for client in 0..20_000 {
            let next = request(Kind::Iamat, client % 100);
            window.push(next, SENT, &mut desk);
            window.wrote(window.unwritten().len());
            let front = window.pending[0].request;
            let answer = at_line("Riley", front, &desk);
            assert_eq!(window.take(&answer, 3_000, &mut desk), answer.len());
        }
        assert_eq!(desk.tally.all().answered, 20_000);
        assert!(window.bytes.len() < MAX_STALE + 1_000);
    }
}

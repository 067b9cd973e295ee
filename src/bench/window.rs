//! The unanswered requests of one connection, and the check of their answers.
//!
//! The bytes of a request are kept until its answer arrives, so most of an answer is checked
//! by comparing memory. No request allocates once the buffers have grown.

use std::collections::VecDeque;

use super::answer::{self, AnswerError};
use super::payload::Payload;
use super::tally::Tally;
use super::workload::{ClientRequest, RequestKind};

/// The size at which answered requests are dropped from the front of the buffer.
const MAX_ANSWERED_BYTES: usize = 64 * 1024;

/// One in so many answers with places is parsed as a whole.
const PLACES_PARSE_INTERVAL: u64 = 64;

/// The length at which a text in a fault's description is cut.
const MAX_EXCERPT_BYTES: usize = 120;

/// The state that the connections of one thread share.
pub(super) struct WorkerState {
    pub(super) payload: Payload,
    /// The number of places that a query requests.
    pub(super) limit: u32,
    /// True if answers are checked, false if lines are only counted.
    pub(super) is_checked: bool,
    pub(super) tally: Tally,
    /// The number of answers since the last progress update.
    pub(super) answered: u64,
    pub(super) scratch: Vec<u8>,
}

/// The unanswered requests of one connection.
#[derive(Debug)]
pub(super) struct RequestWindow {
    server: usize,
    /// The server's name in its first AT line.
    name: Vec<u8>,
    pending: VecDeque<PendingRequest>,
    /// Requests as they were sent, from the oldest unanswered one on.
    bytes: Vec<u8>,
    /// The number of bytes that were dropped before `bytes`.
    dropped: usize,
    /// The number of `bytes` that the socket has taken.
    written: usize,
    /// The number of answers with places so far.
    places: u64,
}

#[derive(Clone, Copy, Debug)]
struct PendingRequest {
    request: ClientRequest,
    /// The offset of the request among all bytes of the connection.
    start: usize,
    timing: Timing,
}

/// The times of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    /// The due time, from which latency counts.
    pub(super) due: u64,
    /// The time at which the request was handed to the system.
    pub(super) sent: u64,
    /// True for requests after the warm-up.
    pub(super) counts: bool,
}

/// Consecutive answers of the same kind and timing, which are recorded at once.
struct AnswerRun {
    kind: RequestKind,
    timing: Timing,
    answers: u64,
    correct: u64,
}

impl RequestWindow {
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

    /// Returns the number of unanswered requests.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns the time at which the oldest unanswered request was sent.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.pending.front().map(|pending| pending.timing.sent)
    }

    /// Appends a request.
    pub(super) fn push(&mut self, request: ClientRequest, timing: Timing, state: &mut WorkerState) {
        self.drop_answered();
        let start = self.dropped + self.bytes.len();
        let ClientRequest { client, nanos, .. } = request;
        match request.kind {
            RequestKind::Iamat => state.payload.iamat(&mut self.bytes, client, nanos),
            RequestKind::Whatsat => state.payload.whatsat(&mut self.bytes, client),
        }
        self.pending.push_back(PendingRequest {
            request,
            start,
            timing,
        });
        state.tally.servers[self.server].kind(request.kind).sent += u64::from(timing.counts);
    }

    /// Returns the bytes that the socket has not taken yet.
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Marks the next `bytes` bytes as taken by the socket.
    pub(super) fn mark_written(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// Takes all complete answers from `bytes`, which were read at `now`, and returns their
    /// length.
    pub(super) fn take(&mut self, bytes: &[u8], now: u64, state: &mut WorkerState) -> usize {
        let mut taken = 0;
        let mut run = None;
        while let Some(length) = self.answer_length(&bytes[taken..], state.is_checked) {
            let answer = &bytes[taken..taken + length];
            taken += length;
            let Some(pending) = self.pending.pop_front() else {
                self.count_unexpected(answer, state);
                continue;
            };
            let is_correct = self.accept(&pending, answer, state);
            let run = run_of(&mut run, &pending, now, self.server, state);
            run.answers += 1;
            run.correct += u64::from(is_correct);
        }
        finish(run, now, self.server, state);
        taken
    }

    /// Counts all unanswered requests as missing and forgets them.
    pub(super) fn abandon(&mut self, state: &mut WorkerState) {
        let missing = self.pending.drain(..).count();
        state.tally.servers[self.server].faults.missing += missing as u64;
        self.bytes.clear();
        self.written = 0;
    }

    /// Returns the length of the first answer in `bytes`, or `None` if it is incomplete.
    fn answer_length(&self, bytes: &[u8], is_checked: bool) -> Option<usize> {
        let line = answer::line_end(bytes)? + 1;
        let kind = self.pending.front().map(|pending| pending.request.kind);
        let has_places =
            is_checked && kind == Some(RequestKind::Whatsat) && bytes.starts_with(b"AT ");
        if !has_places {
            return Some(line);
        }
        Some(line + answer::places_length(&bytes[line..])?)
    }

    /// Counts an answer, and returns true if it is correct.
    fn accept(&mut self, pending: &PendingRequest, answer: &[u8], state: &mut WorkerState) -> bool {
        state.answered += 1;
        if !state.is_checked {
            return true;
        }
        let checked = self.check(pending, answer, state);
        if let Err(error) = checked {
            self.count_wrong(pending, answer, error, state);
        }
        checked.is_ok()
    }

    fn check(
        &mut self,
        pending: &PendingRequest,
        answer: &[u8],
        state: &mut WorkerState,
    ) -> Result<(), AnswerError> {
        let line = answer::line_end(answer).unwrap_or(answer.len());
        let (at_line, places) = answer.split_at(line);
        let name = match pending.request.kind {
            RequestKind::Iamat => answer::at_line(at_line, Payload::fields(self.request(pending)))?,
            RequestKind::Whatsat => {
                state.scratch.clear();
                let ClientRequest { client, nanos, .. } = pending.request;
                state.payload.iamat(&mut state.scratch, client, nanos);
                let name = answer::at_line(at_line, Payload::fields(&state.scratch))?;
                self.check_places(places, state.limit)?;
                name
            }
        };
        self.check_name(name, &mut state.tally)
    }

    fn check_places(&mut self, json: &[u8], limit: u32) -> Result<(), AnswerError> {
        self.places += 1;
        answer::check_places_roughly(json)?;
        if self.places % PLACES_PARSE_INTERVAL == 1 {
            answer::check_places(json, limit)?;
        }
        Ok(())
    }

    fn check_name(&mut self, name: &[u8], tally: &mut Tally) -> Result<(), AnswerError> {
        if self.name.is_empty() {
            self.name = name.to_vec();
            tally.servers[self.server].name = Some(excerpt(name));
        }
        if self.name != name {
            return Err(AnswerError::OtherName);
        }
        Ok(())
    }

    /// Returns the bytes of the request that was removed from `pending` last.
    fn request(&self, pending: &PendingRequest) -> &[u8] {
        let start = pending.start - self.dropped;
        let end = self.pending.front().map(|next| next.start - self.dropped);
        &self.bytes[start..end.unwrap_or(self.bytes.len())]
    }

    fn count_wrong(
        &self,
        pending: &PendingRequest,
        answer: &[u8],
        error: AnswerError,
        state: &mut WorkerState,
    ) {
        state.tally.servers[self.server].faults.wrong += 1;
        let request = self.request(pending);
        let server = self.server_name();
        state.tally.add_example(|| {
            let (request, answer) = (excerpt(request), excerpt(answer));
            format!("{server} answered \"{request}\" with \"{answer}\": {error}")
        });
    }

    fn count_unexpected(&self, line: &[u8], state: &mut WorkerState) {
        state.tally.servers[self.server].faults.unexpected += 1;
        let server = self.server_name();
        let tally = &mut state.tally;
        tally.add_example(|| format!("{server} sent \"{}\" without a request", excerpt(line)));
    }

    fn server_name(&self) -> String {
        match self.name.as_slice() {
            [] => format!("server {}", self.server + 1),
            name => excerpt(name),
        }
    }

    /// Drops answered requests from the front of the buffer: if all are answered, which
    /// moves nothing, and otherwise at [`MAX_ANSWERED_BYTES`].
    fn drop_answered(&mut self) {
        let needed = self.pending.front().map(|pending| pending.start);
        let answered = needed.map_or(self.bytes.len(), |start| start - self.dropped);
        let answered = answered.min(self.written);
        if answered == self.bytes.len() || answered >= MAX_ANSWERED_BYTES {
            self.bytes.drain(..answered);
            self.written -= answered;
            self.dropped += answered;
        }
    }
}

/// Returns the run that an answer belongs to, and records the run before it.
fn run_of<'a>(
    run: &'a mut Option<AnswerRun>,
    pending: &PendingRequest,
    now: u64,
    server: usize,
    state: &mut WorkerState,
) -> &'a mut AnswerRun {
    let (kind, timing) = (pending.request.kind, pending.timing);
    if !matches!(run, Some(run) if run.kind == kind && run.timing == timing) {
        finish(run.take(), now, server, state);
    }
    run.get_or_insert(AnswerRun {
        kind,
        timing,
        answers: 0,
        correct: 0,
    })
}

fn finish(run: Option<AnswerRun>, now: u64, server: usize, state: &mut WorkerState) {
    let Some(run) = run.filter(|run| run.timing.counts) else {
        return;
    };
    let requests = state.tally.servers[server].kind(run.kind);
    requests.answered += run.correct;
    let latency = now.saturating_sub(run.timing.due);
    requests.latencies.record(latency, run.answers);
    state.tally.last_answer = now;
}

/// Returns the first line of bytes from the network, escaped and short enough for a
/// terminal.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let start = &line[..line.len().min(MAX_EXCERPT_BYTES)];
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

    fn state() -> WorkerState {
        WorkerState {
            payload: Payload::new("b", 3, "10", 1),
            limit: 1,
            is_checked: true,
            tally: Tally::new(1),
            answered: 0,
            scratch: Vec::new(),
        }
    }

    fn request(kind: RequestKind, client: u32) -> ClientRequest {
        ClientRequest {
            kind,
            client,
            nanos: 1_621_464_827_000_000_000,
        }
    }

    /// Returns a window in which these requests are written and unanswered.
    fn window(requests: &[ClientRequest], state: &mut WorkerState) -> RequestWindow {
        let mut window = RequestWindow::new(0);
        for &request in requests {
            window.push(request, SENT, state);
        }
        window.mark_written(window.unwritten().len());
        window
    }

    fn at_line(name: &str, request: ClientRequest, state: &WorkerState) -> Vec<u8> {
        let mut iamat = Vec::new();
        state
            .payload
            .iamat(&mut iamat, request.client, request.nanos);
        let fields = Payload::fields(&iamat);
        [b"AT ", name.as_bytes(), b" +0.000000001", fields, b"\n"].concat()
    }

    const PLACES: &[u8] = b"{\n\"results\" : [],\n\"status\" : \"OK\"\n}\n\n";

    #[test]
    fn latency_counts_from_the_due_time_wherever_the_answers_are_split() {
        let mut state = state();
        let requests = [
            (RequestKind::Iamat, 1),
            (RequestKind::Whatsat, 2),
            (RequestKind::Iamat, 3),
        ];
        let requests = requests.map(|(kind, client)| request(kind, client));
        let lines = requests.map(|request| at_line("Riley", request, &state));
        let answers = [&lines[0], &lines[1], PLACES, &lines[2]].concat();
        for cut in 0..answers.len() {
            state.tally = Tally::new(1);
            let mut window = window(&requests, &mut state);
            let taken = window.take(&answers[..cut], 51_000, &mut state);
            assert!(taken <= cut);
            let rest = window.take(&answers[taken..], 51_000, &mut state);
            assert_eq!((taken + rest, window.len()), (answers.len(), 0));
            let all = state.tally.all();
            assert_eq!((all.sent, all.answered, all.latencies.count()), (3, 3, 3));
            assert!(all.latencies.quantile(0.0).abs_diff(50_000) < 50);
            assert_eq!(state.tally.faults(), Default::default());
            assert_eq!(state.tally.servers[0].name.as_deref(), Some("Riley"));
        }
    }

    #[test]
    fn each_wrong_answer_counts_once_and_is_described() {
        let mut state = state();
        let requests = [
            request(RequestKind::Iamat, 1),
            request(RequestKind::Whatsat, 2),
            request(RequestKind::Iamat, 3),
            request(RequestKind::Whatsat, 4),
            request(RequestKind::Iamat, 5),
        ];
        let answers = [
            at_line("Riley", requests[0], &state),
            b"? WHATSAT b02 10 1\n".to_vec(),
            at_line("Jaquez", requests[2], &state),
            at_line("Riley", requests[3], &state),
            b"{\"status\" : \"UNKNOWN_ERROR\"}\n\n".to_vec(),
            at_line("Riley", requests[0], &state),
            b"and\xff more\n".to_vec(),
        ];
        let mut window = window(&requests, &mut state);
        window.take(&answers.concat(), 3_000, &mut state);
        let faults = state.tally.faults();
        assert_eq!((faults.wrong, faults.unexpected, faults.missing), (4, 1, 0));
        assert_eq!(state.tally.all().answered, 1);
        let examples = state.tally.examples.join("\n");
        for text in [
            "Riley answered \"WHATSAT b02 10 1\" with \"? WHATSAT b02 10 1\": rejected as invalid",
            "the server had another name in earlier answers",
            "status other than OK and ZERO_RESULTS",
            "other fields than the newest report",
            "Riley sent \"and\\xff more\" without a request",
        ] {
            assert!(examples.contains(text), "{text}: {examples}");
        }
    }

    #[test]
    fn unanswered_requests_of_an_abandoned_window_are_missing() {
        let mut state = state();
        let mut window = window(&[request(RequestKind::Iamat, 1); 3], &mut state);
        assert_eq!(window.oldest(), Some(2_000));
        window.abandon(&mut state);
        assert_eq!(state.tally.faults().missing, 3);
        assert_eq!(window.oldest(), None);
    }

    #[test]
    fn an_unchecked_load_accepts_any_line() {
        let mut state = state();
        state.is_checked = false;
        let mut window = window(&[request(RequestKind::Iamat, 1); 2], &mut state);
        assert_eq!(window.take(b"one\ntwo\nthr", 3_000, &mut state), 8);
        assert_eq!(state.tally.all().answered, 2);
    }

    #[test]
    fn a_window_that_is_never_empty_stays_small() {
        let mut state = state();
        let mut window = window(&[request(RequestKind::Iamat, 1)], &mut state);
        for client in 0..20_000 {
            let next = request(RequestKind::Iamat, client % 100);
            window.push(next, SENT, &mut state);
            window.mark_written(window.unwritten().len());
            let front = window.pending[0].request;
            let answer = at_line("Riley", front, &state);
            assert_eq!(window.take(&answer, 3_000, &mut state), answer.len());
        }
        assert_eq!(state.tally.all().answered, 20_000);
        assert!(window.bytes.len() < MAX_ANSWERED_BYTES + 1_000);
    }
}

//! One client's connection.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use crate::gateway::Clock;
use crate::line_protocol::lines::LineBuffer;
use crate::log::Transcript;
use crate::net;
use crate::proto::ClientLines;

use super::ClientSettings;
use super::addresses::RateLimiter;
use super::command_handler::{CommandHandler, ResponseSink};
use super::response_queue::ResponseQueue;

/// While this many bytes of answers wait behind a question, no more lines are
/// taken.
const MAX_HELD_BACK: usize = 64 * 1024;

/// Once this many bytes of answers are ready, they are sent before more lines
/// are taken: two thousand WHATSATs fit in one read, and their answers in tens
/// of megabytes.
const MAX_READY: usize = 64 * 1024;

/// What a silent connection keeps of its answer buffer, in bytes.
const SMALL_ANSWERS: usize = 2 * 1024;

/// How long questions under way may still take when the server shuts down.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The idle limit is looked at no more often than this.
const TICK: Duration = Duration::from_millis(10);

/// While clients are to wait for neighbours, a connection that reports is read
/// this long after its last reports,
const HELD_BACK: Duration = Duration::from_millis(20);

/// or when they need wait no more, which is looked at so often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The client closed its side, and has all its answers.
    Closed,
    /// The connection broke.
    Broken(io::Error),
    /// The client sent nothing for the idle limit.
    Idle,
    /// The client did not read its answers for the write limit.
    Unread,
    /// The server shuts down; what was read is answered.
    Drained,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it closed its side"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Idle => f.write_str("it sent nothing for the idle limit"),
            Self::Unread => f.write_str("it did not read its answers for the write limit"),
            Self::Drained => f.write_str("the server shuts down"),
        }
    }
}

/// One client's connection: bytes in, answers out.
///
/// Memory: at most a read buffer of 32 KiB and a line, answers of [`MAX_READY`]
/// and one more, and [`MAX_HELD_BACK`] and one more behind questions under way;
/// about 4 KiB in all while it is silent.
pub(super) struct Session<S> {
    stream: S,
    desk: CommandHandler,
    settings: ClientSettings,
    lines: LineBuffer,
    answers: ResponseQueue,
    transcript: Transcript,
    /// In a box, since a session is held several times over while it runs.
    turns: Box<RateLimiter>,
    /// Since when the client has neither sent anything nor waited for the server.
    quiet_since: Instant,
    /// When it brought something new last.
    reported_at: Option<Instant>,
}

/// What a session waited for.
enum Event {
    Read(io::Result<usize>),
    Settled,
    Resume,
    Idle,
    Drain,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(
        stream: S,
        desk: CommandHandler,
        settings: &ClientSettings,
        transcript: Transcript,
        turns: RateLimiter,
    ) -> Self {
        Self {
            stream,
            desk,
            lines: LineBuffer::new(settings.max_line),
            settings: settings.clone(),
            answers: ResponseQueue::new(),
            transcript,
            turns: Box::new(turns),
            quiet_since: Instant::now(),
            reported_at: None,
        }
    }

    /// Answers lines until the client closes its side, breaks a limit, or
    /// `drain` becomes true.
    pub(super) async fn run(mut self, mut drain: watch::Receiver<bool>) -> End {
        let drain = drain.wait_for(|&drain| drain);
        let mut drain = pin!(async { drop(drain.await) });
        let mut idle = pin!(sleep_until(self.quiet_since + self.settings.idle));
        let mut is_open = true;
        loop {
            if let Err(end) = self.answer(!is_open).await {
                return end;
            }
            let is_done = !self.keeps_waiting();
            if is_done && !is_open {
                // Fails only where there is nobody left to tell.
                let _ = self.stream.shutdown().await;
                return End::Closed;
            }
            match self.wait(is_open, idle.as_mut(), drain.as_mut()).await {
                Event::Read(Ok(read)) => {
                    is_open = read > 0;
                    self.quiet_since = Instant::now();
                }
                Event::Settled | Event::Resume => self.quiet_since = Instant::now(),
                Event::Read(Err(error)) => return End::Broken(error),
                Event::Idle => {
                    // One timer for the whole connection: it looks back when
                    // it fires, and no read has to set it anew.
                    let rest = self.settings.idle.saturating_sub(self.quiet());
                    if rest.is_zero() {
                        return End::Idle;
                    }
                    idle.as_mut().reset(Instant::now() + rest.max(TICK));
                }
                // In a box: a connection would hold room for it all its life.
                Event::Drain => return Box::pin(self.finish()).await,
            }
        }
    }

    /// How long the client has been silent. Not at all while it waits: it is the
    /// server's turn to say something.
    fn quiet(&self) -> Duration {
        match self.keeps_waiting() {
            false => self.quiet_since.elapsed(),
            true => Duration::ZERO,
        }
    }

    /// Does the client wait for places, or for its lines to be taken?
    fn keeps_waiting(&self) -> bool {
        self.answers.waiting() > 0 || self.turns.pause().is_some()
    }

    /// Takes the lines that are complete, at the end of the stream the last one
    /// too, and sends what is ready. Stops while too much waits for places, and
    /// where the address has used up its pace.
    async fn answer(&mut self, at_end: bool) -> Result<(), End> {
        loop {
            let is_more = self.take_lines(at_end);
            self.send().await?;
            if !is_more {
                return Ok(());
            }
        }
    }

    /// Gives whether it stopped only since there is enough to be sent first.
    fn take_lines(&mut self, at_end: bool) -> bool {
        // When they were read, or what they waited for was there: the clock has
        // been asked then.
        let taken_at = self.quiet_since;
        let most = match self.lines.is_empty() {
            true => usize::MAX,
            false => self.turns.may_take(taken_at),
        };
        self.answers.taken(taken_at);
        let now = self.desk.gateway.clock().now();
        self.transcript.set_time(now.0);
        let (mut is_news, mut taken, mut counted) = (false, 0, ClientLines::default());
        let is_more = loop {
            if !self.may_take() {
                break false;
            }
            if taken == most {
                break taken > 0;
            }
            let ready = self.answers.ready().len();
            if ready >= MAX_READY {
                break true;
            }
            let room = match self.answers.waiting() {
                0 => MAX_READY - ready,
                _ => MAX_HELD_BACK - self.answers.held_back(),
            };
            let lines = self.lines.take(at_end);
            let mut page = ResponseSink {
                answers: &mut self.answers,
                transcript: &mut self.transcript,
                counted: &mut counted,
            };
            let some = self.desk.take(now, lines, most - taken, room, &mut page);
            is_news |= some.is_news;
            taken += some.lines;
            if some.is_all {
                break false;
            }
        };
        self.turns.took(taken_at, taken);
        // Written down before it is passed on, so that logs tell it in order.
        self.transcript.append_page();
        if is_news {
            self.reported_at = Some(taken_at);
            self.desk.gateway.links().notify_changes();
        }
        self.desk.gateway.counters().client_lines.add(&counted);
        is_more
    }

    /// When it may be read, where that is later than now: a server that has not
    /// time for all its work tells its neighbours first.
    fn held_back(&self) -> Option<Instant> {
        let now = self.quiet_since;
        let until = self.reported_at.map(|last| last + HELD_BACK)?;
        let gateway = &self.desk.gateway;
        if until <= now || !gateway.links().should_backpressure(now) {
            return None;
        }
        gateway.counters().client_reads_delayed.backpressure.add(1);
        Some(until.min(now + LOOK_AGAIN))
    }

    fn may_take(&self) -> bool {
        let waiting = self.answers.waiting();
        waiting == 0
            || (waiting < self.settings.max_waiting && self.answers.held_back() < MAX_HELD_BACK)
    }

    /// Sends what is ready, all of it in one write where the client reads, and
    /// counts how long its lines took.
    async fn send(&mut self) -> Result<(), End> {
        let ready = self.answers.ready();
        let mut sent = 0;
        while sent < ready.len() {
            match within(self.settings.write, self.stream.write(&ready[sent..])).await {
                Ok(Ok(0)) => return Err(End::Broken(io::ErrorKind::WriteZero.into())),
                Ok(Ok(written)) => sent += written,
                Ok(Err(error)) => return Err(End::Broken(error)),
                Err(_) => return Err(End::Unread),
            }
        }
        // TLS keeps a few KiB back while the client does not read.
        match within(self.settings.write, self.stream.flush()).await {
            Ok(flushed) => flushed.map_err(End::Broken)?,
            Err(_) => return Err(End::Unread),
        }
        self.count_sent();
        Ok(())
    }

    fn count_sent(&mut self) {
        let requests = &self.desk.gateway.counters().client_requests;
        let now = Instant::now();
        for taken in self.answers.sent(SMALL_ANSWERS) {
            requests.observe(now - taken.at, taken.lines);
        }
    }

    /// Waits for whatever is next. Reads only while it may take what it reads.
    async fn wait(
        &mut self,
        is_open: bool,
        idle: Pin<&mut Sleep>,
        drain: Pin<&mut impl Future<Output = ()>>,
    ) -> Event {
        let pause = self.turns.pause().max(self.held_back());
        let (asks, is_paused) = (self.answers.waiting() > 0, pause.is_some());
        let reads = is_open && !is_paused && self.may_take();
        let clock = self.desk.gateway.clock();
        tokio::select! {
            biased;
            // First, or a client that always has more to say would put it off.
            () = drain => Event::Drain,
            () = settle(&mut self.answers, &mut self.transcript, clock), if asks => Event::Settled,
            () = sleep_through(pause), if is_paused => Event::Resume,
            read = read(&mut self.stream, &mut self.lines), if reads => Event::Read(read),
            () = idle => Event::Idle,
        }
    }

    /// The server shuts down: answers what was read, questions that still take
    /// longer than [`LAST_WAIT`] with an error, and closes.
    async fn finish(mut self) -> End {
        let deadline = Instant::now() + LAST_WAIT;
        self.turns.waive();
        loop {
            if let Err(end) = self.answer(false).await {
                return end;
            }
            if self.answers.waiting() == 0 {
                break;
            }
            let clock = self.desk.gateway.clock();
            let settle = settle(&mut self.answers, &mut self.transcript, clock);
            if timeout_at(deadline, settle).await.is_err() {
                let transcript = &mut self.transcript;
                self.answers
                    .give_up("the server is shutting down", |at_line, places| {
                        transcript.sent_places(at_line, places);
                    });
            }
        }
        net::close(self.stream).await;
        End::Drained
    }
}

/// As [`timeout`], but what is ready at once asks no clock and sets no timer.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    match first {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(limit, work).await,
    }
}

/// Reads what is there, or waits for it with as little memory as can be.
async fn read(stream: &mut (impl AsyncRead + Unpin), lines: &mut LineBuffer) -> io::Result<usize> {
    poll_fn(|context| {
        let read = pin!(stream.read_buf(lines.read_buffer())).poll(context);
        if read.is_pending() {
            lines.shrink();
        }
        read
    })
    .await
}

/// Resolves at the end of a pause. The timer is made when this is first polled:
/// there is none where there is no pause.
async fn sleep_through(pause: Option<Instant>) {
    if let Some(until) = pause {
        // In a box, so that connections without a pause have no room for it.
        Box::pin(sleep_until(until)).await;
    }
}

/// Resolves when questions were answered, and writes them into the transcript.
async fn settle(answers: &mut ResponseQueue, transcript: &mut Transcript, clock: &Clock) {
    let note = |at_line: &[u8], places| {
        transcript.set_time(clock.now().0);
        transcript.sent_places(at_line, places);
    };
    answers.settle(note).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex, empty, join, repeat, sink};

    use super::*;
    use crate::clients::addresses::Addresses;
    use crate::clients::samples;
    use crate::log::Log;
    use crate::model::name::Name;
    use crate::places::{Places, PlacesResponse};

    fn session<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Session<S> {
        let (gateway, settings) = (samples::gateway(), ClientSettings::default());
        let addresses = Arc::new(Addresses::new(gateway.clone(), &settings));
        let desk = CommandHandler {
            gateway,
            places: Places::new(|_| async { PlacesResponse::none() }, Duration::ZERO),
        };
        let transcript = Transcript::client(&Log::off(), "client");
        let turns = addresses.turns([127, 0, 0, 1].into());
        Session::new(stream, desk, &settings, transcript, turns)
    }

    #[tokio::test]
    async fn answers_to_one_read_do_not_pile_up() {
        let mut session = session(join(empty(), sink()));
        session
            .lines
            .read_buffer()
            .extend_from_slice(&[b'\n'; 32 * 1024]);
        let mut answered = 0;
        loop {
            let is_more = session.take_lines(false);
            let ready = session.answers.ready().len();
            assert!(ready < MAX_READY + b"? \n".len());
            answered += ready;
            session.send().await.unwrap();
            if !is_more {
                break;
            }
        }
        assert_eq!(answered, 32 * 1024 * b"? \n".len());
    }

    /// How long a line waits for its answer.
    async fn waits(line: &str, client: &mut BufReader<DuplexStream>) -> Duration {
        let asked = Instant::now();
        client.write_all(line.as_bytes()).await.unwrap();
        client.read_line(&mut String::new()).await.unwrap();
        asked.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_reports_waits_where_a_neighbour_lags_and_the_server_is_short_of_time() {
        let (client, server) = duplex(1024);
        let session = session(server);
        let gateway = session.desk.gateway.clone();
        let neighbour = gateway.register(&Name::parse("Jaquez").unwrap()).unwrap();
        gateway.link(neighbour);
        let (_drain, draining) = watch::channel(false);
        tokio::spawn(session.run(draining));
        let mut client = BufReader::new(client);
        let mut time = 0;
        let mut report = || {
            time += 1;
            format!("IAMAT kiwi +1+1 {time}\n")
        };
        let lag = |time: Option<Duration>| {
            let now = Instant::now();
            let time = time.map(|time| now..now + time);
            gateway.links().set_lagging(neighbour, time);
        };
        let is_short = || gateway.links().note_overloaded(Instant::now());
        let ms = Duration::from_millis;

        assert_eq!(waits(&report(), &mut client).await, ms(0));
        is_short();
        assert_eq!(waits(&report(), &mut client).await, ms(0));
        tokio::time::sleep(ms(200)).await;
        lag(Some(ms(1000)));
        assert_eq!(waits(&report(), &mut client).await, ms(0));
        assert_eq!(waits(&report(), &mut client).await, ms(0), "it has time");
        assert_eq!(
            gateway.counters().client_reads_delayed.backpressure.get(),
            0
        );

        is_short();
        assert_eq!(waits(&report(), &mut client).await, ms(0), "was waited for");
        let short = waits(&report(), &mut client).await;
        assert!((ms(19)..=ms(21)).contains(&short), "{short:?}");
        assert!(gateway.counters().client_reads_delayed.backpressure.get() >= 2);
        let asks = waits("WHATSAT kiwi 1\n", &mut client).await;
        assert!(
            (ms(19)..=ms(21)).contains(&asks),
            "behind a report: {asks:?}"
        );
        assert_eq!(waits("WHATSAT kiwi 1\n", &mut client).await, ms(0));

        tokio::time::sleep(ms(20)).await;
        assert_eq!(
            waits(&report(), &mut client).await,
            ms(0),
            "came late enough"
        );
        lag(Some(ms(7)));
        let until_then = waits(&report(), &mut client).await;
        assert!((ms(7)..=ms(12)).contains(&until_then), "{until_then:?}");
    }

    #[tokio::test]
    async fn a_client_that_always_has_more_to_say_does_not_put_off_the_end() {
        let (drain, draining) = watch::channel(false);
        let running = tokio::spawn(session(join(repeat(b'\n'), sink())).run(draining));
        tokio::task::yield_now().await;
        drain.send_replace(true);
        let end = timeout(Duration::from_secs(10), running).await;
        assert!(matches!(end, Ok(Ok(End::Drained))), "{end:?}");
    }
}

//! One client's connection.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::gateway::{Clock, ServerSettings, SettingsReader};
use crate::line_protocol::lines::LineBuffer;
use crate::log::Transcript;
use crate::net::{self, ByteStream};
use crate::proto::ClientLines;

use super::addresses::RateLimiter;
use super::command_handler::{CommandHandler, ResponseSink};
use super::connection::ClientConnection;
use super::rate::LineRate;
use super::response_queue::ResponseQueue;

/// Number of bytes of responses that may be held back by a query or by reports that are not
/// acknowledged; at this size no more lines are taken.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// Number of bytes of ready responses at which they are sent before more lines are taken. Two
/// thousand WHATSATs fit in one read, and their responses take tens of megabytes.
const MAX_READY_BYTES: usize = 64 * 1024;

/// Capacity of the response buffer that a silent connection keeps, in bytes.
const IDLE_BUFFER_BYTES: usize = 2 * 1024;

/// Minimum interval between checks of the idle limit.
const MIN_IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The reason why a connection ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// The client closed its side and received all its responses.
    Closed,
    /// The client closed TCP and not TLS. A last line without LF does not count, since it may have
    /// been cut.
    Cut(io::Error),
    /// The connection failed.
    Broken(io::Error),
    /// The client sent nothing for the idle limit.
    Idle,
    /// The client did not read its responses for the write limit.
    Unread,
    /// The server shuts down; everything that was read is answered.
    Drained,
    /// The server shuts down, and the client did not read its responses in time, or its reports
    /// were not acknowledged in time.
    Disconnected,
    /// The client has sent nothing, and a newer connection took its place.
    Evicted,
}

impl SessionEnd {
    /// Returns true if the client ended the connection.
    pub(super) fn is_by_client(&self) -> bool {
        matches!(self, Self::Closed | Self::Broken(_))
    }
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it closed its side"),
            Self::Cut(error) => write!(f, "{error}"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Idle => f.write_str("it sent nothing for the idle limit"),
            Self::Unread => f.write_str("it did not read its answers for the write limit"),
            Self::Drained => f.write_str("the server shuts down"),
            Self::Disconnected => {
                f.write_str("the server shuts down, and not all of its answers were sent in time")
            }
            Self::Evicted => f.write_str("it sent nothing, and a newer connection took its place"),
        }
    }
}

/// One client's connection: bytes in, responses out.
///
/// Memory: at most a read buffer of 32 KiB and a line, ready responses of [`MAX_READY_BYTES`] and
/// one more, and [`MAX_HELD_BYTES`] and one more that are held back; the places that wait
/// beside them ([`ResponseQueue`]); about 4 KiB in all
/// while it is silent.
pub(super) struct Session {
    stream: Box<dyn ByteStream>,
    handler: CommandHandler,
    /// The settings that the connection began with. It keeps them, except the rate limit of its
    /// address.
    settings: Arc<ServerSettings>,
    latest_settings: SettingsReader,
    lines: LineBuffer,
    responses: ResponseQueue,
    transcript: Transcript,
    /// In a box, since a running session is held several times over.
    rate_limiter: Box<RateLimiter>,
    connection: Arc<ClientConnection>,
    /// Since when the client has neither sent anything nor waited for the server.
    quiet_since: Instant,
}

/// An event for which a session waits.
enum SessionEvent {
    Read(io::Result<usize>),
    Settled,
    Resume,
    Idle,
    Drain,
}

impl Session {
    pub(super) fn new(
        stream: Box<dyn ByteStream>,
        handler: CommandHandler,
        transcript: Transcript,
        rate_limiter: RateLimiter,
        connection: Arc<ClientConnection>,
    ) -> Self {
        let mut latest_settings = handler.gateway.settings_reader();
        let settings = latest_settings.latest().clone();
        Self {
            stream,
            handler,
            lines: LineBuffer::new(settings.clients.max_line),
            settings,
            latest_settings,
            responses: ResponseQueue::new(),
            transcript,
            rate_limiter: Box::new(rate_limiter),
            connection,
            quiet_since: Instant::now(),
        }
    }

    /// Answers lines until the client closes its side or exceeds a limit, or the server drains.
    /// Closes the connection.
    pub(super) async fn run(mut self) -> SessionEnd {
        let drain = self.handler.gateway.shutdown().drain().clone();
        let mut drain = pin!(drain.cancelled());
        let mut idle = pin!(sleep_until(self.quiet_since + self.settings.clients.idle));
        let mut is_open = true;
        loop {
            if let Err(end) = self.respond(!is_open).await {
                return end;
            }
            if !is_open && !self.client_waits() {
                // Fails only if the client has closed the connection altogether.
                let _ = self.stream.shutdown().await;
                return SessionEnd::Closed;
            }
            match self.wait(is_open, idle.as_mut(), drain.as_mut()).await {
                SessionEvent::Read(Ok(read)) => {
                    is_open = read > 0;
                    if is_open {
                        self.connection.note_received(self.lines.pending());
                    }
                    self.quiet_since = Instant::now();
                }
                SessionEvent::Settled | SessionEvent::Resume => self.quiet_since = Instant::now(),
                SessionEvent::Read(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return SessionEnd::Cut(error);
                }
                SessionEvent::Read(Err(error)) => return SessionEnd::Broken(error),
                SessionEvent::Idle => {
                    // One timer serves the whole connection: it is checked when it fires, and not
                    // reset by each read.
                    let quiet = self.quiet_time(is_open);
                    let rest = self.settings.clients.idle.saturating_sub(quiet);
                    if rest.is_zero() {
                        return SessionEnd::Idle;
                    }
                    let rest = rest.max(MIN_IDLE_CHECK_INTERVAL);
                    idle.as_mut().reset(Instant::now() + rest);
                }
                // In a box: otherwise each connection reserves memory for it from its start.
                SessionEvent::Drain => return Box::pin(self.finish()).await,
            }
        }
    }

    /// Returns how long the client has been silent. Time in which it waits for the server does
    /// not count, except that one which has closed its side, and may be gone, does not wait forever
    /// for the acknowledgement of its reports.
    fn quiet_time(&self, is_open: bool) -> Duration {
        let has_end = !is_open && self.responses.queries() == 0;
        if self.client_waits() && !has_end {
            Duration::ZERO
        } else {
            self.quiet_since.elapsed()
        }
    }

    /// Returns true if the client waits for places, for the acknowledgement of reports, or for its
    /// rate limit.
    fn client_waits(&self) -> bool {
        !self.responses.is_released() || self.rate_limiter.retry_at().is_some()
    }

    /// Takes complete lines, at the end of the stream also the last one without LF, and sends what
    /// is ready. Stops while too much is held back, and while the address is rate limited.
    async fn respond(&mut self, at_end: bool) -> Result<(), SessionEnd> {
        loop {
            let has_more = self.take_lines(at_end);
            self.send().await?;
            if !has_more {
                return Ok(());
            }
        }
    }

    /// Takes lines. Returns true if more lines can be taken once the ready responses are sent.
    fn take_lines(&mut self, at_end: bool) -> bool {
        // When they were read, or could be taken after a wait. This saves a look at the clock.
        let taken_at = self.quiet_since;
        let settings = self.latest_settings.latest();
        let rate = settings.clients.commands_per_second.map(LineRate::new);
        let limits = settings.gateway;
        let max_lines = if self.lines.is_empty() {
            usize::MAX
        } else {
            self.rate_limiter.available(taken_at, rate)
        };
        self.responses.taken(taken_at);
        let now = self.handler.gateway.clock().now();
        self.transcript.set_time(now.0);
        let (mut has_changes, mut taken, mut counters) = (false, 0, ClientLines::default());
        let has_more = loop {
            if !self.has_room() {
                break false;
            }
            if taken == max_lines {
                break taken > 0;
            }
            let ready = self.responses.ready().len();
            if ready >= MAX_READY_BYTES {
                break true;
            }
            let room = if self.responses.is_released() {
                MAX_READY_BYTES - ready
            } else {
                MAX_HELD_BYTES - self.responses.held_bytes()
            };
            let lines = self.lines.take(at_end);
            let mut sink = ResponseSink {
                responses: &mut self.responses,
                transcript: &mut self.transcript,
                counters: &mut counters,
            };
            let progress =
                self.handler
                    .take(now, &limits, lines, max_lines - taken, room, &mut sink);
            has_changes |= progress.has_changes;
            taken += progress.lines;
            if progress.is_all {
                break false;
            }
        };
        self.rate_limiter.took(taken_at, taken, rate);
        // Before neighbours get the reports, so that logs are in order.
        self.transcript.append_page();
        if has_changes {
            self.handler.gateway.links().notify_changes();
        }
        self.handler.gateway.counters().client_lines.add(&counters);
        has_more
    }

    /// Returns true if the queue has room for further responses.
    fn has_room(&self) -> bool {
        self.responses.is_released()
            || (self.responses.queries() < self.settings.clients.max_waiting
                && self.responses.held_bytes() < MAX_HELD_BYTES)
    }

    /// Sends what is ready, in one write if the client reads, and counts how long its lines took.
    async fn send(&mut self) -> Result<(), SessionEnd> {
        let ready = self.responses.ready();
        let mut sent = 0;
        while sent < ready.len() {
            match within(
                self.settings.clients.write,
                self.stream.write(&ready[sent..]),
            )
            .await
            {
                Ok(Ok(0)) => return Err(SessionEnd::Broken(io::ErrorKind::WriteZero.into())),
                Ok(Ok(written)) => sent += written,
                Ok(Err(error)) => return Err(SessionEnd::Broken(error)),
                Err(_) => return Err(SessionEnd::Unread),
            }
        }
        // TLS buffers a few KiB while the client does not read.
        match within(self.settings.clients.write, self.stream.flush()).await {
            Ok(flushed) => flushed.map_err(SessionEnd::Broken)?,
            Err(_) => return Err(SessionEnd::Unread),
        }
        self.count_sent();
        Ok(())
    }

    fn count_sent(&mut self) {
        let requests = &self.handler.gateway.counters().client_requests;
        let now = Instant::now();
        for taken in self.responses.sent(IDLE_BUFFER_BYTES) {
            requests.observe(now - taken.at, taken.lines);
        }
    }

    /// Waits for the next event. Reads only while there is room for the responses.
    async fn wait(
        &mut self,
        is_open: bool,
        idle: Pin<&mut Sleep>,
        drain: Pin<&mut impl Future<Output = ()>>,
    ) -> SessionEvent {
        let pause = self.rate_limiter.retry_at();
        let (is_held, is_paused) = (!self.responses.is_released(), pause.is_some());
        let reads = is_open && !is_paused && self.has_room();
        let clock = self.handler.gateway.clock();
        let (responses, transcript) = (&mut self.responses, &mut self.transcript);
        tokio::select! {
            biased;
            // First, so that a client that always has more to send cannot delay it.
            () = drain => SessionEvent::Drain,
            () = settle(responses, transcript, clock), if is_held => SessionEvent::Settled,
            () = sleep_through(pause), if is_paused => SessionEvent::Resume,
            read = read(&mut *self.stream, &mut self.lines), if reads => SessionEvent::Read(read),
            () = idle => SessionEvent::Idle,
        }
    }

    /// Answers everything that was read and closes the connection, since the server shuts down.
    /// Queries that take too long are answered with an error. Reports that are not acknowledged are
    /// waited for until the connection is ended from outside.
    async fn finish(mut self) -> SessionEnd {
        let abandon = self.handler.gateway.shutdown().abandon().clone();
        self.rate_limiter.waive();
        loop {
            if let Err(end) = self.respond(false).await {
                return end;
            }
            if self.responses.is_released() {
                break;
            }
            let asks = self.responses.has_queries_in_progress();
            let clock = self.handler.gateway.clock();
            let settle = settle(&mut self.responses, &mut self.transcript, clock);
            if !asks {
                settle.await;
            } else if abandon.run_until_cancelled(settle).await.is_none() {
                let transcript = &mut self.transcript;
                self.responses
                    .abandon_queries("the server is shutting down", |at_line, places| {
                        transcript.sent_places(at_line, places);
                    });
            }
        }
        net::close(self.stream).await;
        SessionEnd::Drained
    }
}

/// Limits the time of `work` as [`timeout`] does, but reads no clock and sets no timer if it is
/// ready at once.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    match first {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(limit, work).await,
    }
}

/// Reads what is there, or waits for it with as little memory as possible.
async fn read(stream: &mut dyn ByteStream, lines: &mut LineBuffer) -> io::Result<usize> {
    poll_fn(|context| {
        let read = pin!(stream.read_buf(lines.read_buffer())).poll(context);
        if read.is_pending() {
            lines.shrink();
        }
        read
    })
    .await
}

/// Sleeps until the end of a pause. Sets a timer only if there is one, and only once polled.
async fn sleep_through(pause: Option<Instant>) {
    if let Some(until) = pause {
        // In a box, so that connections without a pause take no memory for it.
        Box::pin(sleep_until(until)).await;
    }
}

/// Resolves when queries are done, and writes their responses into the transcript.
async fn settle(responses: &mut ResponseQueue, transcript: &mut Transcript, clock: &Clock) {
    let note = |at_line: &[u8], places| {
        transcript.set_time(clock.now().0);
        transcript.sent_places(at_line, places);
    };
    responses.settle(note).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{empty, join, repeat, sink};

    use super::*;
    use crate::clients::addresses::Addresses;
    use crate::clients::samples;
    use crate::log::Log;
    use crate::places::{Places, PlacesResponse};

    fn session(stream: impl ByteStream + 'static) -> Session {
        let gateway = samples::gateway();
        let addresses = Arc::new(Addresses::new(gateway.clone()));
        let handler = CommandHandler {
            gateway,
            places: Places::new(|_| async { PlacesResponse::none() }, Duration::ZERO),
        };
        let transcript = Transcript::client(&Log::off(), "client");
        let rate_limiter = addresses.rate_limiter([127, 0, 0, 1].into());
        let connection = Arc::new(samples::connection(&handler.gateway));
        Session::new(
            Box::new(stream),
            handler,
            transcript,
            rate_limiter,
            connection,
        )
    }

    #[tokio::test]
    async fn responses_to_one_read_are_sent_before_they_exceed_their_limit() {
        let mut session = session(join(empty(), sink()));
        session
            .lines
            .read_buffer()
            .extend_from_slice(&[b'\n'; 32 * 1024]);
        let mut answered = 0;
        loop {
            let has_more = session.take_lines(false);
            let ready = session.responses.ready().len();
            assert!(ready < MAX_READY_BYTES + b"? \n".len());
            answered += ready;
            session.send().await.unwrap();
            if !has_more {
                break;
            }
        }
        assert_eq!(answered, 32 * 1024 * b"? \n".len());
    }

    #[tokio::test]
    async fn a_client_that_always_has_more_to_send_does_not_delay_the_drain() {
        let session = session(join(repeat(b'\n'), sink()));
        let gateway = session.handler.gateway.clone();
        let running = tokio::spawn(session.run());
        tokio::task::yield_now().await;
        gateway.shutdown().drain().cancel();
        let end = timeout(Duration::from_secs(30), running).await;
        assert!(matches!(end, Ok(Ok(SessionEnd::Drained))), "{end:?}");
    }
}

//! One client's connection.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use crate::gateway::Clock;
use crate::log::Transcript;
use crate::text::lines::Lines;

use super::Settings;
use super::answers::Answers;
use super::desk::Desk;

/// While this many bytes of answers wait behind a question, no more lines are
/// taken.
const MAX_HELD_BACK: usize = 64 * 1024;

/// What a silent connection keeps of its answer buffer, in bytes.
const SMALL_ANSWERS: usize = 1024;

/// How long a server that shuts down waits for a client to close its side, so
/// that closing does not take the last answers back on their way.
const LINGER: Duration = Duration::from_millis(200);

/// How long questions under way may still take when the server shuts down.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The idle limit is looked at no more often than this.
const TICK: Duration = Duration::from_millis(10);

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
/// Memory: at most a read buffer of 32 KiB and a line, their answers, and
/// [`MAX_HELD_BACK`] or so behind questions under way; about 3 KiB in all while
/// it is silent.
pub(super) struct Session<S> {
    stream: S,
    desk: Desk,
    settings: Settings,
    lines: Lines,
    answers: Answers,
    transcript: Transcript,
    last_heard: Instant,
}

/// What a session waited for.
enum Event {
    Read(io::Result<usize>),
    Settled,
    Idle,
    Drain,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(stream: S, desk: Desk, settings: &Settings, transcript: Transcript) -> Self {
        Self {
            stream,
            desk,
            lines: Lines::new(settings.max_line),
            settings: settings.clone(),
            answers: Answers::default(),
            transcript,
            last_heard: Instant::now(),
        }
    }

    /// Answers lines until the client closes its side, breaks a limit, or
    /// `drain` becomes true.
    pub(super) async fn run(mut self, mut drain: watch::Receiver<bool>) -> End {
        let drain = drain.wait_for(|&drain| drain);
        let mut drain = pin!(async { drop(drain.await) });
        let mut idle = pin!(sleep_until(self.last_heard + self.settings.idle));
        let mut is_open = true;
        loop {
            self.take_lines(!is_open);
            if let Err(end) = self.send().await {
                return end;
            }
            let is_done = self.answers.waiting() == 0;
            if is_done && !is_open {
                // Fails only where there is nobody left to tell.
                let _ = self.stream.shutdown().await;
                return End::Closed;
            }
            match self.wait(is_open, idle.as_mut(), drain.as_mut()).await {
                Event::Read(Ok(0)) => is_open = false,
                Event::Read(Ok(_)) => self.last_heard = Instant::now(),
                Event::Read(Err(error)) => return End::Broken(error),
                Event::Settled => self.transcript.hand_in(),
                Event::Idle => {
                    // One timer for the whole connection: it looks back when
                    // it fires, and no read has to set it anew.
                    let silent = self.last_heard.elapsed();
                    if is_open && silent >= self.settings.idle {
                        return End::Idle;
                    }
                    let rest = self.settings.idle.saturating_sub(silent).max(TICK);
                    idle.as_mut().reset(Instant::now() + rest);
                }
                Event::Drain => return self.finish().await,
            }
        }
    }

    /// Takes the lines that are complete; at the end of the stream the last one
    /// too. Stops while too much waits for places.
    fn take_lines(&mut self, at_end: bool) {
        if !self.may_take() {
            return;
        }
        let now = self.desk.gateway.clock().now();
        self.transcript.at(now.0);
        let mut is_news = false;
        while self.may_take() {
            let line = match self.lines.next() {
                None if at_end => self.lines.last(),
                line => line,
            };
            let Some(line) = line else { break };
            is_news |= self
                .desk
                .take(now, line, &mut self.answers, &mut self.transcript);
        }
        // Written down before it is passed on, so that logs tell it in order.
        self.transcript.hand_in();
        if is_news {
            self.desk.gateway.board().ring_news();
        }
    }

    fn may_take(&self) -> bool {
        let waiting = self.answers.waiting();
        waiting == 0
            || (waiting < self.settings.max_waiting && self.answers.held_back() < MAX_HELD_BACK)
    }

    /// Sends what is ready, all of it in one write where the client reads.
    async fn send(&mut self) -> Result<(), End> {
        let ready = self.answers.ready();
        let mut sent = 0;
        while sent < ready.len() {
            match timeout(self.settings.write, self.stream.write(&ready[sent..])).await {
                Ok(Ok(0)) => return Err(End::Broken(io::ErrorKind::WriteZero.into())),
                Ok(Ok(written)) => sent += written,
                Ok(Err(error)) => return Err(End::Broken(error)),
                Err(_) => return Err(End::Unread),
            }
        }
        ready.clear();
        ready.shrink_to(SMALL_ANSWERS);
        Ok(())
    }

    /// Waits for whatever is next. Reads only while it may take what it reads.
    async fn wait(
        &mut self,
        is_open: bool,
        idle: Pin<&mut Sleep>,
        drain: Pin<&mut impl Future<Output = ()>>,
    ) -> Event {
        let (asks, reads) = (self.answers.waiting() > 0, is_open && self.may_take());
        let clock = self.desk.gateway.clock();
        tokio::select! {
            biased;
            () = settle(&mut self.answers, &mut self.transcript, clock), if asks => Event::Settled,
            read = read(&mut self.stream, &mut self.lines), if reads => Event::Read(read),
            () = drain => Event::Drain,
            () = idle => Event::Idle,
        }
    }

    /// The server shuts down: answers what was read, questions that still take
    /// longer than [`LAST_WAIT`] with an error, and closes.
    async fn finish(mut self) -> End {
        let deadline = Instant::now() + LAST_WAIT;
        loop {
            self.take_lines(false);
            if let Err(end) = self.send().await {
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
                        transcript.said_places(at_line, places);
                    });
            }
        }
        self.close().await;
        End::Drained
    }

    /// Closes so that the client gets all that was sent: a socket that is
    /// closed while unread bytes wait in it takes back what is on its way.
    async fn close(mut self) {
        let closing = async {
            self.stream.shutdown().await?;
            while self.stream.read(&mut [0; 512]).await? > 0 {}
            io::Result::Ok(())
        };
        // Whether the client went along makes no difference any more.
        let _ = timeout(LINGER, closing).await;
    }
}

/// Reads what is there, or waits for it with as little memory as can be.
async fn read(stream: &mut (impl AsyncRead + Unpin), lines: &mut Lines) -> io::Result<usize> {
    poll_fn(|context| {
        let read = pin!(stream.read_buf(lines.room())).poll(context);
        if read.is_pending() {
            lines.rest();
        }
        read
    })
    .await
}

/// Resolves when questions were answered, and writes them into the transcript.
async fn settle(answers: &mut Answers, transcript: &mut Transcript, clock: &Clock) {
    let note = |at_line: &[u8], places| {
        transcript.at(clock.now().0);
        transcript.said_places(at_line, places);
    };
    answers.settle(note).await;
}

//! Waiting for sockets until a moment that is nearer than a millisecond.
//!
//! A poll counts its timeout in whole milliseconds. At a hundred thousand requests a second
//! that would send a hundred requests at a time.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

pub(super) use system::Timer;

#[cfg(target_os = "linux")]
mod system {
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::Interest;
    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::{Duration, Registry, Token, io};

    /// A timer that wakes a poll as a socket does.
    pub(in super::super) struct Timer(OwnedFd);

    impl Timer {
        pub(in super::super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self(timer))
        }

        /// Wakes the poll after `wait`. Returns the timeout for that poll, at most `limit`.
        pub(in super::super) fn set(
            &self,
            wait: Duration,
            limit: Duration,
        ) -> io::Result<Duration> {
            let once = Itimerspec {
                it_interval: Timespec::default(),
                // Zero would disarm the timer.
                it_value: Timespec {
                    tv_sec: wait.as_secs() as i64,
                    tv_nsec: i64::from(wait.subsec_nanos()).max(1),
                },
            };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            Ok(limit)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{Duration, Registry, Token, io};

    /// The poll's own timeout, rounded down: the poll spins through the last millisecond.
    pub(in super::super) struct Timer;

    impl Timer {
        pub(in super::super) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Ok(Self)
        }

        /// Returns the timeout for the next poll, at most `limit`.
        pub(in super::super) fn set(
            &self,
            wait: Duration,
            limit: Duration,
        ) -> io::Result<Duration> {
            Ok(Duration::from_millis(wait.as_millis() as u64).min(limit))
        }
    }
}

//! A second, simple implementation of AT lines and of the order of reports, which shares no
//! code with the program.

use std::cmp::Ordering;
use std::fmt;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// The contents of an AT line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) origin: String,
    /// The skew in nanoseconds.
    pub(crate) skew: i128,
    pub(crate) client: String,
    pub(crate) position: String,
    pub(crate) time: String,
}

impl Report {
    /// Parses an AT line, or returns `None` if it deviates from the format.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(' ').collect();
        let ["AT", origin, skew, client, position, time] = fields[..] else {
            return None;
        };
        let (sign, size) = match skew.split_at_checked(1)? {
            ("+", size) => (1, size),
            ("-", size) => (-1, size),
            _ => return None,
        };
        let report = Self {
            origin: origin.to_owned(),
            skew: sign * nanos(size),
            client: client.to_owned(),
            position: position.to_owned(),
            time: time.to_owned(),
        };
        (report.to_string() == line).then_some(report)
    }

    /// Compares two reports of one client by the rules of docs/protocol.md. The greater one is
    /// kept.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let times = |report: &Self| (report.order_time(), nanos(&report.time));
        let by_time = times(self).cmp(&times(other));
        by_time
            .then_with(|| self.origin.cmp(&other.origin))
            .then_with(|| self.position.cmp(&other.position))
            .then_with(|| other.skew.cmp(&self.skew))
            .then_with(|| self.time.cmp(&other.time))
    }

    /// Returns the time of the origin's clock when it received the line, in nanoseconds since
    /// 1970.
    pub(crate) fn clock(&self) -> i128 {
        nanos(&self.time) + self.skew
    }

    /// Returns the client's time, but at most the time of receipt and 10 s, in nanoseconds since
    /// 1970.
    pub(crate) fn order_time(&self) -> i128 {
        nanos(&self.time).min(self.clock() + 10 * NANOS_PER_SECOND)
    }

    /// Returns the key of the IAMAT of this report.
    pub(crate) fn cause(&self) -> String {
        cause(&self.origin, &self.client, &self.position, &self.time)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.skew < 0 { '-' } else { '+' };
        let (seconds, nanos) = (
            self.skew.abs() / NANOS_PER_SECOND,
            self.skew.abs() % NANOS_PER_SECOND,
        );
        write!(
            f,
            "AT {} {sign}{seconds}.{nanos:09} {} {} {}",
            self.origin, self.client, self.position, self.time
        )
    }
}

/// Returns the key of an IAMAT to a server.
pub(crate) fn cause(server: &str, client: &str, position: &str, time: &str) -> String {
    format!("{server} {client} {position} {time}")
}

/// Converts decimal seconds to nanoseconds. Decimals after the ninth are ignored.
pub(crate) fn nanos(seconds: &str) -> i128 {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let nine: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let number = |digits: &str| digits.parse::<i128>().unwrap_or(-1);
    number(whole) * NANOS_PER_SECOND + number(&nine)
}

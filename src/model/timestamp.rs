//! Times: the client's own clock, the server's, and the skew between them.

use std::fmt;

use super::decimal::{Decimal, number};
use super::text::Utf8Bytes;

/// Maximum length of a time, in bytes.
pub const MAX_TIME_BYTES: usize = 32;

/// Maximum number of digits of a fraction of a second.
pub const MAX_FRACTION_DIGITS: usize = 18;

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A client's time as the client wrote it: POSIX seconds, optionally with a fraction. Digits after
/// the ninth of the fraction are copied and not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp<'a> {
    text: Utf8Bytes<'a>,
    instant: ClientTime,
}

/// The value of a client's time: whole seconds since 1970 and the nanoseconds after them. It
/// compares to the nanosecond.
///
/// Invariant: `seconds` is below 2^63 and `nanos` below 10^9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientTime {
    /// Whole seconds since 1970.
    pub seconds: u64,
    /// Nanoseconds after the whole second.
    pub nanos: u32,
}

impl ClientTime {
    /// Returns the nanoseconds since 1970.
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(self.nanos)
    }
}

impl<'a> Timestamp<'a> {
    /// Parses a time. Returns `None` if it breaks the protocol's rules: unsigned digits, optionally
    /// `.` and 1 to [`MAX_FRACTION_DIGITS`] digits, at most [`MAX_TIME_BYTES`] in all, seconds
    /// below 2^63.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let decimal = Decimal::parse(bytes)?;
        let seconds = decimal.whole_number()?;
        let fits = bytes.len() <= MAX_TIME_BYTES
            && decimal.fraction().len() <= MAX_FRACTION_DIGITS
            && seconds < 1 << 63;
        let nanos = first_nine_digits(decimal.fraction());
        fits.then_some(Self::restore(bytes, ClientTime { seconds, nanos }))
    }

    /// Creates a time from parts that were parsed before.
    pub(crate) fn restore(bytes: &'a [u8], instant: ClientTime) -> Self {
        Self {
            text: Utf8Bytes::restore(bytes),
            instant,
        }
    }

    /// Returns the time as the client wrote it.
    pub fn text(self) -> &'a str {
        self.text.as_str()
    }

    /// Returns the time as bytes, without validating them again.
    pub fn bytes(self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// Returns the value of the time.
    pub fn instant(self) -> ClientTime {
        self.instant
    }
}

fn first_nine_digits(fraction: &[u8]) -> u32 {
    let counted = fraction.len().min(9);
    let nanos = number(&fraction[..counted]) * 10u64.pow((9 - counted) as u32);
    nanos as u32
}

/// Maximum time by which a report may be ordered after its receipt by the origin, in nanoseconds:
/// 10 s.
const MAX_LEAD_NANOS: i64 = 10 * NANOS_PER_SECOND;

/// The time by which reports are ordered and expire: the client's time, but at most 10 s after the
/// time at which the origin received the report, by the origin's clock.
///
/// So a client whose clock is ahead is ordered by the time of receipt, and one whose clock is
/// behind, or that sends what it had stored, by its own time. The order time follows from the
/// report alone, so all servers agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderTime {
    /// Whole seconds since 1970, rounded down.
    seconds: i64,
    nanos: u32,
}

impl OrderTime {
    /// Returns the order time of a report with this client's time and this skew.
    pub fn of(time: ClientTime, skew: Skew) -> Self {
        // Below 2^63 by the invariant.
        let (seconds, nanos) = (time.seconds.cast_signed(), time.nanos);
        let excess = skew.0.saturating_add(MAX_LEAD_NANOS);
        if excess >= 0 {
            return Self { seconds, nanos };
        }
        let moved = i64::from(nanos) + excess.rem_euclid(NANOS_PER_SECOND);
        Self {
            seconds: seconds + excess.div_euclid(NANOS_PER_SECOND) + moved / NANOS_PER_SECOND,
            nanos: (moved % NANOS_PER_SECOND) as u32,
        }
    }

    /// Returns the nanoseconds since 1970.
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(self.nanos)
    }
}

/// A server's clock: nanoseconds since 1970, UTC, from the year 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixNanos(pub i64);

/// The server's clock minus the client's time when the server received a report, in nanoseconds. It
/// is displayed in the protocol's form: always signed, always nine decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skew(pub i64);

impl Skew {
    /// Returns the server's clock minus the client's time, exactly; `None` if the two are more than
    /// 292 years apart, which no `max_future` permits.
    pub fn between(server: UnixNanos, client: Timestamp<'_>) -> Option<Self> {
        let nanos = i128::from(server.0) - client.instant.as_nanos();
        i64::try_from(nanos).ok().map(Self)
    }

    /// Formats the skew as the protocol requires. It does not use `fmt`, since every answer
    /// contains a skew.
    pub fn text(self) -> SkewText {
        let nanos = self.0.unsigned_abs();
        let mut seconds = nanos / NANOS_PER_SECOND.unsigned_abs();
        let nanos = nanos % NANOS_PER_SECOND.unsigned_abs();
        let mut text = SkewText {
            bytes: [0; SkewText::MAX_BYTES],
            start: SkewText::MAX_BYTES - 8,
        };
        text.bytes[text.start..].copy_from_slice(&eight_digits(nanos % 100_000_000));
        text.prepend(b'0' + (nanos / 100_000_000) as u8);
        text.prepend(b'.');
        loop {
            text.prepend(b'0' + (seconds % 10) as u8);
            seconds /= 10;
            if seconds == 0 {
                break;
            }
        }
        text.prepend(if self.0 < 0 { b'-' } else { b'+' });
        text
    }
}

/// Formats a number below 10^8 as eight digits. Each step splits the halves, quarters and eighths
/// of a word into a higher and a lower part.
fn eight_digits(number: u64) -> [u8; 8] {
    let fours = (number / 10_000) | (number % 10_000) << 32;
    // For numbers of four digits, x * 5243 / 2^19 is x / 100; for two digits, x * 103 / 2^10 is x /
    // 10.
    let hundreds = (fours * 5243) >> 19 & 0x0000_007F_0000_007F;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = (twos * 103) >> 10 & 0x000F_000F_000F_000F;
    let ones = tens | (twos - 10 * tens) << 8;
    (ones | u64::from_le_bytes(*b"00000000")).to_le_bytes()
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

/// A formatted skew, right-aligned in its bytes.
#[derive(Clone, Copy, Debug)]
pub struct SkewText {
    bytes: [u8; Self::MAX_BYTES],
    start: usize,
}

impl SkewText {
    /// Length of a sign, ten digits of seconds, a point and nine decimals.
    const MAX_BYTES: usize = 21;

    fn prepend(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }

    /// Returns the text, such as `+0.263873386`.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a skew prints in ASCII")
    }

    /// Returns the text as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp<'_> {
        Timestamp::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn times_compare_to_the_nanosecond() {
        let parts = |text| {
            let ClientTime { seconds, nanos } = time(text).instant();
            (seconds, nanos)
        };
        assert_eq!(parts("1621464827.959498503"), (1621464827, 959498503));
        assert_eq!(parts("1.5"), (1, 500_000_000));
        assert_eq!(parts("1.000000001999999999"), (1, 1));
        assert_eq!(parts("0009"), (9, 0));
        assert_eq!(parts("9223372036854775807").0, (1 << 63) - 1);
    }

    #[test]
    fn the_order_time_is_the_clients_time_but_at_most_10_s_after_the_receipt() {
        let second = i128::from(NANOS_PER_SECOND);
        for text in ["0", "5.000000001", "9.999999999", "9223372036854775807.5"] {
            for skew in [
                i64::MIN,
                -20_000_000_001,
                -20_000_000_000,
                -10_000_000_001,
                -10_000_000_000,
                -1,
                0,
                i64::MAX,
            ] {
                let time = time(text).instant();
                let received_at = time.as_nanos() + i128::from(skew);
                let expected = time.as_nanos().min(received_at + 10 * second);
                let order_time = OrderTime::of(time, Skew(skew));
                assert_eq!(order_time.as_nanos(), expected, "{text} {skew}");
                assert!(i64::from(order_time.nanos) < NANOS_PER_SECOND);
            }
        }
    }

    #[test]
    fn forms_are_exact() {
        for bad in [
            "",
            "-1",
            "+1",
            "1.",
            ".1",
            "1e9",
            "1_000",
            "9223372036854775808",
            "99999999999999999999999",
            "1.0000000000000000001",
            "000000000000000000000000000000001",
            "0x10",
            "1.5s",
            "inf",
            "NaN",
        ] {
            assert!(Timestamp::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(Timestamp::parse(b"00000000000000000000000000000001").is_some());
        assert!(Timestamp::parse(b"1.000000000000000000").is_some());
    }

    #[test]
    fn skew_is_exact_and_always_signed() {
        let at = |server, client| Skew::between(UnixNanos(server), time(client));
        let print = |server, client| at(server, client).unwrap().to_string();
        assert_eq!(
            print(1_621_464_828_223_371_889, "1621464827.959498503"),
            "+0.263873386"
        );
        assert_eq!(print(1_000_000_000, "1"), "+0.000000000");
        assert_eq!(print(1_000_000_000, "1.000000001"), "-0.000000001");
        assert_eq!(print(0, "100.25"), "-100.250000000");
        for nanos in (0..1_000_000_000).step_by(99_991) {
            let expected = format!("+0.{nanos:09}");
            assert_eq!(Skew(nanos).to_string(), expected);
        }
        assert_eq!(print(999_999_999, "0"), "+0.999999999");
        assert_eq!(print(i64::MAX, "0"), "+9223372036.854775807");
        assert_eq!(at(0, "9223372037"), None);
        assert_eq!(Skew(i64::MIN).to_string(), "-9223372036.854775808");
    }
}

//! Checks of the servers' answers, without I/O.

use std::fmt;

use memchr::{memchr, memmem};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An error in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerError {
    /// An echo of the line after `? `.
    Rejected,
    /// A line other than `AT NAME SKEW` and three fields.
    NoAtLine,
    /// An AT line with other fields than those of the report.
    OtherFields,
    /// A skew other than a sign, digits, a point and nine digits.
    Skew,
    /// A server name other than the one in earlier answers.
    OtherName,
    /// Places that are not a JSON object with results.
    NoPlaces,
    /// More places than requested.
    TooManyPlaces,
    /// Places with a status that reports a failure.
    Status,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rejected => "rejected as invalid",
            Self::NoAtLine => "not an AT line",
            Self::OtherFields => "other fields than the newest report",
            Self::Skew => "a skew other than a sign, digits, a point and nine digits",
            Self::OtherName => "the server had another name in earlier answers",
            Self::NoPlaces => "no JSON with places after the AT line",
            Self::TooManyPlaces => "more places than requested",
            Self::Status => "a status other than OK and ZERO_RESULTS",
        })
    }
}

/// Returns the length of the first line, without its LF.
pub(super) fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr(b'\n', bytes)
}

/// Splits a line without its LF into `AT NAME SKEW` and `fields`, and returns the name.
pub(super) fn at_line<'a>(line: &'a [u8], fields: &[u8]) -> Result<&'a [u8], AnswerError> {
    let Some(rest) = line.strip_prefix(b"AT ") else {
        return Err(if line.starts_with(b"?") {
            AnswerError::Rejected
        } else {
            AnswerError::NoAtLine
        });
    };
    let Some(head) = rest.strip_suffix(fields) else {
        return Err(AnswerError::OtherFields);
    };
    let space = head.iter().position(|&byte| byte == b' ');
    let space = space
        .filter(|&space| space > 0)
        .ok_or(AnswerError::NoAtLine)?;
    let (name, skew) = head.split_at(space);
    if !is_skew(&skew[1..]) {
        return Err(AnswerError::Skew);
    }
    Ok(name)
}

fn is_skew(text: &[u8]) -> bool {
    let Some((whole, decimals)) = text.split_last_chunk::<9>().filter(|(w, _)| w.len() >= 3) else {
        return false;
    };
    let (sign, seconds) = (whole[0], &whole[1..whole.len() - 1]);
    matches!(sign, b'+' | b'-')
        && whole.last() == Some(&b'.')
        && seconds.iter().all(u8::is_ascii_digit)
        && decimals.iter().all(u8::is_ascii_digit)
}

/// Returns the length of the places after an AT line, with their two newlines.
pub(super) fn places_length(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\n\n").map(|end| end + 2)
}

/// Checks only the beginning, the end and the status of the places, which is cheap enough
/// for each answer.
pub(super) fn check_places_roughly(json: &[u8]) -> Result<(), AnswerError> {
    let json = json.trim_ascii();
    if !(json.starts_with(b"{") && json.ends_with(b"}")) {
        return Err(AnswerError::NoPlaces);
    }
    // Google's keys are in alphabetical order, so `status` is the last one.
    let at = memmem::rfind(json, b"\"status\"").ok_or(AnswerError::NoPlaces)?;
    let value = json[at + b"\"status\"".len()..].trim_ascii_start();
    let value = value.strip_prefix(b":").ok_or(AnswerError::NoPlaces)?;
    let value = value.trim_ascii_start();
    if !(value.starts_with(b"\"OK\"") || value.starts_with(b"\"ZERO_RESULTS\"")) {
        return Err(AnswerError::Status);
    }
    Ok(())
}

/// The keys that places must have; other keys are allowed.
#[derive(Deserialize)]
struct PlacesBody {
    results: Vec<IgnoredAny>,
    #[serde(rename = "status")]
    _status: String,
}

/// Parses the places as a whole, which costs more than a server needs to write them.
pub(super) fn check_places(json: &[u8], limit: u32) -> Result<(), AnswerError> {
    let places: PlacesBody = serde_json::from_slice(json).map_err(|_| AnswerError::NoPlaces)?;
    if places.results.len() > limit as usize {
        return Err(AnswerError::TooManyPlaces);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_lines_are_checked_byte_for_byte() {
        let check = |line: &str| at_line(line.as_bytes(), b" kiwi +1-2 3.5").map(<[u8]>::to_vec);
        let correct = "AT Riley +0.263873386 kiwi +1-2 3.5";
        assert_eq!(check(correct).unwrap(), b"Riley");
        assert!(check("AT a -17.000000000 kiwi +1-2 3.5").is_ok());
        for (wrong, why) in [
            ("? IAMAT kiwi +1-2 3.5", AnswerError::Rejected),
            ("", AnswerError::NoAtLine),
            ("at Riley +0.263873386 kiwi +1-2 3.5", AnswerError::NoAtLine),
            ("AT Riley kiwi +1-2 3.5", AnswerError::NoAtLine),
            ("AT  +0.263873386 kiwi +1-2 3.5", AnswerError::NoAtLine),
            (
                "AT Riley +0.263873386 kiwi +1-2 3.50",
                AnswerError::OtherFields,
            ),
            (
                "AT Riley +0.263873386 Kiwi +1-2 3.5",
                AnswerError::OtherFields,
            ),
            ("AT Riley +0.26387338 kiwi +1-2 3.5", AnswerError::Skew),
            ("AT Riley +.263873386 kiwi +1-2 3.5", AnswerError::Skew),
            ("AT Riley 10.263873386 kiwi +1-2 3.5", AnswerError::Skew),
            ("AT Riley +0,263873386 kiwi +1-2 3.5", AnswerError::Skew),
            ("AT Riley +0x263873386 kiwi +1-2 3.5", AnswerError::Skew),
            ("AT Riley +1 .263873386 kiwi +1-2 3.5", AnswerError::Skew),
            ("AT Riley  +0.263873386 kiwi +1-2 3.5", AnswerError::Skew),
        ] {
            assert_eq!(check(wrong), Err(why), "{wrong}");
        }
    }

    #[test]
    fn places_are_json_with_results_and_a_status_of_success() {
        let look = |json: &str| check_places_roughly(json.as_bytes());
        assert_eq!(look("{\"results\": [], \"status\" : \"OK\"}\n\n"), Ok(()));
        assert_eq!(look("{\"status\":\"ZERO_RESULTS\"}"), Ok(()));
        assert_eq!(
            look("{\"status\":\"UNKNOWN_ERROR\"}"),
            Err(AnswerError::Status)
        );
        assert_eq!(look("[]"), Err(AnswerError::NoPlaces));
        assert_eq!(look("{\"status\"}"), Err(AnswerError::NoPlaces));

        let read = |json: &str| check_places(json.as_bytes(), 1);
        assert_eq!(read("{\"results\": [{}], \"status\": \"OK\"}\n\n"), Ok(()));
        assert_eq!(
            read("{\"results\": [{},{}], \"status\": \"OK\"}"),
            Err(AnswerError::TooManyPlaces)
        );
        assert_eq!(
            read("{\"results\": [}, \"status\": \"OK\"}"),
            Err(AnswerError::NoPlaces)
        );
        assert_eq!(read("{\"status\": \"OK\"}"), Err(AnswerError::NoPlaces));
    }

    #[test]
    fn places_end_at_two_newlines() {
        assert_eq!(places_length(b"{\n}\n\nAT"), Some(5));
        assert_eq!(places_length(b"{\n}\n"), None);
    }
}

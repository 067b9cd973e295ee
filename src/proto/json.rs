//! Messages as JSON: how serde writes fields whose Rust type is not what JSON should
//! hold. `build.rs` sets these functions on fields by their type in `proto/`.

use std::time::{Duration, UNIX_EPOCH};

use prost_types::Timestamp;
use serde::{Serialize, Serializer};

/// The last second of the year 9999, the last that RFC 3339 can write.
const MAX_SECONDS: u64 = 253_402_300_799;

/// Returns a time by RFC 3339 to the millisecond, or as seconds if it has no such form.
pub fn rfc3339(time: &Timestamp) -> String {
    let seconds = u64::try_from(time.seconds).ok();
    let nanos = u32::try_from(time.nanos).ok();
    let valid = seconds
        .filter(|&seconds| seconds <= MAX_SECONDS)
        .zip(nanos.filter(|&nanos| nanos < 1_000_000_000));
    match valid {
        Some((seconds, nanos)) => {
            let time = UNIX_EPOCH + Duration::new(seconds, nanos);
            humantime::format_rfc3339_millis(time).to_string()
        }
        None => format!("{}s after 1970", time.seconds),
    }
}

/// Returns the seconds of a duration.
pub fn as_seconds(duration: &prost_types::Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

/// Writes a duration as a number of seconds.
pub(super) fn seconds<S: Serializer>(
    duration: &Option<prost_types::Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.as_ref().map(as_seconds).serialize(serializer)
}

/// Writes a time by RFC 3339.
pub(super) fn time<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.as_ref().map(rfc3339).serialize(serializer)
}

/// Writes a number that is only compared, as hexadecimal text: many programs read
/// numbers as floats, which do not hold 64 bits.
#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
pub(super) fn hex<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:016x}"))
}

/// Writes bytes as hexadecimal text.
pub(super) fn hex_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    serializer.serialize_str(&text)
}

#[cfg(test)]
mod tests {
    use super::super::{Bucket, GetStatusResponse};
    use super::*;

    #[test]
    fn any_time_that_a_server_may_send_has_a_form() {
        let at = |seconds, nanos| rfc3339(&Timestamp { seconds, nanos });
        assert_eq!(at(1_621_464_827, 959_498_503), "2021-05-19T22:53:47.959Z");
        assert_eq!(at(-1, 0), "-1s after 1970");
        assert_eq!(at(i64::MAX, -7), format!("{}s after 1970", i64::MAX));
    }

    #[test]
    fn fields_have_their_names_and_durations_their_unit() {
        let status = GetStatusResponse {
            incarnation: 7,
            uptime: Some(prost_types::Duration {
                seconds: 3,
                nanos: 500_000_000,
            }),
            now: Some(Timestamp::default()),
            clients: u64::MAX,
            ..GetStatusResponse::default()
        };
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["incarnation"], "0000000000000007");
        assert_eq!(json["uptime_seconds"], 3.5);
        assert_eq!(json["now"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["expire_after_seconds"], serde_json::Value::Null);
        assert_eq!(json["clients"], u64::MAX);
        let bucket = Bucket {
            sum: vec![0, 255],
            ..Bucket::default()
        };
        assert_eq!(serde_json::to_value(&bucket).unwrap()["sum"], "00ff");
    }
}

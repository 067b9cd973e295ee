//! Causes of errors, as messages for people.

use std::error::Error;

use h2::Reason;

/// Returns the innermost cause of an error, or the error itself if it has no source.
///
/// "connection refused" helps more than the "transport error" around it.
pub(crate) fn innermost<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// Returns a message for the cause of a failed call, in which "it" is the other end.
///
/// Messages of the system are kept. HTTP/2 names its errors by their codes, with bytes that the other
/// end sent, and an end that speaks another protocol makes it report whatever its bytes look like.
pub(crate) fn message(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(http2) = error.downcast_ref::<h2::Error>()
            && let Some(message) = of_http2(http2)
        {
            return message;
        }
        next = error.source();
    }
    innermost(error).to_string()
}

fn of_http2(error: &h2::Error) -> Option<String> {
    let reason = error.reason()?;
    Some(match reason {
        Reason::NO_ERROR => "it closed the connection".to_owned(),
        Reason::INADEQUATE_SECURITY => "it requires TLS, which this side does not use".to_owned(),
        Reason::REFUSED_STREAM => "it takes no call now".to_owned(),
        Reason::CANCEL => "it cancelled the call".to_owned(),
        Reason::ENHANCE_YOUR_CALM => "it received too many calls".to_owned(),
        // What this side finds wrong in what it receives.
        _ if error.is_library() => "it does not speak HTTP/2, as gRPC needs".to_owned(),
        _ => format!("it ended HTTP/2 with {}", reason.description()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io;

    #[test]
    fn codes_of_http2_have_messages() {
        for (reason, text) in [
            (Reason::NO_ERROR, "it closed the connection"),
            (
                Reason::INADEQUATE_SECURITY,
                "it requires TLS, which this side does not use",
            ),
        ] {
            let status = tonic::Status::from_error(Box::new(h2::Error::from(reason)));
            assert_eq!(message(&status), text);
        }
        let plain = io::Error::from(io::ErrorKind::ConnectionRefused);
        let status = tonic::Status::from_error(Box::new(plain));
        assert_eq!(message(&status), "connection refused");
    }

    #[test]
    fn the_innermost_cause_is_the_last_source_or_the_error_itself() {
        let plain = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(innermost(&plain).to_string(), "connection refused");
        let status = tonic::Status::from_error(Box::new(io::Error::other(plain)));
        assert_eq!(innermost(&status).to_string(), "connection refused");
    }
}

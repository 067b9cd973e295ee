//! Causes of errors.

use std::error::Error;

/// Returns the innermost cause of an error, or the error itself if it has no source.
///
/// "connection refused" helps more than the "transport error" around it.
pub(crate) fn innermost<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io;

    #[test]
    fn the_innermost_cause_is_the_last_source_or_the_error_itself() {
        let plain = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(innermost(&plain).to_string(), "connection refused");
        let status = tonic::Status::from_error(Box::new(io::Error::other(plain)));
        assert_eq!(innermost(&status).to_string(), "connection refused");
    }
}

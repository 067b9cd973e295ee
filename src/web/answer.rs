//! Bodies of responses.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde::Serialize;

/// The content type of text for people.
pub(super) const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Returns a response with a body of this type.
pub(super) fn typed(content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Returns a response with a value as JSON.
pub(super) fn json(content_type: &'static str, value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(value).expect("answers have text keys and no errors");
    typed(content_type, text)
}

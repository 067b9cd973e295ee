//! The Places API (new): the query as JSON, the response translated to the format of the clients.
//!
//! `POST {base}/v1/places:searchNearby`, the key and the field mask in headers. A radius of 0 is
//! sent like any other: Google's reference allows it, its guide does not, and its response decides.
//!
//! Google's page: "Nearby Search (New)".

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Request};
use serde::Deserialize;
use serde_json::Value;

use super::super::{PlacesQuery, PlacesResponse};
use super::api_key::ApiKey;
use super::base_url::BaseUrl;
use super::field_mask::FieldMask;
use super::http::HttpReply;
use super::translate::{LegacyResult, NewPlace};
use super::{log_rejection, object};

/// The address of the provider, unless the operator configures another.
pub(super) const BASE_URL: &str = "https://places.googleapis.com";

const PATH: &str = "/v1/places:searchNearby";

const KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

const FIELD_MASK: HeaderName = HeaderName::from_static("x-goog-fieldmask");

/// Builds the request for these fields of the places.
pub(super) fn request(
    base: &BaseUrl,
    key: &ApiKey,
    mask: &FieldMask,
    query: &PlacesQuery,
) -> Request {
    let mut request = Request::new(Method::POST, base.at(PATH));
    let mask = HeaderValue::from_str(&mask.header());
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(KEY, key.header());
    headers.insert(FIELD_MASK, mask.expect("names of fields are ASCII"));
    *request.body_mut() = Some(body(query).into());
    request
}

fn body(query: &PlacesQuery) -> String {
    let latitude = json_number(query.latitude());
    let longitude = json_number(query.longitude());
    format!(
        "{{\"locationRestriction\":{{\"circle\":{{\
         \"center\":{{\"latitude\":{latitude},\"longitude\":{longitude}}},\"radius\":{}}}}},\
         \"maxResultCount\":{}}}",
        query.radius(),
        query.limit
    )
}

/// Removes leading zeros, which JSON forbids; the other digits stay.
fn json_number(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let significant = digits.trim_start_matches('0');
    let zero = if significant.starts_with(|c: char| c.is_ascii_digit()) {
        ""
    } else {
        "0"
    };
    format!("{sign}{zero}{significant}")
}

/// Interprets a reply to a query for at most `limit` places. The error is the reason why it is not
/// a response.
pub(super) fn read(
    reply: &HttpReply,
    limit: usize,
    key: &ApiKey,
) -> Result<PlacesResponse, String> {
    let mut members = object(&reply.body)?;
    if let Some(error) = members.remove("error") {
        return rejected(error, key);
    }
    if !reply.status.is_success() {
        return Err("it has no error".to_owned());
    }
    match members.remove("places") {
        Some(Value::Array(places)) => found(places, limit),
        Some(_) => Err("its places are no list".to_owned()),
        // The API reports in this way that it found nothing.
        None if members.is_empty() => Ok(PlacesResponse::none()),
        None => Err("it has no list of places".to_owned()),
    }
}

fn found(places: Vec<Value>, limit: usize) -> Result<PlacesResponse, String> {
    let results: Result<Vec<LegacyResult>, _> = places
        .into_iter()
        .take(limit)
        .map(|place| NewPlace::deserialize(place).map(LegacyResult::of))
        .collect();
    let results = results.map_err(|_| "its places are not as the API describes them")?;
    Ok(PlacesResponse::found(&results))
}

fn rejected(error: Value, key: &ApiKey) -> Result<PlacesResponse, String> {
    let error = ApiError::deserialize(error)
        .map_err(|_| "its error is not as the API describes it".to_owned())?;
    let status = match error.status.as_deref() {
        Some("INVALID_ARGUMENT") => "INVALID_REQUEST",
        Some("PERMISSION_DENIED" | "UNAUTHENTICATED") => "REQUEST_DENIED",
        Some("RESOURCE_EXHAUSTED") => "OVER_QUERY_LIMIT",
        _ => "UNKNOWN_ERROR",
    };
    let message = error.message.or(error.status);
    let message = message.unwrap_or_else(|| "an error without a message".to_owned());
    let message = key.redact(&message);
    log_rejection(status, &message);
    Ok(PlacesResponse::rejected(status, Some(&message)))
}

/// The `error` object of a response.
#[derive(Deserialize)]
struct ApiError {
    message: Option<String>,
    status: Option<String>,
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::super::super::query::tests::query;
    use super::*;

    fn key() -> ApiKey {
        ApiKey::from_environment(Ok("AIza-test".to_owned())).unwrap()
    }

    fn read_at(status: StatusCode, body: &str, limit: usize) -> Result<PlacesResponse, String> {
        let body = body.as_bytes().to_vec();
        super::read(&HttpReply { status, body }, limit, &key())
    }

    fn read(body: &str, limit: usize) -> Result<PlacesResponse, String> {
        read_at(StatusCode::OK, body, limit)
    }

    fn sent(position: &str, radius_km: &str) -> String {
        let base = BaseUrl::parse(BASE_URL).unwrap();
        let fields = FieldMask::parse(["id", "types"]).unwrap();
        let query = query(position, radius_km, 5);
        let request = request(&base, &key(), &fields, &query);
        assert_eq!(request.method(), Method::POST);
        let url = "https://places.googleapis.com/v1/places:searchNearby";
        assert_eq!(request.url().as_str(), url);
        let header = |name| request.headers()[name].to_str().unwrap();
        assert_eq!(header("X-Goog-Api-Key"), "AIza-test");
        assert_eq!(header("X-Goog-FieldMask"), "places.id,places.types");
        assert_eq!(header("Content-Type"), "application/json");
        let body = request.body().unwrap().as_bytes().unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn puts_the_client_s_digits_into_the_json() {
        assert_eq!(
            sent("+34.068930-118.445127", "0.0001"),
            r#"{"locationRestriction":{"circle":{"center":{"latitude":34.068930,"longitude":-118.445127},"radius":0.1}},"maxResultCount":5}"#
        );
        for (position, center) in [
            ("+000-00", r#"{"latitude":0,"longitude":-0}"#),
            ("-007.10+00.50", r#"{"latitude":-7.10,"longitude":0.50}"#),
            ("+10-100.000", r#"{"latitude":10,"longitude":-100.000}"#),
            (
                "+0.00000000000000000000000000001+1",
                r#"{"latitude":0.00000000000000000000000000001,"longitude":1}"#,
            ),
        ] {
            let body = sent(position, "50");
            assert!(body.contains(center), "{body}");
            assert!(body.contains("\"radius\":50000}"), "{body}");
            let _: serde_json::Value = serde_json::from_str(&body).unwrap();
        }
    }

    #[test]
    fn truncates_places_to_the_limit() {
        let body = r#"{"places":[{"id":"a"},{"id":"b"},{"id":"c"}]}"#;
        assert_eq!(read(body, 2).unwrap().places, 2);
        assert_eq!(read(body, 20).unwrap().places, 3);
    }

    #[test]
    fn no_place_is_zero_results() {
        assert_eq!(read("{}", 5), Ok(PlacesResponse::none()));
        assert_eq!(read(r#"{"places":[]}"#, 5), Ok(PlacesResponse::none()));
    }

    #[test]
    fn translates_errors_to_legacy_statuses() {
        for (status, legacy) in [
            ("INVALID_ARGUMENT", "INVALID_REQUEST"),
            ("PERMISSION_DENIED", "REQUEST_DENIED"),
            ("UNAUTHENTICATED", "REQUEST_DENIED"),
            ("RESOURCE_EXHAUSTED", "OVER_QUERY_LIMIT"),
            ("NOT_FOUND", "UNKNOWN_ERROR"),
            ("INTERNAL", "UNKNOWN_ERROR"),
        ] {
            let body = format!(
                r#"{{"error":{{"code":400,"message":"So <not>, AIza-test.","status":"{status}","details":[{{}}]}}}}"#
            );
            let expected = PlacesResponse::rejected(legacy, Some("So <not>, (key)."));
            assert_eq!(read_at(StatusCode::BAD_REQUEST, &body, 5), Ok(expected));
        }
        let bare = read_at(
            StatusCode::FORBIDDEN,
            r#"{"error":{"status":"UNAVAILABLE"}}"#,
            5,
        );
        assert_eq!(
            bare,
            Ok(PlacesResponse::rejected(
                "UNKNOWN_ERROR",
                Some("UNAVAILABLE")
            ))
        );
    }

    #[test]
    fn reports_an_invalid_response() {
        for body in [
            "",
            "<html>",
            "[]",
            r#"{"status":"OK"}"#,
            r#"{"places":{}}"#,
            r#"{"places":[1]}"#,
            r#"{"places":[{"id":1}]}"#,
            r#"{"places":[{"rating":"4"}]}"#,
            r#"{"error":"no"}"#,
        ] {
            assert!(read(body, 5).is_err(), "{body}");
        }
        assert!(read_at(StatusCode::BAD_GATEWAY, "{}", 5).is_err());
    }
}

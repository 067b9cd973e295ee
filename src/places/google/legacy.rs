//! Nearby Search (legacy): the query in a URL, the response in the format of the clients.
//!
//! `GET {base}/maps/api/place/nearbysearch/json?location=LAT,LNG&radius=METRES&key=KEY`. Google's
//! response is forwarded with its digits and in its order, without surplus places. Google decides
//! the response to a radius of 0, with `INVALID_REQUEST` where it treats the radius as missing. The
//! query is sent anyway, since the client chose it.
//!
//! Google's page: "Nearby Search (Legacy)".

use reqwest::{Method, Request};
use serde_json::{Map, Value};

use super::super::{PlacesQuery, PlacesResponse, google_json};
use super::api_key::ApiKey;
use super::base_url::BaseUrl;
use super::http::HttpReply;
use super::{log_rejection, object};

/// The address of the provider, unless the operator configures another.
pub(super) const BASE_URL: &str = "https://maps.googleapis.com";

const PATH: &str = "/maps/api/place/nearbysearch/json";

/// Builds the request. It holds the key in its URL, so it must never be printed.
pub(super) fn request(base: &BaseUrl, key: &ApiKey, query: &PlacesQuery) -> Request {
    let mut url = base.at(PATH);
    url.set_query(Some(&format!(
        "location={},{}&radius={}&key={}",
        query.latitude(),
        query.longitude(),
        query.radius(),
        key.parameter()
    )));
    Request::new(Method::GET, url)
}

/// Interprets a reply to a query for at most `limit` places. The error is the reason why it is not
/// a response.
pub(super) fn read(
    reply: &HttpReply,
    limit: usize,
    key: &ApiKey,
) -> Result<PlacesResponse, String> {
    let members = object(&reply.body)?;
    let status = members.get("status").and_then(Value::as_str);
    let status = status.ok_or("it has no status")?.to_owned();
    if !matches!(status.as_str(), "OK" | "ZERO_RESULTS") {
        return Ok(rejected(members, &status, limit, key));
    }
    if !reply.status.is_success() {
        return Err("its status does not fit".to_owned());
    }
    match forwarded(members, limit)? {
        empty if status == "OK" && empty.places == 0 => Ok(PlacesResponse::none()),
        answer => Ok(answer),
    }
}

/// Returns the response in Google's formatting, with no more places than requested.
fn forwarded(mut members: Map<String, Value>, limit: usize) -> Result<PlacesResponse, String> {
    let results = members.get_mut("results").and_then(Value::as_array_mut);
    let results = results.ok_or("it has no list of results")?;
    results.truncate(limit);
    let places = results.len();
    let json = google_json::print(&members).map_err(|error| error.to_string())?;
    Ok(PlacesResponse { json, places })
}

/// Forwards an error too, unless it is incomplete, or contains the key, literally or in its message
/// after unescaping. Then only its status and its redacted message are forwarded.
fn rejected(
    members: Map<String, Value>,
    status: &str,
    limit: usize,
    key: &ApiKey,
) -> PlacesResponse {
    let message = members.get("error_message").and_then(Value::as_str);
    let message = message.unwrap_or_default().to_owned();
    let redacted = key.redact(&message);
    log_rejection(&key.redact(status), &redacted);
    match forwarded(members, limit) {
        Ok(answer) if !key.is_in(&answer.json) && redacted == message => answer,
        _ => {
            let message = (!redacted.is_empty()).then_some(redacted.as_str());
            PlacesResponse::rejected(&key.redact(status), message)
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::super::super::query::tests::query;
    use super::*;

    fn key() -> ApiKey {
        ApiKey::from_environment(Ok("AIza-test&key".to_owned())).unwrap()
    }

    fn read_at(status: StatusCode, body: &str, limit: usize) -> Result<PlacesResponse, String> {
        let body = body.as_bytes().to_vec();
        super::read(&HttpReply { status, body }, limit, &key())
    }

    fn read(body: &str, limit: usize) -> Result<PlacesResponse, String> {
        read_at(StatusCode::OK, body, limit)
    }

    #[test]
    fn puts_the_client_s_digits_into_the_url() {
        let url = |position, radius| {
            let base = BaseUrl::parse("https://example.org/g/").unwrap();
            let request = request(&base, &key(), &query(position, radius, 5));
            assert_eq!(request.method(), Method::GET);
            request.url().to_string()
        };
        assert_eq!(
            url("+34.068930-118.445127", "0.5"),
            "https://example.org/g/maps/api/place/nearbysearch/json\
             ?location=34.068930,-118.445127&radius=500&key=AIza-test%26key"
        );
        assert!(url("-0+00.10/", "0").contains("?location=-0,00.10&radius=0&key="));
    }

    #[test]
    fn forwards_and_truncates_a_response() {
        let body = r#"{"next_page_token":"Cu<","results":[{"b":1.0,"a":-0},{"x":2},[]],
            "status":"OK","html_attributions":["<a>"],"news":{"q":1e9,"a":[4.50e0]}}"#;
        let expected = r#"{
   "next_page_token" : "Cu\u003c",
   "results" : [
      {
         "b" : 1.0,
         "a" : -0
      },
      {
         "x" : 2
      }
   ],
   "status" : "OK",
   "html_attributions" : [
      "\u003ca\u003e"
   ],
   "news" : {
      "q" : 1e+9,
      "a" : [
         4.50e+0
      ]
   }
}"#;
        let answer = read(body, 2).unwrap();
        assert_eq!(answer.json, expected);
        assert_eq!(answer.places, 2);
        assert_eq!(read(body, 20).unwrap().places, 3);
    }

    #[test]
    fn reports_no_result_by_status() {
        let none = r#"{"html_attributions":[],"results":[],"status":"ZERO_RESULTS"}"#;
        assert_eq!(read(none, 5), Ok(PlacesResponse::none()));
        assert_eq!(
            read(&none.replace("ZERO_RESULTS", "OK"), 5),
            Ok(PlacesResponse::none())
        );
    }

    #[test]
    fn forwards_errors_of_google() {
        let body = r#"{"html_attributions":[],"error_message":"Slow down.","results":[],
            "status":"OVER_QUERY_LIMIT","info":1}"#;
        let expected = r#"{
   "html_attributions" : [],
   "error_message" : "Slow down.",
   "results" : [],
   "status" : "OVER_QUERY_LIMIT",
   "info" : 1
}"#;
        for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
            assert_eq!(read_at(status, body, 5).unwrap().json, expected);
        }
        let bare = read(r#"{"status":"REQUEST_DENIED"}"#, 5);
        assert_eq!(bare, Ok(PlacesResponse::rejected("REQUEST_DENIED", None)));
    }

    #[test]
    fn redacts_the_key_in_an_error() {
        for form in ["AIza-test&key", "AIza-test%26key", r"\u0041Iza-test&key"] {
            let body = format!(
                r#"{{"results":[],"error_message":"The key {form} is bad.","status":"REQUEST_DENIED"}}"#
            );
            let cleaned = PlacesResponse::rejected("REQUEST_DENIED", Some("The key (key) is bad."));
            assert_eq!(read(&body, 5), Ok(cleaned));
        }
    }

    #[test]
    fn rejects_an_invalid_response_without_quoting_it() {
        let deep = format!(
            r#"{{"status":"OK","results":[1],"x":{}{}}}"#,
            "[".repeat(1000),
            "]".repeat(1000)
        );
        for body in [
            "",
            "<html>oops</html>",
            "{}",
            "[]",
            r#"{"results":[]}"#,
            r#"{"status":"OK"}"#,
            r#"{"status":"OK","results":{}}"#,
            r#"{"status":7,"results":[]}"#,
            r#"{"status":"OK","results":[1"#,
            &deep,
        ] {
            let cause = read(body, 5).unwrap_err();
            assert!(!cause.contains("oops"), "{cause}");
        }
        let fits = r#"{"status":"OK","results":[1]}"#;
        assert!(read_at(StatusCode::BAD_GATEWAY, fits, 5).is_err());
        assert!(read(fits, 5).is_ok());
    }
}

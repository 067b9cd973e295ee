//! The response to a query: a Nearby Search response, from any provider.

use serde::{Deserialize, Serialize};

use super::google_json;

/// A Nearby Search response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacesResponse {
    /// The response as JSON in Google's formatting, without a line end after it.
    pub json: String,
    /// The number of places in the response.
    pub places: usize,
}

impl PlacesResponse {
    /// Returns the response without places, where none is near or none was requested:
    /// `ZERO_RESULTS`.
    pub fn none() -> Self {
        PlacesResponse::of_status("ZERO_RESULTS", None)
    }

    /// Returns the response for a provider that failed: `UNKNOWN_ERROR`, with the cause as its
    /// `error_message`.
    pub fn failed(cause: &str) -> Self {
        PlacesResponse::of_status("UNKNOWN_ERROR", Some(cause))
    }

    /// Returns the response for a provider that rejected the query: its own status, and its message
    /// if it sent one.
    pub(super) fn rejected(status: &str, message: Option<&str>) -> Self {
        PlacesResponse::of_status(status, message)
    }

    /// Returns the response with these places, in the order of the provider;
    /// [`PlacesResponse::none`] if there are none.
    pub(super) fn found<P: Serialize>(places: &[P]) -> Self {
        if places.is_empty() {
            return PlacesResponse::none();
        }
        PlacesResponse::of(&ResponseBody {
            error_message: None,
            html_attributions: [],
            results: places,
            status: "OK",
        })
    }

    /// Returns whether the provider failed to answer.
    pub(super) fn is_failure(&self) -> bool {
        self.places == 0
            && serde_json::from_str::<ResponseStatus>(&self.json)
                .is_ok_and(|it| !matches!(it.status.as_str(), "OK" | "ZERO_RESULTS"))
    }

    fn of_status(status: &str, error_message: Option<&str>) -> Self {
        PlacesResponse::of::<()>(&ResponseBody {
            error_message,
            html_attributions: [],
            results: &[],
            status,
        })
    }

    fn of<P: Serialize>(response: &ResponseBody<'_, P>) -> Self {
        match google_json::print(response) {
            Ok(json) => PlacesResponse {
                json,
                places: response.results.len(),
            },
            Err(error) => PlacesResponse::failed(&format!("the answer is too large: {error}")),
        }
    }
}

/// The keys of a response, in alphabetical order as Google prints them.
#[derive(Serialize)]
struct ResponseBody<'a, P> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    html_attributions: [(); 0],
    results: &'a [P],
    status: &'a str,
}

/// The part of a response that holds its status.
#[derive(Deserialize)]
struct ResponseStatus {
    status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_a_failure_from_a_result() {
        assert!(PlacesResponse::failed("late").is_failure());
        assert!(PlacesResponse::rejected("OVER_QUERY_LIMIT", None).is_failure());
        assert!(!PlacesResponse::none().is_failure());
        assert!(!PlacesResponse::found(&["here"]).is_failure());
    }

    #[test]
    fn none_is_zero_results() {
        let expected = r#"{
   "html_attributions" : [],
   "results" : [],
   "status" : "ZERO_RESULTS"
}"#;
        assert_eq!(PlacesResponse::none().json, expected);
        assert_eq!(PlacesResponse::none().places, 0);
        assert_eq!(PlacesResponse::found::<u8>(&[]), PlacesResponse::none());
    }

    #[test]
    fn a_failure_names_its_cause() {
        let expected = r#"{
   "error_message" : "no answer from \"example.org\"\n",
   "html_attributions" : [],
   "results" : [],
   "status" : "UNKNOWN_ERROR"
}"#;
        let answer = PlacesResponse::failed("no answer from \"example.org\"\n");
        assert_eq!(answer.json, expected);
        assert_eq!(answer.places, 0);
    }

    #[test]
    fn counts_places() {
        let expected = r#"{
   "html_attributions" : [],
   "results" : [
      "here",
      "there"
   ],
   "status" : "OK"
}"#;
        let answer = PlacesResponse::found(&["here", "there"]);
        assert_eq!(answer.json, expected);
        assert_eq!(answer.places, 2);
    }
}

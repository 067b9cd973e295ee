//! The answer to a question: a Nearby Search response, whoever gave it.

use serde::{Deserialize, Serialize};

use super::nearby;

/// A Nearby Search response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response as JSON in Google's look, without a line end after it.
    pub json: String,
    /// How many places are in it.
    pub places: usize,
}

impl Answer {
    /// Nothing is near, or nothing was wanted: `ZERO_RESULTS`.
    pub fn none() -> Answer {
        Answer::of_status("ZERO_RESULTS", None)
    }

    /// The provider could not answer: `UNKNOWN_ERROR`, with the cause, in words, as its `error_message`.
    pub fn failed(cause: &str) -> Answer {
        Answer::of_status("UNKNOWN_ERROR", Some(cause))
    }

    /// The provider would not answer: its own status, and its message where it gave one.
    pub(super) fn refused(status: &str, message: Option<&str>) -> Answer {
        Answer::of_status(status, message)
    }

    /// The places found, in the provider's order; [`Answer::none`] where there are none.
    pub(super) fn found<P: Serialize>(places: &[P]) -> Answer {
        if places.is_empty() {
            return Answer::none();
        }
        Answer::of(&Response {
            error_message: None,
            html_attributions: [],
            results: places,
            status: "OK",
        })
    }

    /// Did the provider fail to answer?
    pub(super) fn is_failure(&self) -> bool {
        self.places == 0
            && serde_json::from_str::<Status>(&self.json)
                .is_ok_and(|it| !matches!(it.status.as_str(), "OK" | "ZERO_RESULTS"))
    }

    fn of_status(status: &str, error_message: Option<&str>) -> Answer {
        Answer::of::<()>(&Response {
            error_message,
            html_attributions: [],
            results: &[],
            status,
        })
    }

    fn of<P: Serialize>(response: &Response<'_, P>) -> Answer {
        Answer {
            json: nearby::print(response),
            places: response.results.len(),
        }
    }
}

/// The keys of a response, in alphabetical order as Google prints them.
#[derive(Serialize)]
struct Response<'a, P> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    html_attributions: [(); 0],
    results: &'a [P],
    status: &'a str,
}

/// What a response says of how it came about.
#[derive(Deserialize)]
struct Status {
    status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_from_an_answer() {
        assert!(Answer::failed("late").is_failure());
        assert!(Answer::refused("OVER_QUERY_LIMIT", None).is_failure());
        assert!(!Answer::none().is_failure());
        assert!(!Answer::found(&["here"]).is_failure());
    }

    #[test]
    fn none_is_zero_results() {
        let expected = r#"{
   "html_attributions" : [],
   "results" : [],
   "status" : "ZERO_RESULTS"
}"#;
        assert_eq!(Answer::none().json, expected);
        assert_eq!(Answer::none().places, 0);
        assert_eq!(Answer::found::<u8>(&[]), Answer::none());
    }

    #[test]
    fn a_failure_names_its_cause() {
        let expected = r#"{
   "error_message" : "no answer from \"example.org\"\n",
   "html_attributions" : [],
   "results" : [],
   "status" : "UNKNOWN_ERROR"
}"#;
        let answer = Answer::failed("no answer from \"example.org\"\n");
        assert_eq!(answer.json, expected);
        assert_eq!(answer.places, 0);
    }

    #[test]
    fn places_are_counted() {
        let expected = r#"{
   "html_attributions" : [],
   "results" : [
      "here",
      "there"
   ],
   "status" : "OK"
}"#;
        let answer = Answer::found(&["here", "there"]);
        assert_eq!(answer.json, expected);
        assert_eq!(answer.places, 2);
    }
}

//! Google as the answerer: its Nearby Search, the old API and the new one, behind the same question.
//!
//! | file | holds |
//! |---|---|
//! | `legacy`, `new` | what is sent to the one and the other API, and what comes of its reply |
//! | `translate` | a place of the new API as a result of the old one |
//! | `members`, `reprint` | JSON that is passed on without being changed |
//! | `flight` | equal questions at the same time share one call |
//! | `http` | one call: its limits, and what is tried again |
//! | `key`, `base_url`, `fields` | what the operator chooses |
//!
//! Old projects may still use Nearby Search (legacy); new ones can not enable it. Clients see one format, the old one.
//!
//! What this folder does not do: it keeps no answer (Google's terms forbid it), logs no place, remembers no failure,
//! and follows no redirect. The key leaves it in requests only.

mod base_url;
mod fields;
mod flight;
mod http;
mod key;
mod legacy;
mod members;
mod new;
mod reprint;
mod translate;

use std::env::VarError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Request;

pub use base_url::BaseUrl;
pub use fields::{Fields, FieldsError};
pub use http::{MAX_BODY_BYTES, MAX_CALLS};
pub use key::KeyError;

use flight::Flights;
use http::{Http, Reply};
use key::Key;

use super::{PlacesError, PlacesQuery, PlacesResponse};

/// How Google is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct GoogleSettings {
    /// Which API.
    pub api: GoogleApi,
    /// Where it is. Default: Google's own address of the API. With `http` the key travels in clear.
    pub base_url: Option<BaseUrl>,
    /// The environment variable that holds the key. Default [`DEFAULT_KEY_VARIABLE`].
    pub api_key_env: String,
}

/// Google's APIs that know what is near.
#[derive(Clone, Debug, PartialEq)]
pub enum GoogleApi {
    /// Nearby Search (legacy). It always sends, and bills, everything.
    Legacy,
    /// The Places API (new), asked for these fields.
    New(Fields),
}

/// The environment variable that holds the key, unless the operator names another.
pub const DEFAULT_KEY_VARIABLE: &str = "GOOGLE_PLACES_API_KEY";

/// An operator's access to one of the APIs.
pub(super) struct Google {
    api: GoogleApi,
    base: BaseUrl,
    key: Key,
    http: Http,
    flights: Flights,
}

impl GoogleSettings {
    /// The API with all else as it is by default.
    pub fn of(api: GoogleApi) -> GoogleSettings {
        GoogleSettings {
            api,
            base_url: None,
            api_key_env: DEFAULT_KEY_VARIABLE.to_owned(),
        }
    }
}

impl Google {
    /// Makes ready to ask; nobody is asked yet. `environment` tells the value of a variable.
    pub(super) fn start(
        settings: &GoogleSettings,
        limit: Duration,
        environment: impl FnOnce(&str) -> Result<String, VarError>,
    ) -> Result<Google, PlacesError> {
        let api = settings.api.clone();
        let base = settings.base_url.clone().unwrap_or_else(|| api.base_url());
        let value = environment(&settings.api_key_env);
        let key = Key::from_environment(value).map_err(|why| PlacesError::Key {
            variable: settings.api_key_env.clone(),
            why,
        })?;
        let http = Http::new(&base, limit).map_err(PlacesError::Http)?;
        Ok(Google {
            api,
            base,
            key,
            http,
            flights: Flights::default(),
        })
    }

    /// The API's name, as in the config.
    pub(super) fn name(&self) -> &'static str {
        match self.api {
            GoogleApi::Legacy => "google",
            GoogleApi::New(_) => "google-new",
        }
    }

    /// The answer to a question with which at least one place is wanted, within the time limit.
    pub(super) async fn answer(self: &Arc<Google>, question: &PlacesQuery) -> PlacesResponse {
        let call = || {
            let (google, question) = (self.clone(), question.clone());
            async move { google.call(&question).await }
        };
        self.flights.join(question, call).await
    }

    async fn call(&self, question: &PlacesQuery) -> PlacesResponse {
        let answer = match self.http.call(self.request(question)).await {
            Ok(reply) => self.read(&reply, question.most),
            Err(failure) => Err(failure.to_string()),
        };
        answer.unwrap_or_else(|cause| {
            let cause = self.key.redact(&cause);
            tracing::info!("the places provider failed: {cause}");
            PlacesResponse::failed(&format!("the places provider failed: {cause}"))
        })
    }

    fn request(&self, question: &PlacesQuery) -> Request {
        match &self.api {
            GoogleApi::Legacy => legacy::request(&self.base, &self.key, question),
            GoogleApi::New(fields) => new::request(&self.base, &self.key, fields, question),
        }
    }

    fn read(&self, reply: &Reply, most: usize) -> Result<PlacesResponse, String> {
        let answer = match &self.api {
            GoogleApi::Legacy => legacy::read(reply, most, &self.key),
            GoogleApi::New(_) => new::read(reply, most, &self.key),
        };
        answer.map_err(|cause| match reply.status.is_success() {
            true => format!("its answer is no response of this API: {cause}"),
            false => format!("it answered with HTTP status {}", reply.status),
        })
    }
}

/// Tells the operator what clients are told: the places provider will not answer.
fn note_refusal(status: &str, message: &str) {
    tracing::info!("the places provider refused: {status}: {message}");
}

impl GoogleApi {
    fn base_url(&self) -> BaseUrl {
        let text = match self {
            GoogleApi::Legacy => legacy::BASE_URL,
            GoogleApi::New(_) => new::BASE_URL,
        };
        BaseUrl::parse(text).expect("Google's addresses are URLs with a host and nothing else")
    }
}

/// Which API, and nothing that belongs to the operator.
impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Google({:?})", self.api)
    }
}

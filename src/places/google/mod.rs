//! Google as the provider: its Nearby Search, by the legacy API or the new one, for the same query.
//!
//! | file | content |
//! |---|---|
//! | `legacy`, `new` | the request to each API, and the interpretation of its reply |
//! | `translate` | a place of the new API as a result of the legacy one |
//! | `single_flight` | equal queries at the same time share one call |
//! | `http` | one call: its limits and its retries |
//! | `api_key`, `base_url`, `field_mask` | the settings of the operator |
//!
//! Old projects may still use Nearby Search (legacy); new ones cannot enable it. Clients see one
//! format, the legacy one.
//!
//! Outside the scope of this folder: it stores no response (Google's terms forbid it), logs no
//! place, remembers no failure, and follows no redirect. The key leaves it in requests only.

mod api_key;
mod base_url;
mod field_mask;
mod http;
mod legacy;
mod new;
mod single_flight;
mod translate;

use std::env::VarError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Request;
use serde_json::{Map, Value};

pub use api_key::KeyError;
pub use base_url::BaseUrl;
pub use field_mask::{FieldMask, FieldMaskError};
pub use http::{MAX_BODY_BYTES, MAX_CALLS};

use api_key::ApiKey;
use http::{HttpClient, HttpReply};
use single_flight::SingleFlight;

use super::{PlacesError, PlacesQuery, PlacesResponse};

/// The access to Google's API.
#[derive(Clone, Debug, PartialEq)]
pub struct GoogleSettings {
    /// The API to use.
    pub api: GoogleApi,
    /// The address of the API. Default: Google's own. With `http` the key is sent unencrypted.
    pub base_url: Option<BaseUrl>,
    /// The environment variable that holds the key. Default [`DEFAULT_KEY_VARIABLE`].
    pub api_key_env: String,
    /// The time limit of one query, all waiting and the retry included. After it the response is a
    /// failure.
    ///
    /// Default 5 s, from [`MIN_TIMEOUT`] (10 ms) to [`MAX_TIMEOUT`] (60 s). Too high: where Google
    /// does not respond, a client waits that long, and so do its later queries on the same
    /// connection. Too low: slow responses become failures.
    pub timeout: Duration,
}

/// Google's APIs for nearby places.
#[derive(Clone, Debug, PartialEq)]
pub enum GoogleApi {
    /// Nearby Search (legacy). It always returns, and bills, every field.
    Legacy,
    /// The Places API (new), with these fields.
    New(FieldMask),
}

/// The default environment variable of the key.
pub const DEFAULT_KEY_VARIABLE: &str = "GOOGLE_PLACES_API_KEY";

/// The minimum of [`GoogleSettings::timeout`].
pub const MIN_TIMEOUT: Duration = Duration::from_millis(10);

/// The maximum of [`GoogleSettings::timeout`].
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// A configured client of one of the APIs.
pub(super) struct Google {
    api: GoogleApi,
    base: BaseUrl,
    api_key: ApiKey,
    http: HttpClient,
    calls: SingleFlight,
}

impl GoogleSettings {
    /// Returns the settings of an API with defaults for the rest.
    pub fn of(api: GoogleApi) -> Self {
        GoogleSettings {
            api,
            base_url: None,
            api_key_env: DEFAULT_KEY_VARIABLE.to_owned(),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Google {
    /// Prepares the client without sending anything. `environment` returns the value of a variable.
    pub(super) fn start(
        settings: &GoogleSettings,
        environment: impl FnOnce(&str) -> Result<String, VarError>,
    ) -> Result<Self, PlacesError> {
        let timeout = settings.timeout;
        if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) {
            return Err(PlacesError::Timeout(timeout));
        }
        let api = settings.api.clone();
        let base = settings.base_url.clone().unwrap_or_else(|| api.base_url());
        let value = environment(&settings.api_key_env);
        let api_key = ApiKey::from_environment(value).map_err(|why| PlacesError::ApiKey {
            variable: settings.api_key_env.clone(),
            why,
        })?;
        let http = HttpClient::new(&base, timeout).map_err(PlacesError::HttpClient)?;
        Ok(Google {
            api,
            base,
            api_key,
            http,
            calls: SingleFlight::default(),
        })
    }

    /// Returns the name of the API, as in the config.
    pub(super) fn name(&self) -> &'static str {
        match self.api {
            GoogleApi::Legacy => "google",
            GoogleApi::New(_) => "google-new",
        }
    }

    /// Answers a query for at least one place, within the time limit.
    pub(super) async fn answer(self: &Arc<Google>, query: &PlacesQuery) -> PlacesResponse {
        let call = || {
            let (google, query) = (self.clone(), query.clone());
            async move { google.call(&query).await }
        };
        self.calls.join_or_start(query, call).await
    }

    async fn call(&self, query: &PlacesQuery) -> PlacesResponse {
        let response = match self.http.call(self.request(query)).await {
            Ok(reply) => self.read(&reply, query.limit),
            Err(failure) => Err(failure.to_string()),
        };
        response.unwrap_or_else(|cause| {
            let cause = self.api_key.redact(&cause);
            tracing::info!("the places provider failed: {cause}");
            PlacesResponse::failed(&format!("the places provider failed: {cause}"))
        })
    }

    fn request(&self, query: &PlacesQuery) -> Request {
        match &self.api {
            GoogleApi::Legacy => legacy::request(&self.base, &self.api_key, query),
            GoogleApi::New(mask) => new::request(&self.base, &self.api_key, mask, query),
        }
    }

    fn read(&self, reply: &HttpReply, limit: usize) -> Result<PlacesResponse, String> {
        let response = match &self.api {
            GoogleApi::Legacy => legacy::read(reply, limit, &self.api_key),
            GoogleApi::New(_) => new::read(reply, limit, &self.api_key),
        };
        response.map_err(|cause| {
            if reply.status.is_success() {
                format!("its answer is no response of this API: {cause}")
            } else {
                format!("it answered with HTTP status {}", reply.status)
            }
        })
    }
}

/// Parses a body that is one JSON object. The error does not quote it.
fn object(body: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("it is no JSON object".to_owned()),
        Err(error) => Err(format!("it is no JSON: {error}")),
    }
}

/// Logs for the operator the rejection that clients receive instead of places.
fn log_rejection(status: &str, message: &str) {
    tracing::info!("the places provider rejected the query: {status}: {message}");
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

/// The API only, without the operator's data.
impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Google({:?})", self.api)
    }
}

//! Queries for the places near a point, and the providers that answer them.
//!
//! A server sends one [`PlacesQuery`] at a time and always receives a [`PlacesResponse`]: the JSON
//! of a Google Places Nearby Search response, in Google's formatting. The operator chooses the
//! provider ([`PlacesSettings`]). The offline provider needs neither network nor key: it holds the
//! populated places of GeoNames, which are compiled into the program (`data/README.md` names their
//! source), or the places of the operator's own file. The other provider is Google itself, by its
//! legacy API or its new one ([`google`]).
//!
//! The idea of the offline provider: on the unit sphere the length of the chord between two points
//! grows with the distance along the ground. So the places are held in an ordinary
//! three-dimensional tree, and neither the poles nor the 180th meridian are a special case.
//!
//! Outside the scope of this folder: clients, reports and connections. It stores no response, and
//! it sends no query to a provider that the operator did not choose.

mod catalogue;
mod counters;
mod custom_provider;
mod error;
mod file;
mod gazetteer;
pub mod google;
mod google_json;
mod index;
mod loading;
mod offline;
mod place;
mod query;
mod response;

use std::env::VarError;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::model::bounding_box::BoundingBox;

pub use catalogue::{MAX_PLACES, MAX_TEXT_BYTES};
pub use counters::PlacesCounters;
pub use error::{FileFault, PlacesError, SourceLocation};
pub use file::{MAX_FILE_BYTES, PlacesFile};
pub use google_json::MAX_PLACES_BYTES;
pub use query::PlacesQuery;
pub use response::PlacesResponse;

use custom_provider::CustomProvider;
use google::Google;
use loading::Loading;
use offline::Offline;

/// The time that a query waits for the compiled-in places, which take about a second to load.
/// After it the response is a failure.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The provider of places.
#[derive(Clone, Debug, PartialEq)]
pub enum PlacesSettings {
    /// A list of places in the memory of this process. The default, with the compiled-in places.
    Offline {
        /// The operator's own places, a `.csv`, `.geojson` or `.json` file, in place of the
        /// compiled-in ones.
        ///
        /// Default: none. A relative path starts at the working directory. At most
        /// [`MAX_FILE_BYTES`] (1 GiB) and [`MAX_PLACES`] (5 million places). The file is read once,
        /// at start: a large file costs that much start-up time and about 200 bytes of memory for
        /// each place (5 million: 10 s and 1.1 GB). With a small file, queries from outside its
        /// area find nothing.
        file: Option<PathBuf>,
    },
    /// Google, which needs a key and a network connection, and charges for calls.
    Google(google::GoogleSettings),
}

impl Default for PlacesSettings {
    fn default() -> Self {
        PlacesSettings::Offline { file: None }
    }
}

/// The name of a place, for a map.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceName {
    /// The name.
    pub name: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// The handle that answers queries. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub struct Places {
    provider: ActiveProvider,
    /// The file of the places, if there is one.
    file: Option<Arc<PlacesFile>>,
    counters: Arc<PlacesCounters>,
}

#[derive(Clone, Debug)]
enum ActiveProvider {
    Offline(Loading<Offline>),
    Google(Arc<Google>),
    /// A provider of the caller, and the time limit of a query.
    Custom(CustomProvider, Duration),
}

impl Places {
    /// Prepares the configured provider.
    ///
    /// The compiled-in places are loaded once for the whole process, on a thread of their own, and
    /// this function returns at once. An operator's file is read before it returns, so that an
    /// error in the file stops the start. So is a key, from the environment of the process.
    ///
    /// # Errors
    ///
    /// A timeout out of bounds, a file that cannot be read as places, a missing key where one is
    /// needed, or no thread available. Nothing is left running.
    pub fn start(settings: &PlacesSettings) -> Result<Self, PlacesError> {
        Places::start_with_environment(settings, |variable| std::env::var(variable))
    }

    /// Does the same as [`Places::start`], with an environment that the caller supplies:
    /// `environment` returns the value of a variable.
    pub fn start_with_environment(
        settings: &PlacesSettings,
        environment: impl FnOnce(&str) -> Result<String, VarError>,
    ) -> Result<Self, PlacesError> {
        let mut summary = None;
        let provider = match settings {
            PlacesSettings::Offline { file: None } => ActiveProvider::Offline(load_compiled_in()?),
            PlacesSettings::Offline { file: Some(path) } => {
                let (catalogue, file) = file::read(path)?;
                summary = Some(Arc::new(file));
                ActiveProvider::Offline(Loading::done(Offline::new(catalogue)))
            }
            PlacesSettings::Google(google) => {
                ActiveProvider::Google(Arc::new(Google::start(google, environment)?))
            }
        };
        Ok(Places::of(provider, summary))
    }

    /// Returns a handle to a provider that the caller supplies, for tests and simulations.
    /// `respond` is called for every query that requests at least one place, and each response may
    /// take up to `timeout`, of any length.
    pub fn new<F>(
        respond: impl Fn(PlacesQuery) -> F + Send + Sync + 'static,
        timeout: Duration,
    ) -> Self
    where
        F: Future<Output = PlacesResponse> + Send + 'static,
    {
        let provider = ActiveProvider::Custom(CustomProvider::new(respond), timeout);
        Places::of(provider, None)
    }

    /// Returns a handle to the same provider, with its own counters, which start at zero.
    pub fn with_own_counters(&self) -> Self {
        Places::of(self.provider.clone(), self.file.clone())
    }

    /// Returns what the operator's own file gave, if the places are from one.
    pub fn file(&self) -> Option<&PlacesFile> {
        self.file.as_deref()
    }

    /// Returns the outcomes of the queries of this handle and of its clones.
    pub fn counters(&self) -> &PlacesCounters {
        &self.counters
    }

    /// Returns the name of the provider, as in the config: `offline`, `google` or `google-new`; or
    /// `custom` for one that the caller supplies.
    pub fn provider(&self) -> &'static str {
        match &self.provider {
            ActiveProvider::Offline(_) => "offline",
            ActiveProvider::Google(google) => google.name(),
            ActiveProvider::Custom(..) => "custom",
        }
    }

    /// Answers a query within the time limit of the provider in every case. A failure is a response
    /// with an error status.
    ///
    /// If it has to wait, it needs a tokio runtime with time and I/O enabled.
    pub async fn nearby(&self, query: &PlacesQuery) -> PlacesResponse {
        if let Some(response) = self.nearby_now(query) {
            return response;
        }
        let started = Instant::now();
        let response = self.wait_for(query).await;
        self.counters.record(&response, started.elapsed());
        response
    }

    async fn wait_for(&self, query: &PlacesQuery) -> PlacesResponse {
        match &self.provider {
            ActiveProvider::Offline(loading) => {
                let loaded = async { response_from(loading.wait().await, query) };
                let on_timeout = "the list of places is still being loaded: try again later";
                within(LOAD_TIMEOUT, loaded, on_timeout).await
            }
            // Google applies its limit itself, since several queries may share one call.
            ActiveProvider::Google(google) => google.answer(query).await,
            ActiveProvider::Custom(custom, timeout) => {
                let on_timeout = "no answer came within the time limit: try again later";
                within(*timeout, custom.answer(query), on_timeout).await
            }
        }
    }

    /// Returns the response if it is available without waiting, or `None` where the caller has to
    /// use [`Places::nearby`].
    pub fn nearby_now(&self, query: &PlacesQuery) -> Option<PlacesResponse> {
        if query.limit == 0 {
            return Some(PlacesResponse::none());
        }
        match &self.provider {
            ActiveProvider::Offline(loading) => {
                let (started, loaded) = (Instant::now(), loading.now()?);
                let response = response_from(loaded, query);
                self.counters.record(&response, started.elapsed());
                Some(response)
            }
            ActiveProvider::Google(_) | ActiveProvider::Custom(..) => None,
        }
    }

    /// Returns names of the offline provider in a box, at most `limit`: if more are there, a choice
    /// that is spread over the box. Returns none with another provider, and until the list is
    /// loaded. Takes a few milliseconds.
    pub fn names(&self, bounds: &BoundingBox, limit: usize) -> Vec<PlaceName> {
        match &self.provider {
            ActiveProvider::Offline(loading) => match loading.now() {
                Some(Ok(offline)) => offline.names(bounds, limit),
                _ => Vec::new(),
            },
            ActiveProvider::Google(_) | ActiveProvider::Custom(..) => Vec::new(),
        }
    }

    fn of(provider: ActiveProvider, file: Option<Arc<PlacesFile>>) -> Self {
        Places {
            provider,
            file,
            counters: Arc::default(),
        }
    }
}

async fn within(
    limit: Duration,
    response: impl Future<Output = PlacesResponse>,
    on_timeout: &str,
) -> PlacesResponse {
    let response = tokio::time::timeout(limit, response).await;
    response.unwrap_or_else(|_| PlacesResponse::failed(on_timeout))
}

fn response_from(loaded: Result<&Offline, &str>, query: &PlacesQuery) -> PlacesResponse {
    match loaded {
        Ok(offline) => offline.answer(query),
        Err(cause) => {
            PlacesResponse::failed(&format!("the list of places could not be loaded: {cause}"))
        }
    }
}

/// Reads the latitudes and longitudes of the compiled-in places. Takes about a second.
///
/// # Errors
///
/// The program was built with broken data.
pub fn compiled_in_points() -> Result<Vec<(f64, f64)>, String> {
    Ok(gazetteer::read()?.points().collect())
}

/// Returns the load of the compiled-in places, which the first caller starts.
///
/// The compiled-in places are the same for every server, so a process that runs several holds them
/// once.
fn load_compiled_in() -> Result<Loading<Offline>, PlacesError> {
    static SHARED: OnceLock<Loading<Offline>> = OnceLock::new();
    if let Some(loading) = SHARED.get() {
        return Ok(loading.clone());
    }
    let loading = Loading::start(|| {
        let catalogue = gazetteer::read()?;
        let places = catalogue.len();
        let offline = Offline::new(catalogue);
        tracing::info!("{places} places are loaded");
        Ok(offline)
    });
    let loading = loading.map_err(PlacesError::Thread)?;
    Ok(SHARED.get_or_init(|| loading).clone())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::query::tests::query;
    use super::*;

    fn ucla(limit: usize) -> PlacesQuery {
        query("+34.068930-118.445127", "10", limit)
    }

    fn places(loading: Loading<Offline>) -> Places {
        Places::of(ActiveProvider::Offline(loading), None)
    }

    /// Returns places that stay unloaded until the sender sends or is dropped.
    fn unloaded() -> (Places, mpsc::Sender<()>) {
        let (release, receiver) = mpsc::channel();
        let loading = Loading::start(move || {
            let _ = receiver.recv();
            gazetteer::read().map(Offline::new)
        });
        (places(loading.unwrap()), release)
    }

    #[test]
    fn places_are_clone_send_and_sync() {
        fn is_clone_send_and_sync<T: Clone + Send + Sync + 'static>() {}
        is_clone_send_and_sync::<Places>();
    }

    #[tokio::test]
    async fn a_query_waits_for_the_load() {
        let (places, release) = unloaded();
        assert_eq!(places.nearby_now(&ucla(20)), None);
        let clone = places.clone();
        let pending = tokio::spawn(async move { clone.nearby(&ucla(20)).await });
        tokio::task::yield_now().await;
        assert!(!pending.is_finished());
        release.send(()).unwrap();
        let response = pending.await.unwrap();
        assert_eq!(response.places, 8);
        assert_eq!(places.counters().answered(), 1);
        assert_eq!(places.nearby_now(&ucla(20)), Some(response));
        assert_eq!(places.nearby_now(&ucla(0)), Some(PlacesResponse::none()));
        assert_eq!(
            places.counters().answered(),
            2,
            "with a limit of 0 no provider is called"
        );
        assert_eq!(places.with_own_counters().counters().answered(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_query_waits_no_longer_than_the_load_timeout() {
        let (places, _release) = unloaded();
        let started = tokio::time::Instant::now();
        let response = places.nearby(&ucla(20)).await;
        assert_eq!(started.elapsed().as_secs(), LOAD_TIMEOUT.as_secs());
        let expected = "the list of places is still being loaded: try again later";
        assert_eq!(response, PlacesResponse::failed(expected));
    }

    #[tokio::test]
    async fn a_limit_of_zero_calls_no_provider() {
        let (places, _release) = unloaded();
        let none = ucla(0);
        assert_eq!(places.nearby_now(&none), Some(PlacesResponse::none()));
        assert_eq!(places.nearby(&none).await, PlacesResponse::none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_custom_provider_is_called_within_the_time_limit() {
        let second = Duration::from_secs(1);
        let places = Places::new(
            move |query| async move {
                tokio::time::sleep(second * u32::try_from(query.limit).unwrap()).await;
                PlacesResponse::failed("as made")
            },
            2 * second,
        );
        assert_eq!(places.nearby_now(&ucla(1)), None);
        assert_eq!(
            places.nearby(&ucla(1)).await,
            PlacesResponse::failed("as made")
        );
        let timed_out = places.nearby(&ucla(3)).await;
        assert!(
            timed_out.json.contains("within the time limit"),
            "{}",
            timed_out.json
        );
        assert_eq!(places.nearby_now(&ucla(0)), Some(PlacesResponse::none()));
    }

    #[tokio::test]
    async fn a_failed_load_is_a_failure_response() {
        let failed = places(Loading::start(|| Err("no such luck".to_owned())).unwrap());
        let panicked = places(Loading::start(|| panic!("out of cheese")).unwrap());
        for (places, cause) in [
            (failed, "no such luck"),
            (panicked, "mistake of this program"),
        ] {
            let response = places.nearby(&ucla(20)).await;
            assert_eq!(response.places, 0);
            assert!(response.json.contains(cause), "{}", response.json);
            assert_eq!(places.nearby_now(&ucla(20)), Some(response));
        }
    }

    #[tokio::test]
    async fn loads_the_compiled_in_places_once() {
        let first = Places::start(&PlacesSettings::default()).unwrap();
        let second = Places::start(&PlacesSettings::default()).unwrap();
        assert_eq!(first.nearby(&ucla(20)).await.places, 8);
        let (ActiveProvider::Offline(first), ActiveProvider::Offline(second)) =
            (&first.provider, &second.provider)
        else {
            panic!("the default is offline");
        };
        assert!(std::ptr::eq(
            first.now().unwrap().unwrap(),
            second.now().unwrap().unwrap()
        ));
    }

    #[test]
    fn rejects_a_timeout_out_of_bounds() {
        for timeout in [Duration::ZERO, Duration::from_secs(61)] {
            let mut google = google::GoogleSettings::of(google::GoogleApi::Legacy);
            google.timeout = timeout;
            let settings = PlacesSettings::Google(google);
            let error = Places::start(&settings).unwrap_err().to_string();
            assert!(error.contains("10ms to 60s"), "{error}");
        }
    }

    #[test]
    fn rejects_a_missing_key_and_names_its_variable() {
        let mut google = google::GoogleSettings::of(google::GoogleApi::Legacy);
        google.api_key_env = "HERD_KEY".to_owned();
        let settings = PlacesSettings::Google(google);
        for (value, expected) in [
            (Err(VarError::NotPresent), "is not set"),
            (Ok(" ".to_owned()), "is empty"),
            (Ok("not secret".to_owned()), "can be no key"),
        ] {
            let environment = |variable: &str| match variable {
                "HERD_KEY" => value,
                _ => Ok("other".to_owned()),
            };
            let error = Places::start_with_environment(&settings, environment).unwrap_err();
            let error = error.to_string();
            assert!(error.contains("variable HERD_KEY"), "{error}");
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("not secret"), "{error}");
        }
    }

    #[test]
    fn rejects_an_invalid_file_at_start() {
        let settings = PlacesSettings::Offline {
            file: Some("no/such/places.csv".into()),
        };
        let error = Places::start(&settings).unwrap_err().to_string();
        assert!(error.contains("no/such/places.csv"), "{error}");
    }
}

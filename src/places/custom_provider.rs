//! An answerer of the caller's making, for tests and simulations.
//!
//! The other answerers take as long as they take; this one takes as long as its maker wants, which is the only way to
//! see what else goes on meanwhile.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::{PlacesQuery, PlacesResponse};

type Asked = Pin<Box<dyn Future<Output = PlacesResponse> + Send>>;

/// Whatever gives an answer to a question, in its own time.
#[derive(Clone)]
pub(super) struct CustomProvider(Arc<dyn Fn(PlacesQuery) -> Asked + Send + Sync>);

impl CustomProvider {
    /// Answers are what comes of the futures that `ask` gives.
    pub(super) fn new<F>(ask: impl Fn(PlacesQuery) -> F + Send + Sync + 'static) -> CustomProvider
    where
        F: Future<Output = PlacesResponse> + Send + 'static,
    {
        CustomProvider(Arc::new(move |question| Box::pin(ask(question))))
    }

    /// The answer, when it is there.
    pub(super) async fn answer(&self, question: &PlacesQuery) -> PlacesResponse {
        (self.0)(question.clone()).await
    }
}

impl fmt::Debug for CustomProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Made")
    }
}

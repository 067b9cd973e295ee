//! A provider that the caller supplies, for tests and simulations.
//!
//! The other providers take the time that they need. This one takes the time that its creator
//! chooses, so that tests can observe what happens meanwhile.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::{PlacesQuery, PlacesResponse};

type ResponseFuture = Pin<Box<dyn Future<Output = PlacesResponse> + Send>>;

/// A provider whose responses are futures of the caller.
#[derive(Clone)]
pub(super) struct CustomProvider(Arc<dyn Fn(PlacesQuery) -> ResponseFuture + Send + Sync>);

impl CustomProvider {
    /// Creates a provider from a function that returns the future of a response.
    pub(super) fn new<F>(respond: impl Fn(PlacesQuery) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = PlacesResponse> + Send + 'static,
    {
        CustomProvider(Arc::new(move |query| Box::pin(respond(query))))
    }

    /// Waits for the response to a query.
    pub(super) async fn answer(&self, query: &PlacesQuery) -> PlacesResponse {
        (self.0)(query.clone()).await
    }
}

impl fmt::Debug for CustomProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomProvider")
    }
}

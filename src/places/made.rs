//! An answerer of the caller's making, for tests and simulations.
//!
//! The other answerers take as long as they take; this one takes as long as its maker wants, which is the only way to
//! see what else goes on meanwhile.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::{Answer, Question};

type Asked = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Whatever gives an answer to a question, in its own time.
#[derive(Clone)]
pub(super) struct Made(Arc<dyn Fn(Question) -> Asked + Send + Sync>);

impl Made {
    /// Answers are what comes of the futures that `ask` gives.
    pub(super) fn new<F>(ask: impl Fn(Question) -> F + Send + Sync + 'static) -> Made
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Made(Arc::new(move |question| Box::pin(ask(question))))
    }

    /// The answer, when it is there.
    pub(super) async fn answer(&self, question: &Question) -> Answer {
        (self.0)(question.clone()).await
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Made")
    }
}

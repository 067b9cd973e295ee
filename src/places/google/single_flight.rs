//! Single flight: equal queries at the same time share one call.
//!
//! A call runs in a task of its own, so that a caller that is dropped, or that is slow to poll,
//! does not delay the others. The call ends when its last caller is dropped. An answered call is
//! removed: the next query starts a new one. The idea is Go's `singleflight`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::lock::lock;

use super::super::{PlacesQuery, PlacesResponse};

/// A call that any number of callers wait for. Dropping the last clone ends it.
type SharedCall = Shared<BoxFuture<'static, PlacesResponse>>;

/// The calls under way: one for each different query that has a caller.
#[derive(Clone, Default)]
pub(super) struct SingleFlight(Arc<Mutex<CallTable>>);

type CallTable = HashMap<PlacesQuery, WeakShared<BoxFuture<'static, PlacesResponse>>>;

impl SingleFlight {
    /// Returns the call that is under way for this query, or starts `call`.
    ///
    /// Needs a tokio runtime. The response may arrive before the caller's own call could have
    /// ended, since another caller started it.
    pub(super) fn join_or_start<F>(
        &self,
        query: &PlacesQuery,
        call: impl FnOnce() -> F,
    ) -> SharedCall
    where
        F: Future<Output = PlacesResponse> + Send + 'static,
    {
        let mut calls = self.lock();
        if let Some(shared) = calls.get(query).and_then(WeakShared::upgrade) {
            return shared;
        }
        // Removes calls whose callers all left before the response.
        calls.retain(|_, call| call.upgrade().is_some());
        let shared = self.start(query.clone(), call());
        calls.extend(shared.downgrade().map(|call| (query.clone(), call)));
        shared
    }

    fn start(
        &self,
        query: PlacesQuery,
        call: impl Future<Output = PlacesResponse> + Send + 'static,
    ) -> SharedCall {
        let calls = self.clone();
        let call = async move {
            let response = call.await;
            // Before any caller has the response, so that a query after a response starts a new
            // call.
            calls.lock().remove(&query);
            response
        };
        let task = AbortOnDropHandle::new(tokio::spawn(call.in_current_span()));
        let response = async {
            let failed = |_| PlacesResponse::failed("the call ended by a mistake of this program");
            task.await.unwrap_or_else(failed)
        };
        response.boxed().shared()
    }

    // No operation under the lock leaves it in an inconsistent state, so the value is valid after a
    // panic. The lock is held for a lookup or a change of the map, and never across an await.
    fn lock(&self) -> MutexGuard<'_, CallTable> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::task::{JoinHandle, yield_now};

    use super::super::super::query::tests::query;
    use super::*;

    /// Calls that are counted, and answered when the test releases them.
    #[derive(Clone, Default)]
    struct CountedCalls {
        single_flight: SingleFlight,
        begun: Arc<AtomicUsize>,
        ended: Arc<AtomicUsize>,
        release: Arc<Notify>,
    }

    impl CountedCalls {
        fn ask(&self, query: PlacesQuery) -> JoinHandle<PlacesResponse> {
            let calls = self.clone();
            tokio::spawn(async move {
                let call = || calls.clone().call();
                calls.single_flight.join_or_start(&query, call).await
            })
        }

        async fn call(self) -> PlacesResponse {
            struct Ended(Arc<AtomicUsize>);
            impl Drop for Ended {
                fn drop(&mut self) {
                    self.0.fetch_add(1, Ordering::SeqCst);
                }
            }
            let number = self.begun.fetch_add(1, Ordering::SeqCst);
            let _ended = Ended(self.ended.clone());
            self.release.notified().await;
            PlacesResponse::failed(&number.to_string())
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }

        fn under_way(&self) -> usize {
            let calls = self.single_flight.lock();
            calls.values().filter_map(WeakShared::upgrade).count()
        }
    }

    /// Lets every task make progress. Tests run on one thread, so a few yields suffice.
    async fn settle() {
        for _ in 0..20 {
            yield_now().await;
        }
    }

    fn near(longitude: &str) -> PlacesQuery {
        query(&format!("+1+{longitude}"), "1", 1)
    }

    async fn answer(pending: JoinHandle<PlacesResponse>) -> PlacesResponse {
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, pending).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn equal_queries_share_one_call_and_others_do_not() {
        let calls = CountedCalls::default();
        let pending: Vec<_> = (0..40).map(|_| calls.ask(near("1"))).collect();
        let other = calls.ask(near("2"));
        settle().await;
        assert_eq!((calls.begun(), calls.under_way()), (2, 2));
        calls.release.notify_waiters();
        for pending in pending {
            assert_eq!(answer(pending).await, PlacesResponse::failed("0"));
        }
        assert_eq!(answer(other).await, PlacesResponse::failed("1"));
        assert_eq!(calls.under_way(), 0);
    }

    #[tokio::test]
    async fn does_not_store_a_response() {
        let calls = CountedCalls::default();
        for number in ["0", "1", "2"] {
            let pending = calls.ask(near("1"));
            settle().await;
            calls.release.notify_waiters();
            assert_eq!(answer(pending).await, PlacesResponse::failed(number));
        }
    }

    #[tokio::test]
    async fn a_call_continues_when_one_caller_is_dropped() {
        let calls = CountedCalls::default();
        let first = calls.ask(near("1"));
        settle().await;
        let second = calls.ask(near("1"));
        settle().await;
        first.abort();
        settle().await;
        calls.release.notify_waiters();
        assert_eq!(answer(second).await, PlacesResponse::failed("0"));
        assert_eq!(calls.begun(), 1);
    }

    #[tokio::test]
    async fn a_call_ends_when_its_last_caller_is_dropped() {
        let calls = CountedCalls::default();
        let pending = [calls.ask(near("1")), calls.ask(near("1"))];
        settle().await;
        pending.iter().for_each(JoinHandle::abort);
        settle().await;
        assert_eq!(calls.ended.load(Ordering::SeqCst), 1);
        assert_eq!(calls.under_way(), 0);
        let again = calls.ask(near("1"));
        settle().await;
        assert_eq!(calls.begun(), 2);
        calls.release.notify_waiters();
        assert_eq!(answer(again).await, PlacesResponse::failed("1"));
    }

    #[tokio::test]
    async fn a_call_that_panics_is_a_failure_response_and_is_removed() {
        let calls = SingleFlight::default();
        let query = near("1");
        let broken = calls.join_or_start(&query, || async { panic!("out of cheese") });
        let json = broken.await.json;
        assert!(json.contains("mistake of this program"), "{json}");
        let whole = calls.join_or_start(&query, || async { PlacesResponse::none() });
        assert_eq!(whole.await, PlacesResponse::none());
    }
}

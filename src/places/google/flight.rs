//! Single flight: equal queries at the same time share one call.
//!
//! A call runs in a task of its own, so that a caller that is dropped, or that is slow to poll,
//! does not delay the others. The call ends when its last caller is dropped. An answered call is
//! removed: the next query starts a new one. The idea is Go's `singleflight`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::Instrument;

use super::super::{PlacesQuery, PlacesResponse};

/// The channel that sends the response of one call to its callers.
type Board = watch::Sender<Option<PlacesResponse>>;

/// The calls under way: one for each different query that has a caller.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<PlacesQuery, Board>>>);

impl Flights {
    /// Waits for the response of the call that is under way for this query, or starts `call`.
    ///
    /// Needs a tokio runtime. The response may arrive before the caller's own call could have
    /// ended, since another caller started it.
    pub(super) async fn join<F>(
        &self,
        question: &PlacesQuery,
        call: impl FnOnce() -> F,
    ) -> PlacesResponse
    where
        F: Future<Output = PlacesResponse> + Send + 'static,
    {
        let mut told = self.board(question, call);
        match told.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            _ => PlacesResponse::failed("the call ended by a mistake of this program"),
        }
    }

    fn board<F>(
        &self,
        question: &PlacesQuery,
        call: impl FnOnce() -> F,
    ) -> watch::Receiver<Option<PlacesResponse>>
    where
        F: Future<Output = PlacesResponse> + Send + 'static,
    {
        let mut under_way = self.lock();
        if let Some(board) = under_way.get(question) {
            return board.subscribe();
        }
        let (board, told) = watch::channel(None);
        under_way.insert(question.clone(), board.clone());
        let flight = Flight {
            flights: self.clone(),
            question: question.clone(),
            board,
        };
        tokio::spawn(flight.run(call()).in_current_span());
        told
    }

    // No operation under the lock leaves it in an inconsistent state, so the value is valid after a
    // panic. The lock is held for a lookup or a change of the map, and never across an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<PlacesQuery, Board>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call. It is removed from the calls under way when it is dropped.
struct Flight {
    flights: Flights,
    question: PlacesQuery,
    board: Board,
}

impl Flight {
    async fn run(self, call: impl Future<Output = PlacesResponse>) {
        tokio::select! {
            biased;
            answer = call => {
                // Removed before the response is sent: a query after a response starts a new call.
                self.forget();
                self.board.send_replace(Some(answer));
            }
            () = self.abandoned() => {}
        }
    }

    /// Resolves when the call has no callers and no further caller can join.
    async fn abandoned(&self) {
        loop {
            self.board.closed().await;
            let mut under_way = self.flights.lock();
            // Another caller may have joined before the lock was acquired.
            if self.board.receiver_count() == 0 {
                under_way.remove(&self.question);
                return;
            }
        }
    }

    fn forget(&self) {
        let mut under_way = self.flights.lock();
        let is_this = |board: &Board| board.same_channel(&self.board);
        if under_way.get(&self.question).is_some_and(is_this) {
            under_way.remove(&self.question);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::task::{JoinHandle, yield_now};

    use super::super::super::question::tests::question;
    use super::*;

    /// Calls that are counted, and answered when the test releases them.
    #[derive(Clone, Default)]
    struct Calls {
        flights: Flights,
        begun: Arc<AtomicUsize>,
        ended: Arc<AtomicUsize>,
        release: Arc<Notify>,
    }

    impl Calls {
        fn ask(&self, question: PlacesQuery) -> JoinHandle<PlacesResponse> {
            let calls = self.clone();
            tokio::spawn(async move {
                let call = || calls.clone().call();
                calls.flights.join(&question, call).await
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
            self.flights.lock().len()
        }
    }

    /// Lets every task make progress. Tests run on one thread, so a few yields suffice.
    async fn settle() {
        for _ in 0..20 {
            yield_now().await;
        }
    }

    fn near(longitude: &str) -> PlacesQuery {
        question(&format!("+1+{longitude}"), "1", 1)
    }

    async fn answer(asked: JoinHandle<PlacesResponse>) -> PlacesResponse {
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, asked).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn equal_questions_share_one_call_and_others_do_not() {
        let calls = Calls::default();
        let asked: Vec<_> = (0..40).map(|_| calls.ask(near("1"))).collect();
        let other = calls.ask(near("2"));
        settle().await;
        assert_eq!((calls.begun(), calls.under_way()), (2, 2));
        calls.release.notify_waiters();
        for asked in asked {
            assert_eq!(answer(asked).await, PlacesResponse::failed("0"));
        }
        assert_eq!(answer(other).await, PlacesResponse::failed("1"));
        assert_eq!(calls.under_way(), 0);
    }

    #[tokio::test]
    async fn an_answer_is_forgotten() {
        let calls = Calls::default();
        for number in ["0", "1", "2"] {
            let asked = calls.ask(near("1"));
            settle().await;
            calls.release.notify_waiters();
            assert_eq!(answer(asked).await, PlacesResponse::failed(number));
        }
    }

    #[tokio::test]
    async fn one_who_leaves_does_not_take_the_call_along() {
        let calls = Calls::default();
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
    async fn when_the_last_has_left_the_call_ends() {
        let calls = Calls::default();
        let asked = [calls.ask(near("1")), calls.ask(near("1"))];
        settle().await;
        asked.iter().for_each(JoinHandle::abort);
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
    async fn a_call_that_panics_is_answered_and_forgotten() {
        let flights = Flights::default();
        let question = near("1");
        let broken = flights.join(&question, || async { panic!("out of cheese") });
        let said = broken.await.json;
        assert!(said.contains("mistake of this program"), "{said}");
        let whole = flights.join(&question, || async { PlacesResponse::none() });
        assert_eq!(whole.await, PlacesResponse::none());
    }
}

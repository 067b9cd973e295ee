//! Locking that never panics or deadlocks, even inside a panic.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

/// Number of times that a panicking thread tries to lock, [`BETWEEN_TRIES`] apart: 10 ms in all.
/// The holders of this folder's locks need microseconds, unless the holder is the panicking thread
/// itself.
const TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_micros(100);

/// Locks `mutex`, even if it is poisoned: the data of this folder's locks is consistent after each
/// statement. Returns `None` only on a panicking thread (the panic hook logs) that cannot lock it
/// soon, as that thread may hold the lock itself.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    if thread::panicking() {
        return lock_within_a_panic(mutex);
    }
    Some(mutex.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cold]
fn lock_within_a_panic<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..TRIES {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN_TRIES),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    struct LocksWhenDropped<'a>(&'a Mutex<u32>, &'a Mutex<Option<bool>>);

    impl Drop for LocksWhenDropped<'_> {
        fn drop(&mut self) {
            let got = lock(self.0).is_some();
            *self.1.lock().unwrap() = Some(got);
        }
    }

    #[test]
    fn a_poisoned_lock_is_taken() {
        let mutex = Mutex::new(7);
        thread::scope(|scope| {
            let poisoner = scope.spawn(|| {
                let _guard = mutex.lock().unwrap();
                panic!("poisons the lock; this panic is part of a test");
            });
            assert!(poisoner.join().is_err());
        });
        assert!(mutex.is_poisoned());
        assert_eq!(lock(&mutex).as_deref(), Some(&7));
    }

    #[test]
    fn a_panicking_thread_does_not_wait_for_its_own_lock() {
        let mutex = Mutex::new(7);
        let got = Mutex::new(None);
        thread::scope(|scope| {
            let panicker = scope.spawn(|| {
                // Locals are dropped in reverse order: the guard is still held when the other one
                // is dropped.
                let _guard = mutex.lock().unwrap();
                let _locks = LocksWhenDropped(&mutex, &got);
                panic!("panics with the lock held; this panic is part of a test");
            });
            assert!(panicker.join().is_err());
        });
        assert_eq!(got.into_inner().unwrap(), Some(false));
    }
}

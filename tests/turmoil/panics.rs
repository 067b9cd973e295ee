//! What panics in a task ends there and is told to nobody: here it fails the
//! seed.

use std::cell::RefCell;
use std::panic;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes every panic of the process from now on.
pub(crate) fn watch() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        LAST.set(Some(panic.to_string()));
        usual(panic);
    }));
}

/// The last panic of this thread, once.
pub(crate) fn take() -> Option<String> {
    LAST.take()
}

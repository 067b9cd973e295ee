//! A list that only grows, and is read without a lock.
//!
//! What a server knows of its neighbours is read with every push and for every
//! batch of news, and changes when somebody edits a config. A list whose places
//! never move or go away can be read by all threads while one appends: readers
//! pay for one atomic load on the shelf and one on the place, which nobody
//! writes to any more.

use std::sync::{Mutex, OnceLock};

use super::lock;

/// How many places the first shelf has; each further one has twice as many as
/// the one before.
const FIRST: usize = 8;

/// Most shelves.
const SHELVES: usize = 13;

/// Values in the order in which they came. A value's place is its name: it
/// stays for as long as the roll.
#[derive(Debug)]
pub struct Roll<T> {
    shelves: [OnceLock<Shelf<T>>; SHELVES],
    /// How many values there are; held while one is appended.
    length: Mutex<usize>,
}

type Shelf<T> = Box<[OnceLock<T>]>;

impl<T> Default for Roll<T> {
    fn default() -> Self {
        Self {
            shelves: [const { OnceLock::new() }; SHELVES],
            length: Mutex::new(0),
        }
    }
}

impl<T> Roll<T> {
    /// Most values: 65,528, so that a place fits into 16 bits with some to
    /// spare.
    pub const MOST: usize = FIRST * ((1 << SHELVES) - 1);

    /// Appends a value and gives its place; `None`, and nothing happens, where
    /// there are [`MOST`](Self::MOST).
    pub fn push(&self, value: T) -> Option<usize> {
        let mut length = lock(&self.length);
        let at = *length;
        let (shelf, place) = parts(at);
        let shelf = self.shelves.get(shelf)?.get_or_init(|| empty(shelf));
        // Nobody else appends, so the place is free.
        shelf[place].set(value).ok()?;
        *length += 1;
        Some(at)
    }

    /// The value at a place, if there is one.
    pub fn get(&self, at: usize) -> Option<&T> {
        let (shelf, place) = parts(at);
        self.shelves.get(shelf)?.get()?.get(place)?.get()
    }

    /// All values, with their places; those that are appended meanwhile may be
    /// among them.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        (0..).map_while(|at| Some((at, self.get(at)?)))
    }
}

fn empty<T>(shelf: usize) -> Shelf<T> {
    let places = std::iter::repeat_with(OnceLock::new);
    places.take(FIRST << shelf).collect()
}

/// On which shelf a place is, and which of its places.
fn parts(at: usize) -> (usize, usize) {
    let from_first = at / FIRST + 1;
    let shelf = from_first.ilog2() as usize;
    (shelf, at - FIRST * ((1 << shelf) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_places_until_it_is_full() {
        let roll = Roll::default();
        assert_eq!(roll.iter().count(), 0);
        let first = {
            roll.push(0);
            std::ptr::from_ref(roll.get(0).unwrap())
        };
        for value in 1..Roll::<usize>::MOST {
            assert_eq!(roll.push(value), Some(value));
        }
        assert_eq!(roll.push(7), None);
        assert!(roll.iter().all(|(at, &value)| at == value));
        assert_eq!(roll.iter().count(), Roll::<usize>::MOST);
        assert_eq!(roll.get(Roll::<usize>::MOST), None);
        assert!(std::ptr::eq(first, roll.get(0).unwrap()), "it never moves");
    }

    #[test]
    fn readers_see_whole_values_while_threads_append() {
        const VALUES: usize = 2000;
        let roll = Roll::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..VALUES / 2 {
                        roll.push("whole".to_owned());
                    }
                });
            }
            scope.spawn(|| {
                let mut seen = 0;
                while seen < VALUES {
                    let now = roll
                        .iter()
                        .inspect(|(_, value)| assert_eq!(*value, "whole"));
                    let now = now.count();
                    assert!(now >= seen);
                    seen = now;
                }
            });
        });
    }
}

//! Locking what a panic cannot have left half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic elsewhere does not make what the mutex guards any less true: every critical section is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Locks a mutex, poisoned or not.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic elsewhere cannot leave the guarded value half changed: every critical section is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

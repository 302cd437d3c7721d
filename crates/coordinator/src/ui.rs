//! What people see: before a run, during it, and at its end.

pub(crate) mod intro;
pub mod preview;
pub mod progress;
pub mod shell;
pub mod summary;

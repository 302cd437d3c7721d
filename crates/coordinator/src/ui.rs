//! What people see: before it runs, while it runs, and at the end.

pub(crate) mod intro;
pub mod preview;
pub(crate) mod progress;
pub mod shell;
pub mod summary;

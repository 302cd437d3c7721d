//! One agent: whether it lives, how it stops, what it may use.

pub mod lifeline;
pub mod liveness;
pub mod memory_budget;
pub mod plain_lease;
pub mod shutdown;
pub mod stop_level;

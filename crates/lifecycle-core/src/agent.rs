//! Rules about one agent: whether it lives, how it stops, how much memory it may use, what holds its processes, and what
//! may be ended of what it left behind, or undone of what it owned.

pub mod containment;
pub mod host_budget;
pub mod leftover;
pub mod lifeline;
pub mod liveness;
pub mod memory_budget;
pub mod plain_lease;
pub mod shutdown;
pub mod stop_level;
pub mod stranger;
pub mod thing;

//! The memory of the fleet, read beside passes. It is sampled, and judged for growth and for leaks.

mod census;
mod fleet_growth;
mod leak_watch;
pub(crate) mod sampler;

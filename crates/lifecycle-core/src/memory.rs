//! How memory develops: the fleet's as a whole, and each agent's.

pub mod fleet_growth;
pub mod leak;
pub mod sample;
pub mod trace;

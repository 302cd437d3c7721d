//! Where memory is going: of the fleet, and of each agent.

pub mod fleet_growth;
pub mod leak;
pub mod sample;
pub mod trace;

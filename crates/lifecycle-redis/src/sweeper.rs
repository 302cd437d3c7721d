//! A sweeper: what it observes, and what a pass leaves behind.

pub(crate) mod fleet_usage;
mod indexes;
pub(crate) mod leases;
mod locks;
pub(crate) mod passes;
pub(crate) mod plain;
mod possible_residue;
mod suspects;
pub(crate) mod trends;
mod witnesses;

//! What people write and read.

pub mod spelling;
pub mod units;

//! Everything that is written to the store or read from it. The rest of the crate builds on these modules; they import
//! none of it.

pub mod audit;
pub mod codec;
pub mod epic_record;
pub mod event;
pub mod ids;
pub mod keys;
pub mod memory_records;
pub mod metric;
pub mod orphan;
pub mod process_fate;
pub mod record;
pub mod sprint_record;
pub mod sweep_records;
pub mod task;
pub mod time;
pub mod word_enum;

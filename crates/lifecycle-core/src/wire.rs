//! What is written and read: the ground that everything else stands on, and that imports nothing of it.

pub mod audit;
pub mod codec;
pub mod event;
pub mod ids;
pub mod keys;
pub mod memory;
pub mod metric;
pub mod orphan;
pub mod process_fate;
pub mod record;
pub mod sweep_records;
pub mod task;
pub mod time;
pub mod word_enum;

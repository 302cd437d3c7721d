//! The pure heart of agent lifecycle safety: what things are called, what they mean, and every decision.
//!
//! Nothing here does anything. There is no runtime, no Redis client, no clock and no environment: a decision is
//! a function of data and a `now` that is handed in, so each can be tested to its edge, and two roles that know
//! the same decide the same.
//!
//! ```text
//!   names        ids · keys · event · metric · codec · settings · plan
//!   what is      record · task · trace · fate
//!   decisions    liveness · contact · brake · budget · sweep · sprint · restart · epic · growth · leak
//! ```

pub mod brake;
pub mod codec;
pub mod decide;
pub mod epic;
pub mod event;
pub mod fleet_growth;
pub mod human;
pub mod ids;
pub mod keys;
pub mod leak;
pub mod lifeline;
pub mod liveness;
pub mod memory_budget;
pub mod metric;
pub mod plan;
pub mod process_fate;
pub mod record;
pub mod residue;
pub mod restart;
pub mod settings;
pub mod shutdown;
pub mod spelling;
pub mod store_watch;
pub mod sweep;
pub mod sweepers;
pub mod task;
pub mod trace;
mod word_enum;

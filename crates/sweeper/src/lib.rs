//! The Lifecycle Cleanup Manager: finds agents that died without cleaning up, and cleans up after them.
//!
//! Everything turns around one *pass*: observe → plan → announce → reap → report. The plan is made in
//! `lifecycle-core`, where no I/O can blur it; this crate looks, waits and acts. Any number of sweepers may run
//! on one store: locks keep them out of each other's way, and the reap script makes it harmless when they are not.
//!
//! ```text
//!   hints (events) ─┐
//!   next lease end ─┼─▶ run_loop ─▶ pass ─▶ cleanup ─▶ report ─▶ log · events · metrics
//!   backstop timer ─┘                │
//!   watch (TIME probes) ─ contact ───┘                     │
//!                                                          ▼
//!   census ─▶ growth, leaks ─▶ sampler ─┐  board · health · counters
//!                                └───────────┬──────────────┘
//!                                            ▼
//!                                          http ─▶ /metrics /healthz /readyz
//! ```
//!
//! What passes do is counted as it happens. What the fleet uses is read beside them: `census` reads memory samples a
//! part at a time, `growth` judges the fleet, `leaks` each agent, `sampler` renders. A scrape reads the store for nothing.
//!
//! Nothing here decides who is dead, and nothing here ends on an error: a pass that fails is tried again.

mod acknowledgements;
mod census;
mod cleanup;
mod counters;
mod event_counters;
mod events;
mod exposition;
mod fleet_growth;
mod health;
mod http;
mod indexes;
mod leak_watch;
mod memory_sampler;
mod pass;
mod pass_gauges;
mod report;
mod residue;
mod run_loop;
mod store_watch;
mod sweeper;
mod table;

pub mod daemon;
pub mod once;
pub mod ready;

pub use pass::{How, Passed};
pub use sweeper::Sweeper;

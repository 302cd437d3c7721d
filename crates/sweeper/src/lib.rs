//! The Lifecycle Cleanup Manager: finds agents that died without cleaning up, and cleans up after them.
//!
//! Everything turns around one *pass*: observe → plan → announce → reap → report. The plan is made in
//! `lifecycle-core`, where no I/O can blur it; this crate looks, waits and acts. Any number of sweepers may run
//! on one store: locks keep them out of each other's way, and the reap script makes it harmless when they are not.
//!
//! ```text
//!   events (hints) ─┐
//!   next lease end ─┼─▶ run_loop ─▶ pass ─▶ cleanup ─▶ report ─▶ log · events · metrics
//!   backstop timer ─┘                ▲                                       │
//!   store_watch (TIME probes) ───────┘                                       │
//!                                                                            ▼
//!   memory: census ─▶ fleet_growth, leak_watch ─▶ sampler ─────────▶ http ─▶ /metrics /healthz /readyz
//! ```
//!
//! ```text
//!   daemon · once   `sweeper run` and `sweeper sweep`: what is started, and how it stops
//!   run_loop        when a pass is made
//!   pass/           one pass, from observation to report
//!   memory/         what the fleet uses, read a part at a time, and who leaks
//!   http/           what was counted, and whether this sweeper is at work. A scrape reads the store for nothing
//!   store_watch     whether the store was up, which decides whether silence proves anything
//! ```
//!
//! Nothing here decides who is dead, and nothing here ends on an error: a pass that fails is tried again.

mod events;
mod memory;
mod pass;
mod run_loop;
mod store_watch;
mod sweeper;

pub mod daemon;
pub mod http;
pub mod once;

pub use pass::{How, Passed};
pub use sweeper::Sweeper;

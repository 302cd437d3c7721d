//! The Lifecycle Cleanup Manager: finds agents that died without cleaning up, and cleans up after them.
//!
//! The crate does one thing over and over, a *pass*: observe → plan → announce → reap → report. The plan is made in
//! `lifecycle-core`, without I/O. This crate looks, waits and acts. Any number of sweepers may run on one store. Locks
//! spare them doing the same work, and the reap script keeps it harmless when two do it.
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
//! This crate does not decide which agents are dead, and no error ends it: a pass that fails is made again.

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

//! Runs sprint plans: starts agents, assigns tasks, watches, completes sprints.
//!
//! A coordinator is itself an agent, `<epic>.coordinator`, and its agents are its children. It decides by the keys and
//! by its own children, never by events alone: a hint only makes it look sooner.
//!
//! ```text
//!            ┌──────────── run: wait for a reason, one step, again ───────────┐
//!   reasons: │ event · a child's exit · a stop · 1 s                          │
//!            │                                                                │
//!            │  observe ──▶ lifecycle_core::sprint::decide ──▶ act                    │
//!            │  store,      (pure)                     store, children        │
//!            │  children                                                      │
//!            └──── all settled, or a stop: finish ──▶ nothing is left ────────┘
//! ```
//!
//! ```text
//!   plan_file · programs · runs_folder  what is checked before anything starts
//!   register · epic         the beginning: registered, and the epic taken
//!   run · sprint            the loop, and what it knows of a sprint
//!   observe · act · finish  one step of a sprint
//!   elsewhere               agents that joined, or run on another host
//!   children               processes: started, watched, told to end
//!   child_exit · child_events  what follows an exit: evidence, stragglers, acknowledgement
//!   ui/                     what people see: before, while it runs, and at the end
//!   alive                   what a health check asks
//! ```

mod act;
pub mod alive;
mod child_events;
mod child_exit;
mod children;
mod context;
mod elsewhere;
pub mod epic;
mod finish;
mod observe;
pub mod plan_file;
pub mod programs;
mod register;
mod run;
pub mod runs_folder;
mod sprint;
mod taken;
pub mod ui;

pub use epic::OnDifference;
pub use register::OnHeld;
pub use run::{RunRequest, run};

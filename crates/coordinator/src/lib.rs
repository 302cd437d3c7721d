//! Runs sprint plans: spawns agents, assigns tasks, watches, completes sprints.
//!
//! A coordinator is itself an agent, `<epic>.coordinator`, and its agents are its children. It decides from keys and from
//! its own children, never from events alone: any hint only makes it look sooner.
//!
//! ```text
//!            ┌──────────── run: wait for a reason, one step, again ───────────┐
//!   reasons: │ event · a child's exit · a stop · 1 s                          │
//!            │                                                                │
//!            │  look ──▶ lifecycle_core::sprint::decide ──▶ act               │
//!            │  store,   (pure)                             store, children   │
//!            │  children                                                      │
//!            └──── all settled, or a stop: wind_up ──▶ nothing is left ───────┘
//! ```
//!
//! ```text
//!   plan_file · programs    what is checked before anything starts
//!   enrol · first_screen    the beginning
//!   run · sprint            the loop, and what it knows of a sprint
//!   look · act · wind_up    one step of a sprint
//!   children · pressure     processes: started, watched, told to end
//!   burial                  what follows an exit: evidence, stragglers, acknowledgement
//!   progress · summary      what people see
//!   alive                   what a health check asks
//!   shell                   commands as they can be pasted
//! ```

mod act;
pub mod alive;
mod burial;
mod children;
mod desk;
mod enrol;
mod first_screen;
mod look;
pub mod plan_file;
mod pressure;
pub mod programs;
mod progress;
mod run;
pub mod shell;
mod sprint;
pub mod summary;
mod wind_up;

pub use run::{Order, run};

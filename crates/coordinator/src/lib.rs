//! Runs sprint plans: spawns agents, assigns tasks, watches, completes sprints.
//!
//! A coordinator is itself an agent, `<epic>.coordinator`, and its agents are its children. It decides from keys and from
//! its own children, never from events alone: any hint only makes it look sooner.
//!
//! ```text
//!            ┌──────────── run: wait for a reason, one step, again ───────────┐
//!   reasons: │ event · a child's exit · a stop · 1 s                          │
//!            │                                                                │
//!            │  observe ──▶ lifecycle_core::decide ──▶ act                    │
//!            │  store,      (pure)                     store, children        │
//!            │  children                                                      │
//!            └──── all settled, or a stop: finish ──▶ nothing is left ────────┘
//! ```
//!
//! ```text
//!   plan_file · programs    what is checked before anything starts
//!   register · intro        the beginning
//!   run · sprint            the loop, and what it knows of a sprint
//!   observe · act · finish  one step of a sprint
//!   children · stop_level   processes: started, watched, told to end
//!   child_exit              what follows an exit: evidence, stragglers, acknowledgement
//!   progress · summary      what people see
//!   alive                   what a health check asks
//!   shell                   commands as they can be pasted
//! ```

mod act;
pub mod alive;
mod child_exit;
mod children;
mod context;
mod finish;
mod intro;
mod observe;
pub mod plan_file;
pub mod programs;
mod progress;
mod register;
mod run;
pub mod shell;
mod sprint;
mod stop_level;
pub mod summary;

pub use run::{RunRequest, run};

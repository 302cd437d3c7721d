//! The one integration binary: every claim that needs a real server or real processes has its test here.
//!
//! One module per subject, one binary to link. `cargo xtask test` builds the roles and runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests say what went wrong by failing, and so do the functions they share"
)]

mod agent;
mod bus;
mod containment;
mod fleet;
mod health;
mod held;
mod helpers;
mod leftovers;
mod logs;
mod operator;
mod outage;
mod process;
mod refusals;
mod sdk;
mod secrets;
mod server;
mod site;
mod sprint;
mod sweeping;
mod things;
mod tls;
mod wrong_types;

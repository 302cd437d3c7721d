//! What every command line of the product shares, so that `agent`, `coordinator`, `sweeper` and
//! `lifecyclectl` look and fail alike.
//!
//! ```text
//!  arguments ──▶ settings ──▶ logging ──▶ (the role's own work) ──▶ output ──▶ exit
//!  clap flags    file, env,   stderr                                stdout     one line,
//!                flags                                                         one code
//! ```
//!
//! A `main` reads like this:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use lifecycle_cli::{arguments, exit};
//!
//! /// Prints where the store is.
//! #[derive(clap::Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     global: arguments::GlobalArgs,
//! }
//!
//! fn main() -> ExitCode {
//!     arguments::run(|cli: Cli| {
//!         let settings = cli.global.start()?;
//!         tracing::info!(timeout = ?settings.redis.start_timeout, "looking for the store");
//!         Ok(exit::OK)
//!     })
//! }
//! ```
//!
//! Without its feature `clap` the crate has no `arguments`, for libraries that need the rest.
//!
//! Logs go to stderr and data to stdout, always. This crate issues no Redis command and starts no runtime.

#[cfg(feature = "clap")]
pub mod arguments;
pub mod exit;
mod layer;
pub mod log_file;
pub mod logging;
mod mistake;
pub mod output;
pub mod program;
pub mod secrets;
pub mod settings;
mod toml_lines;

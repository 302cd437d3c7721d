//! The harness of the integration tests, of the trials and of `cargo xtask`: real servers, real processes, no mocks.
//!
//! ```text
//!   Server ───── a private Redis or Valkey; pause, kill and restart it at will
//!   PlainClient  an agent in another language: plain RESP, nothing of ours in between
//!   Role ─────── one of our binaries as a process, its output line by line
//!   eventually   the only way to wait: for a condition, never for time
//! ```
//!
//! Everything here cleans up after itself when dropped, and as far as the system allows also when the
//! process that holds it is killed. The functions return errors; tests unwrap them.

pub mod binaries;
pub mod command;
pub mod eventually;
pub mod http;
pub mod output;
pub mod plain;
pub mod process;
pub mod program;
pub mod server;
pub mod spawner;
pub mod trial;
pub mod wheel;

pub use binaries::role_binary;
pub use eventually::eventually;
pub use plain::{PlainClient, Reply};
pub use process::{Role, descendants, processes_with_env};
pub use program::{ServerProgram, server_program};
pub use server::{Server, ServerOptions};

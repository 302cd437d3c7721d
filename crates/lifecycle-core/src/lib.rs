//! The pure heart of agent lifecycle safety: what things are called, what they mean, and every decision.
//!
//! Nothing here does anything. There is no runtime, no Redis client, no clock and no environment: a decision is
//! a function of data and a `now` that is handed in, so each can be tested to its edge, and two roles that know
//! the same decide the same.
//!
//! ```text
//!   sprint     sweep     memory      an epic · a pass · where memory is going
//!        ╲       │        ╱
//!          agent                     whether it lives, how it stops, what it may use
//!            │
//!        settings                    every setting, its default and its bounds
//!          ╱   ╲
//!       text   wire                  what people write · ids, keys, records, events, metrics
//! ```
//!
//! Nothing imports what stands above it.

pub mod agent;
pub mod memory;
pub mod settings;
pub mod sprint;
pub mod sweep;
pub mod text;
pub mod wire;

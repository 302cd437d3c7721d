//! An agent, for itself: its life and its tasks. Each write is fenced by its incarnation.

pub(crate) mod life;
pub(crate) mod tasks;

//! An epic, its sprints and their tasks: what is planned, and what comes next.

pub mod decide;
pub mod epic;
pub mod plan;
pub mod restart;

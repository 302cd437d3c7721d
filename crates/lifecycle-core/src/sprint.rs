//! An epic, its sprints and their tasks: the plan as a person writes it, and what comes next.

pub mod decide;
pub mod difference;
pub mod epic;
pub mod plan;
pub mod restart;

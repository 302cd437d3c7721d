//! `coordinator run`: whole sprints of real commands, and what happens to them when something dies.
#![cfg(target_os = "linux")]

mod coordinator;
mod costs;
mod crashes;
mod ids;
mod join;
mod live;
mod memory;
mod namespace;
mod order;
mod outage;
mod plan;
mod resume;
mod rollback;
mod rubbish;
mod stage;

use stage::{
    SPRINT, Stage, finish, hang_once, kill, nothing_is_left, only_the_epic_waits, pid_of, sprint, task, until,
};

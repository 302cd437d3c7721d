//! The only place that issues a Redis command.
//!
//! [`Store`] is the connection; its methods are the operations of the protocol, grouped by who performs them.
//! Whatever two processes can race for is one Lua script under `src/scripts/`, atomic and fenced by the writer's
//! incarnation. [`Bus`] is the event channel, as a stream of hints.
//!
//! ```text
//!   agent/        register · beat · own · tasks          an agent, for itself
//!   coordinator/  start · assign · take · end            a coordinator, for its sprints
//!   sweeper/      observe · judge · lock · mark          a sweeper
//!   operator/     read the fleet, and what is left       anybody who looks
//!   removal       release · reap                         an agent, or whoever cleans up after it
//!   orders        order · evidence · announce            whoever may
//!   bus           events, as a stream of hints           anybody
//! ```

mod agent;
mod bus;
mod coordinator;
mod deployment;
mod diagnosis;
mod error;
mod operator;
mod orders;
mod owned_by_name;
mod pipeline;
mod refusal;
mod removal;
mod reply;
mod scripts;
mod store;
mod sweeper;
mod tls;

pub use agent::life::{BeatReply, Fenced, Life, Registered};
pub use agent::tasks::TaskReply;
pub use bus::{Bus, Hint, Listening, Missed};
pub use coordinator::sprints::{SprintEnded, SprintStarted};
pub use coordinator::tasks::{Assigned, Incoming, TaskRecords};
pub use deployment::Deployment;
pub use error::StoreError;
pub use operator::fleet::{AgentView, LogEntry};
pub use refusal::Refusal;
pub use removal::{Reap, ReapOutcome, Removed};
pub use store::{Store, Troubles};
pub use sweeper::fleet_usage::{AgentUsage, IndexCursor};
pub use sweeper::leases::Shortened;
pub use sweeper::passes::{Grant, HoldChange};
pub use sweeper::plain::{Differences, is_usable};
pub use sweeper::trends::TrendNote;

//! The only place that issues a Redis command.
//!
//! [`Store`] is the connection: it connects, listens and reads. A writer asks it for the handle of its role, which
//! offers only what that role may do. Each write that two processes can race for is one Lua script under
//! `src/scripts/`: atomic, and fenced by the writer's incarnation where one life writes. [`Bus`] is the event channel,
//! as a stream of hints.
//!
//! ```text
//!   agent/        register · beat · own · tasks · release      Newcomer, AgentStore
//!   coordinator/  start · assign · take · settle · end         CoordinatorStore
//!   host          exited · acknowledge · note and drop things  HostStore
//!   sweeper/      judge · lock · reap · mark · remember        SweeperStore
//!   operator/     look · order · reap on a person's word       OperatorStore
//!   roles         the handles
//!   removal       release and reap, for those of them that may
//!   orders        order, evidence and announce, likewise
//!   scripts       which keys each script takes, by name
//!   fenced        a life, and the three answers to its writes
//!   bus           events, as a stream of hints
//! ```

mod agent;
mod bus;
mod coordinator;
mod deployment;
mod diagnosis;
mod epics;
mod error;
mod fenced;
mod host;
mod operator;
mod orders;
mod owned_by_name;
mod pipeline;
mod refusal;
mod removal;
mod reply;
mod roles;
mod scripts;
mod store;
mod sweeper;
mod things;
mod tls;

pub use agent::life::{BeatReply, Registered};
pub use agent::tasks::TaskReply;
pub use bus::{Bus, Hint, Listening, Missed};
pub use coordinator::epics::{EpicClaim, EpicTaken};
pub use coordinator::sprints::{KnownSprint, SprintEnded, SprintStarted};
pub use coordinator::tasks::{Assigned, Incoming, TaskRecords};
pub use deployment::Deployment;
pub use error::StoreError;
pub use fenced::{Fenced, Life};
pub use operator::fleet::{AgentView, LogEntry};
pub use operator::sprints::{NotDone, SprintOf};
pub use refusal::Refusal;
pub use removal::{Reap, ReapOutcome, Removed};
pub use roles::{AgentStore, CoordinatorStore, HostStore, Newcomer, OperatorStore, SweeperStore};
pub use store::{Store, Troubles};
pub use sweeper::fleet_usage::{AgentUsage, IndexCursor, Stamp};
pub use sweeper::leases::Shortened;
pub use sweeper::passes::{Grant, HoldChange};
pub use sweeper::plain::{Differences, is_usable};
pub use sweeper::trends::TrendNote;

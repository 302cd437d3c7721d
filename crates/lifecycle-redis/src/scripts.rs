//! The Lua scripts: every write that more than one process can race for is one of them.
//!
//! A script is a file with a header that says KEYS, ARGV, what it returns and what it refuses. Names of events
//! and channels come from `lifecycle-core` by a generated prelude, so that no script spells one.

use std::fmt::Write as _;

use fred::types::scripts::Script as Source;
use lifecycle_core::memory::fleet_growth::LeakTurn;
use lifecycle_core::wire::audit::AuditKind;
use lifecycle_core::wire::event::{EVENT_VERSION, EventKind};
use lifecycle_core::wire::keys::{AGENT_CHANNEL_PREFIX, ALERT_CHANNEL, LIFECYCLE_CHANNEL};
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::record::{AgentState, Order};
use lifecycle_core::wire::sweep_records::PASS;
use lifecycle_core::wire::task::{Cost, TaskState};

const WIRE: &str = include_str!("scripts/lib/wire.lua");
const FENCE: &str = include_str!("scripts/lib/fence.lua");
const TASK: &str = include_str!("scripts/lib/task.lua");
const REMOVE: &str = include_str!("scripts/lib/remove.lua");

// Cleaning up must work in a store that is full; Redis refuses scripts there unless they say so.
macro_rules! flags {
    (allow_oom) => {
        "#!lua flags=allow-oom\n"
    };
}

macro_rules! scripts {
    ($($name:ident: $($flags:ident)? [$($lib:ident)*],)*) => {
        /// Every script, loaded on first use by its hash.
        #[derive(Debug)]
        pub(crate) struct Scripts { $(pub(crate) $name: Script,)* }

        impl Scripts {
            pub(crate) fn new() -> Self {
                let prelude = prelude();
                Self { $($name: Script {
                    source: Source::from_lua([
                        concat!("", $(flags!($flags))?), prelude.as_str(), WIRE, $($lib,)*
                        include_str!(concat!("scripts/", stringify!($name), ".lua")),
                    ].concat()),
                    is_fenced: [WIRE, $($lib,)*].contains(&FENCE),
                },)* }
            }
        }
    };
}

/// A script, and what has to be passed to it besides what its header says.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) source: Source,
    /// It has `lib/fence.lua`, which wants one more key, the last.
    pub(crate) is_fenced: bool,
}

scripts! {
    register: [FENCE],
    beat: allow_oom [FENCE],
    declare: [FENCE],
    release: allow_oom [REMOVE],
    reap: allow_oom [REMOVE],
    evidence: allow_oom [],
    acknowledge: allow_oom [],
    order: [],
    observe: [],
    shorten: allow_oom [],
    grant: allow_oom [],
    adopt: [],
    restore: [],
    forget: allow_oom [],
    lock: allow_oom [],
    unlock: allow_oom [],
    watermark: allow_oom [],
    leave: allow_oom [],
    leak: allow_oom [],
    trend: allow_oom [],
    hold_release: [],
    sprint_start: [FENCE TASK],
    sprint_complete: allow_oom [FENCE],
    task_assign: [FENCE TASK],
    task_start: [FENCE TASK],
    task_restore: [FENCE TASK],
    task_finish: allow_oom [FENCE TASK],
    task_take: allow_oom [FENCE TASK],
    task_recall: allow_oom [FENCE TASK],
    task_mend: allow_oom [FENCE],
    task_forward: allow_oom [FENCE TASK],
    task_settle: allow_oom [FENCE TASK],
    inbox_put: [TASK],
}

fn prelude() -> String {
    let mut text = format!(
        "local CHANNEL, AGENT_CHANNEL, ALERT_CHANNEL = '{LIFECYCLE_CHANNEL}', '{AGENT_CHANNEL_PREFIX}', '{ALERT_CHANNEL}'\n\
         local EVENT_VERSION, PROCESS_EXITED, PASS = {EVENT_VERSION}, '{}', '{PASS}'\nlocal EVENT = {{",
        Reason::ProcessExited
    );
    for name in EventKind::written() {
        let _ = write!(text, "{name} = '{name}', ");
    }
    text.push_str("}\nlocal ADDRESSED = {");
    for name in EventKind::written().filter(|kind| kind.is_addressed()) {
        let _ = write!(text, "{name} = true, ");
    }
    text.push_str("}\n");
    word_table(&mut text, "TASK_STATE", TaskState::ALL, TaskState::as_str);
    word_table(&mut text, "COST", Cost::ALL, Cost::as_str);
    word_table(&mut text, "ORDER", Order::ALL, Order::as_str);
    word_table(&mut text, "AUDIT", AuditKind::ALL, AuditKind::as_str);
    word_table(&mut text, "LEAK", LeakTurn::ALL, LeakTurn::as_str);
    text.push_str("local TAKES_WORK = {");
    for state in AgentState::ALL.iter().filter(|state| state.takes_work()) {
        let _ = write!(text, "{state} = true, ");
    }
    text.push_str("}\n");
    text
}

/// A table of the words of an enum, each under its own name.
fn word_table<T: Copy>(text: &mut String, table: &str, all: &[T], word: fn(T) -> &'static str) {
    let _ = write!(text, "local {table} = {{");
    for value in all {
        let _ = write!(text, "{0} = '{0}', ", word(*value));
    }
    text.push_str("}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_up_and_beating_go_on_in_a_full_store_and_the_others_do_not_claim_to() {
        let scripts = Scripts::new();
        assert!(scripts.reap.source.lua().unwrap().starts_with(flags!(allow_oom)));
        assert!(
            scripts.beat.source.lua().unwrap().starts_with(flags!(allow_oom)),
            "a living agent must not fall silent"
        );
        assert!(scripts.register.source.lua().unwrap().starts_with("local CHANNEL"));
    }

    #[test]
    fn every_script_says_its_keys_arguments_and_replies() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scripts");
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            for heading in ["-- KEYS:", "-- ARGV:", "-- Returns:"] {
                assert!(text.contains(heading), "{:?} lacks {heading}", entry.file_name());
            }
        }
    }
}

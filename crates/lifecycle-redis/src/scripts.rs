//! The Lua scripts. Every write for which two processes can race is one of them.
//!
//! A script is a file whose header tells KEYS, ARGV, what it returns and what it refuses. A generated prelude gives it
//! the names of events and channels from `lifecycle-core`, so no script spells one. The order of a script's keys is
//! written below, once: Rust fills them in by name ([`Keys`]), and Lua reads them by name (`KEY`).

use std::fmt::Write as _;

use fred::types::scripts::Script as Source;
use lifecycle_core::agent::thing::MOST_THINGS;
use lifecycle_core::memory::fleet_growth::LeakTurn;
use lifecycle_core::wire::audit::AuditKind;
use lifecycle_core::wire::epic_record::EpicStatus;
use lifecycle_core::wire::event::{EVENT_VERSION, EventKind};
use lifecycle_core::wire::keys::{AGENT_CHANNEL_PREFIX, ALERT_CHANNEL, LIFECYCLE_CHANNEL};
use lifecycle_core::wire::orphan::Reason;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::{AgentState, Order};
use lifecycle_core::wire::sweep_records::PASS;
use lifecycle_core::wire::task::{Cost, MAX_RETRY_BACKOFF, TaskState};

const WIRE: &str = include_str!("scripts/lib/wire.lua");
const FENCE: &str = include_str!("scripts/lib/fence.lua");
const FENCED: &str = include_str!("scripts/lib/fenced.lua");
const TASK: &str = include_str!("scripts/lib/task.lua");
const REMOVE: &str = include_str!("scripts/lib/remove.lua");
const EPIC_WAIT: &str = include_str!("scripts/lib/epic_wait.lua");
const EPIC: &str = include_str!("scripts/lib/epic.lua");

// Cleanup must work in a store that is full. Redis refuses scripts there unless they carry this flag.
macro_rules! flags {
    (allow_oom) => {
        "#!lua flags=allow-oom\n"
    };
}

/// The keys of one script, by name. Rust and Lua both take the order from here.
pub(crate) trait Keys {
    /// The script that takes these keys.
    fn source(scripts: &Scripts) -> &Source;
    /// The names of the keys, in their order.
    fn named(self) -> Vec<String>;
}

/// The keys of a script that begins with `lib/fenced.lua`, without the three that are named there.
pub(crate) trait FencedKeys: Keys {}

/// The names of the three keys with which every fenced script begins.
const FENCED_KEYS: [&str; 3] = ["state", "generation", "stats"];

macro_rules! scripts {
    (
        fenced { $($fenced:ident = $fenced_file:ident: $($fenced_flags:ident)? [$($fenced_lib:ident)*] ($($fenced_key:ident),*),)* }
        other { $($other:ident = $other_file:ident: $($other_flags:ident)? [$($other_lib:ident)*] ($($other_key:ident),*),)* }
    ) => {
        /// Every script; each is loaded on first use, by its hash.
        #[derive(Debug)]
        pub(crate) struct Scripts { $($fenced_file: Source,)* $($other_file: Source,)* }

        impl Scripts {
            pub(crate) fn new() -> Self {
                let prelude = prelude();
                Self {
                    $($fenced_file: Source::from_lua([
                        concat!("", $(flags!($fenced_flags))?), prelude.as_str(),
                        &key_table(&[&FENCED_KEYS[..], &[$(stringify!($fenced_key)),*]].concat()),
                        WIRE, FENCE, $($fenced_lib,)* FENCED,
                        include_str!(concat!("scripts/", stringify!($fenced_file), ".lua")),
                    ].concat()),)*
                    $($other_file: Source::from_lua([
                        concat!("", $(flags!($other_flags))?), prelude.as_str(),
                        &key_table(&[$(stringify!($other_key)),*]), WIRE, $($other_lib,)*
                        include_str!(concat!("scripts/", stringify!($other_file), ".lua")),
                    ].concat()),)*
                }
            }
        }

        $(keys!($fenced = $fenced_file ($($fenced_key),*)); impl FencedKeys for $fenced {})*
        $(keys!($other = $other_file ($($other_key),*));)*
    };
}

macro_rules! keys {
    ($name:ident = $file:ident ($($key:ident),*)) => {
        #[derive(Debug)]
        pub(crate) struct $name { $(pub(crate) $key: String,)* }

        impl Keys for $name {
            fn source(scripts: &Scripts) -> &Source {
                &scripts.$file
            }

            fn named(self) -> Vec<String> {
                vec![$(self.$key),*]
            }
        }
    };
}

scripts! {
    fenced {
        Beat = beat: allow_oom [] (leases, heartbeat, command, memory),
        Declare = declare: [] (names),
        EpicTake = epic_take: [TASK] (epic_state, waiting),
        EpicEnd = epic_end: allow_oom [EPIC] (epic_state, waiting, history, epic_sprints),
        SprintStart = sprint_start: [TASK]
            (epic_state, sprint_state, sprint_tasks, sprint_agents, requeue, epic_sprints, children, active, inbox, added),
        SprintComplete = sprint_complete: allow_oom []
            (epic_state, sprint_state, sprint_agents, requeue, inbox, epic_sprints),
        AgentAdopt = agent_adopt: allow_oom [] (agent_state, command, children),
        TaskAssign = task_assign: [TASK] (agent_state, task, agent_owned, sprint_tasks),
        TaskStart = task_start: [TASK] (task, owned, sprint_tasks),
        TaskRestore = task_restore: [TASK] (task, owned, sprint_tasks),
        TaskFinish = task_finish: allow_oom [TASK] (task, owned, sprint_tasks, requeue, sprint_state, inbox, results),
        TaskTake = task_take: allow_oom [TASK] (sprint_tasks, requeue, inbox, sprint_state),
        TaskRecall = task_recall: allow_oom [TASK] (sprint_tasks, requeue),
        TaskMend = task_mend: allow_oom [] (sprint_tasks),
        TaskForward = task_forward: allow_oom [TASK] (sprint_tasks),
        TaskReplace = task_replace: allow_oom [TASK] (epic_state, sprint_state, sprint_tasks),
        TaskSettle = task_settle: allow_oom [TASK] (sprint_tasks),
    }
    other {
        Register = register: [FENCE]
            (active, leases, state, generation, stats, parent_state, parent_children, sprint_state, sprint_agents),
        Release = release: allow_oom [EPIC_WAIT REMOVE]
            (active, leases, state, heartbeat, memory, deps, children, keys, things, command, lock, stats, log,
             sprint_state, requeue, sprint_agents, parent_children, epic_state, waiting),
        ReapDead = reap: allow_oom [EPIC_WAIT REMOVE]
            (active, leases, state, heartbeat, memory, deps, children, keys, things, command, lock, stats, log,
             sprint_state, requeue, sprint_agents, parent_children, epic_state, waiting),
        EpicRemove = epic_remove: allow_oom [EPIC] (epic_state, waiting, history, epic_sprints, log),
        EpicCancel = epic_cancel: allow_oom [] (epic_state),
        EpicWait = epic_wait: allow_oom [EPIC_WAIT] (epic_state, waiting, state),
        Evidence = evidence: allow_oom [] (leases, state),
        Acknowledge = acknowledge: allow_oom [] (log),
        ThingsNote = things_note: [] (state, things),
        ThingsDrop = things_drop: allow_oom [] (state, things),
        GiveOrder = order: [] (state, command),
        Observe = observe: [] (active, leases, watermark, hold, generation),
        Shorten = shorten: allow_oom [] (leases),
        GrantRate = grant: allow_oom [] (hold),
        Adopt = adopt: [] (active, leases, state, first_look),
        Restore = restore: [] (active, leases, state),
        Forget = forget: allow_oom [] (active, leases, state, heartbeat, memory, stats),
        Lock = lock: allow_oom [] (),
        Unlock = unlock: allow_oom [] (lock),
        MarkPass = watermark: allow_oom [] (watermark, hold, generation),
        Leave = leave: allow_oom [] (watermark),
        LatchLeak = leak: allow_oom [] (stats),
        WriteTrend = trend: allow_oom [] (memory, state),
        HoldRelease = hold_release: [] (hold),
        InboxPut = inbox_put: [TASK] (sprint_state, inbox),
        TaskAdd = task_add: [TASK] (epic_state, sprint_state, added, epic_sprints, inbox),
        TaskCancel = task_cancel: [TASK] (epic_state, sprint_state, sprint_tasks, epic_sprints, inbox),
        TaskRetry = task_retry: [TASK] (epic_state, sprint_state, sprint_tasks, inbox, held),
        SprintFlag = sprint_flag: [TASK] (epic_state, sprint_state, epic_sprints, inbox),
    }
}

/// Lua code: the keys of a script by name, and how many have a name. The keys behind them are a list.
fn key_table(names: &[&str]) -> String {
    let mut text = format!("local NAMED = {}\nlocal KEY = {{", names.len());
    for (index, name) in names.iter().enumerate() {
        let _ = write!(text, "{name} = KEYS[{}], ", index + 1);
    }
    text + "}\n"
}

fn prelude() -> String {
    let mut text = format!(
        "local CHANNEL, AGENT_CHANNEL, ALERT_CHANNEL = '{LIFECYCLE_CHANNEL}', '{AGENT_CHANNEL_PREFIX}', '{ALERT_CHANNEL}'\n\
         local EVENT_VERSION, PROCESS_EXITED, PASS = {EVENT_VERSION}, '{}', '{PASS}'\n\
         local MAX_RETRY_BACKOFF, MOST_THINGS = {}, {MOST_THINGS}\nlocal EVENT = {{",
        Reason::ProcessExited,
        MAX_RETRY_BACKOFF.as_millis()
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
    word_table(&mut text, "EPIC_STATUS", EpicStatus::ALL, EpicStatus::as_str);
    word_table(&mut text, "PROCESS_FATE", ProcessFate::ALL, ProcessFate::as_str);
    word_table(&mut text, "LEAK", LeakTurn::ALL, LeakTurn::as_str);
    text.push_str("local TAKES_WORK = {");
    for state in AgentState::ALL.iter().filter(|state| state.takes_work()) {
        let _ = write!(text, "{state} = true, ");
    }
    text.push_str("}\n");
    text
}

/// Lua code: a table of an enum's words, each under its own name.
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
        assert!(scripts.reap.lua().unwrap().starts_with(flags!(allow_oom)));
        assert!(
            scripts.beat.lua().unwrap().starts_with(flags!(allow_oom)),
            "a living agent must not fall silent"
        );
        assert!(scripts.register.lua().unwrap().starts_with("local CHANNEL"));
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

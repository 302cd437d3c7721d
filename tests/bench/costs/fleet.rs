//! A large fleet, planted in a second. The agents are the same for both sides: they have a lease, and beat in JSON so that the
//! algorithm of the original design reads them, too. Their numbers have leading zeros, because its key patterns would
//! otherwise match the keys of other agents.

use std::ops::Range;

use anyhow::{Result, ensure};
use lifecycle_core::wire::ids::SprintId;
use lifecycle_core::wire::keys::KeySchema;
use lifecycle_tests::{PlainClient, Reply};

const PLANT: &str = include_str!("plant.lua");
const INCARNATION: &str = "1764000000000000";
/// How many agents one script call plants.
const CHUNK: u32 = 1_000;
/// Living agents beat this far in the future, so that none dies while a slow machine measures.
const AHEAD_MS: i64 = 3_600_000;

/// The planted agents, numbered from 0.
pub(crate) struct Fleet {
    client: PlainClient,
    keys: KeySchema,
    agents: u32,
}

impl Fleet {
    pub(crate) fn new(client: PlainClient, agents: u32) -> Self {
        Self { client, keys: KeySchema::default(), agents }
    }

    pub(crate) fn len(&self) -> u32 {
        self.agents
    }

    /// As the script that plants it names it.
    pub(crate) fn id(number: u32) -> String {
        format!("agent-{number:06}")
    }

    /// For what is to be asked of the server besides.
    pub(crate) fn client(&mut self) -> &mut PlainClient {
        &mut self.client
    }

    /// All of them, alive, with the sprint they work for.
    pub(crate) fn plant_all(&mut self) -> Result<()> {
        let sprint = self.keys.sprint_state(&SprintId::new("bench")?);
        self.client.run(&["HSET", &sprint, "sprint", "bench"])?;
        self.plant_alive(0..self.agents)
    }

    pub(crate) fn plant_alive(&mut self, numbers: Range<u32>) -> Result<()> {
        let now = self.client.now_ms()?;
        self.plant(numbers, now + AHEAD_MS, now + AHEAD_MS)
    }

    /// Silent for three minutes, one beyond the end of the lease.
    pub(crate) fn plant_dead(&mut self, numbers: Range<u32>) -> Result<()> {
        let now = self.client.now_ms()?;
        self.plant(numbers, now - 60_000, now - 180_000)
    }

    fn plant(&mut self, numbers: Range<u32>, lease_end: i64, beat: i64) -> Result<()> {
        let keys = &self.keys;
        let prefixes = [
            keys.state(""),
            keys.heartbeat(""),
            keys.memory(""),
            keys.keys(""),
            task_prefix(keys),
            keys.deps(""),
        ];
        let (active, leases) = (keys.active(), keys.leases());
        let (lease_end, beat) = (lease_end.to_string(), beat.to_string());
        let mut first = numbers.start;
        while first < numbers.end {
            let last = numbers.end.min(first + CHUNK) - 1;
            let (from, to) = (first.to_string(), last.to_string());
            let mut call = vec![
                "EVAL",
                PLANT,
                "2",
                &active,
                &leases,
                &from,
                &to,
                &lease_end,
                &beat,
                INCARNATION,
                "bench",
            ];
            call.extend(prefixes.iter().map(String::as_str));
            let reply = self.client.command(&call.iter().map(|part| part.as_bytes()).collect::<Vec<_>>())?;
            ensure!(reply == Reply::Int(i64::from(last - first + 1)), "planting answered {reply:?}");
            first = last + 1;
        }
        Ok(())
    }
}

/// `agent:task:`, of which the schema offers the form with an id and a colon behind it.
fn task_prefix(keys: &KeySchema) -> String {
    keys.task_prefix("").trim_end_matches(':').to_owned() + ":"
}

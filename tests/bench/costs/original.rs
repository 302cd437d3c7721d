//! The baseline: `OrphanDetector` of the original design (`docs/original-design.md`), translated line by line with its
//! faults: one GET per agent, five scans of the keyspace per orphan, one orphan after the other.
//!
//! This is the only file outside `lifecycle-redis` that uses its client, so that both sides use the same one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use fred::interfaces::{HashesInterface as _, KeysInterface as _, PubsubInterface as _, SetsInterface as _};
use fred::prelude::{Builder, Client, ClientLike as _, Config, Expiration, SetOptions};
use lifecycle_core::settings::Settings;
use lifecycle_core::wire::event::EventKind;
use lifecycle_core::wire::keys::{KeySchema, LIFECYCLE_CHANNEL};
use lifecycle_core::wire::orphan::Reason;
use serde_json::{Value, json};

/// What a detection found.
#[derive(Debug, Default)]
pub(crate) struct Detected {
    pub(crate) orphans: Vec<String>,
    pub(crate) healthy: Vec<String>,
}

pub(crate) struct OrphanDetector {
    client: Client,
    keys: KeySchema,
    threshold_ms: u64,
    grace: Duration,
}

impl OrphanDetector {
    pub(crate) async fn connect(settings: &Settings) -> Result<Self> {
        let client = Builder::from_config(Config::from_url(&settings.redis.url)?).build()?;
        client.init().await?;
        let threshold_ms = u64::try_from(settings.sweep.orphan_threshold.as_millis())?;
        Ok(Self { client, keys: KeySchema::default(), threshold_ms, grace: settings.sweep.grace })
    }

    /// The first half of `detectAndCleanupOrphans`.
    pub(crate) async fn detect(&self) -> Result<Detected> {
        let active: Vec<String> = self.client.smembers(self.keys.active()).await?;
        let mut detected = Detected::default();
        for id in active {
            let data: Option<String> = self.client.get(self.keys.heartbeat(&id)).await?;
            let Some(data) = data else {
                detected.orphans.push(id);
                continue;
            };
            let heartbeat: Value = serde_json::from_str(&data)?;
            let timestamp = heartbeat["timestamp"].as_u64().context("a heartbeat without a timestamp")?;
            if date_now()?.saturating_sub(timestamp) > self.threshold_ms {
                detected.orphans.push(id);
            } else {
                detected.healthy.push(id);
            }
        }
        Ok(detected)
    }

    /// `cleanupOrphanedAgent`; how many keys it deleted.
    pub(crate) async fn clean_up(&self, id: &str) -> Result<usize> {
        let lock = self.keys.cleanup_lock(id);
        let (now, ttl) = (date_now()?.to_string(), Some(Expiration::EX(300)));
        let acquired: Option<String> = self.client.set(&lock, now, ttl, Some(SetOptions::NX), false).await?;
        if acquired.is_none() {
            return Ok(0);
        }
        let deleted = self.clean_up_locked(id).await;
        let () = self.client.del(&lock).await?;
        deleted
    }

    async fn clean_up_locked(&self, id: &str) -> Result<usize> {
        let reason = Reason::StaleHeartbeat.as_str();
        self.publish(EventKind::CleanupStarted, json!({ "agentId": id, "reason": reason })).await?;
        tokio::time::sleep(self.grace).await;
        let () = self.client.srem(self.keys.active(), id).await?;
        let tasks = self.keys.task_prefix(id);
        let patterns = [
            self.keys.heartbeat(id),
            self.keys.memory(id),
            self.keys.state(id),
            format!("{}*", tasks.trim_end_matches(':')),
            format!("{}*", self.keys.deps(id)),
        ];
        let mut deleted = 0;
        for pattern in patterns {
            let found = self.scan_keys(&pattern).await?;
            if !found.is_empty() {
                deleted += found.len();
                let () = self.client.del(found).await?;
            }
        }
        let stats = self.keys.memory_stats();
        let () = self.client.hincrby(&stats, "agents", -1).await?;
        let () = self.client.hincrby(&stats, "keysDeleted", i64::try_from(deleted)?).await?;
        self.publish(EventKind::CleanupCompleted, json!({ "agentId": id, "keysDeleted": deleted })).await?;
        Ok(deleted)
    }

    async fn scan_keys(&self, pattern: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut cursor = String::from("0");
        loop {
            let (next, page): (String, Vec<String>) =
                self.client.scan_page(cursor, pattern, Some(100), None).await?;
            keys.extend(page);
            if next == "0" {
                return Ok(keys);
            }
            cursor = next;
        }
    }

    async fn publish(&self, kind: EventKind, mut event: Value) -> Result<()> {
        event["type"] = kind.as_str().into();
        event["timestamp"] = date_now()?.into();
        Ok(self.client.publish(LIFECYCLE_CHANNEL, event.to_string()).await?)
    }
}

fn date_now() -> Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}

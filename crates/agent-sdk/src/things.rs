//! What an agent owns beside keys: a worktree, a container, a file, something to be run. It is noted in the life's ledger
//! on this host first, and then in the store; so it is undone by whoever ends the life here, whatever becomes of its
//! record.

use std::io;

use lifecycle_core::agent::thing::{Account, Thing, ThingKind};
use lifecycle_core::wire::process_fate::{Fate, ProcessFate};
use lifecycle_redis::Life;
use tokio::task::spawn_blocking;

use crate::agent::Agent;
use crate::error::AgentError;
use crate::process::Ledger;
use crate::process::things::{describe, name_of};

impl Agent {
    /// Describes a thing as it is now, for [`Agent::own_thing`]: a worktree, a container, a file, or a command for `sh`.
    ///
    /// # Errors
    /// [`AgentError::Thing`] when it is not there or cannot be of this kind.
    pub async fn thing(kind: ThingKind, what: impl Into<String>) -> Result<Thing, AgentError> {
        let what = what.into();
        blocking(move || describe(kind, &what).map_err(in_words)).await
    }

    /// Declares a thing as the agent's own: it is undone when this life ends, by whoever ends it on this host. A worktree
    /// with work that is nowhere else is left as it is, and named in the audit log.
    ///
    /// # Errors
    /// [`AgentError::Thing`] when it cannot be written down on this host: then it is not owned. A store that is away does
    /// no harm: it learns of the thing when the life ends.
    pub async fn own_thing(&self, thing: Thing) -> Result<(), AgentError> {
        let noted = thing.clone();
        let (life, address) = (self.life(), self.store().settings().redis.address());
        let made = blocking(move || {
            let found = Ledger::of_life(&life.id, life.incarnation);
            let is_made = is_absent(&found);
            let ledger = if is_made { begin(&life, address)? } else { found.map_err(in_words)? };
            ledger.own(&noted).map_err(in_words)?;
            Ok(is_made)
        });
        if made.await? {
            self.shared.stop_state.made_ledger();
        }
        self.tell_store(&[thing]).await;
        Ok(())
    }

    /// Takes a thing off the list of those that the agent owns; `false` if it was not on it.
    ///
    /// # Errors
    /// [`AgentError::Thing`] when that cannot be written down on this host.
    pub async fn disown_thing(&self, kind: ThingKind, what: impl Into<String>) -> Result<bool, AgentError> {
        let (life, what) = (self.life(), what.into());
        let gone = blocking(move || {
            let (found, name) = (Ledger::of_life(&life.id, life.incarnation), name_of(kind, &what));
            let was_there =
                !is_absent(&found) && found.and_then(|ledger| ledger.disown(&name)).map_err(in_words)?;
            Ok((was_there, name))
        });
        let (was_there, name) = gone.await?;
        self.drop_from_store(&[name.as_str()]).await;
        Ok(was_there)
    }

    /// Undoes what this life owns, once nothing of it runs any more. [`Agent::shutdown`] does it too. The store is told
    /// first what there is: should this process be killed now, others can be told what its commands noted on this host
    /// alone.
    pub async fn undo_things(&self) -> Account {
        let life = self.life();
        let found = blocking(move || Ledger::of_life(&life.id, life.incarnation).map_err(in_words)).await;
        let Some(ledger) = found.ok().filter(|ledger| !ledger.things.is_empty()) else {
            return Account::default();
        };
        self.tell_store(&ledger.things).await;
        let limit = self.store().settings().shutdown.kill_timeout;
        // Without an answer it is not known what was undone, and what was not stays on the ledger.
        let things = spawn_blocking(move || ledger.undo(limit)).await.unwrap_or_default();
        tracing::info!(agent = %self.id(), %things, "dealt with what this life owned");
        self.drop_from_store(&things.names().collect::<Vec<_>>()).await;
        things
    }

    /// The same, with its audit entry.
    pub(crate) async fn undo_things_on_record(&self, process: ProcessFate) {
        let things = self.undo_things().await;
        if things.is_empty() {
            return;
        }
        let (id, life, fate) =
            (self.id().as_str(), self.life().incarnation, Fate { process, pids: Vec::new() });
        if let Err(error) = self.store().host(id).acknowledge_all(id, life, &fate, &things).await {
            tracing::warn!(agent = id, %error, "the audit log will not know what became of what this life owned");
        }
    }

    /// Removes the ledger that this life made only for what it owned.
    pub(crate) async fn remove_own_ledger(&self) {
        if !self.shared.stop_state.has_made_ledger() {
            return;
        }
        let life = self.life();
        let removed = blocking(move || {
            let found = Ledger::of_life(&life.id, life.incarnation);
            if is_absent(&found) {
                Ok(())
            } else {
                found.and_then(|ledger| ledger.remove()).map_err(in_words)
            }
        });
        if let Err(error) = removed.await {
            tracing::debug!(agent = %self.id(), %error, "the ledger of this life was not removed");
        }
    }

    async fn tell_store(&self, things: &[Thing]) {
        let (id, life) = (self.id().as_str(), self.life().incarnation);
        match self.store().host(id).note_things(id, life, things).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!(agent = id, "the store does not know this life, nor what it owns");
            }
            Err(error) => tracing::warn!(agent = id, %error, "the store does not list what this life owns"),
        }
    }

    async fn drop_from_store(&self, names: &[&str]) {
        let (id, life) = (self.id().as_str(), self.life().incarnation);
        if let Err(error) = self.store().host(id).drop_things(id, life, names.iter().copied()).await {
            tracing::debug!(agent = id, %error, "the store still lists things that this life does not own any more");
        }
    }
}

/// A ledger for an agent that no supervisor holds: its own process does.
fn begin(life: &Life, store: String) -> Result<Ledger, String> {
    let mut ledger = Ledger::new(life.id.clone(), life.incarnation, store).map_err(in_words)?;
    ledger.containment = "none".into();
    ledger.write().map_err(in_words)?;
    Ok(ledger)
}

fn is_absent(found: &io::Result<Ledger>) -> bool {
    found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` hands it over.
fn in_words(error: impl ToString) -> String {
    error.to_string()
}

/// Files are not waited for on the thread that beats.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, AgentError> {
    let done = spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
    done.map_err(AgentError::Thing)
}

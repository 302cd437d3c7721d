//! Somebody puts another type under a name of ours, whichever: removals still end, and `verify` names that key alone.
//!
//! The names come from the schema, so a new key is covered by itself.

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::sweep::residue;
use lifecycle_core::wire::epic_record::EpicStatus;
use lifecycle_core::wire::ids::AgentId;
use lifecycle_core::wire::keys::KeyType;
use lifecycle_core::wire::process_fate::ProcessFate;
use lifecycle_core::wire::record::{AgentState, Order, Registration};
use lifecycle_redis::{Life, Refusal, Registered, Store, StoreError};

use crate::fleet::SOON;
use crate::site::{BOSS, Site, child_of_the_boss, epic, registration, sprint, task};

const CODER: &str = "shop.coder-1";
/// A key that the coder declared as its own.
const CACHE: &str = "cache:of-the-coder";

/// A coordinator with a sprint, and its child with a task in hand.
struct Family {
    boss: Life,
    coder: Life,
}

/// How an agent is removed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Released,
    Reaped,
}

impl Site {
    /// Every key of the two agents and of what they share, with its right type.
    fn every_key(&self) -> Vec<(String, KeyType)> {
        let of = |id: &str| self.store.keys().every(&AgentId::new(id).unwrap(), &task(), &sprint(), &epic());
        let mut keys = [of(CODER), of(BOSS)].concat();
        keys.sort();
        keys.dedup();
        keys
    }

    /// An empty store with a family in it, each of whose agents has all the keys an agent can have.
    fn family(&mut self) -> Family {
        self.redis(&["FLUSHALL"]);
        let boss = self.coordinator();
        let coder = self.worker(CODER, &boss);
        self.redis(&["SET", CACHE, "x"]);
        self.own(&coder, [CACHE]);
        for life in [&boss, &coder] {
            self.lives(life);
        }
        Family { boss, coder }
    }

    /// Beats, depends on something, and has an order to answer.
    fn lives(&self, life: &Life) {
        assert!(self.beats(life));
        self.depend_on(life, "db");
        assert!(self.done(self.store.agent(life).order_itself(Order::Drain, StopCause::Operator)));
    }

    fn plants(&mut self, key: &str, right: KeyType) {
        self.redis(&["DEL", key]);
        if right == KeyType::String {
            self.redis(&["RPUSH", key, "planted"]);
        } else {
            self.redis(&["SET", key, "planted"]);
        }
    }

    fn is_index(&self, key: &str) -> bool {
        [self.store.keys().active(), self.store.keys().leases()].contains(&key.to_string())
    }

    /// The agent's process ends, and nobody has cleaned up.
    fn dies(&mut self, life: &Life) {
        let id = life.id.as_str();
        self.prove_exit(life);
        // Of an agent whose record is gone the silence has to say it.
        self.expire(id);
        let heartbeat = self.store.keys().heartbeat(id);
        self.redis(&["DEL", &heartbeat]);
    }

    /// A connection of a user who may do all but this command.
    fn store_without_right(&mut self, command: &str) -> Store {
        let right = format!("-{command}");
        self.redis(&["ACL", "SETUSER", "weak", "on", ">pass", "~*", "&*", "+@all", &right]);
        let mut settings = self.store.settings().clone();
        settings.redis.url = self.server.url().replace("redis://", "redis://weak:pass@");
        self.done(Store::connect(&settings))
    }

    /// One pass; what it said when it failed.
    fn sweeps(&self) -> Result<(), String> {
        let mut pass = self.sweeper_command(&["sweep"]).spawn().unwrap();
        match pass.wait(SOON).unwrap().code() {
            Some(0) => Ok(()),
            _ => Err(pass.stderr()),
        }
    }

    /// Removes a life that stands in a store where `planted` was planted. An index is put right first, as the error says
    /// that it has to be.
    fn removes(&mut self, life: &Life, way: Way, planted: &str) {
        let id = life.id.as_str();
        if way == Way::Released {
            let released = self.release(life, StopCause::Done);
            let is_readable = planted != self.store.keys().state(id);
            assert_eq!(released.is_some(), is_readable, "{planted}: {released:?}");
            if is_readable {
                return;
            }
        }
        if self.is_index(planted) {
            let said = self.sweeps().unwrap_err();
            let way_out = format!("{planted} holds a string, not a ");
            assert!(said.contains(&way_out) && said.matches("error: ").count() == 1, "{planted}: {said}");
            self.redis(&["RENAME", planted, "planted.old"]);
        }
        for _ in 0..3 {
            self.sweeps().unwrap_or_else(|said| panic!("{planted}: {said}"));
            if self.traces(id, planted).is_empty() {
                return;
            }
        }
    }

    /// What is left of an agent: keys with its name but for the planted one, and its name in anything of others.
    fn traces(&mut self, id: &str, planted: &str) -> Vec<String> {
        let names = self.client.keys().unwrap();
        let mut traces: Vec<String> =
            names.iter().filter(|key| key.contains(id) && *key != planted).cloned().collect();
        for key in names {
            let listed = match self.client.text(&["TYPE", &key]).unwrap().as_deref() {
                Some("set") => self.client.int(&["SISMEMBER", &key, id]).unwrap() == 1,
                Some("zset") => self.client.text(&["ZSCORE", &key, id]).unwrap().is_some(),
                _ => false,
            };
            if listed {
                traces.push(format!("{key} ({id})"));
            }
        }
        traces
    }

    /// The keys that `verify` names.
    fn residue(&self) -> Vec<String> {
        let operator = self.store.operator();
        let (keys, _) = self.done(operator.product_keys());
        let found = residue::find(self.store.keys(), &self.done(operator.inventory(&keys)));
        found.into_iter().map(|found| found.key).collect()
    }

    /// Nothing but the planted key is named, and that one is, if it is still there.
    fn is_clean_but_for(&mut self, planted: &str, context: &str) {
        let named = self.residue();
        let others: Vec<&String> = named.iter().filter(|key| *key != planted).collect();
        assert!(others.is_empty(), "{context}, {planted}: verify names {named:?}");
        let schema = self.store.keys().clone();
        // A living agent without a readable record speaks the plain protocol, whose records may be of any type.
        let is_open = [schema.state(BOSS), schema.state(CODER)].contains(&planted.to_string());
        let stands = self.stands(planted) && !is_open;
        assert_eq!(!named.is_empty(), stands, "{context}, {planted}: verify names {named:?}");
    }

    /// Whether the key that was planted is still there, and nobody has put one of the right type in its place.
    fn stands(&mut self, planted: &str) -> bool {
        let holds = self.client.text(&["TYPE", planted]).unwrap().unwrap();
        let holds = holds.parse::<KeyType>().ok();
        holds.is_some() && holds != self.store.keys().holds(planted)
    }

    /// Somebody else registers: only what all depend on may keep it from that, and then the error says so.
    fn others_register(&mut self, registration: &Registration, planted: &str) {
        let stands = self.stands(planted);
        let schema = self.store.keys();
        let is_needed = self.is_index(planted) || planted == schema.generation();
        match self.answer_to(registration, None) {
            Err(StoreError::WrongType { key, .. }) => {
                assert!(is_needed && key == planted, "{planted}: {key}");
            }
            Ok(Registered::NoParent) => {
                assert!(registration.parent.is_some() && planted == schema.state(BOSS), "{planted}");
            }
            Ok(Registered::Ok(_)) => assert!(!(is_needed && stands), "{planted}"),
            other => panic!("{planted}: {other:?}"),
        }
    }
}

fn a_child_is_removed_whole(way: Way) {
    let mut site = Site::start();
    for (planted, right) in site.every_key() {
        let family = site.family();
        let is_written_over = planted == site.store.keys().state(CODER);
        if way == Way::Reaped || is_written_over {
            site.dies(&family.coder);
        }
        site.plants(&planted, right);
        site.removes(&family.coder, way, &planted);
        assert_eq!(site.traces(CODER, &planted), [""; 0], "{way:?}, {planted}");
        let list = site.store.keys().keys(CODER);
        assert!(planted == list || !site.client.exists(CACHE).unwrap(), "{way:?}, {planted}");
        site.is_clean_but_for(&planted, "removed");
        site.others_register(&child_of_the_boss("shop.coder-2"), &planted);
        site.is_clean_but_for(&planted, "registered");
    }
}

fn a_coordinator_is_removed_whole(way: Way) {
    let mut site = Site::start();
    for (planted, right) in site.every_key() {
        let family = site.family();
        if way == Way::Reaped || planted == site.store.keys().state(BOSS) {
            site.dies(&family.boss);
        }
        site.plants(&planted, right);
        site.removes(&family.boss, way, &planted);
        // Its child is there, and was told to stop if anybody can tell that it is its child.
        let told = site.done(site.store.operator().pending_order(CODER)).unwrap_or_default();
        let untold = [site.store.keys().state(CODER), site.store.keys().leases(), site.store.keys().active()];
        assert!(
            untold.contains(&planted) || told == "terminate coordinator_lost",
            "{way:?}, {planted}: {told}"
        );
        let traces = site.traces(BOSS, &planted);
        assert_eq!(traces, [""; 0], "{way:?}, {planted}");
        // The records of the epic stay with it, and wait.
        let status = site.done(site.store.epic(&epic())).map(|record| record.status);
        let is_unreadable = planted == site.store.keys().epic_state(&epic());
        assert_eq!(status, (!is_unreadable).then_some(EpicStatus::Waiting), "{way:?}, {planted}");
        site.is_clean_but_for(&planted, "removed");
        site.others_register(&registration("shop.coder-2"), &planted);
        site.is_clean_but_for(&planted, "registered");
    }
}

/// Redis does not roll a script back, so what comes before the command that fails stays done.
#[test]
fn a_removal_that_a_missing_right_stops_half_way_is_finished_by_the_next_pass() {
    let mut site = Site::start();
    let family = site.family();
    let agent = site.store_without_right("xadd").agent(&family.coder);
    let released = site.runtime.block_on(agent.release(StopCause::Done, ProcessFate::Unknown));
    assert_eq!(released.unwrap_err().refusal(), Some(Refusal::NotPermitted));
    assert!(!site.client.exists(CACHE).unwrap(), "it stopped half-way");
    let record = site.store.keys().state(CODER);
    assert!(site.client.exists(&record).unwrap(), "with its record still there");
    site.sweeps().unwrap();
    assert_eq!(site.traces(CODER, ""), [""; 0]);
    assert_eq!(site.log().len(), 1, "and it is in the log once");
    site.is_clean_but_for("", "finished");
}

#[test]
fn a_registration_that_a_missing_right_stops_leaves_no_record_behind() {
    let mut site = Site::start();
    let store = site.store_without_right("zadd");
    let coder = registration(CODER);
    let registered = site.runtime.block_on(store.newcomer(&coder).register(AgentState::Running, None));
    assert_eq!(registered.unwrap_err().refusal(), Some(Refusal::NotPermitted));
    assert_eq!(site.traces(CODER, ""), [""; 0]);
    site.is_clean_but_for("", "refused");
}

#[test]
fn a_child_leaves_nothing_behind_whatever_type_stands_under_any_name() {
    a_child_is_removed_whole(Way::Released);
}

#[test]
fn a_dead_child_is_cleaned_up_whatever_type_stands_under_any_name() {
    a_child_is_removed_whole(Way::Reaped);
}

#[test]
fn a_coordinator_leaves_nothing_behind_whatever_type_stands_under_any_name() {
    a_coordinator_is_removed_whole(Way::Released);
}

#[test]
fn a_dead_coordinator_is_cleaned_up_whatever_type_stands_under_any_name() {
    a_coordinator_is_removed_whole(Way::Reaped);
}

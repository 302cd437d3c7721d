use super::*;
use crate::wire::ids::Incarnation;

const NOW: ServerTime = ServerTime::from_store_ms(1_764_000_000_000);
const MS: Duration = Duration::from_millis(1);

fn living(incarnation: u64) -> SignsOfLife {
    SignsOfLife {
        active: true,
        lease_end: Some(NOW + MS),
        incarnation: Some(Incarnation(incarnation)),
        ..SignsOfLife::default()
    }
}

fn over() -> SignsOfLife {
    SignsOfLife { lease_end: Some(NOW - 12_000 * MS), ..living(1) }
}

fn store(agents: &[(&str, SignsOfLife)], keys: &[&str]) -> Inventory {
    Inventory {
        now: NOW,
        keys: keys.iter().map(ToString::to_string).collect(),
        agents: agents.iter().map(|(id, known)| ((*id).to_string(), known.clone())).collect(),
        ..Inventory::default()
    }
}

fn found(seen: &Inventory) -> Vec<(String, Why)> {
    let name = |found: Residue| match found.member {
        Some(member) => format!("{} {member}", found.key),
        None => found.key,
    };
    let all = find(&KeySchema::default(), seen);
    all.into_iter().map(|residue| (residue.why, residue)).map(|(why, residue)| (name(residue), why)).collect()
}

fn one(key: &str, why: Why) -> Vec<(String, Why)> {
    vec![(key.to_string(), why)]
}

#[test]
fn an_empty_store_and_the_fleets_own_keys_are_clean() {
    let global = ["agents:log", "memory:stats", "memory:baseline", "sweep:watermark", "sweep:hold"];
    assert_eq!(found(&store(&[], &global)), []);
    assert_eq!(
        found(&store(&[], &["lifecycle:generation", "agents:active", "agents:leases", "shop:cart"])),
        []
    );
}

#[test]
fn every_kind_of_agent_key_needs_its_agent() {
    for kind in ["state", "heartbeat", "memory", "deps", "children", "keys", "command"] {
        let key = format!("agent:{kind}:coder-1");
        assert_eq!(found(&store(&[("coder-1", living(1))], &[&key])), [], "{key}");
        assert_eq!(found(&store(&[("coder-10", living(1))], &[&key])), one(&key, Why::NoOwner));
    }
    let tasks = ["agent:task:coder-1", "agent:task:coder-1:login"];
    assert_eq!(found(&store(&[("coder-1", living(1))], &tasks)), []);
    assert_eq!(found(&store(&[], &tasks)).len(), 2);
}

#[test]
fn what_an_orphan_has_is_told_apart_from_what_nobody_owns() {
    let mut ended = living(1);
    ended.ended = Some("process_exited".into());
    for dead in [over(), ended] {
        let seen = store(&[("a", dead)], &["agent:state:a"]);
        assert_eq!(
            found(&seen),
            [("agent:state:a".into(), Why::Orphan), ("agents:active a".into(), Why::Orphan)]
        );
    }
}

#[test]
fn a_plain_agent_lives_by_its_heartbeat_where_its_lease_is_old_or_missing() {
    let heard = SignsOfLife { active: true, heartbeat_until: Some(NOW + 5 * MS), ..SignsOfLife::default() };
    assert_eq!(found(&store(&[("p", heard.clone())], &["agent:heartbeat:p"])), []);
    assert_eq!(found(&store(&[("p", SignsOfLife { lease_end: Some(NOW - MS), ..heard })], &[])), []);
    let silent = SignsOfLife { active: true, ..SignsOfLife::default() };
    assert_eq!(found(&store(&[("p", silent)], &[])), one("agents:active p", Why::NoLease));
}

#[test]
fn a_registered_agent_lives_by_its_lease_alone() {
    let late = SignsOfLife { heartbeat_until: Some(NOW + 5 * MS), ..over() };
    assert_eq!(late.standing(NOW), Standing::Over { since: NOW - 12_000 * MS });
}

#[test]
fn a_lease_without_membership_is_named_though_its_agent_lives() {
    let unlisted = SignsOfLife { active: false, ..living(1) };
    assert_eq!(found(&store(&[("a", unlisted)], &["agent:state:a"])), one("agents:leases a", Why::NotActive));
}

fn epic(status: EpicStatus) -> EpicRecord {
    EpicRecord {
        status,
        epoch: 1,
        coordinator: "boss".into(),
        incarnation: Some(Incarnation(7)),
        plan: String::new(),
        plan_hash: String::new(),
        host: None,
        folder: None,
        runs: None,
        started_at: NOW,
        waiting_since: None,
        kept_until: Some(NOW + MS),
        cancelled_at: None,
    }
}

/// A sprint of an epic, and its keys.
fn sprint_of(record: EpicRecord, agents: &[(&str, SignsOfLife)]) -> Inventory {
    let keys = ["sprint:state:api", "sprint:tasks:api", "epic:sprints:shop", "epic:state:shop"];
    let mut seen = store(agents, &keys);
    seen.members.insert("epic:sprints:shop".into(), vec!["api".into()]);
    seen.sprints.insert("api".into(), "shop".into());
    seen.epics.insert("shop".into(), record);
    seen
}

#[test]
fn a_running_epic_lives_with_its_coordinator_in_the_same_incarnation_and_its_sprints_with_it() {
    assert_eq!(found(&sprint_of(epic(EpicStatus::Running), &[("boss", living(7))])), []);
    for coordinator in [vec![], vec![("boss", living(6))], vec![("boss", living(8))]] {
        let found = found(&sprint_of(epic(EpicStatus::Running), &coordinator));
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().all(|(_, why)| *why == Why::Orphan));
    }
}

#[test]
fn a_waiting_epic_is_kept_until_its_time_is_over() {
    assert_eq!(found(&sprint_of(epic(EpicStatus::Waiting), &[])), []);
    let late = EpicRecord { kept_until: Some(NOW), ..epic(EpicStatus::Waiting) };
    assert!(found(&sprint_of(late, &[])).iter().all(|(_, why)| *why == Why::Orphan));
}

#[test]
fn without_a_record_of_its_epic_a_sprint_has_no_owner() {
    let mut seen = sprint_of(epic(EpicStatus::Waiting), &[]);
    seen.epics.clear();
    assert_eq!(found(&seen).iter().filter(|(_, why)| *why == Why::NoOwner).count(), 4);
    seen.sprints.clear();
    assert_eq!(found(&seen).len(), 4);
}

#[test]
fn members_that_are_nobody_are_named_and_orphans_only_once() {
    let mut seen = store(&[("boss", living(7)), ("dead", over())], &["agent:children:boss"]);
    seen.members.insert("agent:children:boss".into(), vec!["dead".into(), "gone".into()]);
    assert_eq!(
        found(&seen),
        [("agent:children:boss gone".into(), Why::Dangling), ("agents:active dead".into(), Why::Orphan)]
    );
}

#[test]
fn an_epic_names_the_sprint_that_is_gone_while_another_lives() {
    let mut seen = sprint_of(epic(EpicStatus::Waiting), &[]);
    seen.members.insert("epic:sprints:shop".into(), vec!["api".into(), "web".into()]);
    assert_eq!(found(&seen), one("epic:sprints:shop web", Why::Dangling));
}

#[test]
fn further_keys_go_with_the_agent_that_claimed_them() {
    let mut seen = store(&[("a", living(1))], &[]);
    seen.claimed.insert("a".into(), vec!["cache:a".into()]);
    assert_eq!(found(&seen), []);
    seen.agents.clear();
    assert_eq!(found(&seen), one("cache:a", Why::NoOwner));
}

#[test]
fn a_cleanup_lock_is_work_in_progress_only_while_it_expires() {
    let mut seen = store(&[], &["cleanup:lock:a"]);
    assert_eq!(found(&seen), one("cleanup:lock:a", Why::NoExpiry));
    seen.expiring_locks.insert("cleanup:lock:a".into());
    assert_eq!(found(&seen), []);
}

#[test]
fn only_what_both_readings_found_is_left_behind_whatever_the_second_says_of_why() {
    let finding = |key: &str, why| residue(key, None, KeyOwner::Agent("a"), why, String::new());
    let first = [finding("k1", Why::NoOwner), finding("k2", Why::Orphan)];
    let mut again = vec![finding("k2", Why::NoOwner), finding("k3", Why::NoOwner)];
    confirm(&first, &mut again);
    assert_eq!(again, [finding("k2", Why::NoOwner)]);
    let mut member = vec![residue("k1", Some("m"), KeyOwner::Agent("a"), Why::Dangling, String::new())];
    confirm(&first, &mut member);
    assert_eq!(member, [], "the key was found, its member was not");
}

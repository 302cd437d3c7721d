//! The store goes away, comes back, or loses its memory: nobody is reaped and nobody exits.

use std::time::Duration;

use lifecycle_tests::{PlainClient, Role};
use rustix::process::Signal;

use crate::fleet::{Fleet, SOON};

const LEASE: Duration = Duration::from_secs(1);
const AGENTS: usize = 12;

fn start_agents(fleet: &mut Fleet) -> Vec<Role> {
    let agents: Vec<Role> =
        (0..AGENTS).map(|n| fleet.agent(&format!("agent-{n}"), "sleep 600").spawn().unwrap()).collect();
    for n in 0..AGENTS {
        fleet.wait_for_beat(&format!("agent-{n}"));
    }
    agents
}

fn incarnations(fleet: &mut Fleet) -> Vec<Option<String>> {
    (0..AGENTS).map(|n| fleet.incarnation(&format!("agent-{n}"))).collect()
}

fn all_alive(fleet: &mut Fleet) {
    fleet.wait_until("every lease to run again", |client| {
        let now = client.now_ms().unwrap().to_string();
        client.int(&["ZCOUNT", "agents:leases", &format!("({now}"), "+inf"]).unwrap() == AGENTS as i64
    });
}

#[test]
fn a_store_that_stops_answering_for_five_leases_kills_nobody_and_nobody_exits() {
    let mut fleet = Fleet::with_lease(LEASE);
    let _sweeper = fleet.sweeper();
    let mut agents = start_agents(&mut fleet);
    let lives = incarnations(&mut fleet);

    fleet.server.pause().unwrap();
    // Time has to pass here: the leases run out in server time, which nobody can backdate while the server is frozen.
    agents[0].wait(LEASE * 5).expect_err("nobody exits while the store is away");
    fleet.server.resume().unwrap();

    all_alive(&mut fleet);
    nobody_was_reaped(&mut fleet, &lives, &mut agents);
}

#[test]
fn a_pass_after_an_outage_holds_says_why_and_releases_the_hold_once_the_agents_are_back() {
    let mut fleet = Fleet::with_lease(LEASE);
    let sweeper = fleet.sweeper();
    let mut agents = start_agents(&mut fleet);
    let lives = incarnations(&mut fleet);

    // The agents stay away longer than the store, so the pass sees all of them silent.
    fleet.server.pause().unwrap();
    agents.iter().for_each(|agent| agent.signal(Signal::STOP).unwrap());
    agents[0].wait(LEASE * 5).expect_err("it is stopped");
    fleet.server.resume().unwrap();
    let held =
        sweeper.wait_for_line(|line| line.contains("of 12 agents fell silent together"), SOON).unwrap();
    assert!(held.contains("WARN"), "{held}");
    fleet.wait_until("all of them to be held", |client| {
        client.text(&["HGET", "sweep:hold", "agents"]).unwrap().as_deref() == Some("12")
    });

    agents.iter().for_each(|agent| agent.signal(Signal::CONT).unwrap());
    all_alive(&mut fleet);
    fleet.wait_until("the hold to be released", |client| !client.exists("sweep:hold").unwrap());
    nobody_was_reaped(&mut fleet, &lives, &mut agents);
}

#[test]
fn agents_that_are_cut_off_one_after_the_other_are_held_before_the_first_is_reaped() {
    let mut fleet = Fleet::with_lease(Duration::from_secs(2));
    let sweeper = fleet.sweeper();
    let mut agents = start_agents(&mut fleet);
    let lives = incarnations(&mut fleet);
    // As in a network that goes while the store stays: the leases end spread over the time between two beats.
    agents.iter().for_each(|agent| agent.signal(Signal::STOP).unwrap());
    sweeper.wait_for_line(|line| line.contains("of 12 agents fell silent together"), SOON).unwrap();
    fleet.wait_until("all of them to be held", |client| {
        client.text(&["HGET", "sweep:hold", "agents"]).unwrap().as_deref() == Some("12")
    });
    agents.iter().for_each(|agent| agent.signal(Signal::CONT).unwrap());
    all_alive(&mut fleet);
    nobody_was_reaped(&mut fleet, &lives, &mut agents);
}

fn nobody_was_reaped(fleet: &mut Fleet, lives: &[Option<String>], agents: &mut [Role]) {
    assert_eq!(incarnations(fleet), lives, "nobody had to register again");
    assert_eq!(fleet.client.int(&["XLEN", "agents:log"]).unwrap(), 0, "no cleanup took place");
    for agent in agents {
        assert!(agent.is_running().unwrap(), "{}", agent.stderr());
    }
}

#[test]
fn after_flushall_all_register_again_under_their_incarnations_and_go_on() {
    let mut fleet = Fleet::with_lease(LEASE);
    let _sweeper = fleet.sweeper();
    let mut agents = start_agents(&mut fleet);
    let lives = incarnations(&mut fleet);
    fleet.redis(&["FLUSHALL"]);
    all_alive(&mut fleet);
    assert_eq!(incarnations(&mut fleet), lives);
    for agent in &mut agents {
        assert!(agent.is_running().unwrap(), "{}", agent.stderr());
    }
}

#[test]
fn a_store_that_is_killed_and_restarted_empty_costs_no_agent_its_life() {
    let mut fleet = Fleet::with_lease(LEASE);
    let mut agents = start_agents(&mut fleet);
    let lives = incarnations(&mut fleet);
    fleet.server.kill().unwrap();
    fleet.restart();
    all_alive(&mut fleet);
    assert_eq!(incarnations(&mut fleet), lives);
    agents[0].stop(SOON).unwrap();
}

#[test]
fn a_full_store_silences_no_living_agent_and_can_still_be_cleaned() {
    let mut fleet = Fleet::with_lease(LEASE);
    let mut living = fleet.agent("living", "sleep 600").spawn().unwrap();
    let mut dying = fleet.agent("dying", "sleep 600").spawn().unwrap();
    fleet.wait_for_beat("living");
    fleet.wait_for_beat("dying");
    fleet.redis(&["SET", "filler", &"x".repeat(100_000)]);
    fleet.redis(&["CONFIG", "SET", "maxmemory", "100kb"]);
    fleet.client.run(&["SET", "more", "x"]).expect_err("the store is full");

    let lease = |client: &mut PlainClient| {
        let end = client.text(&["ZSCORE", "agents:leases", "living"]).unwrap();
        end.and_then(|end| end.parse::<u64>().ok())
    };
    let before = lease(&mut fleet.client);
    fleet.wait_until("a beat in the full store", |client| lease(client) > before);
    dying.kill().unwrap();
    let _sweeper = fleet.role("sweeper").arg("run").spawn().unwrap();
    fleet.wait_until("the dead one to be cleaned up", |client| !client.exists("agent:state:dying").unwrap());
    assert!(fleet.client.exists("agent:state:living").unwrap() && living.is_running().unwrap());
}

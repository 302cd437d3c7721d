//! Who hears what: observers everything, an agent what is said to it.
#![cfg(target_os = "linux")]

use lifecycle_tests::{PlainClient, eventually};

use crate::fleet::{Fleet, SOON};

fn listeners(client: &mut PlainClient, channel: &str) -> i64 {
    let reply = client.run(&["PUBSUB", "NUMSUB", channel]).unwrap().texts();
    reply[1].parse().unwrap()
}

#[test]
fn an_agent_listens_to_its_own_channel_alone_and_hears_an_order_there_long_before_its_next_beat() {
    // Beats come every 30 s.
    let mut fleet = Fleet::new();
    let mut agent = fleet.agent("coder-1", "exec sleep 300").spawn().unwrap();
    fleet.wait_until("the subscription", |client| listeners(client, "agent:lifecycle:coder-1") == 1);
    assert_eq!(listeners(&mut fleet.client, "agent:lifecycle"), 0, "what others do is none of its business");
    let client = || fleet.server.client().unwrap();
    let mut own = client().subscribe(&["agent:lifecycle:coder-1"]).unwrap();
    let mut all = client().subscribe(&["agent:lifecycle"]).unwrap();
    let mut stop = fleet.role("lifecyclectl").args(["stop", "coder-1"]).spawn().unwrap();
    assert_eq!(stop.wait(SOON).unwrap().code(), Some(0), "{}", stop.stderr());
    let (_, said) = own.next(SOON).unwrap().unwrap();
    // Observers hear the same, among other things: the agent beats because it was told so, or because it has just come.
    while all.next(SOON).unwrap().expect("observers hear the same").1 != said {}
    assert_eq!(agent.wait(SOON).unwrap().code(), Some(143), "{}", agent.stderr());
}

#[test]
fn what_an_agent_says_of_itself_is_said_to_observers_and_not_back_to_it() {
    let fleet = Fleet::new().set("LIFECYCLE_HEARTBEAT__INTERVAL", "100ms");
    let client = || fleet.server.client().unwrap();
    let mut own = client().subscribe(&["agent:lifecycle:coder-1"]).unwrap();
    let mut all = client().subscribe(&["agent:lifecycle"]).unwrap();
    let _agent = fleet.agent("coder-1", "exec sleep 300").spawn().unwrap();
    let mut beats = 0;
    while beats < 5 {
        let (_, event) = all.next(SOON).unwrap().unwrap();
        beats += usize::from(event.windows(14).any(|part| part == b"heartbeat_sent"));
    }
    while let Some((_, event)) = own.next(std::time::Duration::ZERO).unwrap() {
        assert!(!event.windows(14).any(|part| part == b"heartbeat_sent"));
    }
}

#[test]
fn a_subscription_that_was_cut_off_is_taken_up_again() {
    let mut fleet = Fleet::new();
    let mut agent = fleet.agent("coder-1", "exec sleep 300").spawn().unwrap();
    for _ in 0..3 {
        fleet.wait_until("the subscription", |client| listeners(client, "agent:lifecycle:coder-1") == 1);
        assert_eq!(fleet.client.int(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap(), 1);
    }
    fleet.wait_until("the subscription", |client| listeners(client, "agent:lifecycle:coder-1") == 1);
    let mut stop = fleet.role("lifecyclectl").args(["stop", "coder-1"]).spawn().unwrap();
    stop.wait(SOON).unwrap();
    eventually(SOON, "the end of the agent", || Ok((!agent.is_running()?).then_some(()))).unwrap();
}

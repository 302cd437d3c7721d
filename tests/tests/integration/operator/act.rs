//! `reap`, `drain` and `stop` do what they say to whom they say, and refuse the rest.

use lifecycle_core::agent::shutdown::StopCause;
use lifecycle_core::wire::record::Order;
use lifecycle_redis::Fenced;
use lifecycle_tests::eventually;

use super::{SOON, Site};

#[test]
fn reap_refuses_a_living_agent_without_force_and_names_where_it_lives() {
    let mut site = Site::start();
    let boss = site.coordinator();
    let worker = site.worker("coder-1", &boss);
    let before = site.client.keys().unwrap();
    let refused = site.refused(&["reap", "coder-1"], 1);
    assert!(refused.contains("builder:4242") && refused.contains("in 9m"), "{refused}");
    assert_eq!(site.client.keys().unwrap(), before);

    let report = site.json(&["reap", "coder-1", "--force"]);
    assert_eq!((&report["outcome"], &report["tasksRequeued"]), (&"reaped".into(), &1.into()));
    assert_eq!(site.client.int(&["LLEN", "sprint:requeue:api"]).unwrap(), 1);
    assert!(site.ok(&["verify"]).starts_with("no residue"));
    assert_eq!(site.beat(&worker), Fenced::Fenced);
}

#[test]
fn reap_takes_exactly_what_a_dead_agent_of_either_protocol_left() {
    let mut site = Site::start();
    site.plain("agent-1", 180_000);
    site.plain("agent-10", 1_000);
    for key in ["agent:task:agent-1:t", "agent:deps:agent-1", "agent:task:agent-10:t", "agent:deps:agent-10"]
    {
        site.redis(&["SET", key, "x"]);
    }
    site.register("coder-1");
    site.expire("coder-1");
    let said = site.ok(&["reap", "agent-1"]);
    assert_eq!(said, "reaped agent-1: 3 keys deleted, 0 tasks handed back");
    site.ok(&["reap", "coder-1"]);
    assert_eq!(site.active(), ["agent-10"]);
    assert!(site.client.exists("agent:task:agent-10:t").unwrap());
    assert!(site.ok(&["verify"]).starts_with("no residue"));
    let reasons = site.ok(&["events"]);
    assert_eq!(reasons.lines().filter(|line| line.contains("reason=operator")).count(), 2, "{reasons}");
}

#[test]
fn reap_gives_a_last_call_and_an_agent_that_answers_it_stays() {
    let mut site = Site::start();
    let worker = site.register("coder-1");
    site.expire("coder-1");
    let mut bus = site.server.client().unwrap().subscribe(&["agent:lifecycle"]).unwrap();
    let mut reap = site.command(&["reap", "coder-1"]).env("LIFECYCLE_SWEEP__GRACE", "2s").spawn().unwrap();
    bus.next(SOON).unwrap().expect("cleanup_started");
    assert!(site.beats(&worker));
    let status = reap.wait(SOON).unwrap();
    assert_eq!(status.code(), Some(1), "{}", reap.stdout());
    assert!(reap.stderr().contains("answered the last call"), "{}", reap.stderr());
    assert!(site.client.exists("agent:state:coder-1").unwrap());
}

#[test]
fn reap_of_nobody_and_of_an_id_that_reaches_into_the_keys_of_another_fails_and_touches_nothing() {
    let mut site = Site::start();
    site.plain("x", 1_000);
    site.redis(&["SADD", "agents:active", "x:y"]);
    site.redis(&["SET", "agent:deps:x:y", "x"]);
    site.refused(&["reap", "nobody"], 1);
    let refused = site.refused(&["reap", "x:y"], 1);
    assert!(
        refused.contains("nothing was reaped; --force removes its entries in agents:active"),
        "{refused}"
    );
    assert!(site.client.exists("agent:deps:x:y").unwrap());
    assert_eq!(site.active(), ["x", "x:y"]);
}

#[test]
fn reap_with_force_removes_the_index_entries_alone_of_an_id_that_is_of_no_use_in_key_names() {
    let mut site = Site::start();
    site.plain("x", 1_000);
    for key in ["agent:deps:x:y", "agent:task:x:y", "agent:heartbeat:x:y"] {
        site.redis(&["SET", key, "x"]);
    }
    let (keys, members) = (site.client.keys().unwrap(), ["SMEMBERS", "agents:active"]);
    site.redis(&["SADD", "agents:active", "x:y", ""]);
    site.redis(&["ZADD", "agents:leases", "1", "x:y", "1", "z:y"]);
    for bytes in [&b"no\xfftext"[..], b"no\xfetext", b"other\xfftext"] {
        site.client.command(&[b"SADD", b"agents:active", bytes]).unwrap();
    }
    let said = site.ok(&["reap", "x:y", "--force"]);
    assert!(said.starts_with("removed 2 index entries of \"x:y\" and touched no other key"), "{said}");
    assert!(site.ok(&["reap", "", "--force"]).starts_with("removed 1 index entry of \"\""));
    let report = site.json(&["reap", "no\u{fffd}text", "--force"]);
    assert_eq!((&report["outcome"], &report["indexEntries"]), (&"unlisted".into(), &2.into()));
    assert_eq!(site.client.texts(&members).unwrap(), ["other\u{fffd}text", "x"]);
    assert_eq!(site.client.texts(&["ZRANGE", "agents:leases", "0", "-1"]).unwrap(), ["z:y"]);
    assert!(site.refused(&["reap", "x:y", "--force"], 1).contains("there is no agent \"x:y\""));

    site.ok(&["reap", "z:y", "--force"]);
    site.ok(&["reap", "other\u{fffd}text", "--force"]);
    assert_eq!(site.client.keys().unwrap(), keys, "nothing but index entries went, and nothing came");
}

#[test]
fn an_id_that_is_of_no_use_in_key_names_does_not_keep_verify_red() {
    let mut site = Site::start();
    site.plain("plain-1", 1_000);
    site.redis(&["SADD", "agents:active", "x:y", ""]);
    site.client.command(&[b"ZADD", b"agents:leases", b"1", b"no\xfftext"]).unwrap();
    assert_eq!(site.run(&["verify"]).code, Some(1));
    for id in ["x:y", "", "no\u{fffd}text"] {
        site.ok(&["reap", id, "--force"]);
    }
    assert!(site.ok(&["verify"]).starts_with("no residue"));
}

#[test]
fn drain_and_stop_are_delivered_in_the_reply_to_the_next_beat() {
    let site = Site::start();
    for (command, order) in [("drain", Order::Drain), ("stop", Order::Terminate)] {
        let life = site.register(command);
        assert_eq!(site.order_to(&life), None);
        site.ok(&[command, command]);
        assert_eq!(site.order_to(&life), Some((order, "operator".into())));
    }
}

#[test]
fn drain_with_wait_ends_when_the_agent_has_left_and_says_how() {
    let site = Site::start();
    let life = site.register("coder-1");
    let mut drain = site.spawn(&["drain", "coder-1", "--wait", "60s"]);
    let ordered = eventually(SOON, "the order", || Ok(site.order_to(&life))).unwrap();
    assert_eq!(ordered.0, Order::Drain);
    site.release(&life, StopCause::Operator).unwrap();
    assert_eq!(drain.wait(SOON).unwrap().code(), Some(0), "{}", drain.stderr());
    assert!(
        drain.stdout().contains("left by itself") && drain.stdout().contains("(operator)"),
        "{}",
        drain.stdout()
    );
}

#[test]
fn drain_with_wait_fails_when_the_agent_stays() {
    let site = Site::start();
    site.register("coder-1");
    let said = site.refused(&["drain", "coder-1", "--wait", "50ms"], 1);
    assert!(said.contains("still there after 50ms (running, 0 tasks in flight"), "{said}");
}

#[test]
fn an_order_to_an_agent_that_cannot_take_it_fails_and_says_why() {
    let mut site = Site::start();
    site.plain("plain-1", 1_000);
    site.register("dead");
    site.redis(&["HSET", "agent:state:dead", "ended", "process_exited"]);
    for (id, why) in
        [("plain-1", "plain protocol"), ("dead", "ended (process_exited)"), ("nobody", "no agent")]
    {
        let said = site.refused(&["drain", id], 1);
        assert!(said.contains(why), "{said}");
    }
}

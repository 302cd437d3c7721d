//! Whatever stands in the store or comes over the channel: the loop goes on, and nobody suffers for it.

use super::{LONG_AGO_MS, SOON, Site, count};

#[test]
fn rubbish_in_the_store_and_on_the_channel_does_not_stop_the_daemon() {
    let mut site = Site::start();
    let mut daemon = site.daemon();
    daemon.wait_until_ready();

    let client = &mut site.client;
    let huge = vec![b'{'; 10 << 20];
    client.command(&[b"SETEX", b"agent:heartbeat:huge", b"180", &huge]).unwrap();
    client.command(&[b"SETEX", b"agent:heartbeat:json", b"180", b"{\"timestamp\":"]).unwrap();
    client.command(&[b"SETEX", b"agent:heartbeat:msgpack", b"180", b"\xdf\xff\xff\xff\xff"]).unwrap();
    client.run(&["RPUSH", "agent:heartbeat:list", "beat"]).unwrap();
    client.run(&["SETEX", "agent:state:string", "180", "busy"]).unwrap();
    client.run(&["RPUSH", "agent:command:string", "x"]).unwrap();
    client.run(&["SADD", "agents:active", "huge", "json", "msgpack", "list", "string"]).unwrap();
    for message in
        [&b"rubbish"[..], b"\xc1\xff", b"", b"{\"type\":\"agent_promoted\",\"agentId\":7}", b"{}", &huge]
    {
        client.command(&[b"PUBLISH", b"agent:lifecycle", message]).unwrap();
        client.command(&[b"PUBLISH", b"system:alerts", message]).unwrap();
    }

    let life = site.register("dead");
    site.prove_exit(&life);
    site.wait_until("the cleanup of the dead one", |client| {
        let log = client.run(&["XREVRANGE", "agents:log", "+", "-"]).unwrap();
        format!("{log:?}").contains(&format!("{:?}", b"dead".to_vec()))
    });
    site.wait_until("the cleanup of those without a heartbeat", |client| {
        client.texts(&["SMEMBERS", "agents:active"]).unwrap() == ["huge", "json", "msgpack"]
    });
    assert!(daemon.role.is_running().unwrap(), "{}", daemon.role.stderr());
    assert_eq!(daemon.page("/healthz").0, 200);
    assert!(!daemon.role.stderr().contains("panicked"), "{}", daemon.role.stderr());
}

#[test]
fn an_unreadable_heartbeat_counts_until_its_key_expires() {
    let mut site = Site::start();
    site.redis(&["SETEX", "agent:heartbeat:odd", "180", "rubbish"]);
    site.redis(&["SADD", "agents:active", "odd"]);
    assert_eq!(count(&site.sweep(), "healthyAgents"), 1);
    site.redis(&["DEL", "agent:heartbeat:odd"]);
    site.expire("odd");
    assert_eq!(count(&site.sweep(), "orphansCleaned"), 1);
}

#[test]
fn an_index_of_another_type_is_an_error_of_one_pass_and_not_the_end_of_the_loop() {
    let mut site = Site::start();
    let daemon = site.daemon();
    daemon.wait_until_ready();
    site.redis(&["DEL", "agents:active"]);
    site.redis(&["SET", "agents:active", "broken"]);
    site.redis(&["PUBLISH", "agent:lifecycle", r#"{"type":"process_exited"}"#]);
    daemon
        .role
        .wait_for_line(
            |line| {
                line.contains("no pass could be made")
                    && line.contains("agents:active holds a string, not a set: rename or delete it")
            },
            SOON,
        )
        .unwrap();
    site.redis(&["DEL", "agents:active"]);
    site.plain("gone", LONG_AGO_MS);
    site.redis(&["PUBLISH", "agent:lifecycle", r#"{"type":"process_exited"}"#]);
    site.wait_until("the cleanup", |client| client.int(&["XLEN", "agents:log"]).unwrap() == 1);
}

#[test]
fn no_store_at_the_url_is_one_line_and_exit_69() {
    let mut sweep = lifecycle_tests::Role::command("sweeper")
        .unwrap()
        .args(["sweep", "--redis-url", "redis://127.0.0.1:1"])
        .env("LIFECYCLE_REDIS__START_TIMEOUT", "200ms")
        .spawn()
        .unwrap();
    assert_eq!(sweep.wait(SOON).unwrap().code(), Some(69));
    assert_eq!(sweep.stdout(), "");
    assert_eq!(sweep.stderr().lines().count(), 1, "{}", sweep.stderr());
    assert!(sweep.stderr().contains("start Redis or Valkey there, or set redis.url"), "{}", sweep.stderr());
}

#[test]
fn a_store_that_evicts_keys_is_warned_of() {
    let mut site = Site::start();
    site.redis(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    let mut sweep = site.sweep_command().spawn().unwrap();
    super::result(&mut sweep);
    assert!(sweep.stderr().contains("set maxmemory-policy to noeviction"), "{}", sweep.stderr());
}

//! `lifecyclectl memory` shows whose memory goes where, whatever others wrote into the store.

use lifecycle_core::memory::leak::{Finding, Trend};
use lifecycle_core::wire::memory_records::MemoryStats;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_redis::{Life, TrendNote};
use serde_json::{Value, json};

use super::Site;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MINUTE_MS: i64 = 60_000;
const NO_SWEEPER: &str = "no trends: no sweeper ever made a pass here";

impl Site {
    /// A registered agent with these memory figures, as its beats leave them.
    fn registered_using(&mut self, id: &str, rss: u64, more: &[&str]) -> Life {
        let life = self.register(id);
        let (rss, heap, now) = (rss.to_string(), (rss / 4).to_string(), self.ago(0));
        let key = format!("agent:memory:{id}");
        let figures = ["HSET", &key, "rss", &rss, "heapUsed", &heap, "timestamp", &now];
        self.redis(&[&figures, more].concat());
        life
    }

    /// What somebody wrote where a sweeper writes what it found.
    fn trends(&mut self, id: &str, slope: &str, confidence: &str, limit_reached: &str, finding: &str) {
        let fields = ["slopeBytesPerHour", slope, "confidence", confidence, "limitReachedMs", limit_reached];
        let rest = ["finding", finding, "floors", "7,x,,1e9,-1"];
        self.redis(&[&["HSET", &format!("agent:memory:{id}")], &fields[..], &rest].concat());
    }

    /// A plain agent whose heartbeat tells of its memory.
    fn plain_uses(&mut self, id: &str, memory: &str) {
        let beat = format!(r#"{{"agentId":"{id}","timestamp":{},"memoryUsage":{memory}}}"#, self.now());
        self.redis(&["SETEX", &format!("agent:heartbeat:{id}"), "180", &beat]);
        self.redis(&["SADD", "agents:active", id]);
    }

    fn compares_with(&self, baseline: &MemoryStats) {
        self.done(self.store.sweeper().keep_baseline(baseline));
    }

    /// Three agents: one that leaks, one on the plain protocol, one that no sweeper has told of.
    fn three(&mut self) {
        let trend = Trend {
            slope_bytes_per_hour: 536_870_912.0,
            confidence: 0.93,
            limit_reached_at: u64::try_from(self.now() + 125 * MINUTE_MS).ok().map(ServerTime::from_store_ms),
            finding: Some(Finding::Leak),
            floors: (1..=24).map(|step| step * 50 * MIB).collect(),
        };
        self.registered_using("small", 64 * MIB, &["processes", "2"]);
        let life =
            self.registered_using("leaky", 3 * GIB, &["processes", "5", "limit", &(4 * GIB).to_string()]);
        let note = TrendNote {
            id: "leaky",
            incarnation: Some(life.incarnation),
            trend: &trend,
            began: None,
            ended: &[],
            lasting: &[],
        };
        assert!(!self.done(self.store.sweeper().tell_trend(note)), "an alert");
        self.plain_uses("plain-1", &format!(r#"{{"rss":{GIB},"heapUsed":1024}}"#));
    }
}

fn ids(fleet: &Value) -> Vec<&str> {
    fleet["agents"].as_array().unwrap().iter().map(|agent| agent["agentId"].as_str().unwrap()).collect()
}

/// The line of an agent, its columns parted by one space.
fn row(said: &str, id: &str) -> String {
    let line = said.lines().find(|line| line.split_whitespace().next() == Some(id));
    line.unwrap_or_else(|| panic!("{id}: {said}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn agents_are_shown_by_resident_memory_with_trend_and_forecast() {
    let mut site = Site::start();
    site.three();
    let said = site.ok(&["memory"]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("3 agents: 4.1 GiB resident, 784.0 MiB heap, 7 processes; "), "{said}");
    assert!(lines[0].ends_with(" in the store"), "{said}");
    let shown: Vec<&str> = lines[2..].iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(shown, ["leaky", "plain-1", "small"], "{said}");
    let leaky = row(&said, "leaky");
    assert!(
        leaky.starts_with("leaky coder running 3.0 GiB 75% of 4.0 GiB ▁▁▂▂▃▄▄▅▆▆▇█ +512.0 MiB/h 2h"),
        "{leaky}"
    );
    assert!(leaky.ends_with(" leak 93%"), "{leaky}");
    assert_eq!(row(&said, "plain-1"), "plain-1 plain - 1.0 GiB - - - - -");
    assert_eq!(row(&said, "small"), "small coder running 64.0 MiB - - - - -");
}

#[test]
fn programs_get_the_same_in_the_original_designs_words() {
    let mut site = Site::start();
    site.three();
    let before = site.now();
    let fleet = site.json(&["memory", "--top", "2"]);
    assert_eq!(ids(&fleet), ["leaky", "plain-1"]);
    assert_eq!(fleet["totalAgents"], 3, "of all, not of those shown");
    assert_eq!(fleet["totalRSS"], 4 * GIB + 64 * MIB);
    assert_eq!(fleet["totalHeapUsed"], 784 * MIB + 1024);
    assert!(fleet["redisMemory"].as_u64().unwrap() > 0);
    assert!(fleet["timestamp"].as_i64().unwrap() >= before);
    assert_eq!(fleet["baseline"], Value::Null);
    let leaky = &fleet["agents"][0];
    assert!(leaky["incarnation"].is_string() && leaky["leaseEnd"].as_i64().unwrap() > before, "{leaky}");
    for (name, expected) in [
        ("kind", json!("coder")),
        ("state", json!("running")),
        ("rss", json!(3 * GIB)),
        ("heapUsed", json!(768 * MIB)),
        ("processes", json!(5)),
        ("pss", json!(null)),
        ("limit", json!(4 * GIB)),
        ("slopeBytesPerHour", json!(536_870_912.0)),
        ("confidence", json!(0.93)),
        ("finding", json!("leak")),
    ] {
        assert_eq!(leaky[name], expected, "{name}");
    }
    assert!(leaky["limitReachedMs"].as_i64().unwrap() > before);
    assert_eq!(leaky["floors"].as_array().unwrap().len(), 24);
    let plain = &fleet["agents"][1];
    let unknown = [&plain["incarnation"], &plain["kind"], &plain["slopeBytesPerHour"], &plain["finding"]];
    assert_eq!(unknown, [&Value::Null; 4]);
    assert_eq!(plain["floors"], json!([]));
}

#[test]
fn the_rest_of_a_large_fleet_is_counted_and_a_kind_can_be_chosen() {
    let mut site = Site::start();
    for number in 1..=22 {
        site.registered_using(&format!("coder-{number}"), number * MIB, &[]);
    }
    site.plain_uses("plain-1", r#"{"rss":1048576}"#);
    let said = site.run(&["memory"]).stdout;
    assert!(said.contains("23 agents:") && said.ends_with("and 3 more agents; --top 23 shows all"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("coder-")).count(), 20, "{said}");
    assert_eq!(ids(&site.json(&["memory", "--top", "1"])), ["coder-22"]);
    let plain = site.json(&["memory", "--kind", "plain"]);
    assert_eq!((ids(&plain), &plain["totalRSS"]), (vec!["plain-1"], &json!(MIB)));
    let coders = site.run(&["memory", "--kind", "coder", "--top", "100"]);
    assert!(
        coders.stdout.starts_with("22 agents of kind \"coder\": 253.0 MiB resident"),
        "{}",
        coders.stdout
    );
    assert!(!coders.stdout.contains("plain-1") && !coders.stdout.contains("more agent"), "{}", coders.stdout);
    assert_eq!(site.ok(&["memory", "--kind", "no\nsuch"]), "no agent of kind \"no\\nsuch\"");
}

#[test]
fn growth_is_told_only_of_agents_that_were_there_then_and_are_now() {
    let mut site = Site::start();
    site.three();
    let timestamp = ServerTime::from_store_ms(u64::try_from(site.now() - 5 * MINUTE_MS).unwrap());
    let mut baseline =
        MemoryStats { total_agents: 3, total_rss: 2 * GIB, timestamp, ..MemoryStats::default() };
    site.compares_with(&baseline);
    let said = site.ok(&["memory"]);
    assert!(said.contains("\n+2.1 GiB in 5m") && said.contains(", of 3 agents then and now\n"), "{said}");
    assert_eq!(site.json(&["memory"])["baseline"]["totalRSS"], 2 * GIB);
    assert!(!site.ok(&["memory", "--kind", "coder"]).contains("then"), "a kind is not the fleet");
    baseline.total_agents = 2;
    site.compares_with(&baseline);
    let said = site.ok(&["memory"]);
    assert!(said.contains("\n2 agents have been there since 5m"), "{said}");
    assert!(said.contains(" ago, with 2.0 GiB then\n") && !said.contains("then and now"), "{said}");
}

#[test]
fn absurd_figures_and_keys_of_another_type_cost_a_figure_only() {
    let mut site = Site::start();
    site.three();
    let absurd = u64::MAX.to_string();
    site.registered_using(
        "odd",
        32 * MIB,
        &["heapUsed", "1e99", "processes", "-3", "limit", "0", "pss", &absurd],
    );
    site.trends("odd", "1e308", "-1", "1", "leak");
    site.registered_using("past", 16 * MIB, &["limit", "1"]);
    site.trends("past", "-1", "7", "1", "runaway");
    site.registered_using("other", 8 * MIB, &[]);
    site.trends("other", "NaN", "1", "1", "leak");
    site.plain_uses("lost", r#"{"rss":-5,"heapUsed":"all"}"#);
    for id in ["listed", "cut"] {
        site.register(id);
    }
    site.redis(&["DEL", "agent:memory:listed"]);
    site.redis(&["LPUSH", "agent:memory:listed", "a list"]);
    site.redis(&["HSET", "agent:memory:cut", "rss", "18446744073709551616"]);
    site.redis(&["SET", "memory:baseline", "\u{1b}rubbish"]);
    let said = site.ok(&["memory"]);
    assert!(said.starts_with("9 agents: 4.1 GiB resident"), "{said}");
    assert_eq!(said.lines().nth(1), Some("3 of them without a figure"), "{said}");
    assert!(row(&said, "leaky").ends_with(" leak 93%"), "{said}");
    assert_eq!(row(&said, "odd"), "odd coder running 32.0 MiB - ▁ - - leak 0%");
    assert_eq!(row(&said, "past"), "past coder running 16.0 MiB >999% of 1 B ▁ -1 B/h now runaway 100%");
    assert_eq!(row(&said, "other"), "other coder running 8.0 MiB - - - - -", "no sweeper writes that");
    for (id, kind) in [("lost", "plain -"), ("listed", "coder running"), ("cut", "coder running")] {
        assert_eq!(row(&said, id), format!("{id} {kind} - - - - - -"));
    }
    assert_eq!(site.json(&["memory"])["baseline"], Value::Null);

    site.redis(&["DEL", "agents:active"]);
    site.redis(&["SET", "agents:active", "no set"]);
    assert_eq!(site.json(&["memory"])["totalAgents"], 7, "those with a lease");
    site.redis(&["HDEL", "agent:memory:leaky", "slopeBytesPerHour"]);
    let untold = site.run(&["memory", "--top", "1"]);
    assert_eq!(untold.code, Some(0), "{}", untold.stderr);
    assert!(untold.stderr.starts_with("note: no trends: "), "{}", untold.stderr);
    site.redis(&["DEL", "agents:leases"]);
    site.redis(&["SET", "agents:leases", "no set either"]);
    assert_eq!(site.ok(&["memory"]), "no agents");
}

#[test]
fn an_agent_whose_lease_is_over_is_not_shown_as_running() {
    let mut site = Site::start();
    site.registered_using("dead", MIB, &[]);
    site.expire("dead");
    assert!(row(&site.run(&["memory"]).stdout, "dead").starts_with("dead coder lease over 1.0 MiB"));
}

#[test]
fn columns_without_a_trend_are_explained_once_on_stderr_and_only_to_people() {
    let mut site = Site::start();
    site.registered_using("coder-1", MIB, &[]);
    let ended = site.run(&["memory"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains(NO_SWEEPER) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
    site.json(&["memory"]);
    site.was_just_swept();
    let ended = site.run(&["memory"]);
    assert!(ended.stderr.contains("for some minutes"), "{}", ended.stderr);
}

#[test]
fn a_store_without_agents_is_one_clear_line() {
    let site = Site::start();
    assert_eq!(site.ok(&["memory"]), "no agents");
    let fleet = site.json(&["memory"]);
    assert_eq!((&fleet["totalAgents"], &fleet["agents"]), (&json!(0), &json!([])));
}

#[test]
fn ids_and_kinds_of_others_cannot_steer_the_terminal() {
    let mut site = Site::start();
    site.redis(&["SADD", "agents:active", "evil\u{1b}[2J\nid"]);
    site.registered_using("coder-1", MIB, &[]);
    site.redis(&["HSET", "agent:state:coder-1", "kind", "\u{1b}[31mred", "state", "\u{7}"]);
    let said = site.run(&["memory"]).stdout;
    assert!(said.contains("evil\\u{1b}[2J\\nid") && said.contains("\\u{1b}[31mred"), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{7}']), "{said:?}");
}

#[test]
fn help_shows_examples_and_judge_is_still_there() {
    let site = Site::start();
    let help = site.ok(&["memory", "--help"]);
    for part in ["lifecyclectl memory --kind coder", "lifecyclectl memory judge trace.csv", "--top <N>"] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert!(
        site.refused(&["memory", "--output", "json", "judge", "/no/such"], 2).contains("cannot be opened")
    );
}

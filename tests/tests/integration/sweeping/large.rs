//! A fleet of 100,000: pages stay small, and everybody is counted.

use std::time::Duration;

use lifecycle_tests::eventually;

use super::Site;

const AGENTS: u64 = 100_000;
/// Everybody is read in rounds, on whatever machine this runs.
const A_WHOLE_ROUND: Duration = Duration::from_secs(120);

/// Registered, beating agents of 1 to 100,000 bytes.
const PLANT: &str = "
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = 'agent-' .. i
  redis.call('SADD', 'agents:active', id)
  redis.call('ZADD', 'agents:leases', ARGV[3], id)
  redis.call('HSET', 'agent:state:' .. id, 'incarnation', i, 'state', 'busy', 'leaseMs', 3600000)
  redis.call('HSET', 'agent:memory:' .. id, 'rss', i, 'processes', 2, 'timestamp', ARGV[4])
end
return 1";

#[test]
fn a_scrape_of_100_000_agents_is_small_and_counts_them_all() {
    let mut site = Site::start();
    let now = site.now();
    let (end, now) = ((now + 3_600_000).to_string(), now.to_string());
    for first in (1..=AGENTS).step_by(10_000) {
        let (first, last) = (first.to_string(), (first + 9_999).to_string());
        site.redis(&["EVAL", PLANT, "0", &first, &last, &end, &now]);
    }
    let daemon = site.daemon_with(&[("LIFECYCLE_MEMORY__LEAK_WINDOW", "5s")]);
    eventually(A_WHOLE_ROUND, "everybody to be counted", || {
        Ok((daemon.metric("lifecycle_agents{state=\"busy\"}") == Some(AGENTS as f64)).then_some(()))
    })
    .unwrap();
    assert_eq!(daemon.metric("lifecycle_fleet_rss_bytes"), Some((AGENTS * (AGENTS + 1) / 2) as f64));
    assert_eq!(daemon.metric("lifecycle_fleet_processes"), Some(AGENTS as f64 * 2.0));
    assert_eq!(daemon.metric("agent_count_total{state=\"active\"}"), Some(AGENTS as f64));
    let (_, text) = daemon.page("/metrics");
    let series: Vec<&str> =
        text.lines().filter(|line| line.starts_with("agent_memory_usage_bytes{")).collect();
    assert_eq!(series.len(), 200);
    assert_eq!(series[0], "agent_memory_usage_bytes{agent_id=\"agent-100000\"} 100000");
    assert!(text.len() < 64 * 1024, "{} bytes", text.len());
    assert!(daemon.role.stderr().lines().count() < 10, "{}", daemon.role.stderr());
}

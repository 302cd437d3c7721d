//! What a sweeper finds, cleans up and leaves alone, on a real store.

mod clocks;
mod daemon;
mod fleet_growth;
mod large;
mod leaks;
mod limited;
mod memory_sampler;
mod neighbours;
mod original_design;
mod races;
mod replicas;
mod rollback;
mod rubbish;

use std::time::Duration;

use lifecycle_tests::process::RoleCommand;
use lifecycle_tests::{Role, eventually, http};
use serde_json::Value;

use crate::fleet::{LONG_AGO_MS, SOON};
use crate::site::Site;

impl Site {
    fn sweep_command(&self) -> RoleCommand {
        self.sweeper_command(&["sweep", "--output", "json"])
    }

    /// One pass by `sweeper sweep`.
    fn sweep(&self) -> Value {
        result(&mut self.sweep_command().spawn().unwrap())
    }

    /// An operator's word to go on reaping for a minute; whether it was held.
    fn release_hold(&self) -> bool {
        self.done(self.store.operator().release_hold(Duration::from_secs(60))).is_some()
    }

    fn daemon(&self) -> Daemon {
        Daemon::from(self.sweeper_command(&["run"]))
    }

    /// One with these variables, when it is ready.
    fn daemon_with(&self, settings: &[(&str, &str)]) -> Daemon {
        let command = self.sweeper_command(&["run"]);
        let daemon =
            Daemon::from(settings.iter().fold(command, |command, (name, value)| command.env(*name, *value)));
        daemon.wait_until_ready();
        daemon
    }
}

/// What `sweeper sweep --output json` printed. Its exit code says whether it held everybody.
fn result(sweep: &mut Role) -> Value {
    let status = sweep.wait(SOON).unwrap();
    let result: Value =
        serde_json::from_str(&sweep.stdout()).unwrap_or_else(|error| panic!("{error}: {}", sweep.stderr()));
    let held_all = count(&result, "held") > 0 && count(&result, "held") == count(&result, "orphansDetected");
    assert_eq!(status.code(), Some(if held_all { 74 } else { 0 }), "{result} {}", sweep.stderr());
    result
}

fn count(result: &Value, name: &str) -> u64 {
    result[name].as_u64().unwrap_or_else(|| panic!("{name} in {result}"))
}

/// A `sweeper run` and its pages.
struct Daemon {
    role: Role,
    address: String,
}

impl Daemon {
    fn from(command: RoleCommand) -> Self {
        Self::of(command.spawn().unwrap())
    }

    /// Waits until its pages are served.
    fn of(role: Role) -> Self {
        let address = http::address(&role, SOON).unwrap();
        Self { role, address }
    }

    /// Status and text of a page.
    fn page(&self, path: &str) -> (u16, String) {
        http::get(&self.address, path, SOON).unwrap()
    }

    fn wait_until_ready(&self) {
        eventually(SOON, "the sweeper to be ready", || Ok((self.page("/readyz").0 == 200).then_some(())))
            .unwrap();
    }

    fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.page("/metrics");
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    fn wait_for_metric(&self, series: &str, expected: f64) {
        let mut last = None;
        eventually(SOON, &format!("{series} to be {expected}"), || {
            last = self.metric(series);
            Ok((last == Some(expected)).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}; it is {last:?}"));
    }
}

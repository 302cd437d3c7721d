//! Every setting, its default, and the contradictions that are refused.
//!
//! A setting is written once, here: its name, type and default, and in the first paragraph of its documentation what
//! `--help` and README say of it; `table.rs` makes them.
//!
//! This module knows values only. The command lines know where a value comes from (file, environment, flags).
//! [`Settings::contradictions`] reports all mistakes at once by setting name, so that the loader can add the source of
//! each.

mod shown;
mod table;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::agent::containment::ContainmentMode;
use crate::text::units;
use crate::wire::codec::Wire;
pub use table::help;

table::section! {
    /// All settings, with the defaults of the original design.
    #[derive(Debug)]
    pub struct Settings in "" {
        sections {
            /// The store.
            pub redis: Redis,
            /// How agents beat.
            pub heartbeat: Heartbeat,
            /// How sweepers look for orphans.
            pub sweep: Sweep,
            /// Memory records.
            pub memory: Memory,
            /// How roles stop.
            pub shutdown: Shutdown,
            /// What holds the processes of a command.
            pub containment: Containment,
            /// The host.
            pub host: Host,
            /// What is written to Redis.
            pub wire: WireSettings,
            /// The sweeper's HTTP endpoints.
            pub http: Http,
            /// The coordinator.
            pub coordinator: Coordinator,
            /// Logging.
            pub log: Log,
        }
    }

    /// `redis.*`
    pub struct Redis in "redis" {
        /// The store; also `redis+unix:///path`, and `rediss://` for TLS.
        ///
        /// In full: `redis://[user[:password]@]host[:port][/db]`.
        pub url: String = "redis://127.0.0.1:6379".into(),
        /// Password, where it should not stand in the URL; in quotes in a file.
        #[serde(skip_serializing)]
        pub password: Option<String> = None => "none",
        /// How long a command waits at start for a store that is away, full, busy or loading (daemons wait for ever); said
        /// after 1 s.
        ///
        /// Then it gives up with exit code 69. 0 or more.
        #[serde(with = "humantime_serde")]
        pub start_timeout: Duration = Duration::from_secs(10),
        /// Longest time one command may take, 100 ms or more.
        #[serde(with = "humantime_serde")]
        pub command_timeout: Duration = Duration::from_secs(3),
        sections {
            /// By what certificate authority the store proves its identity, over TLS.
            pub tls: Tls,
        }
    }

    /// `redis.tls.*`
    #[derive(Debug, Eq)]
    pub struct Tls in "redis.tls" {
        /// PEM file with the authorities that may sign the store's certificate, for `rediss://`.
        pub ca: Option<PathBuf> = None => "what the machine trusts",
    }

    /// `heartbeat.*`
    #[derive(Debug)]
    pub struct Heartbeat in "heartbeat" {
        /// Time between two beats, jittered by ±10 %.
        #[serde(with = "humantime_serde")]
        pub interval: Duration = Duration::from_secs(30),
        /// Lifetime of `agent:heartbeat:<id>`.
        #[serde(with = "humantime_serde")]
        pub ttl: Duration = Duration::from_secs(180),
        /// Whether each beat also publishes `heartbeat_sent`.
        ///
        /// The original design does. Turning it off saves one message per agent and beat to every subscriber of a large
        /// fleet.
        pub publish: bool = true,
    }

    /// `sweep.*`
    #[derive(Debug)]
    pub struct Sweep in "sweep" {
        /// Longest time between two passes.
        ///
        /// It is the backstop behind the timer and the events.
        #[serde(with = "humantime_serde")]
        pub interval: Duration = Duration::from_secs(60),
        /// Length of an agent's lease: silence longer than this makes an orphan.
        #[serde(with = "humantime_serde")]
        pub orphan_threshold: Duration = Duration::from_secs(120),
        /// Last call: how long an announced agent has to speak up before it is reaped.
        #[serde(with = "humantime_serde")]
        pub grace: Duration = Duration::from_millis(100),
        /// Lifetime of `cleanup:lock:<id>`.
        #[serde(with = "humantime_serde")]
        pub lock_ttl: Duration = Duration::from_secs(300),
        /// Most agents handled in one round of a pass, 1 to 10 000.
        pub batch: u32 = 1_000,
        /// Share of the fleet that must fall silent together for reaping to hold, over 0 and up to 1.
        pub hold_fraction: f64 = 0.3,
        /// Fewest agents that must fall silent together for reaping to hold, 1 or more.
        pub hold_minimum: u32 = 5,
        /// Longest hold; then reaping goes on at a limited rate, a tenth of the fleet a minute.
        #[serde(with = "humantime_serde")]
        pub hold_timeout: Duration = Duration::from_secs(300),
        /// Time between two comparisons of the indexes with the records.
        #[serde(with = "humantime_serde")]
        pub reconcile_interval: Duration = Duration::from_secs(600),
    }

    /// `memory.*`
    #[derive(Debug)]
    pub struct Memory in "memory" {
        /// Lifetime of `agent:memory:<id>`.
        #[serde(with = "humantime_serde")]
        pub ttl: Duration = Duration::from_secs(3600),
        /// Age of the sample that growth of the fleet is measured against; it should span four beats or more.
        #[serde(with = "humantime_serde")]
        pub leak_window: Duration = Duration::from_secs(300),
        /// Growth of the whole fleet within `memory.leak_window` that is told as a leak.
        #[serde(with = "units::size")]
        pub leak_threshold: ByteSize = ByteSize::mb(100),
    }

    /// `shutdown.*`
    #[derive(Debug)]
    pub struct Shutdown in "shutdown" {
        /// How long running tasks may take to finish once a role stops.
        #[serde(with = "humantime_serde")]
        pub drain_timeout: Duration = Duration::from_secs(30),
        /// How long a process tree has between TERM and KILL.
        #[serde(with = "humantime_serde")]
        pub kill_timeout: Duration = Duration::from_secs(5),
    }

    /// `containment.*`
    #[derive(Debug)]
    pub struct Containment in "containment" {
        /// What holds the processes of a command: `auto` for all that the host allows, or `namespace`, `cgroup`, `guard`, `none`.
        ///
        /// A layer that is asked for by name and cannot be had is refused.
        pub mode: ContainmentMode = ContainmentMode::Auto,
    }

    /// `host.*`
    #[derive(Debug)]
    pub struct Host in "host" {
        /// Memory that is to stay available on the host: below it, or while processes wait for memory, a coordinator starts no
        /// further agent.
        #[serde(with = "units::size")]
        pub memory_reserve: ByteSize = ByteSize::mib(256),
    }

    /// `wire.*`
    #[derive(Debug)]
    pub struct WireSettings in "wire" {
        /// What is written: `msgpack`, or `json` for fleets that mix in clients of the plain protocol; both are always read.
        pub format: Wire = Wire::default(),
    }

    /// `http.*`
    #[derive(Debug)]
    pub struct Http in "http" {
        /// Where the sweeper serves `/metrics`, `/healthz` and `/readyz`.
        pub listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464),
    }

    /// `coordinator.*`
    #[derive(Debug)]
    pub struct Coordinator in "coordinator" {
        /// Folder that receives `<epic>/<sprint>/<task>.log`.
        pub runs_dir: PathBuf = "runs".into(),
        /// The program that supervises an agent's command.
        pub agent_program: Option<PathBuf> = None => "`agent` beside the coordinator, else on PATH",
        /// How often one agent may be restarted within `coordinator.restart_window`.
        pub restart_limit: u32 = 3,
        /// How long an agent whose coordinator is gone goes on with the task in hand, until another one adopts it.
        #[serde(with = "humantime_serde")]
        pub adopt_timeout: Duration = Duration::from_secs(60),
        /// How long an epic without a coordinator is kept, so that `coordinator run` or `coordinator resume` goes on with
        /// it; 1 s or more.
        #[serde(with = "humantime_serde")]
        pub resume_for: Duration = Duration::from_secs(7 * 24 * 3600),
        /// The time within which restarts are counted.
        #[serde(with = "humantime_serde")]
        pub restart_window: Duration = Duration::from_secs(60),
        /// How much of a task's output is kept, 4 KiB or more: its beginning and its end.
        #[serde(with = "units::size")]
        pub log_limit: ByteSize = ByteSize::mib(64),
    }

    /// `log.*`
    #[derive(Debug)]
    pub struct Log in "log" {
        /// What is logged on stderr: `error`, `warn`, `info`, `debug`, `trace`, `off`, or targets such as
        /// `info,sweeper=debug`; unless it is set, `agent` and `coordinator` log only warnings.
        pub level: String = "info".into(),
        /// How a line of it is written: `text`, or `json` for one object per line.
        pub format: LogFormat = LogFormat::Text,
    }
}

/// Shows everything but the password, which may also stand in the URL.
impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("url", &self.url_without_password())
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("start_timeout", &self.start_timeout)
            .field("command_timeout", &self.command_timeout)
            .field("tls", &self.tls)
            .finish()
    }
}

impl Redis {
    /// The URL as it may be shown to people: without a password, however broken it is.
    #[must_use]
    pub fn url_without_password(&self) -> String {
        shown::url(&self.url)
    }

    /// The server and the database alone, by which two stores are told apart: `redis://db:6379/0`.
    #[must_use]
    pub fn address(&self) -> String {
        shown::address(&self.url)
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// Settings that cannot work together, or a value out of its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The setting at fault, such as `sweep.orphan_threshold`.
    pub setting: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Settings {
    /// Everything that is wrong with these values, all at once; empty when they can be used.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut refuse = |wrong: bool, setting: &'static str, problem: String| {
            if wrong {
                found.push(Contradiction { setting, problem });
            }
        };
        let text = |duration: Duration| humantime::format_duration(duration).to_string();
        let (beat, sweep) = (&self.heartbeat, &self.sweep);

        for (setting, value, least) in [
            ("heartbeat.interval", beat.interval, Duration::from_millis(50)),
            ("sweep.interval", sweep.interval, Duration::from_millis(50)),
            ("sweep.reconcile_interval", sweep.reconcile_interval, Duration::from_millis(50)),
            ("redis.command_timeout", self.redis.command_timeout, Duration::from_millis(100)),
            ("memory.ttl", self.memory.ttl, Duration::from_secs(1)),
            ("heartbeat.ttl", beat.ttl, Duration::from_secs(1)),
            ("coordinator.resume_for", self.coordinator.resume_for, Duration::from_secs(1)),
        ] {
            refuse(
                value < least,
                setting,
                format!("{} is too short: use {} or more", text(value), text(least)),
            );
        }
        refuse(
            sweep.orphan_threshold < beat.interval * 2,
            "sweep.orphan_threshold",
            format!(
                "{} is below twice heartbeat.interval ({}), so one late beat would look like death: use {} or more",
                text(sweep.orphan_threshold),
                text(beat.interval),
                text(beat.interval * 2)
            ),
        );
        refuse(
            beat.ttl < sweep.orphan_threshold,
            "heartbeat.ttl",
            format!(
                "{} is below sweep.orphan_threshold ({}), so a beat would vanish before its agent is judged: use {} or more",
                text(beat.ttl),
                text(sweep.orphan_threshold),
                text(sweep.orphan_threshold)
            ),
        );
        refuse(
            sweep.lock_ttl < sweep.grace * 2,
            "sweep.lock_ttl",
            format!(
                "{} is below twice sweep.grace ({}), so a lock would end before its cleanup: use {} or more",
                text(sweep.lock_ttl),
                text(sweep.grace),
                text(sweep.grace * 2)
            ),
        );
        refuse(
            !(sweep.hold_fraction > 0.0 && sweep.hold_fraction <= 1.0),
            "sweep.hold_fraction",
            format!("{} is no share of the fleet: use a number over 0 and up to 1", sweep.hold_fraction),
        );
        refuse(
            self.coordinator.log_limit < ByteSize::kib(4),
            "coordinator.log_limit",
            format!("{} is too little to tell anything: use 4KiB or more", self.coordinator.log_limit),
        );
        refuse(
            sweep.hold_minimum == 0,
            "sweep.hold_minimum",
            "0 would hold every pass: use 1 or more".into(),
        );
        refuse(
            sweep.batch == 0 || sweep.batch > 10_000,
            "sweep.batch",
            format!("{} is out of range: use 1 to 10000", sweep.batch),
        );
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_original_design_and_do_not_contradict_each_other() {
        let settings = Settings::default();
        assert_eq!(settings.contradictions(), []);
        assert_eq!(settings.heartbeat.interval, Duration::from_secs(30));
        assert_eq!(settings.heartbeat.ttl, Duration::from_secs(180));
        assert_eq!(settings.sweep.orphan_threshold, Duration::from_secs(120));
        assert_eq!(settings.sweep.grace, Duration::from_millis(100));
        assert_eq!(settings.memory.leak_threshold.as_u64(), 100_000_000);
    }

    #[test]
    fn a_password_is_never_shown() {
        let mut redis = Redis { url: "redis://me:s3cret@db:6379/1".into(), ..Redis::default() };
        redis.password = Some("s3cret".into());
        assert_eq!(redis.url_without_password(), "redis://me:***@db:6379/1");
        assert!(!format!("{redis:?}").contains("s3cret"));
    }

    #[test]
    fn a_threshold_below_twice_the_interval_and_a_ttl_below_the_threshold_are_both_reported() {
        let mut settings = Settings::default();
        settings.heartbeat.interval = Duration::from_secs(100);
        settings.heartbeat.ttl = Duration::from_secs(60);
        let names: Vec<_> = settings.contradictions().iter().map(|c| c.setting).collect();
        assert_eq!(names, ["sweep.orphan_threshold", "heartbeat.ttl"]);
    }
}

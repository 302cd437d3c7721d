//! Real processes: interpreters that leak and interpreters that are busy, recorded for forty seconds.
//!
//! Nobody waits a day for them, so time is scaled: a sample every 50 ms is taken for one a minute, and what a process does
//! in twenty seconds for what it does in seven hours. The memory is real, with its allocators, collectors and pages.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lifecycle_core::memory::leak::{Detector, KindHistory, LeakVerdict};
use lifecycle_core::memory::sample::RssSample;
use lifecycle_tests::descendants;

const LOOK: Duration = Duration::from_millis(50);
const SCALED_MS: u64 = 60_000;
const LOOKS: u32 = 800;

/// What the programs do, given the second in which they begin to leak; each ends by itself after a minute.
const PYTHON: &str = "
import sys, time
onset, kept, begin = float(sys.argv[1]), [], time.monotonic()
while time.monotonic() - begin < 60:
    scratch = [bytearray(4096) for _ in range(2000)]
    del scratch
    if time.monotonic() - begin > onset: kept.append(bytearray(b'x' * 500_000))
    time.sleep(0.05)
";
const NODE: &str = "
const onset = Number(process.argv[1]) * 1000, kept = [], begin = Date.now();
const timer = setInterval(() => {
  let scratch = []; for (let i = 0; i < 20000; i++) scratch.push({ i, text: 'x' + i });
  if (Date.now() - begin > onset) kept.push(Buffer.alloc(500000, 1));
  if (Date.now() - begin > 60000) clearInterval(timer);
}, 50);
";

/// A process that was looked at.
pub(super) struct Recorded {
    pub(super) name: String,
    pub(super) leaks: bool,
    outcome: Outcome,
}

enum Outcome {
    Missing(String),
    Judged { first: Option<LeakVerdict>, early: bool },
}

struct Running {
    name: String,
    leaks: bool,
    child: Child,
    detector: Detector,
    kind: KindHistory,
    verdicts: Vec<LeakVerdict>,
}

impl Recorded {
    pub(super) fn right(&self) -> Option<bool> {
        match self.outcome {
            Outcome::Missing(_) => None,
            Outcome::Judged { first, early } => Some(!early && first.is_some() == self.leaks),
        }
    }

    pub(super) fn said(&self) -> String {
        match &self.outcome {
            Outcome::Missing(why) => format!("skipped: {why}"),
            Outcome::Judged { first: None, .. } => format!("no alert{}", self.judgement()),
            Outcome::Judged { first: Some(verdict), .. } => format!(
                "{} after {:.1} h at {:.0} MB/h{}",
                verdict.finding.as_str(),
                verdict.at_ms as f64 / 3.6e6,
                verdict.slope_bytes_per_hour / 1e6,
                self.judgement()
            ),
        }
    }

    fn judgement(&self) -> &'static str {
        if self.right() == Some(true) { ", as it should be" } else { ", WRONGLY" }
    }
}

/// Half of the time passes before a leak begins.
const ONSET_S: &str = "20";
const NEVER_S: &str = "1000000";

/// Runs all of them side by side.
pub(super) fn run() -> Vec<Recorded> {
    let mut running = Vec::new();
    let mut recorded = Vec::new();
    let leaker = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    for (leaks, onset) in [(true, ONSET_S), (false, NEVER_S)] {
        for (name, program, args) in [
            ("Python", "python3", ["-c", PYTHON, onset]),
            ("Node", "node", ["-e", NODE, onset]),
            ("Rust", &leaker, ["leak-eval", "--leak-after", onset]),
        ] {
            let name = format!("{name}, {}", if leaks { "leaking after 6.7 h" } else { "busy" });
            let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            match child {
                Ok(child) => running.push(Running::new(name, leaks, child)),
                Err(error) => {
                    recorded.push(Recorded { name, leaks, outcome: Outcome::Missing(error.to_string()) });
                }
            }
        }
    }
    let begin = Instant::now();
    for look in 1..=LOOKS {
        running.iter_mut().for_each(|process| process.look(u64::from(look) * SCALED_MS));
        sleep((LOOK * look).saturating_sub(begin.elapsed()));
    }
    recorded.extend(running.into_iter().map(Running::end));
    recorded
}

impl Running {
    fn new(name: String, leaks: bool, child: Child) -> Self {
        let (detector, kind) = (Detector::default(), KindHistory::default());
        Self { name, leaks, child, detector, kind, verdicts: Vec::new() }
    }

    fn look(&mut self, at_ms: u64) {
        let rss_bytes = tree_rss(self.child.id());
        if rss_bytes > 0 {
            let sample = RssSample { at_ms, rss_bytes, limit_bytes: None };
            self.verdicts.extend(self.detector.observe(&mut self.kind, sample));
        }
    }

    fn end(mut self) -> Recorded {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let onset_ms = u64::from(LOOKS) / 2 * SCALED_MS;
        let first = self.verdicts.first().copied();
        let outcome = match ended {
            Some(status) => Outcome::Missing(format!("it ended before its time, {status}")),
            None => Outcome::Judged { first, early: first.is_some_and(|verdict| verdict.at_ms < onset_ms) },
        };
        Recorded { name: self.name, leaks: self.leaks, outcome }
    }
}

/// As the product samples it: the resident pages of the process and its descendants.
fn tree_rss(root: u32) -> u64 {
    let all = descendants(root).into_iter().chain([root]);
    let pages = all.filter_map(|pid| {
        fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse::<u64>().ok()
    });
    pages.sum::<u64>() * rustix::param::page_size() as u64
}

/// A process in Rust: busy for a minute, and leaking from this second on.
pub(super) fn act(onset_s: f64) {
    let begin = Instant::now();
    let mut kept = Vec::new();
    while begin.elapsed() < Duration::from_secs(60) {
        let scratch: Vec<Vec<u8>> = (0..2_000).map(|size| vec![1; 1_000 + size]).collect();
        std::hint::black_box(&scratch);
        if begin.elapsed().as_secs_f64() > onset_s {
            kept.push(vec![1_u8; 500_000]);
        }
        std::hint::black_box(&kept);
        sleep(LOOK);
    }
}

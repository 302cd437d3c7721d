//! Real processes, recorded for forty seconds: interpreters that leak and interpreters that are only busy.
//!
//! Time is scaled: a sample every 50 ms counts as one a minute, so twenty seconds count as seven hours. The memory is real,
//! with its allocators, collectors and pages.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lifecycle_core::memory::leak::{Detector, KindHistory, LeakVerdict};
use lifecycle_core::memory::sample::RssSample;
use lifecycle_core::wire::time::ServerTime;
use lifecycle_tests::descendants;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);
const SCALED_MS: u64 = 60_000;
const SAMPLES: u32 = 800;

/// The programs. The argument is the second in which a program begins to leak. Each ends by itself after a minute.
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

/// A process that was recorded, and what the detector said of it.
pub(crate) struct RecordedProcess {
    pub(crate) name: String,
    pub(crate) leaks: bool,
    recording: Recording,
}

enum Recording {
    Missing(String),
    Judged { first: Option<LeakVerdict>, early: bool },
}

struct RunningProcess {
    name: String,
    leaks: bool,
    child: Child,
    detector: Detector,
    kind: KindHistory,
    verdicts: Vec<LeakVerdict>,
}

impl RecordedProcess {
    pub(crate) fn right(&self) -> Option<bool> {
        match self.recording {
            Recording::Missing(_) => None,
            Recording::Judged { first, early } => Some(!early && first.is_some() == self.leaks),
        }
    }

    pub(crate) fn said(&self) -> String {
        match &self.recording {
            Recording::Missing(why) => format!("skipped: {why}"),
            Recording::Judged { first: None, .. } => format!("no alert{}", self.judgement()),
            Recording::Judged { first: Some(verdict), .. } => format!(
                "{} after {:.1} h at {:.0} MB/h{}",
                verdict.finding.as_str(),
                verdict.at.as_ms() as f64 / 3.6e6,
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
pub(crate) fn run() -> Vec<RecordedProcess> {
    let mut running = Vec::new();
    let mut recorded = Vec::new();
    let leaker = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    for (leaks, onset) in [(true, ONSET_S), (false, NEVER_S)] {
        for (name, program, args) in [
            ("Python", "python3", ["-c", PYTHON, onset].as_slice()),
            ("Node", "node", &["-e", NODE, onset]),
            ("Rust", &leaker, &["--leak-after", onset]),
        ] {
            let name = format!("{name}, {}", if leaks { "leaking after 6.7 h" } else { "busy" });
            let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            match child {
                Ok(child) => running.push(RunningProcess::new(name, leaks, child)),
                Err(error) => {
                    recorded.push(RecordedProcess {
                        name,
                        leaks,
                        recording: Recording::Missing(error.to_string()),
                    });
                }
            }
        }
    }
    let begin = Instant::now();
    for sample in 1..=SAMPLES {
        running.iter_mut().for_each(|process| process.sample(u64::from(sample) * SCALED_MS));
        sleep((SAMPLE_INTERVAL * sample).saturating_sub(begin.elapsed()));
    }
    recorded.extend(running.into_iter().map(RunningProcess::end));
    recorded
}

impl RunningProcess {
    fn new(name: String, leaks: bool, child: Child) -> Self {
        let (detector, kind) = (Detector::default(), KindHistory::default());
        Self { name, leaks, child, detector, kind, verdicts: Vec::new() }
    }

    fn sample(&mut self, at_ms: u64) {
        let rss_bytes = tree_rss(self.child.id());
        if rss_bytes > 0 {
            let sample = RssSample { at: ServerTime::from_store_ms(at_ms), rss_bytes, limit_bytes: None };
            self.verdicts.extend(self.detector.observe(&mut self.kind, sample));
        }
    }

    fn end(mut self) -> RecordedProcess {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let onset_ms = u64::from(SAMPLES) / 2 * SCALED_MS;
        let first = self.verdicts.first().copied();
        let recording = match ended {
            Some(status) => Recording::Missing(format!("it ended before its time, {status}")),
            None => {
                Recording::Judged { first, early: first.is_some_and(|verdict| verdict.at.as_ms() < onset_ms) }
            }
        };
        RecordedProcess { name: self.name, leaks: self.leaks, recording }
    }
}

/// The resident pages of the process and its descendants, as the product samples them.
fn tree_rss(root: u32) -> u64 {
    let all = descendants(root).into_iter().chain([root]);
    let pages = all.filter_map(|pid| {
        fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse::<u64>().ok()
    });
    pages.sum::<u64>() * rustix::param::page_size() as u64
}

/// What the process in Rust does: it is busy for a minute, and leaks from the second `onset_s` on.
pub(crate) fn leak_after(onset_s: f64) {
    let begin = Instant::now();
    let mut kept = Vec::new();
    while begin.elapsed() < Duration::from_secs(60) {
        let scratch: Vec<Vec<u8>> = (0..2_000).map(|size| vec![1; 1_000 + size]).collect();
        std::hint::black_box(&scratch);
        if begin.elapsed().as_secs_f64() > onset_s {
            kept.push(vec![1_u8; 500_000]);
        }
        std::hint::black_box(&kept);
        sleep(SAMPLE_INTERVAL);
    }
}

//! The components of a process's memory: jitter, warm-up, garbage collection, child processes, contexts and caches.
//!
//! Each component is a state machine that advances by one step every [`TICK_S`]. `workload.rs` has the ranges of its
//! parameters; this file has only how it moves.

use crate::seeded_random::SeededRandom;

/// Seconds between two samples.
pub(crate) const TICK_S: f64 = 10.0;

/// One component of the memory of one process, from the start of the process.
pub(crate) trait MemoryComponent {
    /// Its size in MiB one tick later.
    fn step(&mut self, random: &mut SeededRandom) -> f64;
}

/// The jitter of every process: a fast and a slow random movement around 0.
pub(crate) struct Fluctuation {
    fast: MeanReverting,
    slow: MeanReverting,
}

struct MeanReverting {
    at: f64,
    keep: f64,
    noise: f64,
}

impl MeanReverting {
    /// An Ornstein–Uhlenbeck process: `deviation` is its standard deviation, `memory_s` the time constant of its return to 0.
    fn new(deviation: f64, memory_s: f64) -> Self {
        let keep = (-TICK_S / memory_s).exp();
        Self { at: 0.0, keep, noise: deviation * (1.0 - keep * keep).sqrt() }
    }

    fn step(&mut self, random: &mut SeededRandom) -> f64 {
        self.at = self.at * self.keep + self.noise * random.normal();
        self.at
    }
}

impl Fluctuation {
    pub(crate) fn new(fast: f64, fast_s: f64, slow: f64, slow_s: f64) -> Self {
        Self { fast: MeanReverting::new(fast, fast_s), slow: MeanReverting::new(slow, slow_s) }
    }
}

impl MemoryComponent for Fluctuation {
    fn step(&mut self, random: &mut SeededRandom) -> f64 {
        self.fast.step(random) + self.slow.step(random)
    }
}

/// Growth towards a size that slows down exponentially.
pub(crate) struct Warmup {
    size: f64,
    tau_s: f64,
    now: f64,
}

impl Warmup {
    pub(crate) fn new(size: f64, tau_s: f64) -> Self {
        Self { size, tau_s, now: 0.0 }
    }
}

impl MemoryComponent for Warmup {
    fn step(&mut self, random: &mut SeededRandom) -> f64 {
        let pace = random.exponential(1.0);
        self.now += (self.size - self.now) * (1.0 - (-TICK_S / self.tau_s * pace).exp());
        self.now
    }
}

/// A generational collector. Young garbage is collected often; what survived is collected by a full collection.
pub(crate) struct Sawtooth {
    nursery: f64,
    per_s: f64,
    survives: f64,
    tenured: f64,
    young: f64,
    old: f64,
    trigger: f64,
    load: MeanReverting,
}

impl Sawtooth {
    pub(crate) fn new(nursery: f64, period_s: f64, survives: f64, tenured: f64) -> Self {
        let load = MeanReverting::new(0.4, 1_800.0);
        Self {
            nursery,
            per_s: nursery / period_s,
            survives,
            tenured,
            young: 0.0,
            old: 0.0,
            trigger: nursery,
            load,
        }
    }
}

impl MemoryComponent for Sawtooth {
    fn step(&mut self, random: &mut SeededRandom) -> f64 {
        self.young += self.per_s * TICK_S * self.load.step(random).exp() * random.uniform(0.5, 1.5);
        if self.young >= self.trigger {
            // The nursery may be collected several times within one tick.
            self.old += self.survives * self.trigger;
            self.young %= self.trigger;
            self.trigger = self.nursery * random.uniform(0.85, 1.15);
        }
        if self.old > self.tenured {
            self.old = 0.0;
        }
        self.young + self.old
    }
}

/// Steps that stay: a model or an index is loaded within a minute and kept.
pub(crate) struct Steps {
    size: f64,
    every_s: f64,
    left: u32,
    wait_s: f64,
    at: f64,
    target: f64,
    per_tick: f64,
}

impl Steps {
    pub(crate) fn new(size: f64, every_s: f64, count: u32, random: &mut SeededRandom) -> Self {
        let wait_s = random.exponential(every_s);
        Self { size, every_s, left: count, wait_s, at: 0.0, target: 0.0, per_tick: 1.0 }
    }
}

impl MemoryComponent for Steps {
    fn step(&mut self, random: &mut SeededRandom) -> f64 {
        self.wait_s -= TICK_S;
        if self.wait_s <= 0.0 && self.left > 0 {
            self.wait_s = random.exponential(self.every_s);
            self.left -= 1;
            let change = self.size * random.log_normal_factor(0.5);
            // One in five gives memory back.
            self.target =
                if random.happens(0.2) { (self.target - change).max(0.0) } else { self.target + change };
            self.per_tick = ((self.target - self.at).abs() * TICK_S / random.uniform(1.0, 60.0)).max(0.01);
        }
        self.at += (self.target - self.at).clamp(-self.per_tick, self.per_tick);
        self.at
    }
}

/// Child processes that come, grow, stay and go: compilers, test suites, browsers.
pub(crate) struct Bursts {
    size: f64,
    lasts_s: f64,
    every_s: f64,
    running: Vec<Burst>,
}

struct Burst {
    size: f64,
    lasts_s: f64,
    ramp_s: f64,
    age_s: f64,
}

impl Bursts {
    pub(crate) fn new(size: f64, lasts_s: f64, every_s: f64) -> Self {
        Self { size, lasts_s, every_s, running: Vec::new() }
    }
}

impl MemoryComponent for Bursts {
    fn step(&mut self, random: &mut SeededRandom) -> f64 {
        if random.happens(TICK_S / self.every_s) && self.running.len() < 3 {
            let lasts_s = self.lasts_s * random.log_normal_factor(0.5);
            self.running.push(Burst {
                size: self.size * random.log_normal_factor(0.5),
                lasts_s,
                ramp_s: lasts_s * random.uniform(0.05, 0.6),
                age_s: 0.0,
            });
        }
        for burst in &mut self.running {
            burst.age_s += TICK_S;
        }
        self.running.retain(|burst| burst.age_s < burst.lasts_s);
        let grown = |burst: &Burst| burst.size * (burst.age_s / burst.ramp_s.max(1.0)).min(1.0);
        self.running.iter().map(grown).sum::<f64>() * random.uniform(0.97, 1.03)
    }
}

/// The context of an agent's task. It grows until the task ends and then nearly all of it is dropped; some agents compact
/// it on the way.
pub(crate) struct TaskContext {
    size: f64,
    task_s: f64,
    pause_s: f64,
    curve: f64,
    compacts: bool,
    task: Task,
    residue: MeanReverting,
}

struct Task {
    size: f64,
    lasts_s: f64,
    age_s: f64,
    /// Negative while there is none.
    pause_s: f64,
    floor: f64,
    compact_at: f64,
}

impl TaskContext {
    pub(crate) fn new(
        size: f64,
        task_s: f64,
        pause_s: f64,
        curve: f64,
        compacts: bool,
        random: &mut SeededRandom,
    ) -> Self {
        let residue = MeanReverting::new(size * 0.03, task_s * 2.0);
        let mut context = Self {
            size,
            task_s,
            pause_s,
            curve,
            compacts,
            task: Task::none(random.exponential(pause_s)),
            residue,
        };
        // The day may begin in the middle of a task or before one.
        if random.happens(0.7) {
            context.task = context.another(random);
        }
        context
    }

    fn another(&self, random: &mut SeededRandom) -> Task {
        Task {
            size: self.size * random.log_normal_factor(0.3),
            lasts_s: self.task_s * random.log_normal_factor(0.35),
            age_s: 0.0,
            pause_s: 0.0,
            floor: 0.0,
            compact_at: if self.compacts { random.uniform(0.5, 0.8) } else { 2.0 },
        }
    }
}

impl Task {
    fn none(pause_s: f64) -> Self {
        Self { size: 0.0, lasts_s: 0.0, age_s: 1.0, pause_s, floor: 0.0, compact_at: 2.0 }
    }
}

impl MemoryComponent for TaskContext {
    fn step(&mut self, random: &mut SeededRandom) -> f64 {
        self.task.age_s += TICK_S * random.uniform(0.4, 1.6);
        if self.task.age_s >= self.task.lasts_s {
            if self.task.pause_s <= 0.0 && self.task.lasts_s > 0.0 {
                self.task = Task::none(random.exponential(self.pause_s));
            }
            self.task.pause_s -= TICK_S;
            if self.task.pause_s <= 0.0 {
                self.task = self.another(random);
            }
        }
        let task = &mut self.task;
        let share = if task.lasts_s > 0.0 { (task.age_s / task.lasts_s).min(1.0) } else { 0.0 };
        let mut grown = task.size * share.powf(self.curve);
        if share >= task.compact_at {
            // A summary replaces what it summarises.
            let before = task.size * task.compact_at.powf(self.curve);
            task.floor = before * 0.7;
            grown -= task.floor;
        }
        grown + self.residue.step(random).abs()
    }
}

/// A cache that fills with the work done until it is full.
pub(crate) struct Cache {
    size: f64,
    fill_s: f64,
    /// Whether new entries get rarer as it fills. If not, it fills at an even pace and then evicts.
    saturates: bool,
    duty_cycle: DutyCycle,
    delay_s: f64,
    now: f64,
}

impl Cache {
    pub(crate) fn new(size: f64, fill_s: f64, saturates: bool, duty_cycle: DutyCycle, delay_s: f64) -> Self {
        Self { size, fill_s, saturates, duty_cycle, delay_s, now: 0.0 }
    }
}

impl MemoryComponent for Cache {
    fn step(&mut self, random: &mut SeededRandom) -> f64 {
        self.delay_s -= TICK_S;
        if self.delay_s > 0.0 {
            return 0.0;
        }
        let pace = self.duty_cycle.step(random) * random.exponential(1.0);
        let room = self.size - self.now;
        // 95 % full after `fill_s`.
        let rate = if self.saturates { room * 3.0 / self.fill_s } else { self.size / self.fill_s };
        self.now = (self.now + rate * TICK_S * pace).min(self.size);
        if !self.saturates && self.now >= self.size {
            self.now -= self.size * 0.01 * random.unit();
        }
        self.now
    }
}

/// Work that comes and goes. Its pace is 1 on average and 0 while there is no work.
#[derive(Clone)]
pub(crate) struct DutyCycle {
    on_s: f64,
    off_s: f64,
    left_s: f64,
    on: bool,
}

impl DutyCycle {
    pub(crate) fn always() -> Self {
        Self { on_s: f64::INFINITY, off_s: 0.0, left_s: f64::INFINITY, on: true }
    }

    pub(crate) fn new(on_s: f64, off_s: f64) -> Self {
        Self { on_s, off_s, left_s: 0.0, on: false }
    }

    pub(crate) fn step(&mut self, random: &mut SeededRandom) -> f64 {
        self.left_s -= TICK_S;
        if self.left_s <= 0.0 {
            self.on = !self.on;
            self.left_s = random.uniform(0.5, 1.5) * if self.on { self.on_s } else { self.off_s };
        }
        if !self.on {
            0.0
        } else if self.on_s.is_finite() {
            (self.on_s + self.off_s) / self.on_s
        } else {
            1.0
        }
    }
}

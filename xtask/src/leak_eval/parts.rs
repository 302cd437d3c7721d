//! What memory is made of: each part of a process's memory is a small machine that is stepped every [`TICK_S`].
//!
//! The ranges a part's numbers are drawn from stand in `workload.rs`; here is only how they move.

use super::chance::Chance;

/// Seconds between two samples.
pub(super) const TICK_S: f64 = 10.0;

/// A part of the memory of one process, from its start.
pub(super) trait Part {
    /// Its size in MiB one tick later.
    fn step(&mut self, chance: &mut Chance) -> f64;
}

/// Never at rest: a fast and a slow wander around 0, both of which come back.
pub(super) struct Breath {
    fast: Wander,
    slow: Wander,
}

struct Wander {
    at: f64,
    pull: f64,
    push: f64,
}

impl Wander {
    /// An Ornstein–Uhlenbeck process with this standard deviation and memory.
    fn new(deviation: f64, memory_s: f64) -> Self {
        let keep = (-TICK_S / memory_s).exp();
        Self { at: 0.0, pull: keep, push: deviation * (1.0 - keep * keep).sqrt() }
    }

    fn step(&mut self, chance: &mut Chance) -> f64 {
        self.at = self.at * self.pull + self.push * chance.normal();
        self.at
    }
}

impl Breath {
    pub(super) fn new(fast: f64, fast_s: f64, slow: f64, slow_s: f64) -> Self {
        Self { fast: Wander::new(fast, fast_s), slow: Wander::new(slow, slow_s) }
    }
}

impl Part for Breath {
    fn step(&mut self, chance: &mut Chance) -> f64 {
        self.fast.step(chance) + self.slow.step(chance)
    }
}

/// Grows towards a size ever more slowly.
pub(super) struct Warmup {
    size: f64,
    tau_s: f64,
    now: f64,
}

impl Warmup {
    pub(super) fn new(size: f64, tau_s: f64) -> Self {
        Self { size, tau_s, now: 0.0 }
    }
}

impl Part for Warmup {
    fn step(&mut self, chance: &mut Chance) -> f64 {
        let pace = chance.wait(1.0);
        self.now += (self.size - self.now) * (1.0 - (-TICK_S / self.tau_s * pace).exp());
        self.now
    }
}

/// A generational collector: young garbage goes often, what survived goes at a full collection.
pub(super) struct Sawtooth {
    nursery: f64,
    per_s: f64,
    survives: f64,
    tenured: f64,
    young: f64,
    old: f64,
    trigger: f64,
    load: Wander,
}

impl Sawtooth {
    pub(super) fn new(nursery: f64, period_s: f64, survives: f64, tenured: f64) -> Self {
        let load = Wander::new(0.4, 1_800.0);
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

impl Part for Sawtooth {
    fn step(&mut self, chance: &mut Chance) -> f64 {
        self.young += self.per_s * TICK_S * self.load.step(chance).exp() * chance.between(0.5, 1.5);
        if self.young >= self.trigger {
            // Allocation faster than a tick wraps around several times between two looks.
            self.old += self.survives * self.trigger;
            self.young %= self.trigger;
            self.trigger = self.nursery * chance.between(0.85, 1.15);
        }
        if self.old > self.tenured {
            self.old = 0.0;
        }
        self.young + self.old
    }
}

/// Loads that stay: each step is there within a minute and does not go away.
pub(super) struct Steps {
    size: f64,
    every_s: f64,
    left: u32,
    wait_s: f64,
    at: f64,
    target: f64,
    per_tick: f64,
}

impl Steps {
    pub(super) fn new(size: f64, every_s: f64, count: u32, chance: &mut Chance) -> Self {
        let wait_s = chance.wait(every_s);
        Self { size, every_s, left: count, wait_s, at: 0.0, target: 0.0, per_tick: 1.0 }
    }
}

impl Part for Steps {
    fn step(&mut self, chance: &mut Chance) -> f64 {
        self.wait_s -= TICK_S;
        if self.wait_s <= 0.0 && self.left > 0 {
            self.wait_s = chance.wait(self.every_s);
            self.left -= 1;
            let change = self.size * chance.about_one(0.5);
            // One in five gives memory back.
            self.target =
                if chance.happens(0.2) { (self.target - change).max(0.0) } else { self.target + change };
            self.per_tick = ((self.target - self.at).abs() * TICK_S / chance.between(1.0, 60.0)).max(0.01);
        }
        self.at += (self.target - self.at).clamp(-self.per_tick, self.per_tick);
        self.at
    }
}

/// Child processes that come, grow, stay and go: compilers, test suites, browsers.
pub(super) struct Bursts {
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
    pub(super) fn new(size: f64, lasts_s: f64, every_s: f64) -> Self {
        Self { size, lasts_s, every_s, running: Vec::new() }
    }
}

impl Part for Bursts {
    fn step(&mut self, chance: &mut Chance) -> f64 {
        if chance.happens(TICK_S / self.every_s) && self.running.len() < 3 {
            let lasts_s = self.lasts_s * chance.about_one(0.5);
            self.running.push(Burst {
                size: self.size * chance.about_one(0.5),
                lasts_s,
                ramp_s: lasts_s * chance.between(0.05, 0.6),
                age_s: 0.0,
            });
        }
        for burst in &mut self.running {
            burst.age_s += TICK_S;
        }
        self.running.retain(|burst| burst.age_s < burst.lasts_s);
        let grown = |burst: &Burst| burst.size * (burst.age_s / burst.ramp_s.max(1.0)).min(1.0);
        self.running.iter().map(grown).sum::<f64>() * chance.between(0.97, 1.03)
    }
}

/// A task's context grows until the task is over, then nearly all of it goes; some compact it on the way.
pub(super) struct Context {
    size: f64,
    task_s: f64,
    pause_s: f64,
    curve: f64,
    compacts: bool,
    task: Task,
    residue: Wander,
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

impl Context {
    pub(super) fn new(
        size: f64,
        task_s: f64,
        pause_s: f64,
        curve: f64,
        compacts: bool,
        chance: &mut Chance,
    ) -> Self {
        let residue = Wander::new(size * 0.03, task_s * 2.0);
        let mut context =
            Self { size, task_s, pause_s, curve, compacts, task: Task::none(chance.wait(pause_s)), residue };
        // It is seen first somewhere in a task, or before one.
        if chance.happens(0.7) {
            context.task = context.another(chance);
        }
        context
    }

    fn another(&self, chance: &mut Chance) -> Task {
        Task {
            size: self.size * chance.about_one(0.3),
            lasts_s: self.task_s * chance.about_one(0.35),
            age_s: 0.0,
            pause_s: 0.0,
            floor: 0.0,
            compact_at: if self.compacts { chance.between(0.5, 0.8) } else { 2.0 },
        }
    }
}

impl Task {
    fn none(pause_s: f64) -> Self {
        Self { size: 0.0, lasts_s: 0.0, age_s: 1.0, pause_s, floor: 0.0, compact_at: 2.0 }
    }
}

impl Part for Context {
    fn step(&mut self, chance: &mut Chance) -> f64 {
        self.task.age_s += TICK_S * chance.between(0.4, 1.6);
        if self.task.age_s >= self.task.lasts_s {
            if self.task.pause_s <= 0.0 && self.task.lasts_s > 0.0 {
                self.task = Task::none(chance.wait(self.pause_s));
            }
            self.task.pause_s -= TICK_S;
            if self.task.pause_s <= 0.0 {
                self.task = self.another(chance);
            }
        }
        let task = &mut self.task;
        let share = if task.lasts_s > 0.0 { (task.age_s / task.lasts_s).min(1.0) } else { 0.0 };
        let mut grown = task.size * share.powf(self.curve);
        if share >= task.compact_at {
            // A summary takes the place of what was said.
            let before = task.size * task.compact_at.powf(self.curve);
            task.floor = before * 0.7;
            grown -= task.floor;
        }
        grown + self.residue.step(chance).abs()
    }
}

/// A cache that fills with the work done, and then is full.
pub(super) struct Cache {
    size: f64,
    fill_s: f64,
    /// New entries get rarer as it fills; else it fills at an even pace and then evicts.
    saturates: bool,
    duty: Duty,
    delay_s: f64,
    now: f64,
}

impl Cache {
    pub(super) fn new(size: f64, fill_s: f64, saturates: bool, duty: Duty, delay_s: f64) -> Self {
        Self { size, fill_s, saturates, duty, delay_s, now: 0.0 }
    }
}

impl Part for Cache {
    fn step(&mut self, chance: &mut Chance) -> f64 {
        self.delay_s -= TICK_S;
        if self.delay_s > 0.0 {
            return 0.0;
        }
        let pace = self.duty.step(chance) * chance.wait(1.0);
        let room = self.size - self.now;
        // 95 % full after `fill_s`.
        let rate = if self.saturates { room * 3.0 / self.fill_s } else { self.size / self.fill_s };
        self.now = (self.now + rate * TICK_S * pace).min(self.size);
        if !self.saturates && self.now >= self.size {
            self.now -= self.size * 0.01 * chance.unit();
        }
        self.now
    }
}

/// Work that comes and goes: 1 on average, 0 while there is none.
#[derive(Clone)]
pub(super) struct Duty {
    on_s: f64,
    off_s: f64,
    left_s: f64,
    on: bool,
}

impl Duty {
    pub(super) fn always() -> Self {
        Self { on_s: f64::INFINITY, off_s: 0.0, left_s: f64::INFINITY, on: true }
    }

    pub(super) fn new(on_s: f64, off_s: f64) -> Self {
        Self { on_s, off_s, left_s: 0.0, on: false }
    }

    pub(super) fn step(&mut self, chance: &mut Chance) -> f64 {
        self.left_s -= TICK_S;
        if self.left_s <= 0.0 {
            self.on = !self.on;
            self.left_s = chance.between(0.5, 1.5) * if self.on { self.on_s } else { self.off_s };
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

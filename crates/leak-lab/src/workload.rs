//! The classes of healthy programs, and the ranges from which the parameters of a *kind* of agent are drawn.
//!
//! Agents of a kind run the same program. They share these parameters up to some variation, and differ in when things happen
//! to them. All sizes are in MiB.
//!
//! | class | what real programs do it | ranges |
//! |---|---|---|
//! | flat | a worker between requests, a supervisor | 40 MB to 1.5 GB; 0.1–0.8 % jitter, 0.3–1.5 % slow wander (fragmentation, buffers) |
//! | warm-up | imports, JIT, connection pools, allocator arenas | 0.3–3 × the base, 95 % of it within 10 min to 2 h |
//! | sawtooth | Node, Java, Go: nursery and full collections | nursery 5–40 % of the base every 20 s to 10 min, survivors 2–15 %, full collection at 10–50 % |
//! | steps | a model, an index or a repository is loaded | 1 to 8 a day, 5–60 % of the base each, there within a minute |
//! | bursts | compilers, test suites, browsers in the process tree | 100 MB to 4 GB for 30 s to 20 min, 0.3 to 4 an hour, up to 60 % of the time growing |
//! | restarts | a supervisor that restarts, deploys, crashes | 1 to 6 a day, warm-up of 10–80 % of the base after each |
//! | cycles | an agent's context grows over a task and is dropped | 40 to 800 MB over 10 min to 4 h, pauses to 20 min, one in three compacts |
//! | caches | file, embedding and syntax-tree caches | 80 MB to 1.5 GB, full after 1 to 8 h; a quarter fill evenly, a third only while there is work |
//! | mixture | most real agents | two or three of the above on one base |

use crate::memory_components::{
    Bursts, Cache, DutyCycle, Fluctuation, MemoryComponent, Sawtooth, Steps, TaskContext, Warmup,
};
use crate::seeded_random::SeededRandom;

const HOUR_S: f64 = 3_600.0;

/// How the memory of a group of agents behaves when nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    Flat,
    Warmup,
    Sawtooth,
    Steps,
    Bursts,
    Restarts,
    Cycles,
    Caches,
    Mixture,
}

impl Class {
    pub(crate) const ALL: [Self; 9] = [
        Self::Flat,
        Self::Warmup,
        Self::Sawtooth,
        Self::Steps,
        Self::Bursts,
        Self::Restarts,
        Self::Cycles,
        Self::Caches,
        Self::Mixture,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Warmup => "warm-up",
            Self::Sawtooth => "sawtooth",
            Self::Steps => "steps",
            Self::Bursts => "bursts",
            Self::Restarts => "restarts",
            Self::Cycles => "cycles",
            Self::Caches => "caches",
            Self::Mixture => "mixture",
        }
    }
}

/// The parameters that agents of a kind have in common.
#[derive(Clone)]
pub(crate) struct Kind {
    base: f64,
    fluctuation: [f64; 4],
    components: Vec<ComponentSpec>,
    /// Mean time between restarts in seconds, if it restarts.
    pub(crate) restarts_every_s: Option<f64>,
}

#[derive(Clone)]
enum ComponentSpec {
    Warmup { size: f64, tau_s: f64 },
    Sawtooth { nursery: f64, period_s: f64, survives: f64, tenured: f64 },
    Steps { size: f64, every_s: f64, count: u32 },
    Bursts { size: f64, lasts_s: f64, every_s: f64 },
    Cycles { size: f64, task_s: f64, pause_s: f64, curve: f64, compacts: bool },
    Cache { size: f64, fill_s: f64, saturates: bool, duty_cycle: DutyCycle },
}

impl Kind {
    pub(crate) fn draw(class: Class, random: &mut SeededRandom) -> Self {
        let base = random.log_uniform(40.0, 1_500.0);
        let fluctuation = [
            base * random.uniform(0.001, 0.008),
            random.log_uniform(20.0, 600.0),
            base * random.uniform(0.003, 0.015),
            random.uniform(1.0, 4.0) * HOUR_S,
        ];
        let mut kind = Self { base, fluctuation, components: Vec::new(), restarts_every_s: None };
        if random.happens(0.5) {
            kind.components.push(small_commands(random));
        }
        kind.add(class, random);
        kind
    }

    fn add(&mut self, class: Class, random: &mut SeededRandom) {
        match class {
            Class::Flat => {}
            Class::Restarts => {
                self.restarts_every_s = Some(24.0 * HOUR_S / random.uniform(1.0, 6.0));
                let size = self.base * random.uniform(0.1, 0.8);
                self.components.push(ComponentSpec::Warmup { size, tau_s: random.log_uniform(60.0, 900.0) });
            }
            Class::Mixture => self.mix(random),
            one => self.components.push(ComponentSpec::draw(one, self.base, random)),
        }
    }

    fn mix(&mut self, random: &mut SeededRandom) {
        const MIXED: [Class; 7] = [
            Class::Warmup,
            Class::Sawtooth,
            Class::Steps,
            Class::Bursts,
            Class::Restarts,
            Class::Cycles,
            Class::Caches,
        ];
        let mut classes = MIXED.to_vec();
        for _ in 0..2 + usize::from(random.happens(0.5)) {
            let one = classes.swap_remove(random.below(classes.len()));
            self.add(one, random);
        }
    }

    /// The memory of a process of this kind from its start. `vary` is the size of this agent relative to others of its kind.
    pub(crate) fn start(&self, vary: f64, random: &mut SeededRandom) -> Process {
        let [fast, fast_s, slow, slow_s] = self.fluctuation;
        let mut components: Vec<Box<dyn MemoryComponent>> =
            vec![Box::new(Fluctuation::new(fast, fast_s, slow, slow_s))];
        components.extend(self.components.iter().map(|spec| spec.start(vary, random)));
        Process { base: self.base * random.log_normal_factor(0.03), components }
    }
}

/// A running process.
pub(crate) struct Process {
    base: f64,
    components: Vec<Box<dyn MemoryComponent>>,
}

impl Process {
    pub(crate) fn step(&mut self, random: &mut SeededRandom) -> f64 {
        self.base + self.components.iter_mut().map(|component| component.step(random)).sum::<f64>()
    }
}

/// `git`, `grep`, a language server's helper: the short-lived child processes of any agent.
fn small_commands(random: &mut SeededRandom) -> ComponentSpec {
    ComponentSpec::Bursts {
        size: random.log_uniform(4.0, 60.0),
        lasts_s: random.uniform(5.0, 40.0),
        every_s: HOUR_S / random.log_uniform(2.0, 60.0),
    }
}

impl ComponentSpec {
    fn draw(class: Class, base: f64, random: &mut SeededRandom) -> Self {
        match class {
            Class::Warmup => Self::Warmup {
                size: base * random.log_uniform(0.3, 3.0),
                tau_s: random.log_uniform(200.0, 2_400.0),
            },
            Class::Sawtooth => Self::Sawtooth {
                nursery: base * random.uniform(0.05, 0.4),
                period_s: random.log_uniform(20.0, 600.0),
                survives: random.uniform(0.02, 0.15),
                tenured: base * random.uniform(0.1, 0.5),
            },
            Class::Steps => {
                let count = 1 + random.below(8) as u32;
                Self::Steps {
                    size: base * random.uniform(0.05, 0.6),
                    every_s: 24.0 * HOUR_S / f64::from(count),
                    count,
                }
            }
            Class::Bursts => Self::Bursts {
                size: random.log_uniform(100.0, 4_096.0),
                lasts_s: random.log_uniform(30.0, 1_200.0),
                every_s: HOUR_S / random.log_uniform(0.3, 4.0),
            },
            Class::Cycles => Self::Cycles {
                size: random.log_uniform(40.0, 800.0),
                task_s: random.log_uniform(600.0, 4.0 * HOUR_S),
                pause_s: random.log_uniform(10.0, 1_200.0),
                curve: random.uniform(0.7, 1.5),
                compacts: random.happens(0.3),
            },
            _ => Self::Cache {
                size: random.log_uniform(80.0, 1_500.0),
                fill_s: random.log_uniform(1.0, 8.0) * HOUR_S,
                saturates: random.happens(0.75),
                duty_cycle: if random.happens(0.33) {
                    DutyCycle::new(random.log_uniform(300.0, 2_400.0), random.log_uniform(120.0, 2_400.0))
                } else {
                    DutyCycle::always()
                },
            },
        }
    }

    fn start(&self, vary: f64, random: &mut SeededRandom) -> Box<dyn MemoryComponent> {
        match self {
            Self::Warmup { size, tau_s } => {
                Box::new(Warmup::new(size * vary, tau_s * random.log_normal_factor(0.2)))
            }
            Self::Sawtooth { nursery, period_s, survives, tenured } => {
                Box::new(Sawtooth::new(nursery * vary, period_s * vary, *survives, tenured * vary))
            }
            Self::Steps { size, every_s, count } => {
                Box::new(Steps::new(size * vary, *every_s, *count, random))
            }
            Self::Bursts { size, lasts_s, every_s } => Box::new(Bursts::new(size * vary, *lasts_s, *every_s)),
            Self::Cycles { size, task_s, pause_s, curve, compacts } => {
                Box::new(TaskContext::new(size * vary, *task_s, *pause_s, *curve, *compacts, random))
            }
            Self::Cache { size, fill_s, saturates, duty_cycle } => {
                let delay_s = random.exponential(600.0);
                Box::new(Cache::new(size * vary, fill_s * vary, *saturates, duty_cycle.clone(), delay_s))
            }
        }
    }
}

//! The classes of healthy programs, and from which ranges the numbers of a *kind* of agent are drawn.
//!
//! Agents of a kind run the same program, so they share these numbers up to some variation, and differ in when things
//! happen to them. All sizes are in MiB.
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

use super::chance::Chance;
use super::parts::{Breath, Bursts, Cache, Context, Duty, Part, Sawtooth, Steps, Warmup};

const HOUR_S: f64 = 3_600.0;

/// The behaviour a group of agents has when nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
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
    pub(super) const ALL: [Self; 9] = [
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

    pub(super) fn name(self) -> &'static str {
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

/// What agents of a kind have in common.
#[derive(Clone)]
pub(super) struct Kind {
    base: f64,
    breath: [f64; 4],
    recipes: Vec<Recipe>,
    /// Mean time between restarts in seconds, if it restarts.
    pub(super) restarts_every_s: Option<f64>,
}

#[derive(Clone)]
enum Recipe {
    Warmup { size: f64, tau_s: f64 },
    Sawtooth { nursery: f64, period_s: f64, survives: f64, tenured: f64 },
    Steps { size: f64, every_s: f64, count: u32 },
    Bursts { size: f64, lasts_s: f64, every_s: f64 },
    Cycles { size: f64, task_s: f64, pause_s: f64, curve: f64, compacts: bool },
    Cache { size: f64, fill_s: f64, saturates: bool, duty: Duty },
}

impl Kind {
    pub(super) fn draw(class: Class, chance: &mut Chance) -> Self {
        let base = chance.between_orders(40.0, 1_500.0);
        let breath = [
            base * chance.between(0.001, 0.008),
            chance.between_orders(20.0, 600.0),
            base * chance.between(0.003, 0.015),
            chance.between(1.0, 4.0) * HOUR_S,
        ];
        let mut kind = Self { base, breath, recipes: Vec::new(), restarts_every_s: None };
        if chance.happens(0.5) {
            kind.recipes.push(small_commands(chance));
        }
        kind.add(class, chance);
        kind
    }

    fn add(&mut self, class: Class, chance: &mut Chance) {
        match class {
            Class::Flat => {}
            Class::Restarts => {
                self.restarts_every_s = Some(24.0 * HOUR_S / chance.between(1.0, 6.0));
                let size = self.base * chance.between(0.1, 0.8);
                self.recipes.push(Recipe::Warmup { size, tau_s: chance.between_orders(60.0, 900.0) });
            }
            Class::Mixture => self.mix(chance),
            one => self.recipes.push(Recipe::draw(one, self.base, chance)),
        }
    }

    fn mix(&mut self, chance: &mut Chance) {
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
        for _ in 0..2 + usize::from(chance.happens(0.5)) {
            let one = classes.swap_remove(chance.below(classes.len()));
            self.add(one, chance);
        }
    }

    /// The memory of a process of this kind from its start. `vary` is what sets this agent apart from others of its kind.
    pub(super) fn start(&self, vary: f64, chance: &mut Chance) -> Process {
        let [fast, fast_s, slow, slow_s] = self.breath;
        let mut parts: Vec<Box<dyn Part>> = vec![Box::new(Breath::new(fast, fast_s, slow, slow_s))];
        parts.extend(self.recipes.iter().map(|recipe| recipe.start(vary, chance)));
        Process { base: self.base * chance.about_one(0.03), parts }
    }
}

/// A running process.
pub(super) struct Process {
    base: f64,
    parts: Vec<Box<dyn Part>>,
}

impl Process {
    pub(super) fn step(&mut self, chance: &mut Chance) -> f64 {
        self.base + self.parts.iter_mut().map(|part| part.step(chance)).sum::<f64>()
    }
}

/// `git`, `grep`, a language server's helper: small children that come and go in any process tree.
fn small_commands(chance: &mut Chance) -> Recipe {
    Recipe::Bursts {
        size: chance.between_orders(4.0, 60.0),
        lasts_s: chance.between(5.0, 40.0),
        every_s: HOUR_S / chance.between_orders(2.0, 60.0),
    }
}

impl Recipe {
    fn draw(class: Class, base: f64, chance: &mut Chance) -> Self {
        match class {
            Class::Warmup => Self::Warmup {
                size: base * chance.between_orders(0.3, 3.0),
                tau_s: chance.between_orders(200.0, 2_400.0),
            },
            Class::Sawtooth => Self::Sawtooth {
                nursery: base * chance.between(0.05, 0.4),
                period_s: chance.between_orders(20.0, 600.0),
                survives: chance.between(0.02, 0.15),
                tenured: base * chance.between(0.1, 0.5),
            },
            Class::Steps => {
                let count = 1 + chance.below(8) as u32;
                Self::Steps {
                    size: base * chance.between(0.05, 0.6),
                    every_s: 24.0 * HOUR_S / f64::from(count),
                    count,
                }
            }
            Class::Bursts => Self::Bursts {
                size: chance.between_orders(100.0, 4_096.0),
                lasts_s: chance.between_orders(30.0, 1_200.0),
                every_s: HOUR_S / chance.between_orders(0.3, 4.0),
            },
            Class::Cycles => Self::Cycles {
                size: chance.between_orders(40.0, 800.0),
                task_s: chance.between_orders(600.0, 4.0 * HOUR_S),
                pause_s: chance.between_orders(10.0, 1_200.0),
                curve: chance.between(0.7, 1.5),
                compacts: chance.happens(0.3),
            },
            _ => Self::Cache {
                size: chance.between_orders(80.0, 1_500.0),
                fill_s: chance.between_orders(1.0, 8.0) * HOUR_S,
                saturates: chance.happens(0.75),
                duty: if chance.happens(0.33) {
                    Duty::new(chance.between_orders(300.0, 2_400.0), chance.between_orders(120.0, 2_400.0))
                } else {
                    Duty::always()
                },
            },
        }
    }

    fn start(&self, vary: f64, chance: &mut Chance) -> Box<dyn Part> {
        match self {
            Self::Warmup { size, tau_s } => Box::new(Warmup::new(size * vary, tau_s * chance.about_one(0.2))),
            Self::Sawtooth { nursery, period_s, survives, tenured } => {
                Box::new(Sawtooth::new(nursery * vary, period_s * vary, *survives, tenured * vary))
            }
            Self::Steps { size, every_s, count } => {
                Box::new(Steps::new(size * vary, *every_s, *count, chance))
            }
            Self::Bursts { size, lasts_s, every_s } => Box::new(Bursts::new(size * vary, *lasts_s, *every_s)),
            Self::Cycles { size, task_s, pause_s, curve, compacts } => {
                Box::new(Context::new(size * vary, *task_s, *pause_s, *curve, *compacts, chance))
            }
            Self::Cache { size, fill_s, saturates, duty } => {
                let delay_s = chance.wait(600.0);
                Box::new(Cache::new(size * vary, fill_s * vary, *saturates, duty.clone(), delay_s))
            }
        }
    }
}

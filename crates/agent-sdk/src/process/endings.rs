//! What is known of the trees that are being ended, and which signals are due. A function of what was seen and of the
//! time.
//!
//! Every process that was found is remembered by pid and start time until it is gone: a process that cleared its
//! environment, and whose parent has died since, could not be found a second time. It belongs to the life for which it
//! was found, and so do its descendants. A process that several lives may have left behind belongs to all of them, so
//! none of these lives is done before it is gone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use lifecycle_core::wire::process_fate::Findings;

use super::identity::ProcessId;
use super::tree::{Descent, Tree};

/// How long after KILL the kernel may take to end a process before it is reported as `left`.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How many looks in a row must find no process: one that ends during a look can hide another.
const LOOKS: u8 = 2;

/// The tree that a process belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The processes that this child of ours left behind.
    Supervisor(ProcessId),
    /// All that descends from this process.
    Own,
    /// The tree with this number, which is known by its token alone.
    Numbered(u64),
}

/// The signal that is due to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Term,
    Kill,
}

/// Trees that are being ended. Each carries an `R`, which receives the outcome.
#[derive(Debug)]
pub(super) struct Endings<R> {
    running: Vec<Ending<R>>,
    strays: HashMap<ProcessId, Stray>,
    begun: u64,
}

#[derive(Debug)]
struct Ending<R> {
    owner: Owner,
    token: Option<String>,
    kill_at: Instant,
    /// How many looks in a row found no process.
    quiet: u8,
    /// Whether only a look at all processes of the machine counts.
    needs_scan: bool,
    adopts: bool,
    reply: R,
}

#[derive(Debug)]
struct Stray {
    owners: Vec<Owner>,
    told: bool,
    killed: bool,
    gone: bool,
}

/// What a look showed besides the processes that were noted.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Whether it looked at all processes of the machine.
    pub(super) all: bool,
    /// Living processes that one of the lives may have left behind, or that may be none of ours.
    pub(super) doubtful: Vec<ProcessId>,
}

impl<R> Default for Endings<R> {
    fn default() -> Self {
        Self { running: Vec::new(), strays: HashMap::new(), begun: 0 }
    }
}

impl<R> Endings<R> {
    /// Begins to end a tree. `adopts`: whether descendants that leave their parent become children of this process.
    pub(super) fn begin(&mut self, tree: Tree, kill_after: Duration, adopts: bool, now: Instant, reply: R) {
        self.begun += 1;
        let owner = match tree.descent {
            Descent::LeftBy(supervisor) => Owner::Supervisor(supervisor),
            Descent::Own => Owner::Own,
            Descent::Unknown => Owner::Numbered(self.begun),
        };
        if owner == Owner::Own && !self.ends_own() {
            // Strays of an earlier command. Those that did not end are kept, and killed when it is time.
            self.strays.retain(|_, stray| !stray.gone);
        }
        self.running.push(Ending {
            owner,
            needs_scan: tree.token.is_some() && !(owner == Owner::Own && adopts),
            token: tree.token,
            kill_at: now + kill_after,
            quiet: 0,
            adopts: adopts && tree.descent != Descent::Unknown,
            reply,
        });
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// The owner of the tree with this token.
    pub(super) fn by_token(&self, token: &str) -> Option<Owner> {
        let ending = self.running.iter().find(|ending| ending.token.as_deref() == Some(token))?;
        Some(ending.owner)
    }

    /// Whether any tree can be recognised by a token.
    pub(super) fn has_tokens(&self) -> bool {
        self.running.iter().any(|ending| ending.token.is_some())
    }

    /// Whether all descendants of this process are to end.
    pub(super) fn ends_own(&self) -> bool {
        self.running.iter().any(|ending| ending.owner == Owner::Own)
    }

    /// The known owners of this process.
    pub(super) fn owners(&self, process: ProcessId) -> Option<&[Owner]> {
        self.strays.get(&process).map(|stray| stray.owners.as_slice())
    }

    /// Notes a process that was seen alive, with its possible owners. What was known of it before is kept.
    pub(super) fn note(&mut self, process: ProcessId, owners: &[Owner]) {
        let unknown = || Stray { owners: owners.to_vec(), told: false, killed: false, gone: false };
        self.strays.entry(process).or_insert_with(unknown);
    }

    /// Asks of every noted process whether it is still there, and drops those that no tree needs. `expects` tells
    /// whether a tree is still to come.
    pub(super) fn ask(&mut self, is_alive: impl Fn(ProcessId) -> bool, expects: impl Fn(ProcessId) -> bool) {
        let running: Vec<Owner> = self.running.iter().map(|ending| ending.owner).collect();
        let concerns = |owner: &Owner| {
            let to_come = matches!(owner, Owner::Supervisor(supervisor) if expects(*supervisor));
            to_come || running.contains(owner)
        };
        self.strays.retain(|process, stray| {
            stray.gone = stray.gone || !is_alive(*process);
            !stray.gone || stray.owners.iter().any(concerns)
        });
    }

    /// What is due now, each once, the oldest processes first. The order matters: a shell whose command is ended before
    /// the shell itself goes on with the next line of its script, as if the command had succeeded.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(ProcessId, Due)> {
        let mut due = Vec::new();
        for (process, stray) in self.strays.iter_mut().filter(|(_, stray)| !stray.gone) {
            let mut concerned = self.running.iter().filter(|ending| stray.owners.contains(&ending.owner));
            let Some(first) = concerned.next() else { continue };
            let kill_at = concerned.map(|ending| ending.kill_at).fold(first.kill_at, Instant::min);
            if !stray.told {
                stray.told = true;
                due.push((*process, Due::Term));
            }
            if kill_at <= now && !stray.killed {
                stray.killed = true;
                due.push((*process, Due::Kill));
            }
        }
        due.sort_by_key(|(process, due)| (*due == Due::Kill, process.start, process.pid));
        due
    }

    /// Takes out the trees that have no process left, and those whose time is over, with what was found of each.
    pub(super) fn finish(&mut self, seen: &Seen, now: Instant) -> Vec<(R, Owner, Findings)> {
        let mut finished = Vec::new();
        for mut ending in std::mem::take(&mut self.running) {
            let of_this = || self.strays.iter().filter(|(_, stray)| stray.owners.contains(&ending.owner));
            let alive: Vec<_> = of_this().filter(|(_, stray)| !stray.gone).collect();
            if !alive.is_empty() {
                ending.quiet = 0;
            } else if seen.all || !ending.needs_scan {
                ending.quiet += 1;
            }
            let gives_up = now >= ending.kill_at + KILL_PATIENCE;
            if ending.quiet < LOOKS && !gives_up {
                self.running.push(ending);
                continue;
            }
            let (left, shared): (Vec<_>, Vec<_>) =
                alive.into_iter().partition(|(_, stray)| stray.owners.len() == 1);
            let doubtful = shared.into_iter().map(|(process, _)| process).chain(&seen.doubtful);
            let findings = Findings {
                told: of_this().filter(|(_, stray)| stray.told).count(),
                left: pids(left.into_iter().map(|(process, _)| process)),
                doubtful: pids(doubtful),
                is_complete: ending.adopts,
            };
            finished.push((ending.reply, ending.owner, findings));
        }
        finished
    }

    /// When something is due that no exit will tell of.
    pub(super) fn next_due(&self, now: Instant) -> Option<Duration> {
        let waiting = |ending: &Ending<R>| {
            let next = if now < ending.kill_at { ending.kill_at } else { ending.kill_at + KILL_PATIENCE };
            next.saturating_duration_since(now)
        };
        self.running.iter().map(waiting).min()
    }

    /// Whether no process of some tree was found, so that another look is due at once: at all processes of the machine,
    /// or (`all` false) at our descendants.
    pub(super) fn is_to_confirm(&self, all: bool) -> bool {
        self.running.iter().any(|ending| ending.quiet > 0 && ending.needs_scan == all)
    }

    /// Whether a tree waits for a look at all processes of the machine, because none of its other processes is known to
    /// live.
    pub(super) fn wants_scan(&self) -> bool {
        let lives =
            |owner: &Owner| self.strays.values().any(|stray| !stray.gone && stray.owners.contains(owner));
        self.running.iter().any(|ending| ending.needs_scan && !lives(&ending.owner))
    }
}

fn pids<'a>(processes: impl Iterator<Item = &'a ProcessId>) -> Vec<u32> {
    let mut pids: Vec<u32> = processes.map(|process| process.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);
    const FIRST: ProcessId = ProcessId { pid: 100, start: 1 };
    const SECOND: ProcessId = ProcessId { pid: 200, start: 1 };
    const STRAY: ProcessId = ProcessId { pid: 300, start: 1 };

    fn left_by(supervisor: ProcessId) -> Tree {
        Tree { descent: Descent::LeftBy(supervisor), token: None }
    }

    /// One look that finds these alive and nobody new.
    fn look(
        endings: &mut Endings<u32>,
        alive: &[ProcessId],
        seen: &Seen,
        now: Instant,
    ) -> Vec<(u32, Findings)> {
        endings.ask(|process| alive.contains(&process), |_| true);
        endings.finish(seen, now).into_iter().map(|(reply, _, findings)| (reply, findings)).collect()
    }

    fn nothing_else() -> Seen {
        Seen::default()
    }

    #[test]
    fn a_process_is_told_once_killed_when_it_is_time_and_remembered_until_it_is_gone() {
        let (mut endings, now) = (Endings::default(), Instant::now());
        endings.begin(left_by(FIRST), GRACE, true, now, 1);
        endings.note(STRAY, &[Owner::Supervisor(FIRST)]);
        assert_eq!(endings.due(now), [(STRAY, Due::Term)]);
        assert_eq!(endings.due(now), []);
        // Nobody notes it any more: its parent died, and its environment says nothing. It is still there.
        for _ in 0..LOOKS + 1 {
            assert_eq!(look(&mut endings, &[STRAY], &nothing_else(), now), []);
        }
        assert_eq!(endings.due(now + GRACE), [(STRAY, Due::Kill)]);
        assert_eq!(look(&mut endings, &[], &nothing_else(), now + GRACE), [], "one look proves nothing");
        let done = look(&mut endings, &[], &nothing_else(), now + GRACE);
        assert_eq!(done, [(1, Findings { told: 1, is_complete: true, ..Findings::default() })]);
        assert!(endings.is_idle());
    }

    #[test]
    fn what_may_be_of_two_lives_keeps_both_from_their_end_also_one_that_comes_later() {
        let (mut endings, now) = (Endings::default(), Instant::now());
        endings.begin(left_by(FIRST), GRACE, true, now, 1);
        endings.note(STRAY, &[Owner::Supervisor(FIRST), Owner::Supervisor(SECOND)]);
        assert_eq!(endings.due(now).len(), 1);
        endings.begin(left_by(SECOND), GRACE, true, now + GRACE, 2);
        assert_eq!(endings.due(now + GRACE), [(STRAY, Due::Kill)], "the first one's time is over");
        for _ in 0..LOOKS {
            assert_eq!(look(&mut endings, &[STRAY], &nothing_else(), now + GRACE), []);
        }
        look(&mut endings, &[], &nothing_else(), now + GRACE);
        let done = look(&mut endings, &[], &nothing_else(), now + GRACE);
        assert_eq!(
            done.iter().map(|(reply, found)| (*reply, found.told)).collect::<Vec<_>>(),
            [(1, 1), (2, 1)]
        );
    }

    #[test]
    fn what_does_not_go_is_left_with_its_pid_or_doubtful_where_it_may_be_of_another() {
        let (mut endings, now) = (Endings::default(), Instant::now());
        let shared = ProcessId { pid: 301, ..STRAY };
        let nobodys = ProcessId { pid: 302, ..STRAY };
        endings.begin(left_by(FIRST), GRACE, true, now, 1);
        endings.note(STRAY, &[Owner::Supervisor(FIRST)]);
        endings.note(shared, &[Owner::Supervisor(FIRST), Owner::Supervisor(SECOND)]);
        let seen = Seen { all: false, doubtful: vec![nobodys] };
        assert_eq!(endings.next_due(now), Some(GRACE));
        assert_eq!(look(&mut endings, &[STRAY, shared], &seen, now + GRACE), []);
        let late = now + GRACE + KILL_PATIENCE;
        let done = look(&mut endings, &[STRAY, shared], &seen, late);
        assert_eq!((done[0].1.left.as_slice(), done[0].1.doubtful.as_slice()), (&[300][..], &[301, 302][..]));
        // What it left is not taken for the next one's.
        endings.begin(left_by(SECOND), GRACE, true, late, 2);
        assert_eq!(endings.owners(STRAY), Some(&[Owner::Supervisor(FIRST)][..]));
    }

    #[test]
    fn a_tree_with_a_token_is_only_done_after_looks_at_every_process() {
        let (mut endings, now) = (Endings::default(), Instant::now());
        let token = Some("a:7".to_string());
        endings.begin(Tree { token: token.clone(), ..left_by(FIRST) }, GRACE, true, now, 1);
        endings.begin(Tree { descent: Descent::Unknown, token: Some("b:8".into()) }, GRACE, true, now, 2);
        endings.begin(Tree { descent: Descent::Own, token }, GRACE, true, now, 3);
        assert_eq!(endings.by_token("b:8"), Some(Owner::Numbered(2)));
        look(&mut endings, &[], &nothing_else(), now);
        // All that descends from us comes to us, wherever it goes.
        assert_eq!(look(&mut endings, &[], &nothing_else(), now)[0].0, 3);
        assert!(endings.wants_scan() && !endings.is_to_confirm(true));
        let all = Seen { all: true, doubtful: Vec::new() };
        assert_eq!(look(&mut endings, &[], &all, now), []);
        let done = look(&mut endings, &[], &all, now);
        // A token that nobody carries proves nothing.
        assert_eq!(
            done.iter().map(|(reply, found)| (*reply, found.is_complete)).collect::<Vec<_>>(),
            [(1, true), (2, false)]
        );
    }
}

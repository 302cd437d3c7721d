//! What became of the processes of a life, as far as it was proven.
//!
//! An agent's supervisor or its coordinator tells the processes of an ended life to end, and looks again until none is
//! left or one will not go. The fate follows from what was seen, and from whether everything could be seen. `killed`
//! without proof that nothing is left would send an operator away from a process that still runs.

use crate::wire::word_enum::word_enum;

word_enum! {
    /// What was proven of the processes of a life that is over; the field `process` of events and of the audit log.
    ProcessFate, "process fate" {
        /// All of them ended, and none had to be told to.
        Dead = "dead",
        /// Some had to be told to end, and nothing is left.
        Killed = "killed",
        /// Some did not end when told, and still run.
        Left = "left",
        /// Nobody looked, or looking could not tell what is left.
        Unknown = "unknown",
    }
}

/// What was proven of a life's processes, and which processes it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// What was proven; see [`Findings::fate`] for how.
    pub process: ProcessFate,
    /// Pids on the host that looked. With `left`: the processes that would not go. With `unknown`: living processes
    /// that may be of this life. Otherwise empty.
    pub pids: Vec<u32>,
}

/// What was seen of a life's processes once nothing more could be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// How many processes were told to end.
    pub told: usize,
    /// Processes of this life that are still there: stuck in the kernel, or another user's.
    pub left: Vec<u32>,
    /// Processes that are still there and may be of this life or of another one.
    pub doubtful: Vec<u32>,
    /// Whether everything that the life left behind could be seen. If not, finding nothing proves nothing.
    pub is_complete: bool,
}

impl Fate {
    /// Nobody looked.
    pub const UNKNOWN: Self = Self { process: ProcessFate::Unknown, pids: Vec::new() };
}

impl Findings {
    /// It is proven that nothing is left, and nothing had to be told.
    pub const NOTHING_LEFT: Self =
        Self { told: 0, left: Vec::new(), doubtful: Vec::new(), is_complete: true };

    /// What these findings prove. `forced`: the supervisor that held the processes was killed too.
    #[must_use]
    pub fn fate(&self, forced: bool) -> Fate {
        let (process, pids) = if !self.left.is_empty() {
            (ProcessFate::Left, &self.left)
        } else if !self.doubtful.is_empty() || !self.is_complete {
            (ProcessFate::Unknown, &self.doubtful)
        } else if self.told > 0 || forced {
            (ProcessFate::Killed, &self.left)
        } else {
            (ProcessFate::Dead, &self.left)
        };
        Fate { process, pids: pids.clone() }
    }

    /// Joins two looks at the processes of one life. The later look tells what is left. The result is complete only if
    /// both looks were.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self { told: self.told + later.told, is_complete: self.is_complete && later.is_complete, ..later }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Findings {
        Findings { is_complete: true, ..Findings::default() }
    }

    #[test]
    fn killed_needs_proof_that_nothing_is_left() {
        let told = Findings { told: 3, ..complete() };
        assert_eq!(told.fate(false).process, ProcessFate::Killed);
        assert_eq!(Findings { is_complete: false, ..told.clone() }.fate(false), Fate::UNKNOWN);
        let doubted = Findings { doubtful: vec![7], ..told.clone() }.fate(true);
        assert_eq!(doubted, Fate { process: ProcessFate::Unknown, pids: vec![7] });
        let left = Findings { left: vec![8, 9], doubtful: vec![7], ..told }.fate(true);
        assert_eq!(left, Fate { process: ProcessFate::Left, pids: vec![8, 9] });
    }

    #[test]
    fn dead_is_what_ended_without_being_told() {
        assert_eq!(complete().fate(false), Fate { process: ProcessFate::Dead, pids: vec![] });
        assert_eq!(complete().fate(true).process, ProcessFate::Killed, "its supervisor was");
        assert_eq!(Findings::default().fate(false), Fate::UNKNOWN, "nobody looked");
    }

    #[test]
    fn the_words_are_literally_those_of_the_contract() {
        let words: Vec<_> = ProcessFate::ALL.iter().map(|fate| fate.as_str()).collect();
        assert_eq!(words, ["dead", "killed", "left", "unknown"]);
    }
}

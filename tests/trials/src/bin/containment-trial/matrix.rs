//! The cells: who runs it, in which mode, who is hit, and by what.

use std::fmt;

use clap::ValueEnum;

/// As whom the roles run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// Root on the host
    Root,
    /// A user without any right, and without a runtime folder
    User,
    /// Root inside a default container
    Container,
}

/// The setting `containment.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// A control group for each life
    Cgroup,
    /// A PID namespace
    Namespace,
    /// A guard alone
    Guard,
    /// Nothing but subreapers; nothing is promised
    None,
    /// The strongest that the host allows
    Auto,
    /// The setting is left out, as users do
    Default,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Term,
    Kill,
    /// STOP, a moment, and KILL: who is hit could do nothing any more.
    StopKill,
}

/// To whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Supervisor,
    Group,
    Coordinator,
    Both,
    BothAndGuard,
    /// The same, where a daemon looks after the host.
    BesideHost,
    /// A supervisor without a coordinator.
    Bare,
    BareGroup,
}

/// One cell of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) who: Who,
    pub(crate) mode: Mode,
    pub(crate) target: Target,
    pub(crate) blow: Blow,
}

impl Who {
    pub(crate) const ALL: [Self; 3] = [Self::Root, Self::User, Self::Container];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
            Self::Container => "container",
        }
    }
}

impl Mode {
    /// The modes to try. Those that promise something, if none is named.
    pub(crate) fn chosen(only: Option<Self>, all: bool) -> Vec<Self> {
        match only {
            Some(mode) => vec![mode],
            None if all => vec![Self::Cgroup, Self::Namespace, Self::Guard, Self::None],
            None => vec![Self::Cgroup, Self::Namespace, Self::Guard],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Namespace => "namespace",
            Self::Guard => "guard",
            Self::None => "none",
            Self::Auto => "auto",
            Self::Default => "default",
        }
    }

    /// The value of the setting, unless it is left out.
    pub(crate) fn setting(self) -> Option<&'static str> {
        (self != Self::Default).then(|| self.name())
    }

    /// Whether it asks nothing of the host but a kernel, so that it can be had everywhere.
    pub(crate) fn is_everywhere(self) -> bool {
        !matches!(self, Self::Cgroup | Self::Namespace)
    }

    /// Whether the kernel itself holds the processes together, which is what the time of the goal is for.
    fn is_the_kernels(self) -> bool {
        matches!(self, Self::Cgroup | Self::Namespace)
    }
}

impl Target {
    const ALL: [Self; 8] = [
        Self::Supervisor,
        Self::Group,
        Self::Coordinator,
        Self::Both,
        Self::BothAndGuard,
        Self::BesideHost,
        Self::Bare,
        Self::BareGroup,
    ];
    const SHORT: [Self; 4] = [Self::Supervisor, Self::Both, Self::BothAndGuard, Self::BesideHost];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Group => "its group",
            Self::Coordinator => "coordinator",
            Self::Both => "both",
            Self::BothAndGuard => "both and the guard",
            Self::BesideHost => "these, beside agent host",
            Self::Bare => "bare supervisor",
            Self::BareGroup => "bare supervisor's group",
        }
    }

    /// Whether `agent host` runs beside it.
    pub(crate) fn has_host(self) -> bool {
        self == Self::BesideHost
    }

    pub(crate) fn has_coordinator(self) -> bool {
        !matches!(self, Self::Bare | Self::BareGroup)
    }
}

impl Blow {
    const ALL: [Self; 3] = [Self::Term, Self::Kill, Self::StopKill];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Kill => "KILL",
            Self::StopKill => "STOP+KILL",
        }
    }
}

impl Cell {
    /// The whole matrix.
    pub(crate) fn all(run_by: &[Who], modes: &[Mode]) -> Vec<Self> {
        Self::product(run_by, modes, &Target::ALL, &Blow::ALL)
    }

    /// The part that CI looks at with each change.
    pub(crate) fn short(modes: &[Mode]) -> Vec<Self> {
        Self::product(&[Who::Root], modes, &Target::SHORT, &[Blow::Kill])
    }

    fn product(run_by: &[Who], modes: &[Mode], targets: &[Target], blows: &[Blow]) -> Vec<Self> {
        let mut cells = Vec::new();
        for who in run_by {
            for mode in modes {
                for target in targets {
                    cells.extend(blows.iter().map(|blow| Self {
                        who: *who,
                        mode: *mode,
                        target: *target,
                        blow: *blow,
                    }));
                }
            }
        }
        cells
    }

    /// Whether the time until the last one is gone has a goal. A supervisor that may still act takes the time that its
    /// settings give it: TERM lets it drain, and after the end of its coordinator it goes on for a while.
    pub(crate) fn has_goal(self) -> bool {
        let holds_without_anybody =
            self.mode != Mode::Cgroup || !matches!(self.target, Target::BothAndGuard | Target::BesideHost);
        self.mode.is_the_kernels()
            && holds_without_anybody
            && self.blow != Blow::Term
            && self.target != Target::Coordinator
    }

    /// Why survivors are no fault of this cell, if they are none.
    pub(crate) fn excuse(self) -> Option<&'static str> {
        match (self.mode, self.target, self.blow) {
            (Mode::None, ..) => Some("nothing is promised without containment"),
            // Nobody is left who could do anything, and the kernel was told nothing. `agent host` is for that.
            (Mode::Guard | Mode::Cgroup, Target::BothAndGuard, Blow::Kill | Blow::StopKill) => {
                Some("without a namespace nobody is left who could end it, unless `agent host` is there")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, mode) = (self.who.name(), self.mode.name());
        write!(f, "{who} · {mode} · {} · {}", self.blow.name(), self.target.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_there_once() {
        let modes = Mode::chosen(None, false);
        assert_eq!(Cell::all(&Who::ALL, &modes).len(), 3 * 3 * 8 * 3);
        assert_eq!(Cell::short(&modes).len(), 3 * 4);
        assert_eq!(Mode::chosen(None, true).len(), 4);
    }

    #[test]
    fn survivors_are_excused_only_where_nothing_can_hold_them() {
        let excused = |mode| {
            Cell::all(&[Who::Root], &[mode]).into_iter().filter(|cell| cell.excuse().is_some()).count()
        };
        let modes = [Mode::Cgroup, Mode::Namespace, Mode::Auto, Mode::Default, Mode::Guard, Mode::None];
        assert_eq!(modes.map(excused), [2, 0, 0, 0, 2, 24]);
    }
}

//! What is found of an agent's memory, and what people are shown of it.

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Memory is taken and not given back.
    Leak,
    /// At the present pace the limit is reached within five minutes.
    Runaway,
}

impl Finding {
    /// The word for it in alerts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Runaway => "runaway",
        }
    }

    /// All there are.
    pub const ALL: [Self; 2] = [Self::Leak, Self::Runaway];

    /// The finding of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|finding| finding.name() == name)
    }
}

/// An alert with its evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeakVerdict {
    /// Time of the sample that decided, in ms.
    pub at_ms: u64,
    /// What is wrong.
    pub finding: Finding,
    /// The robust slope over the window.
    pub slope_bytes_per_hour: f64,
    /// How far back the growth was looked at, in ms.
    pub window_ms: u64,
    /// 0 to 1: how orderly the growth is, and how far beyond the usual (or how near the limit).
    pub confidence: f64,
    /// When the limit is reached at this slope, in ms, if there is a limit.
    pub limit_reached_ms: Option<u64>,
}

/// Where an agent's memory is going, for people to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// The robust slope at the scale that shows most; negative when memory falls.
    pub slope_bytes_per_hour: f64,
    /// As in a verdict; at most a half while the growth is not steady.
    pub confidence: f64,
    /// When the limit is reached at this slope, in ms, if there is a limit and memory grows.
    pub limit_reached_ms: Option<u64>,
    /// What was alerted on, in the episode that goes on.
    pub finding: Option<Finding>,
    /// Floors of the last hour and a half, oldest first, at most 24.
    pub floors: Vec<u64>,
}

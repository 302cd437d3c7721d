//! What people see during a run: bars on a terminal, plain lines elsewhere; always on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lifecycle_cli::output::printable;
use lifecycle_core::sprint::plan::Plan;

/// Shared by all parts that report something.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    /// A terminal: one bar per sprint, and a line for what happened last.
    Bars { screen: MultiProgress, bars: Vec<ProgressBar>, latest: ProgressBar },
    /// No terminal: one line for each message.
    Lines,
}

impl Progress {
    /// Bars if stderr is a terminal.
    pub(crate) fn new(plan: &Plan) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let screen = MultiProgress::new();
        let width = plan.sprints.iter().map(|sprint| sprint.name.as_str().len()).max().unwrap_or(0);
        let colour = if colours() { ".green" } else { "" };
        let template = format!("{{prefix:{width}}} [{{bar:30{colour}}}] {{pos}}/{{len}} {{msg}}");
        let bars = plan.sprints.iter().map(|sprint| {
            let bar = screen.add(ProgressBar::new(sprint.tasks.len() as u64));
            bar.set_style(style(&template).progress_chars("=> "));
            bar.set_prefix(sprint.name.to_string());
            bar
        });
        let bars = bars.collect();
        let latest = screen.add(ProgressBar::new_spinner());
        latest.set_style(style("{spinner} {wide_msg}"));
        latest.enable_steady_tick(Duration::from_millis(200));
        Self::Bars { screen, bars, latest }
    }

    /// Reports what went as it should.
    pub(crate) fn say(&self, what: &str) {
        match self {
            Self::Bars { latest, .. } => latest.set_message(printable(what)),
            Self::Lines => line(what),
        }
    }

    /// Reports what did not: it stays on the screen.
    pub(crate) fn warn(&self, what: &str) {
        match self {
            Self::Bars { screen, latest, .. } => {
                latest.set_message(printable(what));
                // The terminal may have gone.
                let _ = screen.println(printable(what));
            }
            Self::Lines => line(what),
        }
    }

    /// Shows how far a sprint is, in figures and a few words.
    pub(crate) fn show(&self, sprint: usize, (settled, all): (usize, usize), words: String) {
        let Self::Bars { bars, .. } = self else { return };
        if let Some(bar) = bars.get(sprint) {
            bar.set_length(all as u64);
            bar.set_position(settled as u64);
            bar.set_message(words);
        }
    }

    /// Leaves the bars as they are and the cursor below them.
    pub(crate) fn finish(&self) {
        if let Self::Bars { bars, latest, .. } = self {
            latest.finish_and_clear();
            bars.iter().for_each(ProgressBar::abandon);
        }
    }
}

/// Writes a line to stderr. If that fails, there is nowhere to report it.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

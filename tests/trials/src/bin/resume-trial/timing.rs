//! How long it takes after a start of a coordinator until work goes on.

use std::time::Duration;

/// The times of all rounds that came so far.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    /// From the start until the epic was taken.
    pub(crate) taken: Vec<Duration>,
    /// From the start until the first hand-out.
    pub(crate) handed_out: Vec<Duration>,
    /// The same, where that task went to an agent that had nothing else in hand since the start: so nothing was waited for
    /// but the coordinator.
    pub(crate) unhindered: Vec<Duration>,
}

impl Timing {
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![format!(
            "\n{:42} {:>6} {:>9} {:>9} {:>9}",
            "FROM A RESTART UNTIL", "ROUNDS", "MEDIAN", "P99", "MAX"
        )];
        let rows = [
            ("the epic was taken", &self.taken),
            ("the first hand-out", &self.handed_out),
            ("the same, to an agent that was free", &self.unhindered),
        ];
        for (name, times) in rows {
            let ms =
                |share| quantile(times, share).map_or("-".into(), |time| format!("{} ms", time.as_millis()));
            lines.push(format!("{name:42} {:6} {:>9} {:>9} {:>9}", times.len(), ms(0.5), ms(0.99), ms(1.0)));
        }
        lines.join("\n") + "\n"
    }
}

/// The smallest time that so large a share of all is not over.
fn quantile(times: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // Thousands at most.
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let ms = |share| quantile(&times, share).map(|time| time.as_millis());
        assert_eq!([ms(0.5), ms(0.99), ms(1.0)], [Some(100), Some(198), Some(200)]);
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&times[..1], 0.99), Some(Duration::from_millis(200)));
    }
}

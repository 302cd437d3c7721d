//! A handful of figures as a line of little bars, for a table's column.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Floors per bar. All lines have the same scale of time, so that they can be compared.
const FLOORS_PER_BAR: usize = 2;
/// Most bars: lists of other writers may be of any length.
const MOST_BARS: usize = 12;
/// A line that rises by less than this part of its top stays low, or noise would look like a leak.
const LEAST_RISE: u64 = 10;

/// The youngest floors (oldest first), each bar the least of its floors. Empty without floors.
pub(super) fn sparkline(floors: &[u64]) -> String {
    let groups = floors.rchunks(FLOORS_PER_BAR).take(MOST_BARS);
    let mut lows: Vec<u64> = groups.filter_map(|group| group.iter().min().copied()).collect();
    lows.reverse();
    let (Some(&least), Some(&most)) = (lows.iter().min(), lows.iter().max()) else { return String::new() };
    let range = (most - least).max(most / LEAST_RISE).max(1);
    lows.into_iter().map(|low| bar(low - least, range)).collect()
}

fn bar(height: u64, range: u64) -> char {
    let top = BARS.len() - 1;
    let step = u128::from(height) * top as u128 / u128::from(range);
    BARS[usize::try_from(step).map_or(top, |step| step.min(top))]
}

#[cfg(test)]
mod tests {
    use super::sparkline;

    #[test]
    fn a_rise_goes_from_the_lowest_bar_to_the_highest() {
        let floors: Vec<u64> = (0..16).map(|step| (10 + step) << 20).collect();
        assert_eq!(sparkline(&floors), "▁▂▃▄▅▆▇█");
    }

    #[test]
    fn noise_on_a_flat_line_stays_low() {
        assert_eq!(sparkline(&[1_000, 1_000, 1_010, 1_010, 1_003, 1_003, 1_000, 1_000]), "▁▁▁▁");
        assert_eq!(sparkline(&[5, 5, 5]), "▁▁");
    }

    #[test]
    fn only_the_youngest_floors_are_shown_and_the_youngest_group_is_whole() {
        let floors: Vec<u64> = (0..1_000).collect();
        assert_eq!(sparkline(&floors).chars().count(), 12);
        assert_eq!(sparkline(&[9, 1, 1]), "█▁");
    }

    #[test]
    fn absurd_floors_and_none_at_all_do_no_harm() {
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[0]), "▁");
        assert_eq!(sparkline(&[0, 0, u64::MAX, u64::MAX]), "▁█");
    }
}

//! 95 % confidence intervals.

use crate::score::FalseAlarms;
use crate::seeded_random::SeededRandom;

/// Normal quantile of 97.5 %.
const Z: f64 = 1.959_964;

/// Wilson's interval (1927) for a share.
pub(crate) fn share(hits: usize, of: usize) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let n = of as f64;
    let share = hits as f64 / n;
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() / (1.0 + Z * Z / n);
    ((middle - reach).max(0.0), (middle + reach).min(1.0))
}

/// Garwood's exact interval (1936) for a number of events, to be divided by the exposure.
pub(crate) fn events(count: usize) -> (f64, f64) {
    let low = if count == 0 { 0.0 } else { mean_at(count - 1, 0.975) };
    (low, mean_at(count, 0.025))
}

/// The Poisson mean at which `count` or fewer events have this probability, by bisection.
fn mean_at(count: usize, probability: f64) -> f64 {
    let (mut low, mut high) = (0.0, 20.0 + 2.0 * count as f64 + 10.0 * (count as f64).sqrt());
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if at_most(count, middle) > probability { low = middle } else { high = middle }
    }
    low
}

fn at_most(count: usize, mean: f64) -> f64 {
    // In logarithms, since exp(-mean) underflows for the thousands of alerts that some rules raise.
    let mut term = -mean;
    let mut terms = vec![term];
    for k in 1..=count {
        term += mean.max(f64::MIN_POSITIVE).ln() - (k as f64).ln();
        terms.push(term);
    }
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest.exp() * terms.iter().map(|term| (term - largest).exp()).sum::<f64>()
}

/// The interval of a rate whose events come in groups: a bootstrap of 2,000 resamples of groups (Efron 1979).
pub(crate) fn of_groups(groups: &[FalseAlarms]) -> (f64, f64) {
    let mut random = SeededRandom::of(1);
    let mut rates: Vec<f64> = (0..2_000)
        .map(|_| {
            let (mut alerts, mut days) = (0, 0.0);
            for _ in groups {
                let group = groups[random.below(groups.len())];
                alerts += group.alerts;
                days += group.days;
            }
            FalseAlarms { alerts, days }.rate()
        })
        .collect();
    rates.sort_unstable_by(f64::total_cmp);
    (rates[50], rates[1_949])
}

/// The median and its interval from order statistics. Infinite values stand for "never".
pub(crate) fn median(values: &mut [f64]) -> Option<(f64, f64, f64)> {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len() as f64;
    let at = |index: f64| values.get((index.max(0.0) as usize).min(values.len().checked_sub(1)?)).copied();
    let reach = Z * n.sqrt() / 2.0;
    Some((at((n / 2.0).floor())?, at((n / 2.0 - reach).floor())?, at((n / 2.0 + reach).ceil())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: (f64, f64), wanted: (f64, f64)) {
        assert!(
            (found.0 - wanted.0).abs() < 1e-3 && (found.1 - wanted.1).abs() < 1e-3,
            "{found:?} {wanted:?}"
        );
    }

    #[test]
    fn the_intervals_are_those_of_the_tables() {
        near(share(81, 263), (0.2553, 0.3662));
        near(share(0, 10), (0.0, 0.2775));
        near(events(0), (0.0, 3.6889));
        near(events(10), (4.7954, 18.3904));
    }

    #[test]
    fn a_median_counts_those_that_never_come() {
        let mut values = [f64::INFINITY, 1.0, 2.0, 3.0, f64::INFINITY];
        assert_eq!(median(&mut values).unwrap().0, 3.0);
        assert_eq!(median(&mut []), None);
    }
}

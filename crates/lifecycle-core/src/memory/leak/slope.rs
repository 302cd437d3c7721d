//! Robust slopes: a few wild points do not change them.
//!
//! The Theil–Sen slope is the median of the slopes through all pairs of points (Theil 1950, Sen 1968): up to 29 % of the points
//! may lie anywhere. Kendall's τ counts the same pairs: +1 when every later point is higher, 0 when there is no order (the
//! Mann–Kendall test of a trend: Mann 1945, Kendall 1975).

/// Most points of a line. The slopes of all pairs are kept on the stack.
pub(super) const MOST: usize = 24;
const PAIRS: usize = MOST * (MOST - 1) / 2;

/// A robust straight line through a set of points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    /// Rise per unit of x.
    pub(super) slope: f64,
    /// Kendall's τ, −1 to 1.
    pub(super) tau: f64,
    /// Spread of the points around the line, as a standard deviation would be (1.4826 × median absolute deviation).
    pub(super) spread: f64,
}

/// The line through points in order of x, of which the last [`MOST`] count. `None` for fewer than three points.
pub(super) fn line(points: &[(f64, f64)]) -> Option<Line> {
    let points = points.get(points.len().saturating_sub(MOST)..).filter(|points| points.len() >= 3)?;
    let mut slopes = [0.0_f64; PAIRS];
    let mut count = 0;
    let mut order = 0_i32;
    for (index, (x1, y1)) in points.iter().enumerate() {
        // Two points at one time have no slope.
        for (x2, y2) in points[index + 1..].iter().filter(|(x2, _)| x2 > x1) {
            slopes[count] = (y2 - y1) / (x2 - x1);
            count += 1;
            order += i32::from(y2 > y1) - i32::from(y2 < y1);
        }
    }
    if count == 0 {
        return None;
    }
    let slope = median(&mut slopes[..count]);
    let mut rest = [0.0_f64; MOST];
    let rest = &mut rest[..points.len()];
    for (rest, (x, y)) in rest.iter_mut().zip(points) {
        *rest = y - slope * x;
    }
    let middle = median(rest);
    rest.iter_mut().for_each(|rest| *rest = (*rest - middle).abs());
    let tau = f64::from(order) / f64::from(u32::try_from(count).unwrap_or(1));
    Some(Line { slope, tau, spread: 1.4826 * median(rest) })
}

/// The upper median of the values; 0 if there are none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_found_and_a_quarter_of_wild_points_changes_nothing() {
        let mut points: Vec<(f64, f64)> = (0..20).map(|x| (f64::from(x), f64::from(3 * x + 7))).collect();
        let straight = line(&points).unwrap();
        assert_eq!((straight.slope, straight.tau, straight.spread), (3.0, 1.0, 0.0));
        for wild in [2, 7, 11, 16] {
            points[wild].1 = 5_000.0;
        }
        let line = line(&points).unwrap();
        assert!((line.slope - 3.0).abs() < 0.3, "{line:?}");
    }

    #[test]
    fn falling_points_have_a_tau_of_minus_one_and_level_ones_of_zero() {
        let falling: Vec<_> = (0..9).map(|x| (f64::from(x), f64::from(-x))).collect();
        assert_eq!(line(&falling).unwrap().tau, -1.0);
        let level: Vec<_> = (0..9).map(|x| (f64::from(x), 4.0)).collect();
        assert_eq!(line(&level).unwrap(), Line { slope: 0.0, tau: 0.0, spread: 0.0 });
    }

    #[test]
    fn fewer_than_three_points_have_no_line_and_of_too_many_the_last_count() {
        assert_eq!(line(&[(0.0, 1.0), (1.0, 2.0)]), None);
        let many: Vec<_> =
            (0..100).map(|x| (f64::from(x), if x < 70 { 0.0 } else { f64::from(x) })).collect();
        assert_eq!(line(&many).unwrap().slope, 1.0);
    }
}

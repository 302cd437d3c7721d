//! A trend as fields of `agent:memory:<id>`. Sweepers write them; `lifecyclectl memory` reads them.

use std::collections::HashMap;

use super::finding::{Finding, Trend};
use crate::wire::time::ServerTime;

/// Decimal places of a slope or a confidence; more would be noise.
const DIGITS: usize = 3;

impl Trend {
    /// The names of the fields.
    pub const FIELDS: [&'static str; 5] =
        ["slopeBytesPerHour", "confidence", "limitReachedMs", "finding", "floors"];

    /// The values, in the order of [`Self::FIELDS`]; empty where not known.
    #[must_use]
    pub fn values(&self) -> [String; 5] {
        let floors: Vec<String> = self.floors.iter().map(u64::to_string).collect();
        [
            format!("{:.0}", self.slope_bytes_per_hour),
            format!("{:.*}", DIGITS, self.confidence),
            self.limit_reached_at.map(|at| at.as_ms().to_string()).unwrap_or_default(),
            self.finding.map_or("", Finding::as_str).to_string(),
            floors.join(","),
        ]
    }

    /// Reads the fields. `None` when no sweeper of ours wrote them.
    #[must_use]
    pub fn from_fields(fields: &HashMap<String, String>) -> Option<Self> {
        let [slope, confidence, limit_reached, finding, floors] =
            Self::FIELDS.map(|name| fields.get(name).map(String::as_str).unwrap_or_default());
        let real = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
        Some(Self {
            slope_bytes_per_hour: real(slope)?,
            confidence: real(confidence)?.clamp(0.0, 1.0),
            limit_reached_at: limit_reached.parse().ok().map(ServerTime::from_store_ms),
            finding: finding.parse().ok(),
            floors: floors.split(',').filter_map(|floor| floor.parse().ok()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: [&str; 5]) -> HashMap<String, String> {
        Trend::FIELDS.into_iter().map(String::from).zip(values.map(String::from)).collect()
    }

    #[test]
    fn a_trend_reads_back_as_it_was_written() {
        let trend = Trend {
            slope_bytes_per_hour: -1_500_000.0,
            confidence: 0.875,
            limit_reached_at: Some(ServerTime::from_store_ms(1_764_000_000_000)),
            finding: Some(Finding::Leak),
            floors: vec![1, 20, 300],
        };
        let written = trend.values();
        assert_eq!(Trend::from_fields(&fields(written.each_ref().map(String::as_str))), Some(trend));
    }

    #[test]
    fn what_others_wrote_is_no_trend_and_what_is_missing_is_not_known() {
        assert_eq!(Trend::from_fields(&HashMap::new()), None);
        assert_eq!(Trend::from_fields(&fields(["NaN", "1", "", "", ""])), None);
        let odd = Trend::from_fields(&fields(["1", "7", "soon", "doom", "1,x,,3"])).unwrap();
        assert_eq!((odd.confidence, odd.limit_reached_at, odd.finding), (1.0, None, None));
        assert_eq!(odd.floors, [1, 3]);
    }
}

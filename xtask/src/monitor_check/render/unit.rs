//! Values as Grafana writes them, in the units our dashboards use.

/// A unit by Grafana's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Powers of 1000, with a word behind: `short`, `cps`, `cpm`, `decbytes`.
    Decimal(&'static str),
    /// `bytes`: powers of 1024.
    Binary,
    /// `s`
    Seconds,
    /// `percentunit`: 1 is 100 %.
    Share,
}

/// From here on seconds are shown as minutes.
const MINUTES: f64 = 120.0;

impl Unit {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "cps" => Self::Decimal(" c/s"),
            "cpm" => Self::Decimal(" c/m"),
            "decbytes" => Self::Decimal("B"),
            "bytes" => Self::Binary,
            "s" => Self::Seconds,
            "percentunit" => Self::Share,
            _ => Self::Decimal(""),
        }
    }

    /// Distances between lines of a grid are round in this.
    pub(super) fn base(self, top: f64) -> f64 {
        match self {
            Self::Binary => scale(top, 1024.0, 4).0,
            Self::Seconds if top >= MINUTES => 60.0,
            _ => 1.0,
        }
    }

    pub(super) fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".into();
        }
        match self {
            Self::Decimal(word) => {
                let (factor, power) = scale(value, 1000.0, 4);
                let prefix = ["", "k", "M", "G", "T"].get(power).copied().unwrap_or_default();
                let space = if word == "B" { " " } else { "" };
                format!("{}{space}{prefix}{word}", rounded(value / factor))
            }
            Self::Binary => {
                let (factor, power) = scale(value, 1024.0, 4);
                let prefix = ["", "Ki", "Mi", "Gi", "Ti"].get(power).copied().unwrap_or_default();
                format!("{} {prefix}B", rounded(value / factor))
            }
            Self::Seconds => seconds(value),
            Self::Share => format!("{} %", rounded(value * 100.0)),
        }
    }
}

/// The largest power of `base` that is not above the value, and which one it is.
fn scale(value: f64, base: f64, most: usize) -> (f64, usize) {
    let (mut factor, mut power) = (1.0, 0);
    while power < most && value.abs() >= factor * base {
        factor *= base;
        power += 1;
    }
    (factor, power)
}

fn seconds(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 => "0 s".into(),
        _ if size < 1e-3 => format!("{} µs", rounded(value * 1e6)),
        _ if size < 1.0 => format!("{} ms", rounded(value * 1e3)),
        _ if size < MINUTES => format!("{} s", rounded(value)),
        _ => format!("{} min", rounded(value / 60.0)),
    }
}

/// Three digits that count.
fn rounded(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_carry_their_unit() {
        for (unit, value, text) in [
            ("short", 0.0, "0"),
            ("short", 12_345.0, "12.3k"),
            ("decbytes", 100e6, "100 MB"),
            ("decbytes", -2_500.0, "-2.5 kB"),
            ("bytes", 1_048_576.0, "1 MiB"),
            ("s", 0.000_25, "250 µs"),
            ("s", 0.1, "100 ms"),
            ("s", 180.0, "3 min"),
            ("percentunit", 0.253, "25.3 %"),
            ("cpm", 4.0, "4 c/m"),
            ("cps", 0.0033, "0.0033 c/s"),
            ("none", f64::NAN, "–"),
        ] {
            assert_eq!(Unit::named(unit).show(value), text);
        }
    }
}

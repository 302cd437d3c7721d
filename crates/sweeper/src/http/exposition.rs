//! Writes Prometheus' text format, for metrics that are rendered from state.
//!
//! HELP and TYPE come from `metric::ALL`, so a series of a name that is not listed there cannot be written.

use std::fmt::{Display, Write as _};

use lifecycle_core::wire::metric;

/// A page that is being written.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

impl Exposition {
    /// A metric without labels. Without a value it is left out.
    pub(crate) fn single(&mut self, name: &'static str, value: Option<impl Display>) {
        if let Some(value) = value
            && self.head(name)
        {
            let _ = writeln!(self.0, "{name} {value}");
        }
    }

    /// A metric with one label. Without any series it is left out.
    pub(crate) fn labelled<L: AsRef<str>, V: Display>(
        &mut self,
        name: &'static str,
        label: &'static str,
        series: impl IntoIterator<Item = (L, V)>,
    ) {
        let mut series = series.into_iter().peekable();
        if series.peek().is_some() && self.head(name) {
            for (value, number) in series {
                let _ = writeln!(self.0, "{name}{{{label}=\"{}\"}} {number}", escaped(value.as_ref()));
            }
        }
    }

    /// The whole text.
    pub(crate) fn text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str) -> bool {
        let found = metric::ALL.iter().find(|(known, ..)| *known == name);
        if let Some((_, kind, help)) = found {
            let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        }
        found.is_some()
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_help_and_type_and_strange_ids_stay_in_their_quotes() {
        let mut page = Exposition::default();
        page.labelled(metric::AGENT_MEMORY, "agent_id", [("a\"b\n\\", 7)]);
        page.single(metric::FLEET_RSS, Some(9));
        page.single(metric::MEMORY_GROWTH, None::<u64>);
        page.labelled(metric::ORPHANS, "reason", [("", 0); 0]);
        let text = page.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE agent_memory_usage_bytes gauge",
                "agent_memory_usage_bytes{agent_id=\"a\\\"b\\n\\\\\"} 7",
                "# TYPE lifecycle_fleet_rss_bytes gauge",
                "lifecycle_fleet_rss_bytes 9"
            ]
        );
        assert!(text.starts_with("# HELP agent_memory_usage_bytes Resident memory"), "{text}");
    }
}

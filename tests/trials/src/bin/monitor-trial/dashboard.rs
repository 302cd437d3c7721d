//! A dashboard file in Grafana's classic schema.
//!
//! Grafana takes nearly anything and shows an empty panel. So this file asks for what the dashboard's reader needs: a title, a
//! description, a unit, and a name for each line.

use std::collections::BTreeSet;

use serde_json::Value;

/// Grafana's grid is this wide.
const COLUMNS: u64 = 24;
const PANEL_TYPES: &[&str] = &["timeseries", "stat", "bargauge"];

/// One file.
#[derive(Debug)]
pub(crate) struct Dashboard {
    /// In the order of the file, the rows among them.
    pub(crate) panels: Vec<Panel>,
}

/// One panel, or the headline of a row.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) description: String,
    /// `row`, `timeseries`, `stat` or `bargauge`.
    pub(crate) kind: String,
    place: GridPosition,
    pub(crate) queries: Vec<Query>,
    /// The rest, as it stands in the file.
    pub(crate) json: Value,
}

/// Position and size, in units of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GridPosition {
    x: u64,
    y: u64,
    w: u64,
    h: u64,
}

/// One expression.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) expression: String,
    pub(crate) legend: String,
}

/// Reads a file's text; `file` is its name in what is said.
///
/// # Errors
/// One line for each thing that is wrong with it.
pub(crate) fn read(file: &str, text: &str) -> Result<Dashboard, Vec<String>> {
    let json: Value = serde_json::from_str(text).map_err(|error| {
        let place = format!("{file}:{}:{}", error.line(), error.column());
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        vec![format!("{place}: not valid JSON: {what}")]
    })?;
    let mut problems = Vec::new();
    let mut wrong = |what: &str| problems.push(format!("{file}: {what}"));
    for name in ["title", "description", "uid", "refresh"] {
        if text_of(&json, &format!("/{name}")).is_empty() {
            wrong(&format!("`{name}` is missing"));
        }
    }
    if json["schemaVersion"].as_u64().is_none() {
        wrong("`schemaVersion` is missing: this is no dashboard of Grafana's classic schema");
    }
    if text_of(&json, "/time/from").is_empty() || text_of(&json, "/time/to").is_empty() {
        wrong("`time` has no `from` and `to`");
    }
    let source = source_variable(&json);
    if source.is_none() {
        wrong("`templating` has no variable of type datasource for prometheus");
    }
    let panels: Vec<Panel> = panel_values(&json).into_iter().map(Panel::read).collect();
    if panels.iter().all(Panel::is_row) {
        wrong("`panels` has none");
    }
    let source = source.map(|name| format!("${{{name}}}")).unwrap_or_default();
    for panel in &panels {
        problems.extend(panel.problems(&source).into_iter().map(|what| format!("{file}: {what}")));
    }
    problems.extend(collisions(&panels).into_iter().map(|what| format!("{file}: {what}")));
    if problems.is_empty() { Ok(Dashboard { panels }) } else { Err(problems) }
}

/// A collapsed row keeps its panels inside.
fn panel_values(json: &Value) -> Vec<&Value> {
    let list = |json: &'_ Value| json["panels"].as_array().map(Vec::len).unwrap_or_default() > 0;
    let top = json["panels"].as_array().into_iter().flatten();
    top.flat_map(|panel| {
        let inner = if list(panel) { panel["panels"].as_array() } else { None };
        std::iter::once(panel).chain(inner.into_iter().flatten())
    })
    .collect()
}

fn source_variable(json: &Value) -> Option<&str> {
    let variables = json["templating"]["list"].as_array()?;
    let fits = |variable: &&Value| variable["type"] == "datasource" && variable["query"] == "prometheus";
    variables.iter().find(fits)?["name"].as_str()
}

fn text_of(json: &Value, pointer: &str) -> String {
    json.pointer(pointer).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

/// Panels with the same id, and panels that overlap.
fn collisions(panels: &[Panel]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    for (index, panel) in panels.iter().enumerate() {
        if !panel.json["id"].as_u64().is_some_and(|id| ids.insert(id)) {
            problems.push(format!("panel `{}`: its `id` is missing or taken", panel.title));
        }
        for other in panels.iter().skip(index + 1).filter(|other| panel.place.overlaps(other.place)) {
            problems.push(format!("panels `{}` and `{}` lie over each other", panel.title, other.title));
        }
    }
    problems
}

impl Panel {
    fn read(json: &Value) -> Self {
        let number = |name: &str| json["gridPos"][name].as_u64().unwrap_or_default();
        let queries = json["targets"].as_array().into_iter().flatten().map(|target| Query {
            expression: text_of(target, "/expr"),
            legend: text_of(target, "/legendFormat"),
        });
        Self {
            title: text_of(json, "/title"),
            description: text_of(json, "/description"),
            kind: text_of(json, "/type"),
            place: GridPosition { x: number("x"), y: number("y"), w: number("w"), h: number("h") },
            queries: queries.collect(),
            json: json.clone(),
        }
    }

    pub(crate) fn is_row(&self) -> bool {
        self.kind == "row"
    }

    fn unit(&self) -> String {
        text_of(&self.json, "/fieldConfig/defaults/unit")
    }

    fn problems(&self, source: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if self.title.is_empty() {
            problems.push(format!("panel {} has no title", self.json["id"]));
        }
        let mut wrong = |what: String| problems.push(format!("panel `{}` {what}", self.title));
        if !self.place.is_in_grid() {
            wrong(format!("has no place in the grid of {COLUMNS} columns: `gridPos`"));
        }
        if self.is_row() {
            return problems;
        }
        if !PANEL_TYPES.contains(&self.kind.as_str()) {
            wrong(format!("is of type `{}`, which is none of {}", self.kind, PANEL_TYPES.join(", ")));
        }
        if self.description.is_empty() {
            wrong("has no description".into());
        }
        if self.unit().is_empty() {
            wrong("has no unit".into());
        }
        if self.queries.is_empty() {
            wrong("has no query".into());
        }
        let fixed =
            |json: &Value| json["datasource"]["type"] != "prometheus" || json["datasource"]["uid"] != source;
        let mut targets = self.json["targets"].as_array().into_iter().flatten();
        if fixed(&self.json) || targets.any(fixed) {
            wrong(format!("does not take its data from {source}"));
        }
        for query in &self.queries {
            if query.expression.is_empty() {
                wrong("has an empty expression".into());
            }
            if query.legend.is_empty() {
                wrong(format!("has no legend for `{}`", query.expression));
            }
        }
        problems
    }
}

impl GridPosition {
    fn is_in_grid(self) -> bool {
        self.w > 0 && self.h > 0 && self.x + self.w <= COLUMNS
    }

    fn overlaps(self, other: Self) -> bool {
        let apart = self.x + self.w <= other.x
            || other.x + other.w <= self.x
            || self.y + self.h <= other.y
            || other.y + other.h <= self.y;
        !apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../../../monitor/dashboards/memory-safety.json");

    #[track_caller]
    fn problems(text: &str) -> String {
        read("d.json", text).unwrap_err().join("\n")
    }

    /// The shipped file with one edit, which must change it.
    #[track_caller]
    fn edited(from: &str, to: &str) -> String {
        let text = SHIPPED.replacen(from, to, 1);
        assert_ne!(text, SHIPPED, "{from} is not in the dashboard");
        text
    }

    #[test]
    fn the_four_panels_of_the_original_design_come_first_with_its_queries_and_thresholds() {
        let dashboard = read("d.json", SHIPPED).unwrap();
        let first: Vec<(&str, &str)> = dashboard
            .panels
            .iter()
            .take(4)
            .map(|panel| (panel.title.as_str(), panel.queries[0].expression.as_str()))
            .collect();
        let original = [
            ("Active Agents Over Time", "agent_count_total{state=\"active\"}"),
            ("Orphan Cleanup Rate", "rate(agent_orphan_cleanup_count[5m])"),
            ("Memory Growth", "memory_growth_bytes"),
            ("Memory Leak Detection", "memory_leak_detected"),
        ];
        for ((title, expression), (original_title, query)) in first.into_iter().zip(original) {
            assert_eq!(title, original_title);
            assert!(expression.contains(query), "{expression}");
        }
        let red =
            |panel: &Panel| panel.json.pointer("/fieldConfig/defaults/thresholds/steps/1").cloned().unwrap();
        assert_eq!(red(&dashboard.panels[2])["value"], 100_000_000);
        assert_eq!(red(&dashboard.panels[3]), serde_json::json!({ "color": "red", "value": 1 }));
    }

    #[test]
    fn a_file_that_is_no_json_is_named_with_line_and_column() {
        let text = edited("\"uid\": \"agent-memory-safety\",", "\"uid\": \"agent-memory-safety\"");
        assert_eq!(problems(&text), "d.json:3:3: not valid JSON: expected `,` or `}`");
        assert_eq!(problems(""), "d.json:1:0: not valid JSON: EOF while parsing a value");
    }

    #[test]
    fn json_that_is_no_dashboard_is_said_to_be_none() {
        for text in ["[]", "{}", "7", "{\"panels\": {\"a\": 1}}"] {
            let said = problems(text);
            assert!(said.contains("schemaVersion") && said.contains("`panels` has none"), "{said}");
        }
    }

    #[test]
    fn a_panel_without_unit_description_or_legend_is_named() {
        assert_eq!(
            problems(&edited("\"unit\": \"cps\"", "\"unit\": \" \"")),
            "d.json: panel `Orphan Cleanup Rate` has no unit"
        );
        let said = problems(&edited("\"legendFormat\": \"{{reason}}\"", "\"legendFormat\": \"\""));
        assert!(said.starts_with("d.json: panel `Orphan Cleanup Rate` has no legend for `sum by"), "{said}");
        let said = problems(&edited("\"description\": \"1 (red)", "\"describes\": \"1 (red)"));
        assert_eq!(said, "d.json: panel `Memory Leak Detection` has no description");
    }

    #[test]
    fn a_fixed_data_source_is_named() {
        let said = problems(&edited("\"uid\": \"${datasource}\"", "\"uid\": \"prometheus\""));
        assert_eq!(said, "d.json: panel `Active Agents Over Time` does not take its data from ${datasource}");
    }

    #[test]
    fn panels_over_each_other_or_beside_the_grid_are_named() {
        let said = problems(&edited("\"w\": 7,\n        \"x\": 7,", "\"w\": 7,\n        \"x\": 6,"));
        assert!(said.contains("`Active Agents Over Time` and `Orphan Cleanup Rate` lie over"), "{said}");
        let said = problems(&edited("\"x\": 20", "\"x\": 21"));
        assert!(said.contains("`Memory Leak Detection` has no place in the grid"), "{said}");
    }
}

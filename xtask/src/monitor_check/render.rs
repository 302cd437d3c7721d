//! `target/dashboard.html`: the dashboard with real data, for those who have no Grafana at hand.
//!
//! An approximation, and labelled so: the same places in the same grid, the same queries, units, legends and thresholds, but
//! our own drawing. One file without anything beside it, light or dark as the reader's system is.

mod chart;
mod unit;

use std::fmt::Write as _;

use serde_json::Value;

use crate::monitor_check::dashboard::{Dashboard, Panel};
use crate::monitor_check::prometheus::Series;
use crate::monitor_check::render::chart::Chart;
use crate::monitor_check::render::unit::Unit;

const STYLE: &str = include_str!("render/page.css");
/// Grafana's classic palette.
const COLOURS: [&str; 10] = [
    "#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#8f7cc0", "#508642",
    "#cca300",
];

/// One line of a panel, with the name its legend gives it.
#[derive(Debug)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn last(&self) -> Option<f64> {
        self.points.iter().rev().map(|(_, value)| *value).find(|value| value.is_finite())
    }
}

/// A value of a panel's thresholds, from which a colour holds.
#[derive(Debug)]
struct Step {
    from: f64,
    colour: String,
}

/// The page of one dashboard; `data` by panel and query, as Prometheus answered.
pub(crate) fn page(dashboard: &Dashboard, data: &[Vec<Vec<Series>>], time: (f64, f64)) -> String {
    let mut panels = String::new();
    for (panel, data) in dashboard.panels.iter().zip(data) {
        panels.push_str(&framed(panel, data, time));
    }
    let title = escaped(&dashboard.title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style></head>\n<body>\n<header><h1>{title}</h1><p>{}</p>\n\
         <p class=\"note\"><strong>An approximation of what Grafana shows</strong>, drawn by <code>cargo xtask monitor-check</code> \
         from what Prometheus answered to the dashboard’s own queries: {:.0} s of a small fleet with short settings and two \
         sweepers, some of whose agents were killed, frozen or cut off. Rates are as of that time, and not yet of the whole five minutes.</p></header>\n\
         <main>\n{panels}</main>\n</body></html>\n",
        escaped(&dashboard.description),
        time.1 - time.0,
    )
}

fn framed(panel: &Panel, data: &[Vec<Series>], time: (f64, f64)) -> String {
    let place = panel.place;
    let grid =
        format!("grid-column:{}/span {};grid-row:{}/span {}", place.x + 1, place.w, place.y + 1, place.h);
    let title = escaped(&panel.title);
    if panel.is_row() {
        return format!("<h2 style=\"{grid}\">{title}</h2>\n");
    }
    let content = content(panel, &lines(panel, data), time);
    let (class, about) = (escaped(&panel.kind), escaped(&panel.description));
    format!(
        "<section class=\"{class}\" style=\"{grid}\"><h3>{title} <span title=\"{about}\" tabindex=\"0\">i</span></h3>\n\
         {content}</section>\n"
    )
}

fn content(panel: &Panel, lines: &[Line], time: (f64, f64)) -> String {
    if lines.is_empty() {
        return "<p class=\"empty\">No data</p>\n".into();
    }
    let unit = Unit::named(&panel.unit());
    match panel.kind.as_str() {
        "stat" => stat(panel, lines, unit),
        "bargauge" => bars(panel, lines, unit),
        _ => {
            let chart = Chart { panel, lines, unit, time }.svg();
            format!("{chart}{}", legend(lines, unit, &panel.json["options"]["legend"]))
        }
    }
}

fn lines(panel: &Panel, data: &[Vec<Series>]) -> Vec<Line> {
    let queries = panel.queries.iter().zip(data);
    queries
        .flat_map(|(query, series)| {
            series
                .iter()
                .map(|series| Line { name: named(&query.legend, series), points: series.points.clone() })
        })
        .collect()
}

/// `{{label}}` is replaced by the label's value.
fn named(legend: &str, series: &Series) -> String {
    let mut name = legend.to_owned();
    for (label, value) in &series.labels {
        name = name.replace(&format!("{{{{{label}}}}}"), value);
    }
    name
}

fn legend(lines: &[Line], unit: Unit, options: &Value) -> String {
    let shows_last = options["calcs"].as_array().is_some_and(|calcs| !calcs.is_empty());
    let class = if options["placement"] == "right" { "legend right" } else { "legend" };
    let mut html = format!("<ul class=\"{class}\">");
    for (index, line) in lines.iter().enumerate() {
        let last = line.last().filter(|_| shows_last).map(|value| format!(" <b>{}</b>", unit.show(value)));
        let (colour, name, last) = (colour(index), escaped(&line.name), last.unwrap_or_default());
        let _ = write!(html, "<li><i style=\"background:{colour}\"></i><span>{name}</span>{last}</li>");
    }
    html + "</ul>\n"
}

fn colour(index: usize) -> &'static str {
    COLOURS.get(index % COLOURS.len()).copied().unwrap_or("gray")
}

fn stat(panel: &Panel, lines: &[Line], unit: Unit) -> String {
    let steps = steps(panel);
    let filled = panel.json["options"]["colorMode"] == "background";
    let mut html = String::from("<div class=\"stats\">");
    for line in lines {
        let value = line.last().unwrap_or(f64::NAN);
        let (text, mapped) = mapped(panel, value).unwrap_or_else(|| (unit.show(value), None));
        let colour = shade(&mapped.unwrap_or_else(|| colour_of(&steps, value)));
        let style =
            if filled { format!("background:{colour};color:#fff") } else { format!("color:{colour}") };
        let is_named = lines.len() > 1 || panel.json["options"]["textMode"] == "value_and_name";
        let name = if is_named { format!("<small>{}</small>", escaped(&line.name)) } else { String::new() };
        let _ = write!(html, "<div style=\"{style}\">{name}<b>{}</b></div>", escaped(&text));
    }
    html + "</div>\n"
}

fn bars(panel: &Panel, lines: &[Line], unit: Unit) -> String {
    let steps = steps(panel);
    let most = lines.iter().filter_map(Line::last).fold(0.0, f64::max);
    let mut html = String::from("<div class=\"bars\">");
    for line in lines {
        let value = line.last().unwrap_or(0.0);
        let width = if most > 0.0 { 100.0 * value / most } else { 0.0 };
        let (name, colour, text) = (escaped(&line.name), shade(&colour_of(&steps, value)), unit.show(value));
        let _ = write!(
            html,
            "<span>{name}</span><div><i style=\"width:{width:.1}%;background:{colour}\"></i></div><b style=\"color:{colour}\">{text}</b>"
        );
    }
    html + "</div>\n"
}

/// The text and the colour that a value is shown as instead.
fn mapped(panel: &Panel, value: f64) -> Option<(String, Option<String>)> {
    let mappings = panel.json.pointer("/fieldConfig/defaults/mappings")?.as_array()?;
    let option = mappings.iter().find_map(|mapping| mapping["options"].get(value.to_string()))?;
    Some((option["text"].as_str()?.to_owned(), option["color"].as_str().map(str::to_owned)))
}

fn steps(panel: &Panel) -> Vec<Step> {
    let steps = panel.json.pointer("/fieldConfig/defaults/thresholds/steps").and_then(Value::as_array);
    let read = |step: &Value| Step {
        from: step["value"].as_f64().unwrap_or(f64::NEG_INFINITY),
        colour: step["color"].as_str().unwrap_or("green").to_owned(),
    };
    steps.into_iter().flatten().map(read).collect()
}

fn colour_of(steps: &[Step], value: f64) -> String {
    let reached = steps.iter().rev().find(|step| value >= step.from);
    reached.or(steps.first()).map_or_else(|| "green".into(), |step| step.colour.clone())
}

/// Grafana's shades of the colours it has names for.
fn shade(name: &str) -> String {
    match name {
        "green" => "#3f9e4d",
        "orange" => "#e0752d",
        "red" => "#d4333f",
        "yellow" => "#c9a200",
        other => other,
    }
    .to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::monitor_check::dashboard;

    fn shipped() -> Dashboard {
        dashboard::read("d.json", include_str!("../../../monitor/dashboards/memory-safety.json")).unwrap()
    }

    #[test]
    fn a_page_has_every_panel_and_what_has_no_data_says_so() {
        let dashboard = shipped();
        let data = vec![vec![]; dashboard.panels.len()];
        let page = page(&dashboard, &data, (0.0, 60.0));
        let panels = dashboard.panels.iter().filter(|panel| !panel.is_row()).count();
        assert_eq!(page.matches("No data").count(), panels);
        assert!(page.contains("An approximation of what Grafana shows"));
        assert!(page.contains("<h3>Active Agents Over Time "));
    }

    #[test]
    fn a_leak_is_red_and_in_words() {
        let dashboard = shipped();
        let panel = dashboard.panels.iter().find(|panel| panel.title == "Memory Leak Detection").unwrap();
        let labels = BTreeMap::from([("threshold".to_owned(), "<100MB>".to_owned())]);
        let data = vec![vec![Series { labels, points: vec![(0.0, 0.0), (1.0, 1.0)] }]];
        assert_eq!(lines(panel, &data)[0].name, "above <100MB>");
        let html = framed(panel, &data, (0.0, 1.0));
        assert!(html.contains("<b>LEAK</b>") && html.contains(&shade("red")), "{html}");
        assert!(!html.contains("<100MB>"), "{html}");
    }
}

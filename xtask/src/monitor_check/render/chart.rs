//! A panel of lines as SVG.

use std::fmt::Write as _;

use serde_json::Value;

use super::unit::Unit;
use super::{Line, colour, escaped, shade, steps};
use crate::monitor_check::dashboard::Panel;

/// Grafana's measures: a unit of the grid is so wide and so high on a screen of 1600, with a gap between.
const COLUMN: f64 = 66.0;
const ROW: f64 = 38.0;
/// What title, legend and frame take from a panel's height, and a legend at its side from its width.
const AROUND: f64 = 74.0;
const SIDE: f64 = 190.0;
const LEGEND_ROW: f64 = 16.0;
/// A letter's width in the legend, and what stands around a name.
const LETTER: f64 = 6.2;
const SWATCH: f64 = 31.0;
/// Room for the axes.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 8.0;
const BOTTOM: f64 = 18.0;
const TOP: f64 = 6.0;
/// Between two points a second apart at most; a longer gap is a gap.
const LONGEST_STEP: f64 = 1.5;

/// What is drawn.
pub(super) struct Chart<'a> {
    pub(super) panel: &'a Panel,
    pub(super) lines: &'a [Line],
    pub(super) unit: Unit,
    /// From when to when, in seconds since 1970.
    pub(super) time: (f64, f64),
}

/// From values to places.
struct Scale {
    width: f64,
    height: f64,
    bottom: f64,
    top: f64,
    time: (f64, f64),
}

impl Scale {
    fn x(&self, at: f64) -> f64 {
        let length = (self.time.1 - self.time.0).max(1.0);
        LEFT + (self.width - LEFT - RIGHT) * (at - self.time.0) / length
    }

    fn y(&self, value: f64) -> f64 {
        let share = ((value - self.bottom) / (self.top - self.bottom)).clamp(0.0, 1.0);
        self.height - BOTTOM - (self.height - BOTTOM - TOP) * share
    }
}

impl Chart<'_> {
    pub(super) fn svg(&self) -> String {
        let lines = self.stacked();
        let custom = self.defaults("/custom");
        #[allow(clippy::cast_precision_loss)] // At most 24 columns.
        let (width, height) = (self.panel.place.w as f64 * COLUMN, self.panel.place.h as f64 * ROW - AROUND);
        let beside =
            self.panel.json.pointer("/options/legend/placement").is_some_and(|place| place == "right");
        let (width, height) = if beside {
            (width - SIDE, height + LEGEND_ROW)
        } else {
            (width, height - LEGEND_ROW * (self.legend_rows(width) - 1.0))
        };
        let step = self.step(&lines);
        let fixed = self.defaults("/max").and_then(Value::as_f64);
        let top = fixed.unwrap_or_else(|| self.top(&lines, step));
        let bottom =
            if self.defaults("/min").is_some() { 0.0 } else { (lowest(&lines) / step).floor() * step };
        let scale = Scale { width, height, bottom, top, time: self.time };
        let title = escaped(&self.panel.title);
        let mut svg = format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">");
        self.grid(&mut svg, &scale, step);
        let opacity = custom.and_then(|custom| custom["fillOpacity"].as_f64()).unwrap_or(0.0) / 100.0;
        for (index, points) in lines.iter().enumerate() {
            let below = if self.is_stacked() && index > 0 { lines.get(index - 1) } else { None };
            draw(&mut svg, &scale, (points, below.map(Vec::as_slice)), colour(index), opacity);
        }
        if custom.is_some_and(|custom| custom["thresholdsStyle"]["mode"] == "line") {
            self.thresholds(&mut svg, &scale);
        }
        svg + "</svg>\n"
    }

    fn defaults(&self, pointer: &str) -> Option<&Value> {
        self.panel.json.pointer(&format!("/fieldConfig/defaults{pointer}"))
    }

    /// How many rows the legend takes, as far as one can tell without the reader's fonts.
    fn legend_rows(&self, width: f64) -> f64 {
        let (mut rows, mut left) = (1.0, width);
        for line in self.lines {
            #[allow(clippy::cast_precision_loss)] // A name.
            let taken = line.name.chars().count() as f64 * LETTER + SWATCH;
            if taken > left {
                (rows, left) = (rows + 1.0, width);
            }
            left -= taken;
        }
        rows
    }

    fn is_stacked(&self) -> bool {
        self.defaults("/custom/stacking/mode").is_some_and(|mode| mode == "normal")
    }

    /// The points of each line, on top of those before where the panel stacks them.
    fn stacked(&self) -> Vec<Vec<(f64, f64)>> {
        let mut lines: Vec<Vec<(f64, f64)>> = self.lines.iter().map(|line| line.points.clone()).collect();
        if self.is_stacked() {
            for index in 1..lines.len() {
                let below = lines.get(index - 1).cloned().unwrap_or_default();
                for point in lines.get_mut(index).into_iter().flatten() {
                    let under = below.iter().find(|(at, _)| (at - point.0).abs() < 0.5);
                    point.1 += under.map_or(0.0, |(_, value)| *value);
                }
            }
        }
        lines
    }

    fn highest(&self, lines: &[Vec<(f64, f64)>]) -> f64 {
        let values = lines.iter().flatten().map(|(_, value)| *value).filter(|value| value.is_finite());
        let soft = self.defaults("/custom/axisSoftMax").and_then(Value::as_f64).unwrap_or(0.0);
        values.fold(soft, f64::max)
    }

    /// The distance between the lines of the grid: a round number, of which four or five fit.
    fn step(&self, lines: &[Vec<(f64, f64)>]) -> f64 {
        let top = self.defaults("/max").and_then(Value::as_f64).unwrap_or_else(|| self.highest(lines));
        if top <= 0.0 {
            return 0.25;
        }
        let base = self.unit.base(top);
        let rough = top / base / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999);
        base * power * factor.unwrap_or(10.0)
    }

    fn top(&self, lines: &[Vec<(f64, f64)>], step: f64) -> f64 {
        let highest = self.highest(lines);
        if highest <= 0.0 { 1.0 } else { (highest / step).ceil() * step }
    }

    fn grid(&self, svg: &mut String, scale: &Scale, step: f64) {
        let mut value = scale.bottom;
        while value <= scale.top + step / 100.0 {
            let y = scale.y(value);
            let (right, text) = (scale.width - RIGHT, self.unit.show(value));
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{}\" y=\"{:.1}\" class=\"y\">{text}</text>",
                LEFT - 6.0,
                y + 3.5
            );
            value += step;
        }
        let length = self.time.1 - self.time.0;
        let wide = if scale.width < 500.0 { 20.0 } else { 10.0 };
        let pace = if length > 120.0 { 60.0 } else { wide };
        let mut after = 0.0;
        while after <= length {
            let x = scale.x(self.time.0 + after);
            let (bottom, low) = (scale.height - BOTTOM, scale.height - 5.0);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text x=\"{x:.1}\" y=\"{low}\" class=\"x\">{after:.0} s</text>"
            );
            after += pace;
        }
    }

    fn thresholds(&self, svg: &mut String, scale: &Scale) {
        for step in steps(self.panel).iter().filter(|step| step.from.is_finite() && step.from <= scale.top) {
            let (y, right, colour) = (scale.y(step.from), scale.width - RIGHT, shade(&step.colour));
            let _ = write!(svg, "<path class=\"limit\" d=\"M{LEFT} {y:.1}H{right}\" stroke=\"{colour}\"/>");
        }
    }
}

/// Zero, or less where there is less.
fn lowest(lines: &[Vec<(f64, f64)>]) -> f64 {
    lines.iter().flatten().map(|(_, value)| *value).filter(|value| value.is_finite()).fold(0.0, f64::min)
}

/// A line, and the area from it down to the line `below` it or to the ground.
fn draw(
    svg: &mut String,
    scale: &Scale,
    (points, below): (&[(f64, f64)], Option<&[(f64, f64)]>),
    colour: &str,
    opacity: f64,
) {
    let joined = |one: &(f64, f64), next: &(f64, f64)| {
        next.0 - one.0 <= LONGEST_STEP && one.1.is_finite() && next.1.is_finite()
    };
    for piece in points.chunk_by(joined).filter(|piece| piece.iter().all(|(_, value)| value.is_finite())) {
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
        let line = path(scale, 'M', piece.iter());
        let under = below.unwrap_or_default().iter().rev().filter(|(at, _)| (first.0..=last.0).contains(at));
        let ground = match below {
            Some(_) => path(scale, 'L', under),
            None => path(scale, 'L', [(last.0, 0.0), (first.0, 0.0)].iter()),
        };
        let _ = write!(
            svg,
            "<path d=\"{line}{ground}Z\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>\
             <path class=\"line\" d=\"{line}\" stroke=\"{colour}\"/>"
        );
    }
}

fn path<'a>(scale: &Scale, first: char, points: impl Iterator<Item = &'a (f64, f64)>) -> String {
    let mut path = String::new();
    for (index, (at, value)) in points.enumerate() {
        let letter = if index == 0 { first } else { 'L' };
        let _ = write!(path, "{letter}{:.1} {:.1}", scale.x(*at), scale.y(*value));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor_check::dashboard;

    #[test]
    fn a_gap_in_the_data_is_a_gap_in_the_line_and_the_threshold_is_drawn() {
        let text = include_str!("../../../../monitor/dashboards/memory-safety.json");
        let dashboard = dashboard::read("d.json", text).unwrap();
        let panel = dashboard.panels.iter().find(|panel| panel.title == "Memory Growth").unwrap();
        let points = vec![(0.0, 1e6), (1.0, 2e6), (2.0, f64::NAN), (3.0, 1e6), (9.0, 1e6), (10.0, 120e6)];
        let lines = [Line { name: "growth".into(), points }];
        let svg = Chart { panel, lines: &lines, unit: Unit::named("decbytes"), time: (0.0, 10.0) }.svg();
        assert_eq!(svg.matches("class=\"line\"").count(), 3, "{svg}");
        assert_eq!(svg.matches("class=\"limit\"").count(), 1, "{svg}");
        assert!(svg.contains(">100 MB<"), "{svg}");
    }
}

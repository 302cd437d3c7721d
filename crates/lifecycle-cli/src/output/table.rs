//! Rows in aligned columns.

use std::fmt;
use std::io::{self, IsTerminal as _};

use comfy_table::{Attribute, Cell, ContentArrangement, presets};
use unicode_width::UnicodeWidthStr as _;

use super::{printable, shortened, terminal_width};

/// Rows in aligned columns. On a terminal the header is bold, and long cells wrap to its width, or columns are left out
/// ([`Table::drop_first`]); elsewhere every row is one whole line, as `grep` and `awk` want it.
#[derive(Debug, Clone)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// The columns that may be left out, in that order; `None` if cells wrap instead.
    dropped: Option<&'static [&'static str]>,
}

/// The last column is cut down to this many columns before others are left out to make room for it.
const LEAST_LAST: usize = 14;
/// Columns between two columns of a table.
const BETWEEN: usize = 2;

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new(), dropped: None }
    }

    /// Keeps every row on one line of a terminal. Where there is no room, these columns are left out, in this order,
    /// and the header ends with an ellipsis. A row that is still too wide is cut.
    #[must_use]
    pub fn drop_first(mut self, columns: &'static [&'static str]) -> Self {
        self.dropped = Some(columns);
        self
    }

    /// Leaves nothing out, however narrow the terminal: long rows go on in the next line.
    #[must_use]
    pub fn wide(mut self) -> Self {
        self.dropped = Some(&[]);
        self
    }

    /// Adds a row; cells in excess of the header's columns are shown too. Control characters, which other people's ids may
    /// hold, are shown escaped.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) -> &mut Self {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell.into())).collect());
        self
    }

    fn render(&self, terminal: bool, width: Option<usize>) -> String {
        match (self.dropped, width.filter(|_| terminal)) {
            (Some(columns), Some(width)) if !columns.is_empty() => {
                self.fitted(columns, width).aligned(terminal, None)
            }
            (None, width) => self.aligned(terminal, width),
            (Some(_), _) => self.aligned(terminal, None),
        }
    }

    /// The part of the table that fits.
    fn fitted(&self, first: &[&str], width: usize) -> Self {
        let mut fitted = self.clone();
        let mut cut = false;
        for name in first {
            if fitted.least_width(cut) <= width {
                break;
            }
            if let Some(column) = fitted.header.iter().position(|header| header == name) {
                fitted.header.remove(column);
                fitted.rows.iter_mut().for_each(|row| drop(row.remove(column)));
                cut = true;
            }
        }
        if cut {
            fitted.header.push("…");
        }
        fitted.cut_to(width);
        fitted
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
            cells.chain([self.header[column].width()]).max().unwrap_or(0)
        };
        (0..self.header.len()).map(width).collect()
    }

    /// The least width of the table, with the ellipsis if the header was `cut`.
    fn least_width(&self, cut: bool) -> usize {
        let mut widths = self.widths();
        if let Some(last) = widths.last_mut() {
            *last = (*last).min(LEAST_LAST);
        }
        if cut {
            widths.push(1);
        }
        widths.iter().sum::<usize>() + BETWEEN * widths.len().saturating_sub(1)
    }

    /// Cuts cells until all fits: those of the last column with text first, then those of the others from the left.
    fn cut_to(&mut self, width: usize) {
        let widths = self.widths();
        let total = widths.iter().sum::<usize>() + BETWEEN * widths.len().saturating_sub(1);
        let mut excess = total.saturating_sub(width);
        let last = widths.iter().rposition(|width| *width > 1).unwrap_or(0);
        for column in [last].into_iter().chain(0..last) {
            let target = widths[column].saturating_sub(excess).max(LEAST_LAST.min(widths[column]));
            excess -= widths[column] - target;
            for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
                *cell = shortened(cell, target);
            }
            if excess == 0 {
                return;
            }
        }
    }

    /// With columns aligned. `width` is that of the terminal to whose end long cells wrap.
    fn aligned(&self, terminal: bool, width: Option<usize>) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if terminal {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        if let Some(width) = width.filter(|_| terminal) {
            table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        table.set_header(self.header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        table.add_rows(&self.rows);
        let last = self.header.len().saturating_sub(1);
        for (number, column) in table.column_iter_mut().enumerate() {
            // Bold spaces at the end of a header would not be trimmed, and would make one line more.
            column.set_padding((0, if number < last { 2 } else { 0 }));
        }
        let lines = table.trim_fmt();
        lines + "\n"
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(io::stdout().is_terminal(), terminal_width()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["AGENT", "STATE", "LAST BEAT"]);
        table.row(["coder-1", "running", "12s"]).row(["a-much-longer-id", "busy", "3m 20s"]);
        table
    }

    #[test]
    fn a_table_away_from_a_terminal_is_one_plain_line_per_row() {
        assert_eq!(
            table().render(false, None),
            "AGENT             STATE    LAST BEAT\n\
             coder-1           running  12s\n\
             a-much-longer-id  busy     3m 20s\n"
        );
    }

    #[test]
    fn a_long_cell_wraps_only_on_a_terminal() {
        let mut table = Table::new(["AGENT", "REASON"]);
        table.row(["coder-1".to_owned(), "silent ".repeat(40)]);
        assert_eq!(table.render(false, Some(60)).lines().count(), 2);
        let wrapped = table.render(true, Some(60));
        assert!(wrapped.lines().count() > 2, "{wrapped}");
        assert_eq!(table.render(true, None).lines().count(), 2, "a terminal without a width");
        assert!(wrapped.contains("\u{1b}[1m"), "the header is bold: {wrapped:?}");
    }

    fn fleet() -> Table {
        let mut table =
            Table::new(["AGENT", "KIND", "PARENT", "LEASE", "PROGRESS"]).drop_first(&["PARENT", "KIND"]);
        table.row([
            "checkout.coder-1",
            "coder",
            "checkout.coordinator",
            "in 1m 27s",
            "task login, attempt 1 of 3",
        ]);
        table.row(["a", "b", "c", "over by 3s", "-"]);
        table
    }

    #[test]
    fn a_narrow_terminal_leaves_columns_out_by_their_rank_and_says_so_with_an_ellipsis() {
        let plain = |table: &Table, width| {
            table.render(true, Some(width)).replace("\u{1b}[1m", "").replace("\u{1b}[0m", "")
        };
        let cut = plain(&fleet(), 80);
        assert!(cut.contains("checkout.coordinator") && cut.contains("task login, attempt…\n"), "{cut}");
        let shown = plain(&fleet(), 66);
        assert_eq!(
            shown.lines().map(str::trim_end).collect::<Vec<_>>(),
            [
                "AGENT             KIND   LEASE       PROGRESS                    …",
                "checkout.coder-1  coder  in 1m 27s   task login, attempt 1 of 3",
                "a                 b      over by 3s  -",
            ]
        );
        let narrow = plain(&fleet(), 50);
        assert!(
            narrow.starts_with("AGENT             LEASE       PROGRESS") && narrow.contains('…'),
            "{narrow}"
        );
        for (width, text) in [(80, cut), (66, shown), (50, narrow)] {
            assert!(text.lines().all(|line| line.width() <= width), "{text}");
            assert_eq!(text.lines().count(), 3, "one line for each agent");
        }
        assert!(plain(&fleet(), 200).contains("checkout.coordinator"));
    }

    #[test]
    fn nothing_is_lost_away_from_a_terminal_or_where_all_is_asked_for() {
        for text in [
            fleet().render(false, None),
            fleet().render(false, Some(20)),
            fleet().wide().render(true, Some(20)),
        ] {
            assert!(text.contains("checkout.coordinator") && text.contains("attempt 1 of 3"), "{text}");
            assert_eq!(text.lines().count(), 3);
        }
    }

    #[test]
    fn a_cell_keeps_the_blanks_that_it_begins_with() {
        let mut table = Table::new(["AGENT", "KIND"]).drop_first(&["KIND"]);
        table.row(["boss", "a"]).row(["`- coder", "b"]).row(["   `- helper", "c"]);
        for text in [table.render(false, None), table.render(true, Some(80))] {
            assert!(text.ends_with("\nboss          a\n`- coder      b\n   `- helper  c\n"), "{text}");
        }
    }

    #[test]
    fn an_empty_table_is_its_header() {
        assert_eq!(Table::new(["AGENT"]).render(false, None), "AGENT\n");
    }

    #[test]
    fn a_cell_cannot_break_its_line_or_steer_the_terminal() {
        let mut table = Table::new(["AGENT"]);
        table.row(["a\nb\u{1b}[2J"]);
        assert_eq!(table.render(false, None), "AGENT\na\\nb\\u{1b}[2J\n");
    }
}

//! Data on stdout: tables for people, JSON for programs.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use bytesize::ByteSize;
use comfy_table::{Attribute, Cell, ContentArrangement, presets};
use serde::Serialize;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A terminal that says it is narrower than this many columns is not believed.
const NARROWEST: u16 = 20;

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Output {
    /// Aligned columns for people
    #[default]
    Table,
    /// One JSON document on one line, for programs
    Json,
}

impl Output {
    /// Prints a value as JSON, or as the table made of it.
    ///
    /// # Errors
    /// When stdout cannot be written (a full disk, say), or the value has no JSON form.
    pub fn show<T: Serialize + ?Sized>(
        self,
        value: &T,
        table: impl FnOnce(&T) -> Table,
    ) -> anyhow::Result<Stdout> {
        match self {
            Self::Table => Ok(print_stdout(&table(value).to_string())?),
            Self::Json => print_json(value),
        }
    }
}

/// Whether our stdout still has a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// The text was written.
    Open,
    /// The reader has gone (`… | head -1`). A command that prints for ever should end now, with success.
    Closed,
}

/// Writes data to stdout. All data goes through here, because `println!` panics when the reader has gone.
///
/// # Errors
/// When stdout cannot be written for another reason than a reader that has gone.
pub fn print_stdout(text: &str) -> io::Result<Stdout> {
    write_quietly(&mut io::stdout().lock(), text)
}

/// Writes a value to stdout as one line of JSON. Characters that [`printable`] would escape are escaped as JSON does,
/// because a terminal may show the line.
///
/// # Errors
/// As for [`print_stdout`], and when the value has no JSON form.
pub fn print_json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<Stdout> {
    let mut line = printable_json(&serde_json::to_string(value)?);
    line.push('\n');
    Ok(print_stdout(&line)?)
}

fn write_quietly(out: &mut impl Write, text: &str) -> io::Result<Stdout> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Stdout::Open),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Stdout::Closed),
        Err(error) => Err(io::Error::new(error.kind(), format!("stdout cannot be written: {error}"))),
    }
}

/// How many columns stdout's terminal has. `None` if stdout is no terminal, or the terminal does not know.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(io::stdout()).ok()?.ws_col;
    // Terminals of build machines and containers often say that they are 0 wide.
    (columns >= NARROWEST).then(|| columns.into())
}

/// A line cut to `width` columns, with an ellipsis at its end if it was wider.
#[must_use]
pub fn shortened(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let mut shown = String::new();
    let mut taken = 1;
    for letter in line.chars() {
        taken += letter.width().unwrap_or(0);
        if taken > width {
            break;
        }
        shown.push(letter);
    }
    shown.truncate(shown.trim_end().len());
    shown + "…"
}

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

/// JSON text in which the characters are escaped that [`printable`] escapes. They occur only within its strings.
#[must_use]
pub fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_printable(letter) {
            shown.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    shown
}

/// Text with control characters and invisible ones escaped. So it stays on its line, cannot steer a terminal, and two
/// texts that look alike are alike.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_printable(letter) {
            shown.push(letter);
        } else {
            shown.extend(letter.escape_default());
        }
    }
    shown
}

/// Whether [`printable`] leaves a character as it is: it is no control character, has a width, ends no line and does
/// not change the direction of the text around it.
#[must_use]
pub fn is_printable(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A number of things: `1 agent`, `2 agents`. For nouns whose plural takes an s.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// How long something lasted or is ago, from milliseconds, in its two largest units: `420ms`, `12s`, `3m 20s`, `2h 5m`, `4d`.
#[must_use]
pub fn age(ms: u64) -> String {
    const SECOND: u64 = 1000;
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    if ms < SECOND {
        return format!("{ms}ms");
    }
    let mut rest = ms / SECOND;
    let start = UNITS.iter().position(|(length, _)| rest >= *length).unwrap_or(UNITS.len() - 1);
    let parts: Vec<String> = UNITS[start..]
        .iter()
        .take(2)
        .filter_map(|(length, unit)| {
            let count = rest / length;
            rest %= length;
            (count > 0).then(|| format!("{count}{unit}"))
        })
        .collect();
    parts.join(" ")
}

/// A size in bytes with a binary unit and one decimal: `512 B`, `1.2 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
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
    fn a_line_that_is_too_wide_ends_with_an_ellipsis_at_the_edge() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdef", 5), "abcd…");
        assert_eq!(shortened("ab cdef", 4), "ab…");
        assert_eq!(shortened("日本語", 5), "日本…", "two columns each");
    }

    proptest::proptest! {
        #[test]
        fn json_is_the_same_value_and_steers_no_terminal(text in proptest::prelude::any::<String>(), at in 0x7f_u32..0xa0) {
            let text = format!("{text}\u{202e}{}", char::from_u32(at).unwrap());
            let shown = printable_json(&serde_json::to_string(&[&text]).unwrap());
            proptest::prop_assert!(shown.chars().all(is_printable), "{shown:?}");
            let read: Vec<String> = serde_json::from_str(&shown).unwrap();
            proptest::prop_assert_eq!(&read[0], &text);
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

    #[test]
    fn characters_that_nobody_sees_or_that_turn_the_text_around_are_escaped() {
        for invisible in
            ['\u{200b}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2060}', '\u{2069}', '\u{feff}', '\u{2028}']
        {
            let shown = printable(&format!("a{invisible}b"));
            assert_eq!(shown, format!("a\\u{{{:x}}}b", u32::from(invisible)));
        }
        assert_eq!(printable("Grüße, 日本 \u{fffd}"), "Grüße, 日本 \u{fffd}");
    }

    #[test]
    fn one_thing_is_singular_and_any_other_number_plural() {
        assert_eq!([0, 1, 2].map(|number| count(number, "key")), ["0 keys", "1 key", "2 keys"]);
    }

    #[test]
    fn ages_are_shown_in_their_two_largest_units() {
        for (ms, text) in [
            (0, "0ms"),
            (420, "420ms"),
            (12_900, "12s"),
            (200_000, "3m 20s"),
            (60_000, "1m"),
            (7_530_000, "2h 5m"),
            (4 * 86_400_000, "4d"),
            (49 * 86_400_000 + 3_600_000, "49d 1h"),
        ] {
            assert_eq!(age(ms), text);
        }
    }

    #[test]
    fn sizes_are_shown_in_binary_units() {
        for (bytes, text) in [(0, "0 B"), (512, "512 B"), (1_288_490_189, "1.2 GiB")] {
            assert_eq!(size(bytes), text);
        }
    }

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_a_quiet_success_and_a_full_disk_is_not() {
        assert_eq!(write_quietly(&mut Broken(io::ErrorKind::BrokenPipe), "x").unwrap(), Stdout::Closed);
        assert_eq!(write_quietly(&mut Vec::new(), "x").unwrap(), Stdout::Open);
        let full = write_quietly(&mut Broken(io::ErrorKind::StorageFull), "x").unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }
}

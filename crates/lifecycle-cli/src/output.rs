//! Data on stdout: tables for people, JSON for programs.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use bytesize::ByteSize;
use clap::ValueEnum;
use comfy_table::{Attribute, Cell, ContentArrangement, presets};
use serde::Serialize;

/// Terminals that say they are narrower than this many columns are not believed.
const NARROWEST: u16 = 20;

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
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

/// Whether anybody still reads our stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// The text was written.
    Open,
    /// The reader has gone (`… | head -1`): a command that prints for ever should end now, with success.
    Closed,
}

/// Writes data to stdout. All data goes through here, because `println!` panics when the reader has gone.
///
/// # Errors
/// When stdout cannot be written for another reason than a reader that has gone.
pub fn print_stdout(text: &str) -> io::Result<Stdout> {
    write_quietly(&mut io::stdout().lock(), text)
}

/// Writes a value to stdout as one line of JSON.
///
/// # Errors
/// As for [`print_stdout`], and when the value has no JSON form.
pub fn print_json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<Stdout> {
    let mut line = serde_json::to_string(value)?;
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

/// Rows in aligned columns. On a terminal the header is bold and long cells wrap to its width; elsewhere every row
/// is one line, as `grep` and `awk` want it.
#[derive(Debug, Clone)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; cells in excess of the header's columns are shown too. Control characters, which other people's ids may
    /// hold, are shown escaped.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) -> &mut Self {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell.into())).collect());
        self
    }

    fn render(&self, terminal: bool, width: Option<u16>) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if terminal {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        if let Some(width) = width {
            table.set_width(width);
        }
        // Terminals of build machines and containers often say that they are 0 wide.
        if terminal && table.width().is_some_and(|width| width >= NARROWEST) {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        table.set_header(self.header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        table.add_rows(&self.rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines = table.trim_fmt();
        lines + "\n"
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(io::stdout().is_terminal(), None))
    }
}

/// Text with its control characters and those that nobody sees escaped, so that it stays on its line, cannot steer a
/// terminal, and two texts that look alike are alike.
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
        assert_eq!(table.render(true, Some(0)).lines().count(), 2, "a terminal without a width");
        assert!(wrapped.contains("\u{1b}[1m"), "the header is bold: {wrapped:?}");
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

//! The lines of a recorded memory trace.
//!
//! A trace is a CSV file with one row per sample of an agent, in order of time, with any number of agents interleaved:
//!
//! ```text
//!   timestampMs,agentId,kind,rssBytes,limitBytes
//!   1700000000000,coder-1,coder,104857600,2147483648
//!   1700000010000,coder-1,coder,,                      an empty rssBytes: the process is another one from here on
//! ```
//!
//! The header names the columns, so they may stand in any order, and others may stand between them. There is no limit
//! where `limitBytes` is absent, empty or 0. A field may be in double quotes, with commas and doubled quotes inside; blanks
//! around a field, and before its opening quote, do not count. A field cannot hold the end of a line: a trace is read line
//! by line, so that an error names the line that has the mistake.

use csv_core::{Reader, ReaderBuilder, Terminator};
use thiserror::Error;

/// The names of the columns. All but the last must be there.
pub const COLUMNS: [&str; 5] = ["timestampMs", "agentId", "kind", "rssBytes", "limitBytes"];
const NEEDED: usize = 4;
const LONGEST_SHOWN: usize = 40;

/// The position of each column.
#[derive(Debug)]
pub struct Header {
    places: [Option<usize>; COLUMNS.len()],
    count: usize,
    splitter: Splitter,
}

/// One row: a sample of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'header> {
    /// When, in ms since the epoch.
    pub at_ms: u64,
    /// The agent's id.
    pub agent: &'header str,
    /// The agent's kind.
    pub kind: &'header str,
    /// Resident memory; `None` when the agent has another process from here on.
    pub rss_bytes: Option<u64>,
    /// The memory limit in bytes, if there is one.
    pub limit_bytes: Option<u64>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    /// The header lacks this column.
    #[error("the header has no column {0}; it should be timestampMs,agentId,kind,rssBytes[,limitBytes]")]
    NoColumn(&'static str),
    /// The header has this column twice.
    #[error("the header has the column {0} twice")]
    TwiceColumn(&'static str),
    /// The row has another number of fields than the header.
    #[error("it has {found} fields where the header has {wanted}")]
    Fields {
        /// How many fields the row has.
        found: usize,
        /// How many the header has.
        wanted: usize,
    },
    /// A required field is empty.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A field that should be a number is not.
    #[error("{column} is {value:?}, which is no whole number of 0 or more")]
    Number {
        /// The column's name.
        column: &'static str,
        /// The field's text, shortened.
        value: String,
    },
}

impl Header {
    /// Reads the first line.
    ///
    /// # Errors
    /// When a column is missing, or is there twice.
    pub fn read(line: &str) -> Result<Self, LineError> {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        let mut splitter = Splitter::new();
        let mut places = [None; COLUMNS.len()];
        let mut count = 0;
        for (place, name) in splitter.split(line).enumerate() {
            count = place + 1;
            let Some(column) = COLUMNS.iter().position(|column| *column == name) else { continue };
            if places[column].replace(place).is_some() {
                return Err(LineError::TwiceColumn(COLUMNS[column]));
            }
        }
        match places[..NEEDED].iter().position(Option::is_none) {
            Some(missing) => Err(LineError::NoColumn(COLUMNS[missing])),
            None => Ok(Self { places, count, splitter }),
        }
    }

    /// Reads a further line.
    ///
    /// # Errors
    /// The first field that is wrong, or the number of fields.
    pub fn row(&mut self, line: &str) -> Result<Row<'_>, LineError> {
        let mut found = [""; COLUMNS.len()];
        let mut count = 0;
        for (place, field) in self.splitter.split(line).enumerate() {
            count = place + 1;
            if let Some(column) = self.places.iter().position(|known| *known == Some(place)) {
                found[column] = field;
            }
        }
        if count != self.count {
            return Err(LineError::Fields { found: count, wanted: self.count });
        }
        let [at, agent, kind, rss, limit] = found;
        if agent.is_empty() {
            return Err(LineError::Empty(COLUMNS[1]));
        }
        Ok(Row {
            at_ms: number(0, at)?.ok_or(LineError::Empty(COLUMNS[0]))?,
            agent,
            kind,
            rss_bytes: number(3, rss)?,
            limit_bytes: number(4, limit)?.filter(|limit| *limit > 0),
        })
    }
}

/// Splits a line into fields. Its buffers are used again for each line.
#[derive(Debug)]
struct Splitter {
    reader: Reader,
    line: String,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Splitter {
    fn new() -> Self {
        // A carriage return alone ends no line: it is trimmed from the last field.
        let reader = ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build();
        Self { reader, line: String::new(), text: Vec::new(), ends: Vec::new() }
    }

    /// The fields, without their quotes and the white space around them. An empty line is one empty field.
    fn split(&mut self, line: &str) -> impl Iterator<Item = &str> {
        without_blanks_before_fields(line, &mut self.line);
        // One byte more than needed: the reader stops early when a buffer is full.
        self.text.resize(self.line.len() + 1, 0);
        self.ends.clear();
        self.ends.resize(self.line.matches(',').count() + 2, 0);
        self.reader.reset();
        let (_, _, length, count) =
            self.reader.read_record(self.line.as_bytes(), &mut self.text, &mut self.ends);
        // An empty input tells the reader that the last field has ended.
        let (_, _, rest, last) =
            self.reader.read_record(&[], &mut self.text[length..], &mut self.ends[count..]);
        let text = std::str::from_utf8(&self.text[..length + rest]).unwrap_or_default();
        // The reader finds no field in an empty line.
        let count = (count + last).max(1);
        let starts = std::iter::once(0).chain(self.ends[..count].iter().copied());
        starts
            .zip(&self.ends[..count])
            .map(move |(start, end)| text.get(start..*end).unwrap_or_default().trim())
    }
}

/// The reader takes a quote for an opening one at a field's first byte alone. So blanks there are left out; those inside
/// quotes stay. A quote inside of a field that has none at its beginning opens nothing.
fn without_blanks_before_fields(line: &str, shorter: &mut String) {
    shorter.clear();
    let mut place = Place::Start;
    for character in line.chars() {
        place = match (place, character) {
            (Place::Start, ' ' | '\t') => continue,
            // A doubled quote closes and opens again.
            (Place::Start | Place::Closed, '"') => Place::Quoted,
            (Place::Quoted, '"') => Place::Closed,
            (Place::Quoted, _) => Place::Quoted,
            (_, ',') => Place::Start,
            _ => Place::Plain,
        };
        shorter.push(character);
    }
}

/// Where in a field the next character stands.
#[derive(Clone, Copy)]
enum Place {
    Start,
    Plain,
    Quoted,
    Closed,
}

fn number(column: usize, value: &str) -> Result<Option<u64>, LineError> {
    if value.is_empty() {
        return Ok(None);
    }
    // `parse` takes a plus sign, which no program writes.
    value.parse().ok().filter(|_| !value.starts_with('+')).map(Some).ok_or_else(|| LineError::Number {
        column: COLUMNS[column],
        value: value.chars().take(LONGEST_SHOWN).collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "timestampMs,agentId,kind,rssBytes,limitBytes";

    fn refused(header: &str, line: &str) -> String {
        Header::read(header).unwrap().row(line).unwrap_err().to_string()
    }

    #[test]
    fn a_row_is_read_by_the_names_of_its_columns() {
        let row = Row { at_ms: 7, agent: "a", kind: "k", rss_bytes: Some(9), limit_bytes: Some(20) };
        assert_eq!(Header::read(HEADER).unwrap().row("7,a,k,9,20"), Ok(row));
        let mut other =
            Header::read("\u{feff}host, rssBytes,kind,\"agentId\",limitBytes,timestampMs\r").unwrap();
        assert_eq!(other.row("h,9,k,\"a\",20,7\r"), Ok(row));
        let mut short = Header::read("timestampMs,agentId,kind,rssBytes").unwrap();
        assert_eq!(short.row("7,a,k,9"), Ok(Row { limit_bytes: None, ..row }));
    }

    #[test]
    fn a_field_in_quotes_may_hold_commas_and_quotes() {
        let mut header = Header::read("timestampMs,command,agentId,kind,rssBytes").unwrap();
        let row = header.row("7,\"node, \"\"x\"\".js\",\"a,1\",k,9").unwrap();
        assert_eq!((row.at_ms, row.agent, row.kind, row.rss_bytes), (7, "a,1", "k", Some(9)));
        assert_eq!(refused(HEADER, "7,\"a,k,9,"), "it has 2 fields where the header has 5");
    }

    #[test]
    fn blanks_before_a_field_do_not_count_before_a_quote_either() {
        let mut header = Header::read("timestampMs, \"agentId\",\tkind, rssBytes").unwrap();
        let row = Row { at_ms: 7, agent: "a, \"b\"", kind: "k", rss_bytes: Some(9), limit_bytes: None };
        assert_eq!(header.row(" 7, \t\"a, \"\"b\"\"\", \"k\",9"), Ok(row));
        assert_eq!(header.row("7,a \"b\", k,9").unwrap().agent, "a \"b\"");
    }

    #[test]
    fn an_empty_size_is_a_restart_and_an_empty_limit_or_zero_is_none() {
        let mut header = Header::read(HEADER).unwrap();
        assert_eq!(header.row("7,a,k,,").unwrap().rss_bytes, None);
        assert_eq!(
            header.row("7,a,,9,0").unwrap(),
            Row { at_ms: 7, agent: "a", kind: "", rss_bytes: Some(9), limit_bytes: None }
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let header = |line| Header::read(line).unwrap_err().to_string();
        assert!(header("timestampMs,agentId,rssBytes").starts_with("the header has no column kind;"));
        assert!(header("1,a,k,9").contains("no column timestampMs"));
        assert_eq!(header(&format!("{HEADER},kind")), "the header has the column kind twice");
        assert_eq!(refused(HEADER, "7,a,k,9"), "it has 4 fields where the header has 5");
        assert_eq!(refused(HEADER, ""), "it has 1 fields where the header has 5");
        assert_eq!(refused(HEADER, "7,,k,9,"), "agentId is empty");
        assert_eq!(refused(HEADER, ",a,k,9,"), "timestampMs is empty");
        assert_eq!(refused(HEADER, "7,a,k,-9,"), "rssBytes is \"-9\", which is no whole number of 0 or more");
        for wrong in ["1.5", "+1", "0x10", "1e9", "18446744073709551616", "NaN"] {
            assert!(refused(HEADER, &format!("7,a,k,{wrong},")).starts_with("rssBytes is "), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(header in ".*", line in ".*") {
            let _ = Header::read(&header);
            let _ = Header::read(HEADER).unwrap().row(&line);
        }

        #[test]
        fn what_is_written_is_read(at in any::<u64>(), rss in any::<Option<u64>>(), limit in 1_u64..) {
            let line = format!("{at},a-1,k,{},{limit}", rss.map_or(String::new(), |rss| rss.to_string()));
            let row = Row { at_ms: at, agent: "a-1", kind: "k", rss_bytes: rss, limit_bytes: Some(limit) };
            let mut header = Header::read(HEADER).unwrap();
            prop_assert_eq!(header.row(&line), Ok(row));
        }
    }
}

//! Data on stdout: tables for people, JSON for programs.

mod printable;
mod stdout;
mod table;
mod terminal;
mod words;

use serde::Serialize;

pub use printable::{is_printable, printable, printable_json};
pub use stdout::{Stdout, print_json, print_stdout};
pub use table::Table;
pub use terminal::{shortened, terminal_width};
pub use words::{age, count, size};

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

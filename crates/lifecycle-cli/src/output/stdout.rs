//! Writing to stdout, whose reader may have gone.

use std::io::{self, Write};

use serde::Serialize;

use super::printable_json;

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

/// Writes a value to stdout as one line of JSON, with what [`printable`](super::printable) would escape escaped as JSON
/// does: a terminal shows it, too.
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

#[cfg(test)]
mod tests {
    use super::*;

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

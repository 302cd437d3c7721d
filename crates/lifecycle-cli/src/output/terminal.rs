//! The terminal that stdout may be: how wide it is, and lines that fit it.

use std::io::{self, IsTerminal as _};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A terminal that says it is narrower than this many columns is not believed.
const NARROWEST: u16 = 20;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_wide_ends_with_an_ellipsis_at_the_edge() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdef", 5), "abcd…");
        assert_eq!(shortened("ab cdef", 4), "ab…");
        assert_eq!(shortened("日本語", 5), "日本…", "two columns each");
    }
}

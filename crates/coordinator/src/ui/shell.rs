//! Commands as people can paste them into a shell. Agents are started without one: this is for showing only.

use std::borrow::Cow;

use lifecycle_cli::output::is_printable;

/// A command in one line, each argument quoted where a POSIX shell would read it as something else.
#[must_use]
pub fn line(command: &[String]) -> String {
    command.iter().map(|argument| quoted(argument)).collect::<Vec<_>>().join(" ")
}

fn quoted(argument: &str) -> Cow<'_, str> {
    if !argument.is_empty() && argument.chars().all(is_plain) && !is_assignment(argument) {
        argument.into()
    } else if argument.chars().all(is_printable) {
        format!("'{}'", argument.replace('\'', r"'\''")).into()
    } else {
        escaped(argument).into()
    }
}

/// Whether a character means itself to every shell, at any place.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | ',' | '/' | ':' | '@' | '+' | '=')
}

/// `NAME=value` as the first word would set a variable, and some shells expand `=name`. An option with its value is
/// neither.
fn is_assignment(argument: &str) -> bool {
    argument.contains('=') && !argument.starts_with('-')
}

/// `$'…'`, which can say characters that would not survive being shown. Their bytes are in octal: that has a fixed
/// length and does not depend on the shell's locale.
fn escaped(argument: &str) -> String {
    let mut text = String::from("$'");
    for letter in argument.chars() {
        match letter {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\\' | '\'' => text.extend(['\\', letter]),
            letter if is_printable(letter) => text.push(letter),
            letter => {
                let mut bytes = [0; 4];
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    text.push_str(&format!("\\{byte:03o}"));
                }
            }
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arguments: &[&str]) -> String {
        line(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_without_special_characters_stay_as_they_are() {
        let plain = ["/usr/bin/claude", "-p", "--model=fast", "a_b,c", "user@host:22", "+1", "x.y"];
        assert_eq!(shown(&plain), plain.join(" "));
    }

    #[test]
    fn what_a_shell_would_read_as_something_else_is_quoted() {
        assert_eq!(shown(&["sh", "-c", "echo $HOME; rm *"]), "sh -c 'echo $HOME; rm *'");
        assert_eq!(shown(&["claude", "{input}", "", "~", "#", "é"]), "claude '{input}' '' '~' '#' 'é'");
        assert_eq!(shown(&["it's", "A=b"]), r"'it'\''s' 'A=b'");
    }

    #[test]
    fn what_cannot_be_shown_is_escaped_and_stays_on_its_line() {
        assert_eq!(shown(&["a\nb\t'\\"]), r"$'a\nb\t\'\\'");
        assert_eq!(shown(&["\u{1b}7\u{200b}é"]), r"$'\0337\342\200\213é'");
    }
}

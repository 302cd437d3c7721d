//! What others wrote, shown so that it can do a terminal no harm.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}

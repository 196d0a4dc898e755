//! Texts that people read in status, Events and logs: bounded, one line, cut at a character.

/// Longest message that goes into a condition, a check or an Event note, in bytes.
pub const MESSAGE_MAX: usize = 512;

/// `text` on one line and at most `max` bytes, with `…` where it was cut.
#[must_use]
pub fn bounded(text: &str, max: usize) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    if line.len() <= max {
        return line;
    }
    let room = max.saturating_sub('…'.len_utf8());
    let cut = (0..=room).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &line[..cut])
}

/// [`bounded`] at [`MESSAGE_MAX`].
#[must_use]
pub fn message(text: &str) -> String {
    bounded(text, MESSAGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character_and_says_so() {
        let cut = bounded(&"é".repeat(400), 513);
        assert!(cut.len() <= 513 && cut.ends_with('…'), "{cut}");
        assert_eq!(bounded("two\nlines", 64), "two lines");
    }
}

//! Text that somebody else wrote, as a page may show it: nothing in it is invisible, nothing turns the
//! reading direction around, and nothing is longer than a page can bear.
//!
//! Templates escape it like all text and put it into `<bdi>`.

use std::fmt;

/// How many characters are shown of one text, unless somebody says otherwise.
const USUAL: usize = 400;

/// Foreign text that may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    /// What may be shown of `text`.
    pub fn of(text: impl AsRef<str>) -> Self {
        Self::cut(text.as_ref(), USUAL)
    }

    /// The same, with at most `most` of its characters.
    pub fn cut(text: &str, most: usize) -> Self {
        let mut shown = String::with_capacity(text.len().min(most) + 16);
        for (at, (byte, c)) in text.char_indices().enumerate() {
            if at == most {
                let all = text.len();
                let _ = fmt::write(&mut shown, format_args!("… ({byte} of {all} bytes)"));
                break;
            }
            if is_unseen(c) {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        Self(shown)
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Controls, what changes the reading direction, and what takes no room but is there.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_or_turns_the_text_around_is_shown_as_an_escape() {
        let cases = [
            ("plain <b>text</b>", "plain <b>text</b>"),
            ("invoice\u{202e}fdp.exe", "invoice\\u{202e}fdp.exe"),
            ("a\u{2066}b\u{2069}c\u{200f}", "a\\u{2066}b\\u{2069}c\\u{200f}"),
            ("two\nlines\tand\0nul\u{1b}[2J", "two\\u{a}lines\\u{9}and\\u{0}nul\\u{1b}[2J"),
            ("pay\u{200b}pal\u{feff}", "pay\\u{200b}pal\\u{feff}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
            // What languages are written with stays, joiners in words and emoji included.
            (
                "שלום ½ 金継ぎ می\u{200c}روم 👩\u{200d}🔧",
                "שלום ½ 金継ぎ می\u{200c}روم 👩\u{200d}🔧",
            ),
        ];
        for (text, shown) in cases {
            assert_eq!(Said::of(text).to_string(), shown);
        }
    }

    #[test]
    fn a_long_text_is_cut_and_its_length_is_told() {
        assert_eq!(Said::cut("é".repeat(5).as_str(), 3).to_string(), "ééé… (6 of 10 bytes)");
        assert_eq!(Said::cut("abc", 3).to_string(), "abc");
        assert!(Said::of("\u{202e}".repeat(500_000)).to_string().len() < 10_000);
    }
}

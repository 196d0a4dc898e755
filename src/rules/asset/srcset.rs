//! The candidates of a `srcset` text, split as the HTML standard splits them
//! (section «Parsing a srcset attribute»).
//!
//! A comma is part of a URL unless it is its last character, so `data:image/png;base64,AAAA 1x`
//! and `/a,b.jpg 2x` are one candidate each, and so is `a.jpg,b.jpg`.

/// One image candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    /// The URL as written.
    pub(super) url: &'a str,
    /// What follows it: `2x`, `480w`, or nothing.
    pub(super) descriptors: &'a str,
}

impl Candidate<'_> {
    /// Does a browser understand every descriptor of this candidate?
    pub(super) fn is_understood(&self) -> bool {
        self.descriptors.split_ascii_whitespace().all(|descriptor| {
            let (number, unit) = descriptor.split_at(descriptor.len().saturating_sub(1));
            match unit {
                "w" | "h" => number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty(),
                "x" => number.parse::<f64>().is_ok_and(|density| density >= 0.0),
                _ => false,
            }
        })
    }
}

/// All candidates of `text`, in order.
pub(super) fn candidates(text: &str) -> impl Iterator<Item = Candidate<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (url, after) = rest.split_at(end);
        let bare = url.trim_end_matches(',');
        if bare.len() < url.len() {
            rest = after;
            return Some(Candidate { url: bare, descriptors: "" });
        }
        let end = end_of_descriptors(after);
        rest = &after[end..];
        Some(Candidate { url, descriptors: after[..end].trim() })
    })
}

/// Where the descriptors end: at the first comma that is not inside parentheses.
fn end_of_descriptors(text: &str) -> usize {
    let mut inside = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => inside = true,
            b')' => inside = false,
            b',' if !inside => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(&str, &str)> {
        candidates(text).map(|c| (c.url, c.descriptors)).collect()
    }

    #[test]
    fn candidates_are_split_as_browsers_split_them() {
        let table: [(&str, &[(&str, &str)]); 9] = [
            ("a.jpg 1x, b.jpg 2x", &[("a.jpg", "1x"), ("b.jpg", "2x")]),
            ("a.jpg 480w,b.jpg 800w", &[("a.jpg", "480w"), ("b.jpg", "800w")]),
            ("a.jpg, b.jpg", &[("a.jpg", ""), ("b.jpg", "")]),
            ("a.jpg,b.jpg", &[("a.jpg,b.jpg", "")]),
            ("/w_1,h_2/a.jpg 2x", &[("/w_1,h_2/a.jpg", "2x")]),
            (
                "data:image/png;base64,AA== 1x, b 2x",
                &[("data:image/png;base64,AA==", "1x"), ("b", "2x")],
            ),
            (" ,, a.jpg\n\t1x ,", &[("a.jpg", "1x")]),
            ("a.jpg type(x, y) 1x, b.jpg", &[("a.jpg", "type(x, y) 1x"), ("b.jpg", "")]),
            (" , ", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(split(text), expected, "{text:?}");
        }
    }

    #[test]
    fn descriptors_other_than_width_height_and_density_are_not_understood() {
        for (descriptors, understood) in [
            ("2x", true),
            ("1.5x", true),
            ("480w 300h", true),
            ("", true),
            ("b.jpg", false),
            ("w", false),
            ("-1x", false),
        ] {
            assert_eq!(
                Candidate { url: "a", descriptors }.is_understood(),
                understood,
                "{descriptors:?}"
            );
        }
    }
}

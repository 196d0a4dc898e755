//! The URLs that a text holds: one, or those of a `srcset`, split as the HTML standard splits it
//! (section «Parsing a srcset attribute»).
//!
//! A comma is part of a URL unless it is its last character, so `data:image/png;base64,AAAA 1x`
//! and `/a,b.jpg 2x` are one candidate each, and so is `a.jpg,b.jpg`.
//!
//! Who judges a URL and who replaces it must count alike, so both ask here. Must not know: what a
//! URL points at.

use std::ops::Range;

/// One URL of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The URL as written.
    pub url: &'a str,
    /// What follows it: `2x`, `480w`, or nothing.
    pub descriptors: &'a str,
    /// Where the URL stands in the text, in bytes.
    pub at: Range<usize>,
}

impl Candidate<'_> {
    /// Does a browser understand every descriptor of this candidate?
    fn is_understood(&self) -> bool {
        self.descriptors.split_ascii_whitespace().all(|descriptor| {
            if let Some(density) = descriptor.strip_suffix('x') {
                return density.parse::<f64>().is_ok_and(|density| density >= 0.0);
            }
            descriptor
                .strip_suffix(['w', 'h'])
                .is_some_and(|size| !size.is_empty() && size.bytes().all(|b| b.is_ascii_digit()))
        })
    }
}

/// The first `most` URLs of the text at `pointer`.
///
/// The text is a list when the nearest member name ends in `srcset`, as in `srcSet` or
/// `imagesrcset`, or when it reads as one. Else it is one URL.
#[must_use]
pub fn urls<'a>(pointer: &str, text: &'a str, most: usize) -> Vec<Candidate<'a>> {
    let url = text.trim();
    if url.is_empty() || is_srcset_member(pointer) {
        return candidates(text).take(most).collect();
    }
    // A URL holds no white space, so a text that does may be a list under another name. All of it
    // is asked, however many are wanted: whoever asks for fewer must not count otherwise.
    let may_be_list = url.contains(|c: char| c.is_ascii_whitespace());
    if may_be_list && candidates(text).all(|candidate| candidate.is_understood()) {
        return candidates(text).take(most).collect();
    }
    let start = text.len() - text.trim_start().len();
    vec![Candidate { url, descriptors: "", at: start..start + url.len() }]
}

/// May `url` stand in a list? It may hold neither white space nor a comma at an end.
#[must_use]
pub fn is_one_url(url: &str) -> bool {
    let is_bare = |c: char| c.is_whitespace() || c == ',';
    !url.is_empty() && !url.contains(char::is_whitespace) && url.trim_matches(is_bare) == url
}

fn is_srcset_member(pointer: &str) -> bool {
    pointer
        .rsplit('/')
        .find(|token| !token.bytes().all(|b| b.is_ascii_digit()))
        .is_some_and(|name| name.to_ascii_lowercase().ends_with("srcset"))
}

/// All candidates of `text` as a `srcset`, in order.
fn candidates(text: &str) -> impl Iterator<Item = Candidate<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = find(text, from, |c| !c.is_ascii_whitespace() && c != ',')?;
        let end = find(text, start, |c| c.is_ascii_whitespace()).unwrap_or(text.len());
        let url = text[start..end].trim_end_matches(',');
        // A comma at the end of the URL ends the candidate.
        let is_alone = url.len() < end - start;
        from = if is_alone { end } else { end + end_of_descriptors(&text[end..]) };
        let at = start..start + url.len();
        Some(Candidate { url, descriptors: text[end..from].trim(), at })
    })
}

fn find(text: &str, from: usize, is_wanted: impl Fn(char) -> bool) -> Option<usize> {
    text[from..].find(is_wanted).map(|at| from + at)
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
        let found: Vec<_> = candidates(text).collect();
        assert!(found.iter().all(|c| &text[c.at.clone()] == c.url), "{text:?}");
        found.into_iter().map(|c| (c.url, c.descriptors)).collect()
    }

    #[test]
    fn candidates_are_split_as_browsers_split_them() {
        let table: [(&str, &[(&str, &str)]); 9] = [
            ("a.jpg 1x, b.jpg 2x", &[("a.jpg", "1x"), ("b.jpg", "2x")]),
            ("a.jpg 480w,b.jpg 800w", &[("a.jpg", "480w"), ("b.jpg", "800w")]),
            ("a.jpg, b.jpg", &[("a.jpg", ""), ("b.jpg", "")]),
            ("a.jpg,b.jpg", &[("a.jpg,b.jpg", "")]),
            ("/w_1,h_2/é.jpg 2x", &[("/w_1,h_2/é.jpg", "2x")]),
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
    fn a_text_is_a_list_by_its_name_or_by_what_it_holds() {
        let table: [(&str, &str, &[&str]); 8] = [
            ("/src", " /a.jpg ", &["/a.jpg"]),
            ("/src", "/a b.jpg", &["/a b.jpg"]),
            ("/src", "/a.jpg 1x, /b.jpg 2x", &["/a.jpg", "/b.jpg"]),
            ("/src", "/a 1x, /b é", &["/a 1x, /b é"]),
            ("/srcSet", "/a b.jpg", &["/a"]),
            ("/imagesrcset/0", "/a.jpg", &["/a.jpg"]),
            ("/src", "  ", &[]),
            ("/srcset", ",", &[]),
        ];
        for (pointer, text, expected) in table {
            let found = urls(pointer, text, 9);
            assert!(found.iter().all(|c| &text[c.at.clone()] == c.url), "{text:?}");
            let first = urls(pointer, text, 1);
            assert_eq!(first.first(), found.first(), "one is counted as many are");
            let found: Vec<_> = found.into_iter().map(|c| c.url).collect();
            assert_eq!(found, expected, "{text:?} at {pointer}");
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
            ("é", false),
            ("2é", false),
        ] {
            let candidate = Candidate { url: "a", descriptors, at: 0..1 };
            assert_eq!(candidate.is_understood(), understood, "{descriptors:?}");
        }
    }

    #[test]
    fn what_would_not_stand_in_a_list_as_it_is_is_not_one_url() {
        for one in ["/a.png", "https://cdn.test/a,b.png"] {
            assert!(is_one_url(one), "{one:?}");
        }
        for other in ["", " ", "a b", " /a.png", "/a.png ", "/a.png,", ",/a.png"] {
            assert!(!is_one_url(other), "{other:?}");
        }
    }
}

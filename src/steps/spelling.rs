//! What a text spells: a number, a bool, or nearly another name.
//!
//! Knows: texts. Must not know: documents, schemas.

use serde_json::Number;

/// The longest name that is looked at for typos, in characters: comparing two costs the product of
/// their lengths.
const LONGEST_NAME: usize = 128;

/// The shortest word that may hold a typo, in characters: `from` and `form` are two words.
const SHORTEST_WITH_TYPO: usize = 5;

/// The number that `text` spells, when it prints back as the same text: `12` and `1.5` do, `012`,
/// `1e3` and `1.50` do not.
pub(super) fn number(text: &str) -> Option<Number> {
    text.parse::<Number>().ok().filter(|number| number.to_string() == text)
}

/// The bool that `text` spells.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The one of `names` that `text` nearly spells; None when none does, or when two are as near.
///
/// Case, and how words are joined (`imageUrl`, `image_url`, `image-url`), do not count. Of the
/// rest, one word may have one typo: a letter too many, too few, another, or two swapped. What
/// tells one name from another is no typo: a digit, the first letter of a word (`internal`,
/// `external`), a plural `s`, anything in a short word (`minWidth`, `maxWidth`).
pub(super) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let words = words(text)?;
    let mut best: Option<(Nearness, &str)> = None;
    let mut is_tie = false;
    for name in names {
        let Some(nearness) = nearness(&words, name) else { continue };
        match best {
            Some((known, _)) if known < nearness => {}
            Some((known, other)) if known == nearness => is_tie |= other != name,
            _ => (best, is_tie) = (Some((nearness, name)), false),
        }
    }
    best.filter(|_| !is_tie).map(|(_, name)| name)
}

/// Are the two the same but for case and how their words are joined?
pub(super) fn is_same_name(one: &str, other: &str) -> bool {
    words(one).is_some_and(|words| nearness(&words, other) == Some(Nearness::Same))
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Same,
    OneTypo,
}

fn nearness(words: &[String], name: &str) -> Option<Nearness> {
    let others = self::words(name)?;
    let numbers = |words: &[String]| -> Vec<String> {
        words.iter().filter(|word| word.contains(char::is_numeric)).cloned().collect()
    };
    if numbers(words) != numbers(&others) {
        return None;
    }
    if words.concat() == others.concat() {
        return Some(Nearness::Same);
    }
    if words.len() != others.len() {
        return None;
    }
    let mut differing = words.iter().zip(&others).filter(|(word, other)| word != other);
    let (word, other) = differing.next()?;
    (differing.next().is_none() && is_typo(word, other)).then_some(Nearness::OneTypo)
}

fn is_typo(word: &str, other: &str) -> bool {
    let is_long = |word: &str| word.chars().count() >= SHORTEST_WITH_TYPO;
    let are_letters = word.chars().chain(other.chars()).all(char::is_alphabetic);
    let is_plural = word.strip_suffix('s') == Some(other) || other.strip_suffix('s') == Some(word);
    is_long(word)
        && is_long(other)
        && are_letters
        && !is_plural
        && word.chars().next() == other.chars().next()
        && strsim::osa_distance(word, other) == 1
}

/// The words of a name in lower case; a run of digits is one, and so is what stands before the
/// first letter, as in `_id`. None when there is none or it is too long to be a name.
fn words(name: &str) -> Option<Vec<String>> {
    let letters: Vec<char> = name.chars().take(LONGEST_NAME + 1).collect();
    if letters.len() > LONGEST_NAME {
        return None;
    }
    let mut words: Vec<String> = Vec::new();
    let mut before: Option<char> = None;
    for (at, &letter) in letters.iter().enumerate() {
        let is_joint = matches!(letter, '_' | '-' | ' ');
        if is_joint && words.iter().any(|word| word.contains(char::is_alphanumeric)) {
            before = None;
            continue;
        }
        let next_is_lower = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        let goes_on = before.is_some_and(|before| {
            let turns_upper = letter.is_uppercase() && (before.is_lowercase() || next_is_lower);
            before.is_numeric() == letter.is_numeric()
                && before.is_alphanumeric() == letter.is_alphanumeric()
                && !turns_upper
        });
        match words.last_mut() {
            Some(word) if goes_on => word.extend(letter.to_lowercase()),
            _ => words.push(letter.to_lowercase().collect()),
        }
        before = Some(letter);
    }
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_number_that_prints_back_is_spelt() {
        for spelt in ["0", "12", "-3", "1.5", "0.1", "18446744073709551615"] {
            assert_eq!(number(spelt).unwrap().to_string(), spelt);
        }
        let others = ["", " 1", "1 ", "012", "+1", "1.50", "1e3", "-0", "NaN", "0x1", "1,5", "1_0"];
        for other in others {
            assert_eq!(number(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_name_is_split_into_its_words() {
        let cases: [(&str, &[&str]); 7] = [
            ("imageUrl", &["image", "url"]),
            ("Image-URL_2x", &["image", "url", "2", "x"]),
            ("URLOfImage", &["url", "of", "image"]),
            ("_id", &["_", "id"]),
            ("__proto__", &["__", "proto"]),
            ("line2", &["line", "2"]),
            ("--", &["--"]),
        ];
        for (name, expected) in cases {
            assert_eq!(words(name).unwrap(), expected, "{name}");
        }
        assert_eq!(words(""), None);
    }

    #[test]
    fn the_nearest_name_is_found_unless_two_are_as_near() {
        let cases: [(&str, &[&str], Option<&str>); 13] = [
            ("Title", &["title", "subtitle"], Some("title")),
            ("image_url", &["imageUrl", "image"], Some("imageUrl")),
            ("imageurl", &["imageUrl"], Some("imageUrl")),
            ("tilte", &["title"], Some("title")),
            ("descripton", &["description"], Some("description")),
            ("heroImgae", &["heroImage", "heroTitle"], Some("heroImage")),
            ("lable", &["label", "ladle"], None),
            ("ID", &["id"], Some("id")),
            ("price", &["title"], None),
            ("", &["id"], None),
            ("--", &["_"], None),
            ("a-b", &["ab", "a_b"], None),
            ("grid", &["grid", "grids"], Some("grid")),
        ];
        for (text, names, expected) in cases {
            assert_eq!(nearest(text, names.iter().copied()), expected, "{text} in {names:?}");
        }
    }

    #[test]
    fn what_tells_two_names_apart_is_no_typo() {
        for (one, other) in [
            ("minPrice", "maxPrice"),
            ("min_width", "max_width"),
            ("internal", "external"),
            ("included", "excluded"),
            ("inbound", "unbound"),
            ("positionX", "positionY"),
            ("line1", "line2"),
            ("address2", "address"),
            ("item1_2", "item12"),
            ("latitude", "altitude"),
            ("image", "images"),
            ("from", "form"),
            ("tile", "title"),
            ("id", "is"),
            ("_id", "id"),
            ("__proto__", "proto"),
        ] {
            assert_eq!(nearest(one, [other]), None, "{one} is not {other}");
            assert_eq!(nearest(other, [one]), None, "{other} is not {one}");
        }
    }

    #[test]
    fn a_text_too_long_for_a_name_is_near_to_nothing() {
        let long = "x".repeat(1_000_000);
        assert_eq!(nearest(&long, [long.as_str()]), None);
    }

    proptest! {
        #[test]
        fn the_order_of_the_names_does_not_matter(
            text in "[a-cA2_]{1,8}", names in prop::collection::vec("[a-cA2_]{1,8}", 0..6)
        ) {
            let forth = nearest(&text, names.iter().map(String::as_str));
            let back = nearest(&text, names.iter().rev().map(String::as_str));
            prop_assert_eq!(forth, back);
        }

        #[test]
        fn nearness_goes_both_ways(one in "[a-cA2_é]{1,8}", other in "[a-cA2_é]{1,8}") {
            let there = nearest(&one, [other.as_str()]).is_some();
            prop_assert_eq!(there, nearest(&other, [one.as_str()]).is_some());
        }
    }
}

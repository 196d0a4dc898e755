//! Does every number of a JSON text print again as the same number?
//!
//! `serde_json` could keep the text of numbers (`arbitrary_precision`), but that feature breaks
//! every flattened field of the Kubernetes types, so the question is asked of the text instead.
//!
//! Knows: how numbers are written. Must not know: anything else of a document.

use serde_json::Number;

/// Do all numbers of this (well-formed) text survive?
pub(super) fn survive(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = after_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = bytes[at..]
                    .iter()
                    .position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
                    .map_or(bytes.len(), |length| at + length);
                if !survives(&text[at..end]) {
                    return false;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    true
}

fn after_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn survives(text: &str) -> bool {
    // Up to 15 significant digits and a small exponent always fit a double: the common case.
    if text.len() <= 15 && !text.contains(['e', 'E']) {
        return true;
    }
    serde_json::from_str::<Number>(text).is_ok_and(|number| {
        let printed = number.to_string();
        printed == text || decimal(&printed) == decimal(text)
    })
}

/// A number's sign, significant digits and exponent: equal for equal numbers, however written.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, unsigned) =
        text.strip_prefix('-').map_or((false, text), |unsigned| (true, unsigned));
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some((negative, String::new(), 0));
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let scale = i64::try_from(trailing).ok()? - i64::try_from(fraction.len()).ok()?;
    Some((negative, significant.to_owned(), exponent.checked_add(scale)?))
}

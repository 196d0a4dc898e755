//! The text of a CEL expression: what can be said of it before it is parsed.

use super::expression::{MAX_BYTES, MAX_CHAIN, MAX_NESTING, costly};
use crate::domain::{Doubt, DoubtReason};

/// Checks the text of an expression, before it is parsed.
///
/// # Errors
/// [`DoubtReason::ExpressionTooCostly`] where a limit is passed, [`DoubtReason::ExpressionInvalid`]
/// for `!!` and `--`: the interpreter parses both wrongly (`!!true` is false to it), and takes time
/// that doubles with each.
pub fn check_source(field: &str, source: &str) -> Result<(), Doubt> {
    if source.len() > MAX_BYTES {
        let size = source.len();
        return Err(costly(field, &format!("has {size} bytes; at most {MAX_BYTES} are allowed")));
    }
    // How many links hang on each other, in each open bracket.
    let mut open = vec![0_usize];
    let mut before = ' ';
    for c in Code::of(source) {
        match c {
            '!' | '-' if before == c => {
                return Err(Doubt::new(
                    DoubtReason::ExpressionInvalid,
                    &format!(
                        "{field} has {c}{c}, which is not supported; leave both out or write \
                         {c}({c}x)"
                    ),
                ));
            }
            '(' | '[' | '{' => {
                link(&mut open);
                open.push(0);
            }
            ')' | ']' | '}' if open.len() > 1 => drop(open.pop()),
            // What stands on both sides of these does not hang on each other.
            '&' | '|' | ',' | '?' | ':' => {
                if let Some(links) = open.last_mut() {
                    *links = 0;
                }
            }
            '.' | '+' | '-' | '*' | '/' | '%' | '<' | '>' | '=' | '!' => link(&mut open),
            _ => {}
        }
        if !c.is_whitespace() {
            before = c;
        }
        if open.len() > MAX_NESTING + 1 {
            return Err(costly(field, &format!("nests deeper than {MAX_NESTING} brackets")));
        }
        if open.iter().sum::<usize>() > MAX_CHAIN {
            return Err(costly(field, &format!("chains more than {MAX_CHAIN} operators")));
        }
    }
    Ok(())
}

fn link(open: &mut [usize]) {
    if let Some(links) = open.last_mut() {
        *links += 1;
    }
}

/// The characters of an expression outside of its strings and comments; a string is one `a`.
struct Code<'a> {
    rest: &'a str,
    /// The last character was the `r` of a string without escapes.
    raw: bool,
}

impl<'a> Code<'a> {
    fn of(source: &'a str) -> Self {
        Self { rest: source, raw: false }
    }

    /// What follows the string that `rest` begins with.
    fn after_string(&self) -> &'a str {
        let quote = if self.rest.starts_with('"') { "\"" } else { "'" };
        let triple = quote.repeat(3);
        let end = if self.rest.starts_with(&triple) { triple } else { quote.to_owned() };
        let mut body = &self.rest[end.len()..];
        while !body.is_empty() && !body.starts_with(&end) {
            let escape = body.starts_with('\\') && !self.raw;
            let skipped: usize =
                body.chars().take(if escape { 2 } else { 1 }).map(char::len_utf8).sum();
            body = &body[skipped..];
        }
        body.get(end.len()..).unwrap_or_default()
    }
}

impl Iterator for Code<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            if self.rest.starts_with("//") {
                self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
                continue;
            }
            let c = self.rest.chars().next()?;
            if c == '"' || c == '\'' {
                self.rest = self.after_string();
                self.raw = false;
                return Some('a');
            }
            self.raw = matches!(c, 'r' | 'R') || (self.raw && matches!(c, 'b' | 'B'));
            self.rest = &self.rest[c.len_utf8()..];
            return Some(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_strings_and_comments_is_not_counted() {
        let brackets = "(".repeat(100);
        for source in [
            format!("self == '{brackets}'"),
            format!("self == \"!!\\\"{brackets}\""),
            format!("self == '''it's {brackets}'''"),
            format!("self == r'\\' // {brackets}\n && true"),
            format!("true // !! {brackets}"),
            "a && b || c ? d : e".repeat(100),
        ] {
            check_source("f", &source).unwrap_or_else(|doubt| panic!("{source}: {doubt:?}"));
        }
        for source in [format!("self == 'a' + {brackets}"), "'\\\\' == ! !self".to_owned()] {
            assert!(check_source("f", &source).is_err(), "{source}");
        }
    }
}

//! Regular expressions with look-aheads, matched in linear time.
//!
//! The linear engine has no look-around, but two kinds of it are common enough to matter and need
//! none: look-aheads right after `^` (passwords, host names, e-mail addresses) are questions of
//! their own about the same text, and Zod's pattern for durations is one known text. Such a
//! `pattern` becomes a keyword of our own in the schema that is compiled; every other look-around
//! and every back-reference is refused when the schema is compiled.

use jsonschema::{
    Keyword, PatternCache, ValidationError, ValidationOptions, Validator, paths::Location,
};
use serde_json::{Map, Value, json};

use crate::rules::cost::Graph;

/// The keyword that stands for `pattern` in a compiled schema.
pub(super) const KEYWORD: &str = "x-kintsugi-pattern";

/// What Zod 4 writes for `z.iso.duration()`.
const ZOD_DURATION: &str = r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$";
/// The same texts without look-around: weeks, or a date part and a time part of which at least
/// one is there and none is empty.
pub(super) const LINEAR_DURATION: &str = r"^P(?:\d+W|(?:\d+Y(?:\d+M)?(?:\d+D)?|\d+M(?:\d+D)?|\d+D)(?:T(?:\d+H(?:\d+M)?(?:\d+(?:[.,]\d+)?S)?|\d+M(?:\d+(?:[.,]\d+)?S)?|\d+(?:[.,]\d+)?S))?|T(?:\d+H(?:\d+M)?(?:\d+(?:[.,]\d+)?S)?|\d+M(?:\d+(?:[.,]\d+)?S)?|\d+(?:[.,]\d+)?S))$";

/// What Zod 4 writes for an IPv6 address, and for a network with `/` and its length.
///
/// Zod itself does not check these patterns but the address, and so takes `::ffff:1.2.3.4`, which
/// they do not. Beside the format of that name, which is checked here too, they are left out.
const ZOD_IPV6: &str = r"(([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,7}:|([0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,5}(:[0-9a-fA-F]{1,4}){1,2}|([0-9a-fA-F]{1,4}:){1,4}(:[0-9a-fA-F]{1,4}){1,3}|([0-9a-fA-F]{1,4}:){1,3}(:[0-9a-fA-F]{1,4}){1,4}|([0-9a-fA-F]{1,4}:){1,2}(:[0-9a-fA-F]{1,4}){1,5}|[0-9a-fA-F]{1,4}:((:[0-9a-fA-F]{1,4}){1,6})|:((:[0-9a-fA-F]{1,4}){1,7}|:))";
const ZOD_IPV6_LENGTH: &str = r"\/(12[0-8]|1[01][0-9]|[1-9]?[0-9])";

/// `schema` with each `pattern` that needs it put into a form that is matched in linear time.
///
/// # Errors
/// Names a pattern with look-around that has no such form.
pub(super) fn made_linear(schema: &Value, graph: &Graph<'_>) -> Result<Value, String> {
    let mut compiled = schema.clone();
    for node in &graph.nodes {
        let Some(pattern) = node.schema.get("pattern").and_then(Value::as_str) else { continue };
        let keywords = compiled.pointer_mut(&node.pointer).and_then(Value::as_object_mut);
        let Some(keywords) = keywords else { continue };
        if says_less_than_its_format(pattern, node.schema.get("format")) {
            keywords.remove("pattern");
        } else if pattern == ZOD_DURATION {
            keywords.insert("pattern".to_owned(), json!(LINEAR_DURATION));
        } else if has_look_around(pattern) {
            if split(pattern).is_none() {
                return Err(format!(
                    "spec.schema has the pattern {pattern:?} at {:?}: look-around is supported \
                     only as (?=…) and (?!…) right after ^",
                    node.pointer
                ));
            }
            keywords.remove("pattern");
            keywords.insert(KEYWORD.to_owned(), json!(pattern));
        }
    }
    Ok(compiled)
}

fn says_less_than_its_format(pattern: &str, format: Option<&Value>) -> bool {
    let inner = pattern.strip_prefix('^').and_then(|inner| inner.strip_suffix('$'));
    match format.and_then(Value::as_str) {
        Some("ipv6") => inner == Some(ZOD_IPV6),
        Some("cidrv6") => {
            inner.and_then(|inner| inner.strip_suffix(ZOD_IPV6_LENGTH)) == Some(ZOD_IPV6)
        }
        _ => false,
    }
}

fn has_look_around(pattern: &str) -> bool {
    let looks = ["(?=", "(?!", "(?<=", "(?<!"];
    code(pattern).any(|(at, _)| looks.iter().any(|look| pattern[at..].starts_with(look)))
}

/// Makes `options` know [`KEYWORD`].
pub(super) fn register(
    patterns: &PatternCache,
    options: ValidationOptions<'static>,
) -> ValidationOptions<'static> {
    let patterns = patterns.clone();
    options.with_keyword(KEYWORD, move |_: &Map<String, Value>, value: &Value, _: Location| {
        let pattern = value.as_str().unwrap_or_default();
        Parts::of(pattern, &patterns)
            .map(|parts| Box::new(parts) as Box<dyn for<'i> Keyword<'i>>)
            .map_err(ValidationError::custom)
    })
}

/// Questions about the same text, all of which must be answered as wanted.
struct Parts {
    pattern: String,
    /// Whether the part must match, and the part.
    parts: Vec<(bool, Validator)>,
}

impl Parts {
    fn of(pattern: &str, patterns: &PatternCache) -> Result<Self, String> {
        let parts = split(pattern)
            .unwrap_or_default()
            .into_iter()
            .map(|(wanted, part)| {
                // A schema of one pattern, since that is how the engine's translation from
                // ECMAScript can be reached.
                jsonschema::options()
                    .offline()
                    .with_pattern_options(super::engine())
                    .with_pattern_cache(patterns.clone())
                    .build(&json!({"pattern": part}))
                    .map(|validator| (wanted, validator))
                    .map_err(|_| {
                        format!(
                            "the pattern {pattern:?} is not valid, is too large, or needs \
                             look-around other than right after ^"
                        )
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { pattern: pattern.to_owned(), parts })
    }
}

impl<'i> Keyword<'i> for Parts {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if Keyword::is_valid(self, instance) {
            return Ok(());
        }
        Err(ValidationError::custom(format!("does not match {:?}", self.pattern)))
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        !instance.is_string()
            || self.parts.iter().all(|(wanted, part)| part.is_valid(instance) == *wanted)
    }
}

/// `^(?=A)(?!B)C` as `A` wanted, `B` not wanted and `C` wanted, each anchored at the start: look-
/// aheads there all hold at the same place and take nothing. None for any other pattern.
fn split(pattern: &str) -> Option<Vec<(bool, String)>> {
    let mut rest = pattern.strip_prefix('^')?;
    let mut parts = Vec::new();
    loop {
        let (wanted, body) = match (rest.strip_prefix("(?="), rest.strip_prefix("(?!")) {
            (Some(body), _) => (true, body),
            (_, Some(body)) => (false, body),
            (None, None) => break,
        };
        let end = top_level(body, |c, depth| c == ')' && depth == 0)?;
        parts.push((wanted, format!("^(?:{})", &body[..end])));
        rest = &body[end + 1..];
    }
    let quantified = rest.starts_with(['*', '+', '?', '{']);
    // A `|` here would split the anchor and the look-aheads from its right side.
    let splits = top_level(rest, |c, depth| c == '|' && depth == 0).is_some();
    if parts.is_empty() || quantified || splits || has_look_around(rest) {
        return None;
    }
    parts.push((true, format!("^(?:{rest})")));
    Some(parts)
}

/// The first place outside of escapes and classes at which `stop` holds, given the depth of groups.
fn top_level(pattern: &str, stop: impl Fn(char, usize) -> bool) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in code(pattern) {
        match c {
            _ if stop(c, depth) => return Some(at),
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// The characters outside of escapes and classes, and where they stand.
fn code(pattern: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut escaped, mut in_class) = (false, false);
    pattern.char_indices().filter(move |(_, c)| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match c {
            '\\' => escaped = true,
            '[' if !in_class => in_class = true,
            ']' if in_class => in_class = false,
            _ => return !in_class,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let schema = crate::rules::schema::compile(&json!({"pattern": pattern})).unwrap();
        schema.check(&json!(text)) == crate::domain::Verdict::Pass
    }

    #[test]
    fn leading_look_aheads_mean_what_ecmascript_says() {
        let password = r"^(?=.*[A-Z])(?=.*\d)(?!.*password).{8,}$";
        let email = r"^(?!\.)(?!.*\.\.)([a-z.]*)[a-z]@([a-z]+\.)+[a-z]{2,}$";
        for (pattern, text, expected) in [
            (password, "Abcdefg1", true),
            (password, "abcdefg1", false),
            (password, "Apassword1", false),
            (password, "Ab1", false),
            (email, "a.b@c.de", true),
            (email, ".ab@c.de", false),
            (email, "a..b@c.de", false),
            (r"^(?=a|b)[abc]$", "c", false),
            (r"^(?=[)])\)$", ")", true),
            (r"^\(?=x", "(=x", true),
            (r"^\(?=x", "(x", false),
            (r"^(?=a)[a(?!)]$", "a", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn durations_as_zod_writes_them_are_matched() {
        for good in ["P1Y2M3DT4H5M6S", "P1W", "PT1.5S", "PT1,5S", "P1D", "P1YT1S", "PT1H1S"] {
            assert!(matches(ZOD_DURATION, good), "{good}");
        }
        for bad in ["P", "PT", "P1DT", "P1W1D", "P1D1Y", "1D", "P1S", "P-1D"] {
            assert!(!matches(ZOD_DURATION, bad), "{bad}");
        }
    }

    #[test]
    fn other_look_around_is_refused_with_the_pattern_and_the_place() {
        for pattern in
            [r"a(?=b)", r"^a(?!b)c$", r"(?<=a)b", r"^(?=a)*b", r"^(?=a)b|c", r"^(?=a)b(?!c)"]
        {
            let schema = json!({"items": {"pattern": pattern}});
            let doubt = crate::rules::schema::compile(&schema).unwrap_err();
            assert!(doubt.message.contains("look-around"), "{}", doubt.message);
            assert!(doubt.message.contains("/items"), "{}", doubt.message);
        }
    }
}

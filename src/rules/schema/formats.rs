//! Formats that are checked otherwise than `jsonschema` does.
//!
//! `format` is the loosest part of JSON Schema: what is checked depends on the validator. Zod users
//! expect Zod's verdict, and `z.toJSONSchema` writes Zod's own `pattern` beside most formats. So
//! a format that stands beside a pattern must never be *stricter* than the pattern: here such a
//! format takes what its RFC or Zod takes, and the pattern does the rest.

use std::sync::LazyLock;

use base64::Engine as _;
use jsonschema::{ValidationOptions, Validator};
use regex::Regex;
use serde_json::{Value, json};

/// Makes `options` check the formats of this module.
pub(super) fn register(options: ValidationOptions<'static>) -> ValidationOptions<'static> {
    options
        .with_format("uri", is_url)
        .with_format("email", |text: &str| EMAIL.accepts(text))
        .with_format("hostname", |text: &str| HOSTNAME.accepts(text))
        .with_format("duration", |text: &str| DURATION.accepts(text))
        .with_format("cidrv6", is_ipv6_network)
        .with_format("jwt", is_jwt)
}

/// A URL as browsers and Zod read it (WHATWG), which is what a widget's URL is for: other than
/// RFC 3986, `https://example.com/ü` is one.
fn is_url(text: &str) -> bool {
    url::Url::parse(text.trim()).is_ok()
}

/// An IPv6 address, `/` and a length, as Zod has it.
fn is_ipv6_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let canonical = length.parse::<u8>().is_ok_and(|n| n <= 128 && n.to_string() == length);
    canonical && address.parse::<core::net::Ipv6Addr>().is_ok()
}

/// A token of three parts whose first says, in Base64 and JSON, how it is signed.
fn is_jwt(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let [header, _, _] = parts.as_slice() else { return false };
    // As `atob` does, which Zod reads it with.
    let dense: String = header.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let unpadded = dense.trim_end_matches('=');
    let Ok(bytes) = base64::engine::general_purpose::STANDARD_NO_PAD.decode(unpadded) else {
        return false;
    };
    let Ok(header) = serde_json::from_slice::<Value>(&bytes) else { return false };
    header.get("typ").is_none_or(|kind| kind == "JWT")
        && header.get("alg").and_then(Value::as_str).is_some_and(|alg| !alg.is_empty())
}

/// A format that takes what its RFC or what Zod's pattern takes.
struct Either {
    rfc: Option<Validator>,
    zod: Option<Regex>,
}

impl Either {
    fn of(format: &str, zod: &str) -> Self {
        // Both are constant texts, and a test uses each; a wrong one would accept nothing.
        let options = jsonschema::options().offline().should_validate_formats(true);
        let zod = regex::RegexBuilder::new(zod).unicode(false).build().ok();
        Self { rfc: options.build(&json!({"format": format})).ok(), zod }
    }

    fn accepts(&self, text: &str) -> bool {
        self.zod.as_ref().is_some_and(|zod| zod.is_match(text))
            || self.rfc.as_ref().is_some_and(|rfc| rfc.is_valid(&Value::from(text)))
    }
}

/// RFC 5321 has labels of a domain end in a letter or digit; Zod also lets them end in a hyphen.
static EMAIL: LazyLock<Either> = LazyLock::new(|| {
    let local = r"(?:[A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+-]";
    Either::of("email", &format!(r"^{local}@(?:[A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{{2,}}$"))
});

/// RFC 1123 has no dot at the end; Zod allows one. (It looks ahead for the length; the pattern
/// beside the format does that too.)
static HOSTNAME: LazyLock<Either> = LazyLock::new(|| {
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    Either::of("hostname", &format!(r"^{label}(?:\.{label})*\.?$"))
});

/// RFC 3339 has neither fractions nor gaps (`P1Y1D`, `PT1H1S`); ISO 8601 and Zod have both.
static DURATION: LazyLock<Either> =
    LazyLock::new(|| Either::of("duration", super::pattern::LINEAR_DURATION));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_take_what_the_rfc_or_zod_takes_and_nothing_else() {
        let jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x";
        for (format, text, expected) in [
            ("uri", "https://example.com/a?b#c", true),
            ("uri", " https://exämple.com/ü ", true),
            ("uri", "urn:isbn:0451450523", true),
            ("uri", "/relative", false),
            ("uri", "https://", false),
            ("email", "a@b-.com", true),
            ("email", "\"quoted\"@example.com", true),
            ("email", "a b@example.com", false),
            ("hostname", "example.com.", true),
            ("hostname", "-example.com", false),
            ("duration", "PT1.5S", true),
            ("duration", "P1Y", true),
            ("duration", "P", false),
            ("duration", "P\u{661}Y", false),
            ("cidrv6", "::ffff:1.2.3.4/96", true),
            ("cidrv6", "::/129", false),
            ("cidrv6", "::/08", false),
            ("jwt", jwt, true),
            ("jwt", "eyJhbGciOiJIUzI1NiJ9.e30", false),
            ("jwt", "e30.e30.x", false),
            // Those that are not ours are checked as well.
            ("ipv4", "256.1.1.1", false),
            ("date-time", "2026-13-01T00:00:00Z", false),
            ("uuid", "not-a-uuid", false),
        ] {
            let schema = crate::rules::schema::compile(&json!({"format": format})).unwrap();
            let passes = schema.check(&json!(text)) == crate::domain::Verdict::Pass;
            assert_eq!(passes, expected, "{format}: {text}");
        }
    }
}

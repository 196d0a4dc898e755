//! Foreign text that people may read, without what looks like a secret.
//!
//! Nothing can know what is one: this leaves out more than it must, and whoever writes secrets into
//! logs still should not.

use super::text;

/// What stands in the place of what was left out.
const MASK: &str = "***";
/// Words after which a secret is likely to stand.
const TELLING: [&str; 16] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "authorization",
    "bearer",
    "basic",
    "credential",
    "cookie",
    "session",
    "private",
];
/// From this length on, letters and digits in one run look like a key.
const LONG: usize = 16;

/// The last `lines` lines of `log` with what looks like a secret masked, at most `max` bytes.
#[must_use]
pub fn tail(log: &str, lines: usize, max: usize) -> String {
    let all: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &all[all.len().saturating_sub(lines)..];
    let per_line = max.checked_div(last.len()).unwrap_or(0).saturating_sub(1);
    // A block between markers, as of a private key, may hold lines that look like anything.
    let mut in_block = false;
    let masked = last.iter().map(|one| {
        let starts = one.contains("-----BEGIN");
        let hidden = in_block || starts;
        in_block = (in_block || starts) && !one.contains("-----END");
        if hidden { MASK.to_owned() } else { text::bounded(&line(one), per_line) }
    });
    masked.collect::<Vec<_>>().join("\n")
}

/// One line, masked.
fn line(line: &str) -> String {
    let mut told = false;
    let words = line.split_whitespace().map(|word| {
        let lower = word.to_lowercase();
        let was_told = std::mem::take(&mut told);
        let Some(at) = TELLING.iter().filter_map(|telling| lower.find(telling)).min() else {
            return if was_told { MASK.to_owned() } else { without_keys(word) };
        };
        // Up to what parts the name from the value, in `name=value`, `"name":"value"` and the like.
        let value = word.char_indices().find(|(n, c)| *n > at && matches!(c, '=' | ':'));
        match value {
            Some((n, _)) if word[n + 1..].trim_matches(['"', '\'', ',']).is_empty() => {
                told = true;
                word.to_owned()
            }
            Some((n, _)) => format!("{}{MASK}", &word[..=n]),
            None => {
                told = true;
                word.to_owned()
            }
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The word without runs that look like a key, and without a user in a URL.
fn without_keys(word: &str) -> String {
    let word = match (word.find("://"), word.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}{MASK}{}", &word[..scheme + 3], &word[at..])
        }
        _ => word.to_owned(),
    };
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '-');
    let mut masked = String::new();
    let mut run = String::new();
    for c in word.chars().chain(['\0']) {
        if is_of_key(c) {
            run.push(c);
            continue;
        }
        let has = |is: fn(&char) -> bool| run.chars().any(|c| is(&c));
        let is_key =
            run.len() >= LONG && has(char::is_ascii_digit) && has(char::is_ascii_alphabetic);
        masked.push_str(if is_key { MASK } else { &run });
        run.clear();
        if c != '\0' {
            masked.push(c);
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked_and_the_rest_is_not() {
        for (text, expected) in [
            ("regenerated 12 documents in 3s", "regenerated 12 documents in 3s"),
            ("GET http://catalog/export: 503", "GET http://catalog/export: 503"),
            ("password=canary done", "password=*** done"),
            ("{\"apiKey\":\"canary\"}", "{\"apiKey\":***"),
            ("Authorization: Bearer canary", "Authorization: Bearer ***"),
            ("DB_PASSWORD canary", "DB_PASSWORD ***"),
            ("token: canary x", "token: *** x"),
            ("https://ann:canary@db/x", "https://***@db/x"),
            ("key ghp_0123456789abcdefCANARY end", "key *** end"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.c2ln", "***.***.c2ln"),
        ] {
            assert_eq!(line(text), expected);
        }
    }

    #[test]
    fn a_tail_is_the_last_lines_within_its_bounds_and_no_block_of_a_key() {
        let lines: Vec<String> = (0..50).map(|n| format!("line {n}")).collect();
        assert_eq!(tail(&lines.join("\n\n"), 2, 100), "line 48\nline 49");
        let cut = tail(&"a ".repeat(5000), 10, 200);
        assert!(cut.len() <= 200 && cut.ends_with('…'), "{cut}");
        let key = "-----BEGIN KEY-----\ncanary\n-----END KEY-----\nafter";
        assert_eq!(tail(key, 10, 500), "***\n***\n***\nafter");
        assert_eq!(tail("", 10, 500), "");
    }
}

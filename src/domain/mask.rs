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
    let hidden = in_blocks(&all);
    let from = all.len().saturating_sub(lines);
    let last = all[from..].iter().zip(&hidden[from..]);
    let per_line = max.checked_div(last.len()).unwrap_or(0).saturating_sub(1);
    let masked =
        last.map(
            |(one, hidden)| {
                if *hidden { MASK.to_owned() } else { text::bounded(&line(one), per_line) }
            },
        );
    masked.collect::<Vec<_>>().join("\n")
}

/// Which lines stand in a block between markers, as of a private key: they may look like anything.
/// Asked of all lines: a block may begin, or end, outside of what is shown.
fn in_blocks(lines: &[&str]) -> Vec<bool> {
    let mut hidden: Vec<bool> = Vec::with_capacity(lines.len());
    let mut in_block = false;
    for line in lines {
        let (begins, ends) = (line.contains("-----BEGIN"), line.contains("-----END"));
        if ends && !in_block && !begins {
            hidden.fill(true);
        }
        hidden.push(in_block || begins || ends);
        in_block = (in_block || begins) && !ends;
    }
    hidden
}

/// One line, masked: from its first telling word on nothing is shown but the name that it is in.
fn line(line: &str) -> String {
    let line = line.split_whitespace().map(without_user).collect::<Vec<_>>().join(" ");
    let lower = line.to_ascii_lowercase();
    let Some(at) = TELLING.iter().filter_map(|telling| lower.find(telling)).min() else {
        return words_without_keys(&line);
    };
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '"' | '\'');
    let is_between = |c: char| matches!(c, '=' | ':' | ' ');
    let name = line[at..].find(|c| !is_of_name(c)).map_or(line.len(), |n| at + n);
    let value = line[name..].find(|c| !is_between(c)).map_or(line.len(), |n| name + n);
    let (told, rest) = line.split_at(value);
    format!("{}{}", words_without_keys(told), if rest.is_empty() { "" } else { MASK })
}

/// The word without a user in a URL.
fn without_user(word: &str) -> String {
    match (word.find("://"), word.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}{MASK}{}", &word[..scheme + 3], &word[at..])
        }
        _ => word.to_owned(),
    }
}

fn words_without_keys(line: &str) -> String {
    line.split(' ').map(without_keys).collect::<Vec<_>>().join(" ")
}

/// The word without runs that look like a key.
fn without_keys(word: &str) -> String {
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '-' | '/');
    let mut masked = String::new();
    let mut run = String::new();
    for c in word.chars().chain(['\0']) {
        if is_of_key(c) {
            run.push(c);
            continue;
        }
        masked.push_str(&without_key(&run));
        run.clear();
        if c != '\0' {
            masked.push(c);
        }
    }
    masked
}

/// A slash is of base64 and of paths, which seldom have digits, small and large letters.
fn without_key(run: &str) -> String {
    let is_long = |run: &str| run.len() >= LONG && run.contains(|c: char| c.is_ascii_digit());
    let has = |is: fn(&char) -> bool| run.chars().any(|c| is(&c));
    if is_long(run) && has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase) {
        return MASK.to_owned();
    }
    let is_key = |part: &str| is_long(part) && part.contains(|c: char| c.is_ascii_alphabetic());
    let parts = run.split('/').map(|part| if is_key(part) { MASK } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked_and_the_rest_is_not() {
        for (text, expected) in [
            ("regenerated 12 documents in 3s", "regenerated 12 documents in 3s"),
            ("GET http://catalog/export: 503", "GET http://catalog/export: 503"),
            ("password=canary done", "password=***"),
            ("{\"apiKey\":\"canary\"}", "{\"apiKey\":***"),
            ("Authorization: Bearer canary", "Authorization: ***"),
            ("DB_PASSWORD canary", "DB_PASSWORD ***"),
            ("token: canary x", "token: ***"),
            ("DB password = canary and canary", "DB password = ***"),
            ("password : canary", "password : ***"),
            ("password => canary", "password =***"),
            ("password->canary", "password-***"),
            ("a_token", "a_token"),
            ("https://ann:my-secret-canary@db", "https://***@db"),
            ("APP_PASSWORD_V2_PROD = canary", "*** = ***"),
            ("read /var/lib/catalog/v2/export", "read /var/lib/catalog/v2/export"),
            ("aws wJalrXUt/K7MDENG/bPxRfiC end", "aws *** end"),
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
        assert_eq!(tail(key, 3, 500), "***\n***\nafter", "it begins before what is shown");
        assert_eq!(tail(key, 1, 500), "after");
        let cut = "canary\n-----END KEY-----\nafter";
        assert_eq!(tail(cut, 10, 500), "***\n***\nafter", "it begins before what was read");
        assert_eq!(tail("", 10, 500), "");
    }
}

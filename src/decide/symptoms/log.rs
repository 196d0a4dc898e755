//! What the end of a log complains about. No line of it is kept, since a line can hold anything:
//! only what the patterns found in it are called, how often, and when last.

use jiff::Timestamp;

use crate::domain::LogPattern;

/// What is looked for, the more telling first: a line counts for the first that it shows. Compared
/// without regard to case.
const PATTERNS: [(&str, &[&str]); 12] = [
    ("out of memory", &["out of memory", "outofmemory", "cannot allocate memory", "oomkilled"]),
    ("crash", &["panic:", "panicked at", "segmentation fault", "core dumped", "sigsegv"]),
    ("no space left", &["no space left on device", "disk quota exceeded", "enospc"]),
    ("address in use", &["address already in use", "eaddrinuse"]),
    (
        "name not resolved",
        &["no such host", "enotfound", "name or service not known", "unknownhost"],
    ),
    ("connection refused", &["connection refused", "econnrefused"]),
    ("timeout", &["timed out", "timeout", "deadline exceeded", "etimedout"]),
    ("certificate", &["x509:", "certificate verify failed", "certificate has expired"]),
    (
        "not permitted",
        &["permission denied", "access denied", "unauthorized", "forbidden", "eacces"],
    ),
    ("not found", &["no such file or directory", "enoent", "modulenotfounderror", "classnotfound"]),
    ("exception", &["exception", "traceback (most recent call last)", "unhandled"]),
    ("error", &["error", "fatal", "critical"]),
];

/// The patterns that the lines of `text` show, the most frequent first, and how many lines it has.
/// A line begins with the time at which it was written.
#[must_use]
pub fn scan(text: &str) -> (usize, Vec<LogPattern>) {
    let mut found: Vec<LogPattern> = Vec::new();
    let mut lines = 0;
    for line in text.lines() {
        lines += 1;
        let (time, said) = line.split_once(' ').unwrap_or_default();
        let time: Option<Timestamp> = time.parse().ok();
        let said = if time.is_some() { said } else { line }.to_ascii_lowercase();
        let shown = PATTERNS.iter().find(|(_, texts)| texts.iter().any(|text| said.contains(text)));
        let Some((name, _)) = shown else { continue };
        match found.iter_mut().find(|known| known.name == *name) {
            Some(known) => {
                known.lines += 1;
                known.last = known.last.max(time);
            }
            None => found.push(LogPattern { name, lines: 1, last: time }),
        }
    }
    found.sort_by(|a, b| (b.lines, a.name).cmp(&(a.lines, b.name)));
    (lines, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_counts_for_the_most_telling_pattern_that_it_shows() {
        let table = [
            ("java.lang.OutOfMemoryError: Java heap space", Some("out of memory")),
            ("thread 'main' panicked at src/main.rs:1:1", Some("crash")),
            ("write /tmp/a: no space left on device", Some("no space left")),
            ("Error: listen EADDRINUSE: address already in use :::8080", Some("address in use")),
            ("dial tcp: lookup db on 10.0.0.1:53: no such host", Some("name not resolved")),
            (
                "ERROR dial tcp 10.0.0.1:5432: connect: connection refused",
                Some("connection refused"),
            ),
            ("context deadline exceeded", Some("timeout")),
            ("x509: certificate signed by unknown authority", Some("certificate")),
            ("open /etc/secret: permission denied", Some("not permitted")),
            ("exec /app: no such file or directory", Some("not found")),
            ("Traceback (most recent call last):", Some("exception")),
            ("FATAL configuration", Some("error")),
            ("listening on :8080", None),
            ("", None),
        ];
        for (line, expected) in table {
            let (lines, found) = scan(&format!("2026-01-01T00:00:00.5Z {line}\n"));
            assert_eq!(lines, 1);
            assert_eq!(found.first().map(|pattern| pattern.name), expected, "{line}");
        }
        let covered: Vec<&str> = table.iter().filter_map(|(_, pattern)| *pattern).collect();
        assert!(
            PATTERNS.iter().all(|(name, _)| covered.contains(name)),
            "a pattern without a case"
        );
    }

    #[test]
    fn patterns_are_counted_and_the_last_time_is_kept_whatever_the_order_of_lines() {
        let text = "2026-01-01T00:00:09Z error: a\n2026-01-01T00:00:01Z connection refused\n\
                    2026-01-01T00:00:05Z error: b\ncut off at the front: error\n";
        let (lines, found) = scan(text);
        let told: Vec<_> = found
            .iter()
            .map(|pattern| (pattern.name, pattern.lines, pattern.last.map(|at| at.to_string())))
            .collect();
        let at = |second: u32| Some(format!("2026-01-01T00:00:0{second}Z"));
        assert_eq!(told, [("error", 3, at(9)), ("connection refused", 1, at(1))]);
        assert_eq!(lines, 4);
        assert_eq!(scan(""), (0, Vec::new()));
    }
}

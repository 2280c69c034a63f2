//! What EXPECTF expects, as a pattern.

use regex::Regex;

/// The pattern of a text with PHP's placeholders.
pub fn pattern(expected: &str) -> Regex {
    let mut pattern = String::from(r"(?s)\A");
    let mut rest = expected;
    while let Some(at) = rest.find('%') {
        pattern.push_str(&regex::escape(&rest[..at]));
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else {
            pattern.push('%');
            break;
        };
        if kind == 'r'
            && let Some(end) = rest[1..].find("%r")
        {
            pattern.push_str(&format!("(?:{})", &rest[1..=end]));
            rest = &rest[end + 3..];
            continue;
        }
        match kind {
            'e' => pattern.push('/'),
            's' => pattern.push_str(r"[^\r\n]+"),
            'S' => pattern.push_str(r"[^\r\n]*"),
            'a' => pattern.push_str(".+?"),
            'A' => pattern.push_str(".*?"),
            'w' => pattern.push_str(r"\s*"),
            'i' => pattern.push_str(r"[+-]?\d+"),
            'd' => pattern.push_str(r"\d+"),
            'x' => pattern.push_str("[0-9a-fA-F]+"),
            'f' => pattern.push_str(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?"),
            'c' => pattern.push('.'),
            '0' => pattern.push_str(r"\x00"),
            '%' => pattern.push('%'),
            other => {
                pattern.push('%');
                pattern.push_str(&regex::escape(&other.to_string()));
            }
        }
        rest = &rest[kind.len_utf8()..];
    }
    pattern.push_str(&regex::escape(rest));
    pattern.push_str(r"\z");
    Regex::new(&pattern).expect("a pattern")
}

#[test]
fn placeholders_match_what_they_stand_for() {
    let pattern = pattern("a %d %s 50% %% %r[x-z]+%r %f\n%A.");
    assert!(pattern.is_match("a 12 some text 50% % xyz -1.5\nany\nthing."));
    assert!(!pattern.is_match("a b some text 50% % xyz -1.5\nany\nthing."));
}

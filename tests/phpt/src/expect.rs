//! What a test expects: a text, a text with placeholders, or a regular expression.

use regex::bytes::{Regex, RegexBuilder};

use crate::file::Phpt;

/// Judges an output.
#[derive(Debug)]
pub enum Expectation {
    /// Exactly this, white space at both ends aside.
    Text(Vec<u8>),
    /// What matches this as a whole.
    Pattern(Box<Regex>),
}

impl Expectation {
    /// A test's; `None`: it has none that is known here.
    pub fn of(phpt: &Phpt) -> Option<Expectation> {
        let section = |name| phpt.section(name).map(plain);
        if let Some(text) = section("EXPECT") {
            return Some(Expectation::Text(text));
        }
        let pattern = match section("EXPECTF") {
            Some(text) => with_placeholders(&text),
            None => String::from_utf8_lossy(&section("EXPECTREGEX")?).into_owned(),
        };
        Some(Expectation::Pattern(Box::new(whole(&pattern))))
    }

    /// Whether the output is what was expected.
    pub fn met_by(&self, output: &[u8]) -> bool {
        let output = plain(output);
        match self {
            Expectation::Text(text) => output == *text,
            Expectation::Pattern(pattern) => pattern.is_match(&output),
        }
    }
}

/// Without white space at both ends, with plain line ends.
fn plain(text: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = text.trim_ascii().to_vec();
    let mut out = Vec::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        if *byte != b'\r' || text.get(at + 1) != Some(&b'\n') {
            out.push(*byte);
        }
    }
    out
}

fn whole(pattern: &str) -> Regex {
    let pattern = format!(r"\A(?:{pattern})\z");
    let builder = &mut RegexBuilder::new(&pattern);
    builder.dot_matches_new_line(true).unicode(false).size_limit(64 << 20).build().expect("a pattern of PHP's tests")
}

/// A regular expression of a text in which `%d` stands for digits, `%s` for something on the line, and so on.
fn with_placeholders(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut pattern = String::new();
    let mut rest = &*text;
    while let Some(at) = rest.find('%') {
        pattern.push_str(&regex::escape(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(raw) = rest.strip_prefix('r')
            && let Some(end) = raw.find("%r")
        {
            pattern.push_str(&format!("(?:{})", &raw[..end]));
            rest = &raw[end + 2..];
            continue;
        }
        let letter = rest.chars().next();
        let stands_for = match letter {
            Some('e') => "/",
            Some('s') => r"[^\r\n]+",
            Some('S') => r"[^\r\n]*",
            Some('a') => ".+?",
            Some('A') => ".*?",
            Some('w') => r"\s*",
            Some('i') => r"[+-]?[0-9]+",
            Some('d') => "[0-9]+",
            Some('x') => "[0-9a-fA-F]+",
            Some('f') => r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[Ee][+-]?[0-9]+)?",
            Some('c') => ".",
            Some('0') => r"\x00",
            Some('%') => "%",
            _ => {
                pattern.push('%');
                continue;
            }
        };
        pattern.push_str(stands_for);
        rest = &rest[1..];
    }
    pattern.push_str(&regex::escape(rest));
    pattern
}

#[cfg(test)]
mod tests {
    use super::Expectation;
    use crate::file::Phpt;

    fn met(expected: &str, output: &str) -> bool {
        let phpt = Phpt::parse(expected.as_bytes());
        Expectation::of(&phpt).expect("an expectation").met_by(output.as_bytes())
    }

    #[test]
    fn a_text_is_compared_as_a_whole() {
        assert!(met("--EXPECT--\na\nb\n", "a\r\nb\n\n"));
        assert!(!met("--EXPECT--\na\n", "a b"));
        assert!(!met("--EXPECT--\na%d\n", "a1"));
    }

    #[test]
    fn placeholders_stand_for_their_kind_of_text_only() {
        assert!(met("--EXPECTF--\nin %s on line %d (%%)\n", "in /a.php on line 12 (%)"));
        assert!(!met("--EXPECTF--\non line %d\n", "on line x"));
        assert!(!met("--EXPECTF--\n%s\n", "a\nb"));
        assert!(met("--EXPECTF--\na%Ab\n", "a\n\nb"));
        assert!(met("--EXPECTF--\n%f and %i, 0x%x%S\n", "-1.5e3 and -7, 0xfF"));
        assert!(met("--EXPECTF--\n%Sx%rb|c+%r.\n", "xcc."));
        assert!(!met("--EXPECTF--\nx%rb|c+%r.\n", "xd."));
        assert!(!met("--EXPECTF--\na.b\n", "axb"));
    }

    #[test]
    fn a_regular_expression_matches_as_a_whole() {
        assert!(met("--EXPECTREGEX--\na+|b\n", "aaa"));
        assert!(!met("--EXPECTREGEX--\na+|b\n", "aab"));
    }

    #[test]
    fn some_tests_expect_nothing_that_is_known() {
        assert!(Expectation::of(&Phpt::parse(b"--FILE--\nx")).is_none());
    }
}

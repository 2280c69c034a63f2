//! A `.phpt` file: sections under headings.

use std::collections::BTreeMap;

/// One test of PHP's.
#[derive(Debug)]
pub struct Phpt {
    sections: BTreeMap<String, Vec<u8>>,
}

impl Phpt {
    /// Splits a file into its sections.
    pub fn parse(text: &[u8]) -> Phpt {
        let mut sections: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut current = String::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            match heading(line) {
                Some(name) => current = name,
                None => sections.entry(current.clone()).or_default().extend_from_slice(line),
            }
            sections.entry(current.clone()).or_default();
        }
        sections.remove("");
        Phpt { sections }
    }

    /// A section's bytes.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        self.sections.get(name).map(Vec::as_slice)
    }

    /// The sections' names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// The lines of a section that are `name=value`, without those that are comments.
    pub fn settings(&self, name: &str) -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(self.section(name).unwrap_or_default()).into_owned();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(';'));
        lines
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim().into(), value.trim().into()))
            .collect()
    }

    /// The words of a section.
    pub fn words(&self, name: &str) -> Vec<String> {
        String::from_utf8_lossy(self.section(name).unwrap_or_default())
            .split_whitespace()
            .map(str::to_lowercase)
            .collect()
    }
}

/// The name in `--NAME--`, alone on a line.
fn heading(line: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(line).ok()?.trim_end().strip_prefix("--")?.strip_suffix("--")?;
    let letters = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    letters.then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::Phpt;

    #[test]
    fn sections_settings_and_words() {
        let text = b"--TEST--\nA name\n--EXTENSIONS--\nctype\nZend_Test\n--INI--\n; no setting=1\na.b=1\n c = x=y \n--FILE--\n<?php\n--$i--;\n--EXPECT--\n";
        let phpt = Phpt::parse(text);
        assert_eq!(phpt.names().collect::<Vec<_>>(), ["EXPECT", "EXTENSIONS", "FILE", "INI", "TEST"]);
        assert_eq!(phpt.section("FILE"), Some(&b"<?php\n--$i--;\n"[..]));
        assert_eq!(phpt.section("EXPECT"), Some(&b""[..]));
        assert_eq!(phpt.words("EXTENSIONS"), ["ctype", "zend_test"]);
        let settings = [("a.b".to_string(), "1".to_string()), ("c".into(), "x=y".into())];
        assert_eq!(phpt.settings("INI"), settings);
    }
}

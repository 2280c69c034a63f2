//! A .phpt file: sections under lines like `--FILE--`.

use std::collections::HashMap;
use std::path::Path;

use crate::expect;

/// The sections that this runner knows; a test with another one is named as skipped.
const KNOWN: &[&str] =
    &["TEST", "FILE", "EXPECT", "EXPECTF", "INI", "SKIPIF", "EXTENSIONS", "CREDITS", "DESCRIPTION", "ENV", "PHPDBG"];

/// The extensions of the build, and the one whose only function is stood in for.
const EXTENSIONS: &[&str] = &["zend_test", "ctype", "tokenizer", "mbstring", "posix", "json", "pcre", "spl"];

pub struct Test(HashMap<String, String>);

impl Test {
    pub fn read(path: &Path) -> Test {
        let bytes = std::fs::read(path).expect("a test");
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        let (mut sections, mut now) = (HashMap::<String, String>::new(), None);
        for line in text.split_inclusive('\n') {
            let name = line.trim_end().strip_prefix("--").and_then(|line| line.strip_suffix("--"));
            match name
                .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
            {
                Some(name) => {
                    sections.insert(name.to_owned(), String::new());
                    now = Some(name.to_owned());
                }
                None => {
                    if let Some(text) = now.as_ref().and_then(|now| sections.get_mut(now)) {
                        text.push_str(line);
                    }
                }
            }
        }
        Test(sections)
    }

    pub fn section(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Why it cannot run here.
    pub fn inapplicable(&self) -> Option<String> {
        if let Some(other) = self.0.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Some(format!("this runner knows no {other}"));
        }
        if self.0.contains_key("PHPDBG") {
            return Some("of PHP's debugger".into());
        }
        let mut needed = self.section("EXTENSIONS").unwrap_or_default().split_whitespace();
        needed.find(|name| !EXTENSIONS.contains(name)).map(|name| format!("needs the extension {name}"))
    }

    /// Compares an output; what was expected, if it is another one.
    pub fn check<'a>(&'a self, output: &str) -> Result<(), &'a str> {
        let (expected, good) = match (self.section("EXPECT"), self.section("EXPECTF")) {
            (Some(expected), _) => (expected, expected.trim() == output),
            (None, Some(expected)) => (expected, expect::pattern(expected.trim()).is_match(output)),
            (None, None) => ("", false),
        };
        if good { Ok(()) } else { Err(expected) }
    }
}

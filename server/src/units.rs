//! Times and sizes, as people write them and as they are shown.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

/// A limit in time; `none` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Option<Duration>);

impl FromStr for Deadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Deadline(None));
        }
        match duration(text)? {
            Duration::ZERO => Err("a limit is longer than nothing; `none` is no limit".into()),
            after => Ok(Deadline(Some(after))),
        }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(after) => write!(f, "{}", humantime::format_duration(after)),
            None => f.write_str("none"),
        }
    }
}

/// A time with its unit: `30s`, `1m 30s`, `250ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) => Ok(duration),
        Err(_) if text.parse::<f64>().is_ok() => Err(format!("a time needs a unit, for example {text}s or {text}ms")),
        Err(error) => Err(error.to_string()),
    }
}

/// A size: `64MiB`, `256KiB`, `1GB`, or a number of bytes.
pub fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| format!("`{text}` is no size; sizes look like 64MiB or 256KiB"))
}

/// A size as it was likely written: `64 MiB`, not `64.0 MiB`.
pub fn show_size(size: ByteSize) -> String {
    size.display().iec().to_string().replacen(".0 ", " ", 1)
}

/// `1 fiber`, `3 fibers`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// How long something took: `0.4ms`, `212ms`, `12.3s`.
pub fn show_time(took: Duration) -> String {
    let ms = took.as_secs_f64() * 1000.0;
    if ms < 10.0 {
        format!("{ms:.1}ms")
    } else if ms < 10_000.0 {
        format!("{ms:.0}ms")
    } else {
        format!("{:.1}s", ms / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("30").expect_err("no unit").contains("30s"));
        assert_eq!("none".parse(), Ok(Deadline(None)));
        assert!("0s".parse::<Deadline>().is_err());
    }

    #[test]
    fn sizes_come_back_as_written() {
        assert_eq!(size("64MiB").map(show_size), Ok("64 MiB".into()));
        assert_eq!(size("1.5GiB").map(show_size), Ok("1.5 GiB".into()));
        assert_eq!(size("4096").map(show_size), Ok("4 KiB".into()));
        assert!(size("lots").is_err());
    }

    #[test]
    fn times_are_short() {
        assert_eq!(show_time(Duration::from_micros(430)), "0.4ms");
        assert_eq!(show_time(Duration::from_millis(212)), "212ms");
        assert_eq!(show_time(Duration::from_millis(12_345)), "12.3s");
    }
}

//! How it came to a failure, or where a fiber is: one list of frames of Rust, of C and of the script.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// Frames, innermost first: those of Rust, then those of C on the fiber's stack, then the script's.
///
/// Addresses are turned into names when they are first looked at, by whoever looks. Where a program has no symbols, frames are
/// addresses.
#[derive(Clone, Default)]
pub struct Backtrace(Option<Arc<Raw>>);

#[derive(Default)]
struct Raw {
    parts: Parts,
    frames: OnceLock<Vec<Frame>>,
}

/// What a backtrace is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// What is further in than all of the others: another error's.
    pub(crate) inner: Backtrace,
    /// Return addresses in Rust code, from a panic outwards.
    pub(crate) rust: Vec<usize>,
    /// The text of a captured backtrace of Rust's standard library.
    pub(crate) captured: String,
    /// Return addresses in C code.
    pub(crate) c: Vec<usize>,
    /// The first of them is no return address: it is where the code was.
    pub(crate) c_is_exact: bool,
    /// Lines of the guest's.
    pub(crate) script: String,
}

/// One frame of a [`Backtrace`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Whose code it is.
    pub language: Language,
    /// The function, as its language calls it: `app::load`, `luaV_execute`, `function 'load'`; empty where it is not known.
    pub function: String,
    /// "src/app.rs:12", "lvm.c:1180", "app.lua:14"; where there are no symbols, an address.
    pub place: Option<String>,
}

/// Whose code a [`Frame`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Language {
    /// The host's.
    Rust,
    /// The guest's own, the shim's, or that of a library.
    C,
    /// The script's.
    Script,
}

impl Backtrace {
    /// Of these parts.
    pub(crate) fn new(parts: Parts) -> Backtrace {
        let empty = parts == Parts::default();
        Backtrace((!empty).then(|| Arc::new(Raw { parts, frames: OnceLock::new() })))
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The frames, innermost first.
    pub fn frames(&self) -> &[Frame] {
        self.0.as_ref().map_or(&[], |raw| raw.frames.get_or_init(|| raw.parts.resolve()))
    }

    /// Those of one language.
    pub fn of(&self, language: Language) -> impl Iterator<Item = &Frame> {
        self.frames().iter().filter(move |frame| frame.language == language)
    }

    /// Where the script is; looks up no names.
    pub(crate) fn script_place(&self) -> Option<String> {
        script(&self.parts()?.script).into_iter().next()?.place
    }

    fn parts(&self) -> Option<&Parts> {
        self.0.as_deref().map(|raw| &raw.parts)
    }
}

impl PartialEq for Backtrace {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Backtrace {}

impl fmt::Debug for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.frames()).finish()
    }
}

/// A line each, numbered.
impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, frame) in self.frames().iter().enumerate() {
            writeln!(f, "{at}: {frame}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { language, function, place } = self;
        let place = place.as_deref().unwrap_or("?");
        match (language, function.as_str()) {
            (Language::Script, "") => write!(f, "script {place}"),
            (Language::Script, function) => write!(f, "script {place} in {function}"),
            (Language::Rust, function) => write!(f, "rust   {function} at {place}"),
            (Language::C, "") => write!(f, "c      {place}"),
            (Language::C, function) => write!(f, "c      {function} at {place}"),
        }
    }
}

impl Parts {
    fn resolve(&self) -> Vec<Frame> {
        let mut frames = self.inner.frames().to_vec();
        let rust = self.rust.iter().flat_map(|address| resolve(*address, true));
        frames.extend(hosts_own(rust.collect()));
        frames.extend(captured(&self.captured));
        let c = self.c.iter().enumerate().flat_map(|(at, address)| resolve(*address, at > 0 || !self.c_is_exact));
        // Below it is how fibers begin.
        frames.extend(c.take_while(|frame| frame.function != "ss_fiber_main"));
        frames.extend(script(&self.script));
        frames
    }
}

/// The frames at an address; several where functions were inlined.
fn resolve(address: usize, returned_to: bool) -> Vec<Frame> {
    // It takes a return address, which is after the call, perhaps in the next function, and looks a byte before it.
    let after = address.saturating_add(usize::from(!returned_to));
    let mut frames = Vec::new();
    backtrace::resolve(std::ptr::without_provenance_mut(after), |symbol| {
        let raw = symbol.name().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        let file = symbol.filename();
        let is_rust = raw.starts_with("_R")
            || (raw.starts_with("_ZN") && raw.contains("17h"))
            || file.is_some_and(|file| file.extension().is_some_and(|extension| extension == "rs"));
        let place = file.zip(symbol.lineno()).map(|(file, line)| format!("{}:{line}", file.display()));
        frames.push(Frame {
            language: if is_rust { Language::Rust } else { Language::C },
            function: symbol.name().map_or_else(String::new, |name| format!("{name:#}")),
            place: Some(place.unwrap_or_else(|| format!("{address:#x}"))),
        });
    });
    if frames.is_empty() {
        frames.push(Frame { language: Language::C, function: String::new(), place: Some(format!("{address:#x}")) });
    }
    frames
}

/// From the code that panicked, or made an error, to the host function: without what panics, and what calls host functions.
fn hosts_own(frames: Vec<Frame>) -> Vec<Frame> {
    let has = |frame: &Frame, parts: &[&str]| parts.iter().any(|part| frame.function.contains(part));
    let unwinds = |frame: &Frame| has(frame, &["rust_begin_unwind", "begin_panic"]);
    let first = frames.iter().position(unwinds).map_or(0, |at| at + 1);
    const FAILS: &[&str] =
        &["core::panicking::", "core::option::", "core::result::", "core::convert::", "backtrace::", "anyhow::"];
    const CALLS: &[&str] =
        &["::fence::fence", "sidestack::crossing::", "sidestack::worker::", "ss_cross_", "ss_move_to"];
    const NOISE: &[&str] = &["core::ops::function::", "std::panic", "core::panic::", "__rust_try", "sidestack::host::"];
    let own =
        frames.into_iter().skip(first).skip_while(|frame| has(frame, FAILS)).take_while(|frame| !has(frame, CALLS));
    own.filter(|frame| !has(frame, NOISE)).collect()
}

/// The frames of a standard backtrace's text: "  3: name" and below it, perhaps, "at file:line:column".
fn captured(text: &str) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(frame) = frames.last_mut() {
                let column = place.rsplit_once(':').filter(|(_, column)| column.parse::<u32>().is_ok());
                frame.place = Some(column.map_or(place, |(place, _)| place).to_owned());
            }
        } else if let Some((number, function)) = line.split_once(": ")
            && number.parse::<u32>().is_ok()
        {
            frames.push(Frame { language: Language::Rust, function: function.to_owned(), place: None });
        }
    }
    hosts_own(frames)
}

/// The frames of a guest's lines: "app.lua:14: in function 'load'".
fn script(text: &str) -> Vec<Frame> {
    let own = |line: &&str| !line.is_empty() && !line.starts_with("[C]") && *line != "stack traceback:";
    text.lines()
        .map(str::trim)
        .filter(own)
        .map(|line| {
            let (place, function) = line.split_once(": ").unwrap_or((line, ""));
            Frame {
                language: Language::Script,
                function: function.strip_prefix("in ").unwrap_or(function).to_owned(),
                place: Some(place.to_owned()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripts_lines_and_a_standard_backtrace_are_read() {
        let captured = "   0: anyhow::error::new\n             at /x/error.rs:10:5\n   1: app::load\n             at src/app.rs:12:9\n   \
            2: ss_cross_host_call\n";
        let script =
            "stack traceback:\n\t[C]: in function 'one'\n\tapp.lua:14: in upvalue 'title'\n\tapp.lua:31: in main chunk"
                .into();
        let trace = Backtrace::new(Parts { captured: captured.into(), script, ..Parts::default() });
        let text = "0: rust   app::load at src/app.rs:12\n\
            1: script app.lua:14 in upvalue 'title'\n2: script app.lua:31 in main chunk\n";
        assert_eq!(trace.to_string(), text);
        assert_eq!(trace.of(Language::Script).count(), 2);
        assert!(Backtrace::default().is_empty() && Backtrace::new(Parts::default()).is_empty());
    }

    #[test]
    fn addresses_get_names() {
        let own = addresses_get_names as *const () as usize;
        let trace = Backtrace::new(Parts { c: vec![own, 1], c_is_exact: true, ..Parts::default() });
        let frames = trace.frames();
        assert!(frames.iter().any(|frame| frame.function.contains("addresses_get_names")), "{frames:?}");
        assert_eq!(frames.last().map(|frame| frame.place.as_deref()), Some(Some("0x1")));
    }
}

//! Errors for people: what, where, in which request, and how it came to that.

use std::fmt::Write;

use sidestack::{CallStats, Error, FiberInfo, Frame, Language};

use crate::output::{Style, printable};
use crate::sources::Sources;
use crate::units::{count, show_time};

/// An error of a script, with the line where it happened:
///
/// ```text
///   error[script] attempt to index a nil value (local 'row')
///     ┌ app.lua:14   GET /notes/7   fiber 312
///     │ 14   return row.title
///     └ called from app.lua:31 in main chunk · host sql.one (2ms)
/// ```
///
/// Where Rust or C code is part of it, its frames come before the script's.
pub fn report(error: &Error, about: &str, stats: Option<&CallStats>, sources: &Sources, style: Style) -> String {
    let Style { red, bold, dim, cyan, reset, .. } = style;
    let text = match error {
        Error::Deadlock { fibers } => format!("nothing is left that could wake {}", count(fibers.len(), "fiber")),
        error => error.to_string(),
    };
    let backtrace = error.backtrace();
    let script: Vec<&Frame> = backtrace.of(Language::Script).collect();
    let (place, message) = match split_place(&text) {
        Some((place, message)) => (Some(place), message),
        None => (where_it_was(error, &script), text.as_str()),
    };
    let given = kind(error);
    let mut out = format!("  {red}error[{given}]{reset} {bold}{}{reset}\n", printable(message).replace('\n', "\n    "));
    let shown_place = place.map_or(String::new(), |Place { file, line }| format!("{file}:{line}   "));
    let fiber = stats.and_then(CallStats::fiber).map_or_else(String::new, |fiber| format!("   fiber {fiber}"));
    let _ = writeln!(out, "    {dim}┌{reset} {cyan}{}{reset}{}{fiber}", printable(&shown_place), printable(about));
    let source = place.and_then(|Place { file, line }| Some((line, sources.line(file, line)?)));
    let mut body: Vec<String> =
        source.into_iter().map(|(line, text)| format!("{dim}{line}{reset}   {}", printable(text.trim_end()))).collect();
    if let Error::Deadlock { fibers } = error {
        body.extend(parked(fibers).iter().map(|line| printable(line).into_owned()));
    }
    let native = backtrace.frames().iter().filter(|frame| frame.language != Language::Script);
    body.extend(native.map(|frame| format!("{dim}{}{reset}", printable(&frame.to_string()))));
    // The first is the place above.
    let shown = place.is_some_and(|place| script.first().is_some_and(|first| is_at(first, place)));
    for frame in script.iter().skip(usize::from(shown)) {
        let place = frame.place.as_deref().unwrap_or("?");
        let function = if frame.function.is_empty() { String::new() } else { format!(" in {}", frame.function) };
        body.push(format!("{dim}called from {}{reset}", printable(&format!("{place}{function}"))));
    }
    if let Some((function, took)) = stats.and_then(CallStats::last_wait) {
        let host = format!("{dim}host {} ({}){reset}", printable(own_name(&function)), show_time(took));
        match body.last_mut().filter(|last| last.contains("called from")) {
            Some(last) => *last = format!("{last} {dim}·{reset} {host}"),
            None => body.push(host),
        }
    }
    let last = body.len().saturating_sub(1);
    for (at, line) in body.iter().enumerate() {
        let _ = writeln!(out, "    {dim}{}{reset} {line}", if at == last { '└' } else { '│' });
    }
    out
}

fn is_at(frame: &Frame, Place { file, line }: Place<'_>) -> bool {
    frame.place.as_deref().and_then(place).is_some_and(|place| place == Place { file, line })
}

/// The same without decoration, for a client in development.
pub fn plain(error: &Error) -> String {
    format!("{error}\n{}", error.backtrace())
}

/// The place of an error whose message has none.
fn where_it_was<'a>(error: &'a Error, script: &[&'a Frame]) -> Option<Place<'a>> {
    match error {
        Error::Deadlock { fibers } => fibers.iter().find_map(|fiber| place(fiber.at.as_deref()?)),
        _ => script.iter().find_map(|frame| place(frame.place.as_deref()?)),
    }
}

/// Those that wait, a line each.
fn parked(fibers: &[FiberInfo]) -> Vec<String> {
    let line = |fiber: &FiberInfo| {
        let id = fiber.id.map_or_else(|| "a call without a fiber".into(), |id| format!("fiber {id}"));
        let at = fiber.at.as_deref().unwrap_or("-");
        let function = fiber.waits_for.as_deref().unwrap_or("-");
        let which = fiber.which.as_ref().map_or_else(String::new, |which| format!(" ({which})"));
        let label = fiber.label.as_deref().unwrap_or_default();
        format!("{id:<10} {at:<18} waits in {:<20} {label}", format!("{}{which}", own_name(function)))
    };
    fibers.iter().map(|fiber| line(fiber).trim_end().to_string()).collect()
}

/// A host function's name; what every script has is known without its module.
pub fn own_name(function: &str) -> &str {
    function.strip_prefix("sidestack.core.").unwrap_or(function)
}

fn kind(error: &Error) -> &str {
    match error {
        Error::Script { code: Some(code), .. } => code,
        Error::Script { .. } => "script",
        Error::Convert { .. } => "response",
        other => other.code().unwrap_or("error"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place<'a> {
    file: &'a str,
    line: usize,
}

/// `app.lua:14: message` in its parts.
fn split_place(text: &str) -> Option<(Place<'_>, &str)> {
    let (head, message) = text.split_once(": ")?;
    Some((place(head)?, message))
}

/// `app.lua:14` in its parts.
fn place(text: &str) -> Option<Place<'_>> {
    let (file, line) = text.rsplit_once(':')?;
    let line = line.parse().ok()?;
    (!file.is_empty() && !file.contains('\n')).then_some(Place { file, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_only_where_they_are() {
        assert_eq!(split_place("app.lua:14: no: way"), Some((Place { file: "app.lua", line: 14 }, "no: way")));
        assert_eq!(split_place("no such user: 7"), None);
        assert_eq!(split_place("[C]: in ?"), None);
    }

    #[test]
    fn a_report_shows_the_line_and_the_frames() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.lua");
        std::fs::write(&path, "local x\nreturn x.y\n").expect("written");
        let error = Error::Script {
            message: "app.lua:2: attempt to index a nil value (local 'x')".into(),
            code: None,
            traceback: "stack traceback:\n\tapp.lua:2: in main chunk\n\tapp.lua:9: in function 'f'\n\t[C]: in ?".into(),
            source: None,
        };
        let text = report(&error, "GET /", None, &Sources::of(&path), Style::default());
        assert_eq!(
            text,
            "  error[script] attempt to index a nil value (local 'x')\n    ┌ app.lua:2   GET /\n    │ 2   return x.y\n    \
             └ called from app.lua:9 in function 'f'\n"
        );
    }
}

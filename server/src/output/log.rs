//! Log lines, of scripts (`log.info`) and of the library: level, message, fields, label.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Style, printable};

/// Sends the process's log to a writer.
pub fn init<W>(level: Level, style: Style, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Other crates speak up when something is wrong.
    let which = Targets::new().with_target("sidestack", level).with_default(level.min(Level::WARN));
    let lines = tracing_subscriber::fmt::layer().event_format(Line(style)).with_writer(writer);
    // It fails where there is a log already: only in tests.
    let _ = tracing_subscriber::registry().with(which).with(lines).try_init();
}

struct Line(Style);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Style { red, yellow, green, dim, reset, .. } = self.0;
        let (colour, level) = match *event.metadata().level() {
            Level::ERROR => (red, "error"),
            Level::WARN => (yellow, "warn"),
            Level::INFO => (green, "info"),
            Level::DEBUG => (dim, "debug"),
            Level::TRACE => (dim, "trace"),
        };
        let mut parts = Parts::default();
        event.record(&mut parts);
        let Parts { message, fields, rest } = &parts;
        let (message, fields, rest) = (printable(message), printable(fields), printable(rest));
        writeln!(writer, "  {colour}{level:<5}{reset} {message}{fields}{dim}{rest}{reset}")
    }
}

#[derive(Default)]
struct Parts {
    message: String,
    /// What a script logs with it: a JSON object.
    fields: String,
    rest: String,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            _ if value.is_empty() => {}
            "fields" => _ = write!(self.fields, "  {value}"),
            // The call's: it speaks for itself.
            "label" => _ = write!(self.rest, "  {value}"),
            name => _ = write!(self.rest, "  {name}={value}"),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.rest, "  {name}={value:?}"),
        };
    }
}

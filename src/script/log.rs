//! Logging, through `tracing`, and the process's environment.

use crate::error::Raise;
use crate::host::{Cx, Module};
use crate::value::Value;

pub fn add(module: Module) -> Module {
    module
        .function("log", |cx: Cx, level: String, message: Value, fields: Option<Value>| {
            let (fiber, label) = (cx.fiber(), cx.label().unwrap_or_default());
            let message = match &message {
                Value::String(text) => text.clone(),
                other => serde_json::to_string(other).unwrap_or_else(|_| "?".into()),
            };
            let fields = fields.map(|fields| serde_json::to_string(&fields).unwrap_or_else(|e| e.to_string()));
            let fields = fields.as_deref().unwrap_or_default();
            macro_rules! event {
                ($level:ident) => {
                    tracing::$level!(target: "sidestack::script", fiber, label, fields, "{message}")
                };
            }
            match level.as_str() {
                "error" => event!(error),
                "warn" => event!(warn),
                "info" => event!(info),
                "debug" => event!(debug),
                "trace" => event!(trace),
                other => return Err(Raise::new("bad_argument", format!("no log level {other:?}")).into()),
            }
            Ok(())
        })
        .function("env", |name: String, default: Option<String>| Ok(std::env::var(&name).ok().or(default)))
}

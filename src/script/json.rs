//! JSON.

use crate::error::Raise;
use crate::host::Module;
use crate::value::{Bytes, Value};

pub fn add(module: Module) -> Module {
    module
        .function("json_encode", |value: Value, pretty: Option<bool>| {
            let text =
                if pretty == Some(true) { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            text.map_err(|e| Raise::new("json", format!("cannot encode: {e}")).into())
        })
        .function("json_decode", |text: Bytes| {
            serde_json::from_slice::<serde_json::Value>(&text)
                .map_err(|e| Raise::new("json", format!("cannot decode: {e}")).into())
        })
        // A list, because a null that stands alone is nil.
        .function("null", || Ok([((),)].map(|(null,)| vec![null])))
}

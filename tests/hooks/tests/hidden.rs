//! The host functions behind the hooks take addresses: scripts do not get at them.

use futures_executor::block_on;
use sidestack::{Engine, Lua};

#[test]
fn scripts_cannot_require_them() {
    let engine = Engine::builder(Lua::new()).threads(1).build().expect("an engine");
    let text = r#"
        local found = {}
        for _, name in ipairs { "sidestack", "sidestack.core", "sidestack.hooks" } do
            local ok = pcall(require, name)
            found[name] = ok
        end
        return { found = function(name) return found[name] end }
    "#;
    let script = block_on(engine.load_text("hidden.lua", text)).expect("a script");
    let found = |name: &str| block_on(script.call::<bool>("found", name)).expect("a result");
    assert!(found("sidestack"), "what scripts have");
    assert!(!found("sidestack.hooks"));
}

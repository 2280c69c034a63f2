//! Imports point downward (ARCHITECTURE.md). Reads the sources: a `use crate::…` or a path of a higher layer fails.

use std::fs;
use std::path::{Path, PathBuf};

/// From the top down. A module may use those below its own line, and the leaves.
const LAYERS: &[&[&str]] = &[
    &["engine"],
    &["script", "hooks", "php"],
    &["worker"],
    &["guest", "export"],
    &["crossing"],
    &["host"],
    &["call"],
    &["fiber", "signal"],
    &["sys"],
];
/// Anyone may use these; they use nothing but each other.
const LEAVES: &[&str] = &["abi", "diagnosis", "error", "handle", "value"];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What a module may import: the facade's own names count as the layer that they come from.
fn allowed(from: &str, to: &str) -> bool {
    if from == to || LEAVES.contains(&to) {
        return true;
    }
    match (layer(from), layer(to)) {
        (Some(from), Some(to)) => to > from,
        _ => false,
    }
}

/// Names that the facade re-exports, by where they live.
fn home(name: &str) -> &str {
    match name {
        "Error" | "HostResult" | "Limit" | "Raise" => "error",
        "Value" | "Bytes" => "value",
        "Backtrace" | "HostPanic" | "FiberInfo" | "FiberState" | "Frame" | "Language" => "diagnosis",
        "Call" | "CallStats" | "Failures" | "Function" => "call",
        "Cx" | "Ext" | "FromCall" | "HostFn" | "HostObject" | "Members" | "Module" | "Object" | "Rest" | "State" => {
            "host"
        }
        "Cancelled" | "Engine" | "Builder" | "Script" | "Metrics" => "engine",
        "Lua" | "Native" | "Php" => "guest",
        other => other,
    }
}

/// The first segments after each `crate::` of a source text, doc links left out.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for rest in line.split("crate::").skip(1) {
            if let Some(group) = rest.strip_prefix('{') {
                let group = group.split('}').next().unwrap_or(group);
                found.extend(group.split(',').map(|item| first_segment(item.trim())));
            } else {
                found.push(first_segment(rest));
            }
        }
    }
    found
}

fn first_segment(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn module_of(path: &Path, root: &Path) -> String {
    let inside = path.strip_prefix(root).expect("inside src");
    let first = inside.iter().next().expect("a component").to_string_lossy();
    first.trim_end_matches(".rs").to_string()
}

#[test]
fn imports_point_downward() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "only {} sources found", files.len());
    let mut wrong = Vec::new();
    let mut edges = 0;
    for file in files {
        let from = module_of(&file, &root);
        if from == "lib" {
            continue;
        }
        for name in imports(&fs::read_to_string(&file).expect("a source")) {
            let to = home(&name);
            edges += 1;
            if !allowed(&from, to) {
                wrong.push(format!("{}: {from} uses crate::{name} ({to})", file.display()));
            }
        }
    }
    assert!(edges > 200, "only {edges} imports found");
    assert!(wrong.is_empty(), "imports that point upward:\n{}", wrong.join("\n"));
}

#[test]
fn only_one_module_switches_stacks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let users: Vec<String> = files
        .iter()
        .filter(|file| {
            let text = fs::read_to_string(file).expect("a source");
            text.lines().any(|line| line.contains("sys::switch(") && !line.trim_start().starts_with("//"))
        })
        .map(|file| file.strip_prefix(&root).expect("inside src").display().to_string())
        .collect();
    assert_eq!(users, ["fiber/switch.rs"]);
}

#[test]
fn an_upward_import_is_seen() {
    assert_eq!(
        imports("use crate::{engine::Engine, value};\nlet x = crate::worker::Worker;"),
        ["engine", "value", "worker"]
    );
    assert!(!allowed("host", "worker") && !allowed("value", "host") && allowed("worker", "fiber"));
}

//! The generated header: a declaration of each exported function, with its effects.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::host::exported::{C, EXPORTS, Export, Foreign, OnError};

/// The C and C++ header of all functions that this program exports, sorted by name.
///
/// Each declaration is preceded by its effects: on which thread it runs, whether it may suspend, what it returns on
/// an error, whether C that it calls may call back, and what threads may do that are no interpreter threads.
pub fn header() -> String {
    let mut exports: Vec<&Export> = EXPORTS.iter().collect();
    exports.sort_by_key(|export| export.name);
    let mut text = String::from(BEGIN);
    let mut structs = BTreeSet::new();
    for export in &exports {
        find_structs(&export.result, &mut structs);
        export.parameters.iter().for_each(|parameter| find_structs(&parameter.c, &mut structs));
    }
    for name in structs {
        let _ = writeln!(text, "\n{name};");
    }
    for export in exports {
        write(&mut text, export);
    }
    text.push_str(END);
    text
}

const BEGIN: &str = "\
/*
 * Functions that a Rust program exports through Sidestack. Generated: sidestack::export::header().
 *
 * Where a function fails, sidestack_error_code() and sidestack_error_message() tell why, until the next failure on
 * that fiber or thread. Pointers are used during the call only. Names in brackets:
 *   thread/fiber     the function runs on its interpreter thread's own stack, or as a leaf on the caller's
 *   may suspend      it may wait, and then only the calling fiber does
 *   foreign          what happens on a thread that is no interpreter thread: reject (it fails), owner (a fiber of
 *                    the owning engine runs it, the thread waits), attach (it runs there, and waits there), any (a leaf)
 */
#ifndef SIDESTACK_EXPORTS_H
#define SIDESTACK_EXPORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern \"C\" {
#endif

/* The last failure's code, a word to compare with; never NULL. [any thread; does not suspend; does not raise] */
const char *sidestack_error_code(void);

/* Its message, for people; never NULL. [any thread; does not suspend; does not raise] */
const char *sidestack_error_message(void);
";

const END: &str = "
#ifdef __cplusplus
}
#endif

#endif
";

/// The structs and unions that a type names: they have to be known before a parameter list.
fn find_structs(c: &C, found: &mut BTreeSet<&'static str>) {
    match c {
        C::Void => {}
        C::Name(name) => {
            if name.starts_with("struct ") || name.starts_with("union ") {
                found.insert(name);
            }
        }
        C::Pointer { to, .. } => find_structs(to, found),
        C::Function { result, parameters } => {
            find_structs(result, found);
            parameters.iter().for_each(|parameter| find_structs(parameter, found));
        }
    }
}

fn write(text: &mut String, export: &Export) {
    text.push_str("\n/*\n");
    if !export.doc.is_empty() {
        let _ = writeln!(text, " * {}", export.doc);
    }
    let place = if export.on_fiber { "fiber" } else { "thread" };
    let waits = if export.suspends { "may suspend" } else { "does not suspend" };
    let failure = match export.on_error {
        OnError::Value(value) => format!("returns {value} on an error"),
        OnError::Status(value) => format!("returns 0 on success, {value} on an error"),
        OnError::Zero if matches!(export.result, C::Void) => "tells nothing of an error".into(),
        OnError::Zero => format!("returns {} if it is cancelled, refused or panics", zero(&export.result)),
        OnError::Never => "cannot fail".into(),
    };
    let back = if export.never_calls_back { "; never calls back" } else { "" };
    let foreign = match (export.on_fiber, export.foreign) {
        (true, _) => "any",
        (_, Foreign::Reject) => "reject",
        (_, Foreign::Owner) => "owner",
        (_, Foreign::Attach) => "attach",
    };
    let _ = writeln!(text, " * [{place}; {waits}; does not raise; {failure}{back}; foreign: {foreign}]");
    text.push_str(" */\n");
    let parameters: Vec<String> =
        export.parameters.iter().map(|parameter| declare(&parameter.c, &name(parameter.name))).collect();
    let parameters = if parameters.is_empty() { "void".into() } else { parameters.join(", ") };
    let _ = writeln!(text, "{};", declare(&export.result, &format!("{}({parameters})", export.name)));
}

fn zero(c: &C) -> &'static str {
    match c {
        C::Name("bool") => "false",
        C::Pointer { .. } | C::Function { .. } => "NULL",
        C::Name(_) | C::Void => "0",
    }
}

/// A declaration of `what` with this type.
fn declare(c: &C, what: &str) -> String {
    match c {
        C::Void => join("void", what),
        C::Name(name) => join(name, what),
        C::Pointer { to, constant } => {
            // A `c_char` is an `i8` here.
            let to = if matches!(to, C::Name("int8_t")) { &C::Name("char") } else { *to };
            let pointer = match what {
                "" => "*".to_string(),
                what => format!("*{what}"),
            };
            match (to, constant) {
                (C::Pointer { .. } | C::Function { .. }, true) => declare(to, &format!("const {pointer}")),
                (_, true) => format!("const {}", declare(to, &pointer)),
                (_, false) => declare(to, &pointer),
            }
        }
        C::Function { result, parameters } => {
            let parameters: Vec<String> = parameters.iter().map(|parameter| declare(parameter, "")).collect();
            let parameters = if parameters.is_empty() { "void".into() } else { parameters.join(", ") };
            declare(result, &format!("(*{what})({parameters})"))
        }
    }
}

fn join(ty: &str, what: &str) -> String {
    if what.is_empty() { ty.into() } else { format!("{ty} {what}") }
}

/// A parameter's name that neither C nor C++ keeps for itself.
fn name(name: &str) -> String {
    const KEPT: &[&str] = &[
        "alignas",
        "alignof",
        "and",
        "asm",
        "auto",
        "bool",
        "case",
        "catch",
        "char",
        "class",
        "concept",
        "constexpr",
        "default",
        "delete",
        "double",
        "export",
        "explicit",
        "float",
        "friend",
        "goto",
        "inline",
        "int",
        "long",
        "mutable",
        "namespace",
        "new",
        "noexcept",
        "not",
        "nullptr",
        "operator",
        "or",
        "private",
        "protected",
        "public",
        "register",
        "requires",
        "restrict",
        "short",
        "signed",
        "sizeof",
        "static",
        "switch",
        "template",
        "this",
        "throw",
        "typedef",
        "typeid",
        "typename",
        "union",
        "unsigned",
        "using",
        "virtual",
        "void",
        "volatile",
        "xor",
    ];
    if KEPT.contains(&name) || !name.is_ascii() {
        format!("{}_", name.replace(|c: char| !c.is_ascii(), "_"))
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAR: C = C::Name("int8_t");
    const INT: C = C::Name("int32_t");

    #[test]
    fn declarators() {
        const CALLBACK: C =
            C::Function { result: &INT, parameters: &[C::Pointer { to: &C::Void, constant: false }, INT] };
        const TEXT: C = C::Pointer { to: &CHAR, constant: true };
        for (c, written) in [
            (INT, "int32_t x"),
            (TEXT, "const char *x"),
            (C::Pointer { to: &TEXT, constant: false }, "const char **x"),
            (C::Pointer { to: &TEXT, constant: true }, "const char *const *x"),
            (CALLBACK, "int32_t (*x)(void *, int32_t)"),
            (C::Pointer { to: &CALLBACK, constant: false }, "int32_t (**x)(void *, int32_t)"),
            (C::Function { result: &TEXT, parameters: &[] }, "const char *(*x)(void)"),
            (C::Function { result: &C::Void, parameters: &[CALLBACK] }, "void (*x)(int32_t (*)(void *, int32_t))"),
        ] {
            assert_eq!(declare(&c, "x"), written);
        }
        assert_eq!((name("int").as_str(), name("url").as_str()), ("int_", "url"));
    }
}

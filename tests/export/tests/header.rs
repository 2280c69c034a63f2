//! The generated header: the committed one is what the program makes, and C and C++ take it.

use std::path::PathBuf;
use std::process::Command;

use sidestack_test_export as _;

fn committed() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("csrc/exports.h")
}

/// `SIDESTACK_HEADER=write cargo test -p sidestack-test-export --test header` renews it (and skips the C code that needs it).
#[test]
fn the_committed_header_is_current() {
    let text = sidestack::export::header();
    if std::env::var_os("SIDESTACK_HEADER").is_some_and(|how| how == "write") {
        std::fs::write(committed(), text).expect("it can be written");
        return;
    }
    let old = std::fs::read_to_string(committed()).expect("csrc/exports.h");
    assert!(old == text, "csrc/exports.h is not what the functions say: SIDESTACK_HEADER=write");
}

#[test]
fn it_is_sorted_and_tells_the_effects() {
    let text = sidestack::export::header();
    for declaration in [
        "int32_t do_fetch(const char *url);",
        "double numbers(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f, int64_t g, uint64_t h, ptrdiff_t i, \
         size_t j, float k, double l);",
        "int64_t sum(const int32_t *items, size_t items_len);",
        "void fill(uint8_t *bytes, size_t bytes_len, uint8_t value);",
        "int32_t divide(int32_t a, int32_t b, int32_t *out);",
        "int32_t apply(int32_t (*f)(int32_t), int32_t n);",
        "int32_t c_word(int32_t int_, int32_t default_);",
        "int32_t manhattan(const struct point *point);",
        "int32_t with_state(int32_t n);",
        "void nothing(void);",
        " * Fetches a page over HTTP; its body is a number.\n\
         \x20* [thread; may suspend; does not raise; returns -1 on an error; foreign: reject]\n",
        "[fiber; does not suspend; does not raise; cannot fail; foreign: any]",
        "returns 0 on success, -7 on an error; foreign: reject]",
        "returns false if it is cancelled, refused or panics; foreign: reject]",
        "returns NULL on an error; foreign: reject]",
        "never calls back; foreign: attach]",
        "foreign: owner]",
    ] {
        assert!(text.contains(declaration), "{declaration}\nis not in\n{text}");
    }
    let name = |line: &str| Some(line.strip_suffix(");")?.split_once('(')?.0.rsplit([' ', '*']).next()?.to_string());
    let names: Vec<String> =
        text.lines().filter_map(name).filter(|name| !name.starts_with("sidestack_error_")).collect();
    assert!(names.len() > 25 && names.is_sorted(), "{names:?}");
}

/// Both compilers, all warnings; the types are those that C's prototypes want.
#[test]
fn c99_and_cpp_take_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let use_it = "#include \"exports.h\"\n#include \"exports.h\"\n\
        int main(void) { int32_t (*fetch)(const char *) = do_fetch; return fetch == 0; }\n";
    for (compiler, file, standard) in [("gcc", "use.c", "-std=c99"), ("g++", "use.cc", "-std=c++11")] {
        let source = folder.path().join(file);
        std::fs::write(&source, use_it).expect("it can be written");
        let output = Command::new(compiler)
            .args([standard, "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
            .arg(committed().parent().expect("a folder"))
            .arg(&source)
            .output()
            .unwrap_or_else(|e| panic!("{compiler}: {e}"));
        assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

//! The library as C programs see it: what it exports, its thread-local storage, its installation, the example.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The folder of the library, which tests of a package do not build by themselves.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a file");
        let folder = test.parent().and_then(Path::parent).expect("target, a profile, deps");
        let mut cargo = Command::new(std::env::var_os("CARGO").expect("cargo sets it"));
        cargo.args(["build", "-p", "sidestack-capi", "--target-dir"]).arg(folder.parent().expect("target"));
        if folder.ends_with("release") {
            cargo.arg("--release");
        }
        output(cargo.current_dir(root()));
        folder.to_path_buf()
    })
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(root().join("csrc/sidestack.h")).expect("the header");
    let mut names = BTreeSet::new();
    for line in header.lines() {
        // Declarations begin at the margin; inline functions are not in the library, and types are no functions.
        let begins = line.starts_with(|c: char| c.is_ascii_lowercase()) && !line.starts_with("static");
        if begins
            && !line.starts_with("typedef")
            && let Some((head, _)) = line.split_once('(')
        {
            let name = head.rsplit([' ', '*']).next().expect("one part at least");
            if name.starts_with("sidestack_") {
                names.insert(name.to_string());
            }
        }
    }
    names
}

#[test]
fn it_exports_what_the_header_declares_and_nothing_else() {
    let library = built().join("libsidestack.so");
    let symbols = output(Command::new("nm").args(["-D", "--defined-only"]).arg(&library));
    let exported: BTreeSet<String> =
        symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).map(String::from).collect();
    assert!(exported.len() > 25, "{exported:?}");
    assert_eq!(exported, declared());
    let dynamic = output(Command::new("readelf").arg("-dW").arg(&library));
    assert!(dynamic.contains("STATIC_TLS"), "thread state is initial-exec");
    assert!(dynamic.contains("soname: [libsidestack.so.0]"), "{dynamic}");
    assert!(!dynamic.contains("TEXTREL"), "{dynamic}");
}

#[test]
fn the_example_builds_with_make_and_runs() {
    if Command::new("make").arg("--version").output().is_err()
        || Command::new("pkg-config").arg("--version").output().is_err()
    {
        println!("SKIPPED: make or pkg-config is missing");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("prefix");
    let mut install = Command::new(root().join("capi/install.sh"));
    output(install.arg("--prefix").arg(&prefix).arg("--from").arg(built()));
    for file in ["Makefile", "main.c"] {
        std::fs::copy(root().join("examples/c").join(file), folder.path().join(file)).expect("a copy");
    }
    let mut make = Command::new("make");
    let path = format!("PKG_CONFIG_PATH={}", prefix.join("lib/pkgconfig").display());
    output(make.current_dir(folder.path()).arg(path));
    for program in ["./crowd", "./crowd-static"] {
        let told = output(Command::new(program).arg("10000").current_dir(folder.path()));
        let expected = "10000 fibers slept, their sum is 50005000\nspin: cancelled (deadline)\nnone: not_found\n";
        assert_eq!(told, expected, "{program}");
    }
    // Loaded late, the library's thread-local storage still finds room.
    let late = folder.path().join("late.c");
    std::fs::write(&late, LATE).expect("a file");
    let mut cc = Command::new("cc");
    output(cc.arg("-I").arg(prefix.join("include")).arg(&late).arg("-o").arg(folder.path().join("late")));
    let told = output(Command::new(folder.path().join("late")).arg(prefix.join("lib/libsidestack.so")));
    assert_eq!(told, format!("{} 3\n", env!("CARGO_PKG_VERSION")));
}

/// Opens the library at run time, and calls a function on a fiber.
const LATE: &str = r#"
#include <dlfcn.h>
#include <sidestack.h>
#include <stdio.h>
static int (*set)(sidestack_results *, const sidestack_value *, uint32_t);
static int three(void *data, const sidestack_value *args, uint32_t nargs, sidestack_results *results) {
  sidestack_value value = sidestack_int(3);
  return set(results, &value, 1);
}
#define FIND(name) __typeof__(sidestack_##name) *name = (__typeof__(sidestack_##name) *)dlsym(library, "sidestack_" #name)
int main(int argc, char **argv) {
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) return puts(dlerror()), 1;
  FIND(version);
  FIND(engine_new);
  FIND(engine_call);
  FIND(engine_free);
  set = (int (*)(sidestack_results *, const sidestack_value *, uint32_t))dlsym(library, "sidestack_results_set");
  sidestack_export functions[] = {{"three", three, 0}};
  sidestack_engine *engine;
  sidestack_results results;
  sidestack_results_init(&results);
  if (engine_new(0, functions, 1, &engine)) return 2;
  if (engine_call(engine, "three", 0, 0, 0, &results)) return 3;
  printf("%s %d\n", version(), (int)results.values[0].as.integer);
  return engine_free(engine, 1000);
}
"#;

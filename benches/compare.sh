#!/bin/sh
# Measures Sidestack beside raw calls, bare switches, mlua and tokio, interleaved in one run, and prints the README's
# tables. Needs valgrind for the instruction counts. An argument: the number of rounds (15).
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p sidestack-bench-guest
cargo build --quiet --release --manifest-path benches/peers/Cargo.toml
target() {
  cargo metadata --no-deps --format-version 1 --manifest-path "$1" | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}
peers=$(target benches/peers/Cargo.toml)/release
"$peers/compare" "$(target Cargo.toml)/release/ours" "$peers/theirs" "$@"

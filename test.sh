#!/usr/bin/env bash
# Every test and check of Sidestack. Runs on a fresh Debian 12 with Rust and gcc; what else it needs it installs itself
# where CI=true, and names it otherwise.
#
#   ./test.sh              all steps
#   ./test.sh STEP...      these only: see `./test.sh --help`
#   ./test.sh adversarial  the adversarial suites alone, as CI runs them
#   ./test.sh long         the same, and the fuzzing and the soak, for hours: SIDESTACK_LONG=FACTOR (default 50)
set -euo pipefail
cd "$(dirname "$0")"

STEPS=(tools format bindings lint features unit docs hooks php server soak fuzz sanitizer valgrind loom benches)
HOST=x86_64-unknown-linux-gnu
FUZZED="values runs lua c_api"
RAN=()

usage() {
  sed -n '2,8s/^# \{0,1\}//p' "$0"
  echo "steps: ${STEPS[*]}"
}

# A step's proof that it did what it is for.
ran() { # log line
  grep -q "$2" "$1" || { echo "it did not run: no \"$2\""; return 1; }
}

say() { printf '\n=== %s\n' "$*"; }

# Installs Debian packages if their command, or file, is missing.
need() { # what package
  local what=$1 package=$2
  if command -v "$what" >/dev/null || compgen -G "$what" >/dev/null; then return 0; fi
  if [ "${CI:-}" != true ]; then
    echo "missing: $what (Debian package $package); the steps that need it will say so"
    return 0
  fi
  [ -n "${APT_UPDATED:-}" ] || { apt-get update -qq; APT_UPDATED=1; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
}

step_tools() {
  need wrk wrk
  need valgrind valgrind
  need c++ g++
  need make make
  need pkg-config pkg-config
  need /usr/include/expat.h libexpat1-dev
  need "/usr/lib/llvm-*/lib/libclang*.so*" libclang-dev
}

step_format() {
  cargo fmt --all -- --check
}

# The committed bindings are what bindgen makes of the headers.
step_bindings() {
  if ! compgen -G "/usr/lib/llvm-*/lib/libclang*.so*" >/dev/null; then
    echo "SKIPPED: libclang is missing"
    return 0
  fi
  SIDESTACK_BINDINGS=check cargo check --features bindgen
}

step_lint() {
  cargo clippy --workspace --all-targets --features sidestack/tokio -- -D warnings
}

# Features are additive: the smallest set and each alone build.
step_features() {
  cargo check --no-default-features
  cargo check --no-default-features --features tokio
  cargo check --no-default-features --features lua
  cargo check --no-default-features --features hooks
}

step_unit() {
  cargo test --workspace --exclude sidestack-server --exclude sidestack-test-hooks --features sidestack/tokio --lib --tests
}

step_docs() {
  cargo test --features tokio --doc
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features sidestack/tokio,sidestack/hooks
}

# Blocking calls of C code wait on fibers: each of them, and unchanged libraries against real servers, which the tests start
# and stop themselves. Apart from `unit`, so that the rest is tested without the hooks too.
step_hooks() {
  need pkg-config pkg-config
  need /usr/include/postgresql/libpq-fe.h libpq-dev
  need "/usr/include/*/curl/curl.h" libcurl4-openssl-dev
  need /usr/include/hiredis/hiredis.h libhiredis-dev
  need "/usr/lib/postgresql/*/bin/initdb" postgresql
  need redis-server redis-server
  need /usr/sbin/nginx nginx-light
  cargo test -p sidestack-test-hooks
  # The guests that the library has anyway, with the hooks linked in.
  cargo test --features hooks --test bridge --test script
}

# The PHP guest. PHP itself is built once, by build/php.sh: here only in CI.
step_php() {
  if [ -z "${SIDESTACK_PHP:-}" ]; then
    if [ "${CI:-}" != true ] && [ ! -e "$(build/php.sh --where)" ]; then
      echo "SKIPPED: PHP is missing: build it once with build/php.sh"
      return 0
    fi
    build/php.sh >/dev/null
  fi
  need "/usr/lib/postgresql/*/bin/initdb" postgresql
  need mariadb-install-db mariadb-server
  cargo clippy --features php,tokio --tests -- -D warnings
  cargo test --no-default-features --features php,tokio --test php --test bridge_php
  cargo test --no-default-features --features php,tokio --test php -- --ignored --exact contexts::what_contexts_hold
  # The server: compared with Debian's PHP, and with real applications in a real browser.
  need php php-cli
  need chromium chromium
  need chromedriver chromium-driver
  need /usr/share/dokuwiki/doku.php dokuwiki
  need /usr/share/wordpress/wp-login.php wordpress
  need /usr/share/wordpress/wp-content/themes/twentytwentythree wordpress-theme-twentytwentythree
  cargo clippy -p sidestack-server --features php --tests -- -D warnings
  cargo test -p sidestack-server --features php
  soak php --features php
  SIDESTACK_TEST_JIT=function cargo test --no-default-features --features php,tokio --test php
  # PHP's own tests in two copies at once, the suspension matrix, PHP's waiting functions with real servers, how things end.
  cargo clippy -p sidestack-test-phpt --features php --all-targets -- -D warnings
  cargo test -p sidestack-test-phpt --features php
}

# The real binary, also under wrk with 256 connections.
step_server() {
  cargo test -p sidestack-server
}

# Good and bad requests mixed at a server's limits: a minute, or SIDESTACK_SOAK seconds.
soak() { # guest cargo's_arguments...
  local guest=$1 log
  shift
  log=$(mktemp)
  cargo test -p sidestack-server "$@" --test soak -- --ignored --nocapture "$guest" | tee "$log"
  ran "$log" "soak: ${SIDESTACK_SOAK:-60} s passed"
  rm "$log"
}

step_soak() {
  soak lua
}

# Every fuzz target from its seeds on, for SIDESTACK_FUZZ seconds each. What is found is in target/fuzz/artifacts. The flags are
# those of cargo-fuzz, which works on this folder too.
step_fuzz() {
  local seconds=${SIDESTACK_FUZZ:-5} target coverage="-Cpasses=sancov-module" log
  for flag in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage+=" -Cllvm-args=-sanitizer-coverage-$flag"
  done
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address --cfg fuzzing $coverage" \
    CFLAGS="-fsanitize=address -fno-omit-frame-pointer" CARGO_TARGET_DIR=target/fuzz \
    cargo build --release --target "$HOST" --manifest-path fuzz/Cargo.toml
  mkdir -p target/fuzz/artifacts
  log=$(mktemp)
  for target in $FUZZED; do
    mkdir -p "target/fuzz/corpus/$target"
    echo "$target, $seconds s:"
    ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 "target/fuzz/$HOST/release/$target" \
      -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0 \
      -artifact_prefix="target/fuzz/artifacts/$target-" "target/fuzz/corpus/$target" "fuzz/corpus/$target" 2>&1 | tee "$log"
    ran "$log" "stat::number_of_executed_units: [1-9]"
  done
  rm "$log"
}

# AddressSanitizer over what switches stacks, runs Lua and plain C, and over the hostile suite; C and Rust both instrumented. Left
# out: faults, which its own handlers report; guests' signals, which it intercepts before us (the hostile schedules go
# without); tests of memory that comes back or runs out, of stacks at their limits and of short times, which it changes; shared libraries, which
# gcc links to another run-time of the sanitizer; the server, which has no C of its own; PHP, which is not built for it (valgrind).
step_sanitizer() {
  local log
  log=$(mktemp)
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CFLAGS="-fsanitize=address -fno-omit-frame-pointer" \
    ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1 \
    CARGO_TARGET_DIR=target/asan \
    cargo test --target "$HOST" -p sidestack -p sidestack-test-native --features sidestack/sanitizer,sidestack/tokio \
    --lib --test bridge --test cancel --test chaos --test deadlock --test edges --test leaf --test lua --test outcomes \
    --test require --test sandbox --test script --test suspension_lua --test crossing --test public --test hostile -- \
    --skip used_up --skip in_a_signal_handler --skip libraries:: --skip a_loop_that_asks_nobody --skip on_many_threads \
    --skip a_fiber_without_a_guard --skip a_quarantine_is_told |
    tee "$log"
  ran "$log" "^test schedules::waits_signals_and_cancels_at_random ... ok"
  ran "$log" "^test allocations::of_a_lua_call ... ok"
  rm "$log"
}

# What AddressSanitizer cannot see: uninitialised memory on fibers' stacks. Of the hostile suite what it can bear: it delivers
# signals late and contains no faults, and a Lua call takes too long for each allocation to fail. The small frame tells it a
# stack that C made from one that grows.
step_valgrind() {
  if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: valgrind is missing"
    return 0
  fi
  local log runner=CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER
  log=$(mktemp)
  local -x "$runner=valgrind --quiet --trace-children=yes --max-stackframe=16384 --error-exitcode=9"
  PROPTEST_CASES=4 cargo test --test lua
  PROPTEST_CASES=8 cargo test -p sidestack-test-native --test crossing --test hostile -- \
    --skip allocations::of_a --skip allocations::of_loading --skip incarnations:: --skip lua:: --skip memory:: | tee "$log"
  ran "$log" "^test schedules::waits_signals_and_cancels_at_random ... ok"
  # PHP as it is built: with the C library's allocator, which valgrind knows, so without tests of memory limits; stacks for few
  # fibers, since valgrind has less than 128 GiB of addresses; and without tests of short times.
  if [ -n "${SIDESTACK_PHP:-}" ] || [ -e "$(build/php.sh --where)" ]; then
    USE_ZEND_ALLOC=0 SIDESTACK_TEST_FIBERS=100 cargo test --no-default-features --features php,tokio --test php -- \
      --test-threads=1 basics:: objects:: values:: zend_fibers:: | tee "$log"
    ran "$log" "test result: ok. 1[0-9] passed"
  else
    echo "SKIPPED under valgrind: PHP is missing"
  fi
  rm "$log"
}

# The wake state machine under every schedule.
step_loom() {
  CARGO_TARGET_DIR=target/loom RUSTFLAGS="--cfg loom" cargo test --manifest-path tests/loom/Cargo.toml
}

# Benches and peers compile; their figures are measured by hand (README).
step_benches() {
  cargo bench --no-run --features tokio
  CARGO_TARGET_DIR=target/peers cargo build --release --manifest-path benches/peers/Cargo.toml
}

# ---- not in CI as they are: what they run is in `unit` and `server`, or takes hours ----

step_adversarial() {
  cargo test -p sidestack-test-native --test hostile --test suspension --test faults --test signal_storm --test engine_storm
  cargo test --features tokio --test chaos --test suspension_lua
  cargo test -p sidestack-server --test hostile
}

step_long() {
  local factor=${SIDESTACK_LONG:-50}
  export SIDESTACK_LONG=$factor SIDESTACK_CHAOS=$((6 * factor))
  cargo test --release -p sidestack-test-native --test hostile --test public -- --nocapture
  cargo test --release --features tokio --test chaos -- --nocapture
  cargo test --release -p sidestack-server --test hostile
  SIDESTACK_FUZZ=$((12 * factor)) step_fuzz
  SIDESTACK_SOAK=$((36 * factor)) step_soak
}

main() {
  case "${1:-}" in -h | --help) usage; exit 0 ;; esac
  local chosen=("$@")
  [ $# -gt 0 ] || chosen=("${STEPS[@]}")
  for step in "${chosen[@]}"; do
    declare -F "step_$step" >/dev/null || { echo "no step $step"; usage; exit 2; }
  done
  for step in "${chosen[@]}"; do
    say "$step"
    local begun=$SECONDS
    "step_$step"
    RAN+=("$step ($((SECONDS - begun)) s)")
  done
  say "all steps passed"
  printf '  %s\n' "${RAN[@]}"
}

main "$@"

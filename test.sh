#!/usr/bin/env bash
# Every test and check of Sidestack. Runs on a fresh Debian 12 with Rust and gcc; what else it needs it installs itself
# where CI=true, and names it otherwise.
#
#   ./test.sh              all steps
#   ./test.sh STEP...      these only: see `./test.sh --help`
set -euo pipefail
cd "$(dirname "$0")"

STEPS=(tools format bindings lint features unit docs hooks php server sanitizer valgrind loom benches)
HOST=x86_64-unknown-linux-gnu
RAN=()

usage() {
  sed -n '2,6s/^# \{0,1\}//p' "$0"
  echo "steps: ${STEPS[*]}"
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
  cargo test --no-default-features --features php,tokio --test php
  # The server: compared with Debian's PHP, and with a real application in a real browser.
  need php php-cli
  need chromium chromium
  need chromedriver chromium-driver
  need /usr/share/dokuwiki/doku.php dokuwiki
  cargo clippy -p sidestack-server --features php --tests -- -D warnings
  cargo test -p sidestack-server --features php
  SIDESTACK_TEST_JIT=function cargo test --no-default-features --features php,tokio --test php
  # PHP's own tests in two copies at once, the suspension matrix, PHP's waiting functions with real servers, how things end.
  cargo clippy -p sidestack-test-phpt --features php --all-targets -- -D warnings
  cargo test -p sidestack-test-phpt --features php
}

# The real binary, also under wrk with 256 connections.
step_server() {
  cargo test -p sidestack-server
}

# AddressSanitizer over what switches stacks and runs Lua; C and Rust both instrumented. Left out: tests of resident memory
# and of stacks at their limits, which it changes.
step_sanitizer() {
  RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CFLAGS="-fsanitize=address -fno-omit-frame-pointer" \
    ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 \
    CARGO_TARGET_DIR=target/asan \
    cargo test --target "$HOST" --features sanitizer --lib --test bridge --test chaos --test edges --test lua --test require \
    --test sandbox --test script --test suspension_lua
}

# What AddressSanitizer cannot see: uninitialised memory on fibers' stacks.
step_valgrind() {
  if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: valgrind is missing"
    return 0
  fi
  PROPTEST_CASES=4 CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=9" \
    cargo test --test lua
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

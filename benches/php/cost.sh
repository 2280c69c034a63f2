#!/usr/bin/env bash
# What one request costs Sidestack, in numbers that do not depend on what else the machine does:
#
#   benches/php/cost.sh [BINARY]     a row for each page (default: the release build, made first)
#
# - instructions of the whole server, from the request's bytes to its answer's, by valgrind's cachegrind: what 2,200 requests take less
#   what 200 take; the kernel's are not counted;
# - memory that a request holds while it waits: what 300 at once add to the process, each page counted once.
#
# Needs valgrind and curl.
set -euo pipefail
cd "$(dirname "$0")"

PAGES=(hello wait twig)
HERE=$PWD
WORK=$(mktemp -d)
SERVER=
trap '[ -z "$SERVER" ] || kill "$SERVER" 2>/dev/null || true; rm -rf "$WORK"' EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Serves a folder on one interpreter, behind the words of a command.
start() { # folder command...
  local folder=$1
  shift
  PORT=$(free_port)
  BENCH_CACHE=$WORK "$@" "$BINARY" serve "$folder" --listen "127.0.0.1:$PORT" --quiet --threads 1 --fibers 500 --memory 1GiB \
    --deadline none --queue-timeout 60s >"$WORK/log" 2>&1 &
  SERVER=$!
  for _ in $(seq 300); do
    if curl -fsS -o "$WORK/page" "http://127.0.0.1:$PORT/hello.php" 2>/dev/null; then return; fi
    sleep 0.2
  done
  cat "$WORK/log" >&2
  exit 1
}

stop() {
  kill "$SERVER"
  wait "$SERVER" || true
  SERVER=
}

# Requests on one connection, one after the other.
ask() { curl -fsS -o "$WORK/page" "http://127.0.0.1:$PORT/$1.php?[1-$2]"; } # page count

instructions() { # page count
  start "$HERE/public" valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null
  ask "$1" "$2"
  stop
  awk '/I +refs:/ { gsub(",", ""); print $NF }' "$WORK/log"
}

resident() { awk '/^Pss:/ { print $2 }' "/proc/$SERVER/smaps_rollup"; }

if [ $# -gt 0 ]; then
  BINARY=$(realpath "$1")
else
  (cd ../.. && cargo build --release -q -p sidestack-server --features php)
  BINARY=$(cd ../.. && pwd)/target/release/sidestack
fi

echo "| page | instructions a request |"
echo "| --- | --- |"
for page in "${PAGES[@]}"; do
  less=$(instructions "$page" 200)
  more=$(instructions "$page" 2200)
  echo "| $page | $(((more - less) / 2000)) |"
done

mkdir "$WORK/site"
cp public/hello.php "$WORK/site"
echo '<?php usleep(8000000);' >"$WORK/site/hold.php"
start "$WORK/site" env
ask hello 200
before=$(resident)
curl -fsS -o "$WORK/page" --parallel --parallel-immediate --parallel-max 300 "http://127.0.0.1:$PORT/hold.php?[1-300]" 2>/dev/null &
held=$!
sleep 5
echo
echo "a request that waits holds $((($(resident) - before) / 300)) KiB, its connection included"
wait $held
stop

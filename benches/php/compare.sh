#!/usr/bin/env bash
# Sidestack beside Debian's php-fpm behind nginx: the same pages, the same memory, one after the other, under wrk.
#
#   benches/php/compare.sh [SECONDS]     seconds for each row (default 10); prints a table
#
# Each side runs in a memory cgroup of 512 MiB (v2 or v1; as root; without one it says so). php-fpm gets as many children as
# fit: what a child holds alone is measured after it has served the heaviest page. Sidestack serves the folder as it does by
# default, with a bound on the requests that run at once. Needs Debian's php-fpm, php-twig, nginx-light and wrk.
set -euo pipefail
cd "$(dirname "$0")"

DURATION=${1:-10}
LIMIT=$((512 << 20))
CONNECTIONS=(10 100 1000)
PAGES=(hello wait twig)
HERE=$PWD
WORK=$(mktemp -d)
STARTED=()
CGROUPS=()

say() { printf '%s\n' "$*" >&2; }

finish() {
  stop_all
  for cgroup in "${CGROUPS[@]:-}"; do
    [ -n "$cgroup" ] || continue
    # Children whose master was killed.
    while read -r pid; do kill "$pid" 2>/dev/null || true; done <"$cgroup/cgroup.procs"
    sleep 0.5
    rmdir "$cgroup" || true
  done
  rm -rf "$WORK"
}
trap finish EXIT

stop_all() {
  for pid in "${STARTED[@]:-}"; do [ -z "$pid" ] || kill "$pid" 2>/dev/null || true; done
  for pid in "${STARTED[@]:-}"; do [ -z "$pid" ] || wait "$pid" 2>/dev/null || true; done
  STARTED=()
}

for program in wrk nginx; do
  PATH=$PATH:/usr/sbin command -v $program >/dev/null || { say "missing: $program"; exit 1; }
done
FPM=$(ls /usr/sbin/php-fpm* 2>/dev/null | tail -n 1)
[ -n "$FPM" ] || { say "missing: php-fpm"; exit 1; }
[ -f /usr/share/php/Twig/autoload.php ] || { say "missing: php-twig"; exit 1; }
PATH=$PATH:/usr/sbin

# ---- memory ----

# A cgroup with the limit; its folder, or nothing.
make_cgroup() { # name
  local folder
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    folder=/sys/fs/cgroup/sidestack-bench-$1-$$
    mkdir "$folder" 2>/dev/null && echo "$LIMIT" >"$folder/memory.max" 2>/dev/null || return 0
    echo 0 >"$folder/memory.swap.max" 2>/dev/null || true
  elif [ -d /sys/fs/cgroup/memory ]; then
    folder=/sys/fs/cgroup/memory/sidestack-bench-$1-$$
    mkdir "$folder" 2>/dev/null && echo "$LIMIT" >"$folder/memory.limit_in_bytes" 2>/dev/null || return 0
  else
    return 0
  fi
  printf '%s\n' "$folder"
}

# Runs a command in the cgroup, in the background.
start() { # cgroup command...
  local cgroup=$1
  shift
  # shellcheck disable=SC2016
  bash -c '[ -z "$0" ] || echo $$ >"$0/cgroup.procs"; ulimit -n 65536; exec "$@"' "$cgroup" "$@" >>"$WORK/log" 2>&1 &
  STARTED+=($!)
}

# KiB of a process and all below it, each page counted once (proportional set size).
resident() { # pid
  local pids=$1 all=$1
  while [ -n "$pids" ]; do
    pids=$(for pid in $pids; do pgrep -P "$pid" || true; done)
    all="$all $pids"
  done
  for pid in $all; do cat "/proc/$pid/smaps_rollup" 2>/dev/null || true; done | awk '/^Pss:/ { sum += $2 } END { print sum + 0 }'
}

until_up() { # url
  for _ in $(seq 100); do
    if curl -fsS -o /dev/null "$1" 2>/dev/null; then return; fi
    sleep 0.1
  done
  say "$1 does not come up:"
  cat "$WORK/log" >&2
  exit 1
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# ---- the two sides ----

start_fpm() { # cgroup children
  cat >"$WORK/fpm.conf" <<CONF
[global]
error_log = $WORK/fpm.log
daemonize = no
[www]
user = nobody
group = nogroup
listen = $WORK/fpm.sock
listen.mode = 0666
listen.backlog = 4096
pm = static
pm.max_children = $2
env[BENCH_CACHE] = $WORK/twig-fpm
CONF
  cat >"$WORK/nginx.conf" <<CONF
daemon off;
user nobody nogroup;
pid $WORK/nginx.pid;
error_log $WORK/nginx.log;
worker_processes auto;
worker_rlimit_nofile 65536;
events { worker_connections 8192; }
http {
  access_log off;
  fastcgi_temp_path $WORK/nginx-fastcgi; client_body_temp_path $WORK/nginx-body; proxy_temp_path $WORK/nginx-proxy;
  uwsgi_temp_path $WORK/nginx-uwsgi; scgi_temp_path $WORK/nginx-scgi;
  keepalive_requests 1000000;
  server {
    listen 127.0.0.1:$PORT backlog=4096;
    root $HERE/public;
    location ~ \\.php\$ {
      include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_FILENAME \$document_root\$fastcgi_script_name;
      fastcgi_pass unix:$WORK/fpm.sock;
      fastcgi_read_timeout 60s;
    }
  }
}
CONF
  start "$1" "$FPM" -F -y "$WORK/fpm.conf"
  start "$1" nginx -c "$WORK/nginx.conf" -e "$WORK/nginx.log"
  until_up "http://127.0.0.1:$PORT/hello.php"
}

start_sidestack() { # cgroup
  BENCH_CACHE=$WORK/twig-sidestack start "$1" "$SIDESTACK" serve "$HERE/public" --listen "127.0.0.1:$PORT" --quiet \
    --fibers 300 --memory 200MiB --queue-timeout 30s
  until_up "http://127.0.0.1:$PORT/hello.php"
}

# How many children fit: the limit without nginx and what all share, by what a child holds alone after it has served all pages,
# and a tenth less for what comes and goes.
children() {
  local some=8 page master alone shared
  start_fpm "" $some
  for page in "${PAGES[@]}"; do wrk -t2 -c$some -d2s "http://127.0.0.1:$PORT/$page.php" >/dev/null 2>&1; done
  master=${STARTED[0]}
  alone=$(for child in $(pgrep -P "$master"); do cat "/proc/$child/smaps_rollup"; done |
    awk -v some=$some '/^Private_(Clean|Dirty):/ { sum += $2 } END { printf "%d", sum / some }')
  shared=$(($(resident "$master") + $(resident "${STARTED[1]}") - some * alone))
  stop_all
  say "a child of php-fpm holds $alone KiB alone; $shared KiB are shared, or nginx's"
  CHILDREN=$(((LIMIT / 1024 - shared) * 9 / 10 / alone))
}

# ---- measuring ----

measure() { # side page connections pids...
  local side=$1 page=$2 connections=$3
  shift 3
  local out memory=0 pid
  out=$WORK/wrk
  # As many at once as will be: what is made for the first of them is not part of the figure.
  wrk -t2 -c"$connections" -d2s --timeout 30s "http://127.0.0.1:$PORT/$page.php" >/dev/null 2>&1
  wrk -t2 -c"$connections" -d"${DURATION}s" --latency --timeout 30s "http://127.0.0.1:$PORT/$page.php" >"$out" 2>&1 &
  local wrk=$!
  sleep $((DURATION * 3 / 4))
  for pid in "$@"; do memory=$((memory + $(resident "$pid"))); done
  wait $wrk
  awk -v side="$side" -v page="$page" -v connections="$connections" -v memory="$memory" '
    function ms(text) { return text ~ /us$/ ? text / 1000 : text ~ /ms$/ ? text + 0 : text * 1000 }
    $1 == "50%" { half = ms($2) } $1 == "99%" { most = ms($2) }
    $1 == "Requests/sec:" { rate = $2 }
    /Non-2xx/ { bad += $NF }
    /Socket errors/ { gsub(",", ""); bad += $4 + $6 + $8 + $10 }
    END { printf "| %s | %s | %d | %.0f | %.1f | %.1f | %.0f | %d |\n", page, side, connections, rate, half, most, memory / 1024, bad }' "$out"
}

say "building"
(cd ../.. && cargo build --release -q -p sidestack-server --features php)
SIDESTACK=$(cd ../.. && pwd)/target/release/sidestack
mkdir -m 0777 "$WORK/twig-fpm" "$WORK/twig-sidestack"
chmod 0755 "$WORK"
PORT=$(free_port)
children
say "php-fpm gets $CHILDREN children"

say "load before: $(cut -d' ' -f1 /proc/loadavg)"
echo "| page | served by | connections | requests/s | p50 ms | p99 ms | resident MiB | errors |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- |"
for side in php-fpm sidestack; do
  cgroup=$(make_cgroup $side)
  [ -n "$cgroup" ] || say "no memory cgroup can be made here: the limit of 512 MiB is not enforced for $side"
  CGROUPS+=("$cgroup")
  PORT=$(free_port)
  if [ $side = php-fpm ]; then start_fpm "$cgroup" "$CHILDREN"; else start_sidestack "$cgroup"; fi
  for page in "${PAGES[@]}"; do
    for connections in "${CONNECTIONS[@]}"; do measure "$side" "$page" "$connections" "${STARTED[@]}"; done
  done
  stop_all
done >"$WORK/rows"
sort -t'|' -s -k2,2 -k4,4n "$WORK/rows"

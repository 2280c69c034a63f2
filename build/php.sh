#!/usr/bin/env bash
# Builds PHP for the feature `php`: thread-safe, static, with what applications need, and with its thread-local variables in
# reach. The result is kept in a cache, by the hash of all that goes into it, where Sidestack's build finds it.
#
#   build/php.sh            builds it, unless it is there, and prints its folder (the last line of standard output)
#   build/php.sh --where    prints the folder, there or not
#
# The source is Debian's, through apt, from the place that the machine's own Debian packages come from; the machine's configuration
# is not touched. Debian packages that are missing are installed where CI=true or the user is root, and named otherwise.
# SIDESTACK_PHP_JOBS: compilers at once (default: the processors).
set -euo pipefail

VERSION=8.4.24
SHA256=e127be09a8506f4327c5cfa78a614b00d210714484ec215ce0011b4a03c00731

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

PACKAGES=(gcc make pkg-config xz-utils libxml2-dev libssl-dev libcurl4-openssl-dev libsqlite3-dev libpq-dev libzip-dev zlib1g-dev)

# No shared extensions: each would have a thread-local pointer of its own to the current context. No handling of signals of PHP's
# own, and no timers: the time limits of requests are Sidestack's.
CONFIGURE=(
  --disable-all --enable-zts --enable-embed=static --disable-cli --disable-cgi --disable-phpdbg --without-pear
  --disable-zend-signals --disable-zend-max-execution-timers --enable-opcache
  --enable-ctype --enable-tokenizer --enable-filter --enable-session --enable-mbstring --disable-mbregex --enable-fileinfo
  --enable-posix --with-iconv --with-zlib --with-zip --with-curl --with-openssl
  --with-libxml --enable-dom --enable-simplexml --enable-xml --enable-xmlreader --enable-xmlwriter
  --enable-pdo --with-sqlite3 --with-pdo-sqlite --with-pdo-pgsql --with-pdo-mysql=mysqlnd --with-mysqli=mysqlnd
)
CFLAGS="-O2 -g1 -fno-omit-frame-pointer -fstack-clash-protection"

# Names that csrc/php reaches into, static in PHP's sources.
GLOBALS=(tls_key spl_autoload_extensions spl_autoload_functions cctx mctx mdata mdata_used char_tables gctx jit_stack
  pcre2_init_ok zend_fiber_switch_blocking)
# Names that csrc/php defines in PHP's place.
REPLACED=(zend_set_timeout zend_unset_timeout)

# Every thread-local variable of PHP's, and what becomes of it at a switch (csrc/php/swap.c): `request` is saved and loaded with
# the context; `thread` is the thread's, because nothing of it outlives a switch.
TLS=(
  "_tsrm_ls_cache request"
  "in_main_thread thread" "is_thread_shutdown thread"
  "spl_autoload_extensions request" "spl_autoload_functions request"
  "cctx request" "mctx request" "mdata request" "mdata_used request" "char_tables request"
  "gctx thread" "jit_stack thread" "pcre2_init_ok thread"
  "zend_fiber_switch_blocking request"
  "buffer thread" "buflen thread" "passwd thread" "prev_tv thread"
)

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

hash_of_inputs() {
  { cat "${BASH_SOURCE[0]}" "$HERE/zend_alloc.awk"; gcc -dumpfullversion 2>/dev/null || true; uname -m; } | sha256sum | cut -c1-16
}

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/sidestack
PREFIX=$CACHE/php-$(hash_of_inputs)

install_packages() {
  local missing=()
  for package in "${PACKAGES[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "${CI:-}" != true ] && [ "$(id -u)" != 0 ]; then
    fail "Debian packages are missing: ${missing[*]} (apt-get install ${missing[*]})"
  fi
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Where this machine's Debian packages come from.
archive() {
  local uri
  uri=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 2>/dev/null | awk '$1 == "Debian" && !/security/ { print $2; exit }')
  [ -n "$uri" ] || fail "apt knows no Debian archive on this machine (apt-get update?)"
  printf '%s\n' "${uri%/}"
}

# The source of the version that this is tested with; the archive keeps old versions for a while. Where it has gone, that which
# Debian 13 has now: apt checks it by the archive's signature.
fetch() {
  local into=$1 from
  from=$(archive)
  local tarball=$CACHE/php8.4_$VERSION.orig.tar.xz
  if [ -f "$tarball" ] && echo "$SHA256  $tarball" | sha256sum --check --quiet 2>/dev/null; then
    printf '%s\n' "$tarball"
    return
  fi
  say "fetching PHP $VERSION"
  if /usr/lib/apt/apt-helper download-file "$from/pool/main/p/php8.4/php8.4_$VERSION.orig.tar.xz" "$tarball" \
    "SHA256:$SHA256" >/dev/null 2>&1; then
    printf '%s\n' "$tarball"
    return
  fi
  rm -f "$tarball"
  say "that version is not there any more: fetching what Debian 13 has now"
  local apt=$into/apt
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources"
  cat >"$apt/sources/php.sources" <<SOURCES
Types: deb-src
URIs: $from
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  local options=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/sources" -o "Dir::State::lists=$apt/lists"
    -o "Dir::Cache=$apt/cache" -o "APT::Sandbox::User=$(id -un)")
  (cd "$apt" && apt-get "${options[@]}" -qq update >&2 && apt-get "${options[@]}" -qq source --download-only --tar-only php8.4 >&2) ||
    fail "PHP's source cannot be fetched"
  find "$apt" -name 'php8.4_*.orig.tar.*' | head -n 1
}

# PHP's allocator links all elements of a run when it makes one: it touches 4 to 28 KB for each size, of which a request uses little.
# Here those that were never used follow each other, and are linked when they are freed. Of other versions only what is known
# here is changed, all of it or nothing.
link_late() {
  local file=$1/Zend/zend_alloc.c
  if awk -f "$HERE/zend_alloc.awk" "$file" >"$file.new"; then
    mv "$file.new" "$file"
  else
    rm "$file.new"
    say "PHP's allocator is not as build/zend_alloc.awk knows it, and stays as it is: requests will take more memory"
  fi
}

# Shows how far `make` is: objects compiled, of how many.
progress() {
  local log=$1 total=$2 pid=$3 done=0
  while kill -0 "$pid" 2>/dev/null; do
    done=$(grep -c -- '--mode=compile' "$log" || true)
    printf '\rcompiling: %d of about %d (%d s)   ' "$done" "$total" "$SECONDS" >&2
    sleep 5
  done
  printf '\n' >&2
}

compile() {
  local work=$1 source=$2 jobs=${SIDESTACK_PHP_JOBS:-$(nproc)}
  mkdir -p "$work/build"
  cd "$work/build"
  say "configuring"
  CFLAGS=$CFLAGS "$source/configure" --prefix="$PREFIX" "${CONFIGURE[@]}" >configure.log 2>&1 ||
    { tail -n 20 configure.log >&2; fail "configure failed"; }
  SECONDS=0
  : >make.log
  make -j"$jobs" libphp.la ext/opcache/opcache.la >make.log 2>&1 &
  local make=$!
  progress make.log "$(grep -c '^ext.*\.lo: \|^[A-Za-z].*\.lo: ' Makefile)" "$make"
  wait "$make" || { tail -n 20 make.log >&2; fail "make failed"; }
}

# An unknown thread-local variable would be shared by requests that know nothing of each other.
check_tls() {
  local known unknown
  known=$(printf '%s\n' "${TLS[@]}" | cut -d' ' -f1 | sort -u)
  unknown=$(readelf -sW "$@" 2>/dev/null | awk '$4 == "TLS" && $7 != "UND" { sub(/\..*/, "", $8); print $8 }' | sort -u |
    comm -23 - <(printf '%s\n' "$known"))
  [ -z "$unknown" ] || fail "PHP has thread-local variables that csrc/php does not know: $(echo $unknown)"
}

# libphp.a with the names in reach, and opcache's objects, which think that they are a shared object's.
install() {
  local work=$1 source=$2 to=$3 name
  cd "$work/build"
  mkdir -p "$to/lib"
  check_tls libs/libphp.a $(opcache_objects)
  local options=()
  for name in "${GLOBALS[@]}"; do options+=("--globalize-symbol=$name"); done
  for name in "${REPLACED[@]}"; do options+=("--weaken-symbol=$name"); done
  objcopy "${options[@]}" libs/libphp.a "$to/lib/libphp.a"
  # TSRM asks us which thread it is.
  (cd "$work" && ar x "$to/lib/libphp.a" TSRM.o && objcopy --redefine-sym pthread_self=ssphp_thread_id TSRM.o &&
    ar r "$to/lib/libphp.a" TSRM.o && rm TSRM.o)
  mkdir -p "$work/opcache"
  for name in $(opcache_objects); do
    objcopy --weaken-symbol=_tsrm_ls_cache "$name" "$work/opcache/$(basename "$name")"
  done
  # And opcache asks us whether others use its memory.
  objcopy --redefine-sym fcntl=ssphp_opcache_fcntl "$work/opcache/ZendAccelerator.o"
  rm -f "$to/lib/libphp_opcache.a"
  ar rcs "$to/lib/libphp_opcache.a" "$work"/opcache/*.o
  make INSTALL_ROOT="$work/root" install-headers >/dev/null
  rm -rf "$to/include"
  mv "$work/root$PREFIX/include/php" "$to/include"
  # opcache's are not among them.
  mkdir -p "$to/include/ext/opcache"
  cp "$source"/ext/opcache/*.h "$to/include/ext/opcache/"
  # The libraries that it needs, in the order of the link.
  sed -n 's/^PHP_LIBS *=//p; s/^EXTRA_LIBS *=//p' Makefile | tr ' ' '\n' | sed -n 's/^-l//p' | awk '!seen[$0]++' >"$to/libs.new"
  mv "$to/libs.new" "$to/libs"
  printf '%s\n' "${TLS[@]}" >"$to/tls"
  # Where the headers are of libraries that keep something by thread (csrc/php/xml.c).
  pkg-config --cflags-only-I libxml-2.0 | tr ' ' '\n' | sed -n 's/^-I//p' >"$to/includes"
  # PHP's own tests of what Sidestack changes places under: tests/phpt runs them.
  mkdir -p "$to/tests"
  cp -r "$source/Zend/tests/fibers" "$source/Zend/tests/stack_limit" "$to/tests/"
}

# Not those that libtool makes for a shared object.
opcache_objects() { find ext/opcache -name '*.o' -not -path '*.libs*' | sort; }

main() {
  case "${1:-}" in
    --where) printf '%s\n' "$PREFIX"; exit 0 ;;
    "") ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  if [ ! -f "$PREFIX/libs" ]; then
    mkdir -p "$CACHE"
    install_packages
    # For its whole life: `exit` runs the trap outside of this function.
    WORK=$(mktemp -d "$CACHE/building-XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    local tarball
    tarball=$(fetch "$WORK")
    say "unpacking $(basename "$tarball")"
    mkdir "$WORK/source"
    tar -xf "$tarball" -C "$WORK/source" --strip-components=1
    link_late "$WORK/source"
    (compile "$WORK" "$WORK/source")
    (install "$WORK" "$WORK/source" "$WORK/prefix")
    mv "$WORK/prefix" "$PREFIX"
    say "PHP is in $PREFIX"
  fi
  printf '%s\n' "$PREFIX"
}

main "$@"

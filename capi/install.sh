#!/usr/bin/env bash
# Builds libsidestack and installs header, shared and static library and sidestack.pc.
#
#   capi/install.sh [--prefix DIR] [--from DIR]
#
# --prefix   where to; default: /usr/local
# --from     the folder of a libsidestack.so and libsidestack.a that are built already; default: builds them (release)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local
from=
while [ $# -gt 0 ]; do
  case "$1" in
    --prefix) prefix=$2; shift 2 ;;
    --from) from=$2; shift 2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done
version=$(sed -n 's/^#define SIDESTACK_VERSION "\(.*\)"/\1/p' "$here/../csrc/sidestack.h")
if [ -z "$from" ]; then
  (cd "$here/.." && cargo build --release -p sidestack-capi)
  from=${CARGO_TARGET_DIR:-$here/../target}/release
fi
install -d "$prefix/include" "$prefix/lib/pkgconfig"
install -m 644 "$here/../csrc/sidestack.h" "$prefix/include/"
install -m 755 "$from/libsidestack.so" "$prefix/lib/libsidestack.so.$version"
ln -sf "libsidestack.so.$version" "$prefix/lib/libsidestack.so.${version%%.*}"
ln -sf "libsidestack.so.${version%%.*}" "$prefix/lib/libsidestack.so"
install -m 644 "$from/libsidestack.a" "$prefix/lib/"
sed -e "s|@prefix@|$prefix|" -e "s|@version@|$version|" "$here/sidestack.pc.in" > "$prefix/lib/pkgconfig/sidestack.pc"

#!/usr/bin/env bash
# Puts the C library where compilers, linkers and pkg-config look: `make c-install PREFIX=/usr/local`, and the tests.
#
#   install.sh BUILT-DIRECTORY PREFIX
#
#   PREFIX/include/latticed.h
#   PREFIX/lib/liblatticed.so.0, liblatticed.so -> it, liblatticed.a
#   PREFIX/lib/pkgconfig/latticed.pc
#
# The number is that of build.rs. With DESTDIR set, everything goes below that, as packages want it.
set -euo pipefail

built=$(cd "$1" && pwd) prefix=$2
cd "$(dirname "$0")"
root=${DESTDIR:-}$prefix
number=$(sed -n 's/.*-soname,\(liblatticed\.so\.[0-9]*\).*/\1/p' build.rs)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../../Cargo.toml | head -n1)

install -D -m 644 include/latticed.h "$root/include/latticed.h"
install -D -m 755 "$built/liblatticed.so" "$root/lib/$number"
ln -sf "$number" "$root/lib/liblatticed.so"
install -D -m 644 "$built/liblatticed.a" "$root/lib/liblatticed.a"
mkdir -p "$root/lib/pkgconfig"
sed "s|@PREFIX@|$prefix|; s|@VERSION@|$version|" latticed.pc.in >"$root/lib/pkgconfig/latticed.pc"

#!/usr/bin/env bash
# Fetches one program of a Debian package into the directory $1, unpacked and not installed, so that no service is started and
# nothing on the machine changes. Nothing to do where the program is on the path already. Never fails: without it, what needs it
# says that it is skipped.
#
#   unpack.sh DIRECTORY PACKAGE PROGRAM WHAT-IS-SKIPPED
set -euo pipefail

into=$1 package=$2 program=$3 skipped=$4
if command -v "$program" >/dev/null 2>&1 || [ -x "$into/usr/bin/$program" ]; then
    exit 0
fi

fetch() {
    local work
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    cd "$work"
    apt-get download -qq "$package" >log 2>&1 \
        || { apt-get update -qq >log 2>&1 && apt-get download -qq "$package" >log 2>&1; }
    dpkg --fsys-tarfile "$package"_*.deb | tar -x -C "$into" "./usr/bin/$program"
}

mkdir -p "$into"
into=$(cd "$into" && pwd)
if command -v apt-get >/dev/null 2>&1 && (fetch) && [ -x "$into/usr/bin/$program" ]; then
    echo "deps: Debian's $program is unpacked in $into"
else
    echo "deps: no $program here, and Debian's could not be fetched: $skipped will be skipped" >&2
fi

#!/usr/bin/env bash
# Fetches what `lattice-bench etcd` compares with, into the directory $1: Debian's etcd, unpacked and not installed, so that no
# service is started and nothing on the machine changes. Nothing to do where an etcd is on the path already. Never fails: without
# etcd that one bench says that it is skipped.
set -euo pipefail

into=$1
if command -v etcd >/dev/null 2>&1 || [ -x "$into/usr/bin/etcd" ]; then
    exit 0
fi

fetch() {
    local work
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    cd "$work"
    apt-get download -qq etcd-server >log 2>&1 || { apt-get update -qq >log 2>&1 && apt-get download -qq etcd-server >log 2>&1; }
    dpkg -x etcd-server_*.deb "$into"
}

mkdir -p "$into"
into=$(cd "$into" && pwd)
if command -v apt-get >/dev/null 2>&1 && (fetch) && [ -x "$into/usr/bin/etcd" ]; then
    echo "bench: Debian's etcd is unpacked in $into"
else
    echo "bench: no etcd here, and Debian's could not be fetched: the bench etcd will be skipped" >&2
fi

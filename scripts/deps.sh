#!/usr/bin/env bash
# Installs what the build and the tests need, where it is missing: as root with apt, else it says what to install.
# Silent when nothing is missing. Run by `make deps`, which every other target runs first.
set -euo pipefail

# Each line: the Debian 12 package, then what shows that it is there (a command, a file, or a module of Python).
needed() {
    cat <<'LIST'
clang         clang
llvm          llvm-strip
gcc           gcc
make          make
m4            m4
pkg-config    pkg-config
libelf-dev    /usr/include/libelf.h
zlib1g-dev    /usr/include/zlib.h
libbpf-dev    /usr/include/bpf/bpf_helpers.h
iproute2      ip
valgrind      valgrind
python3       python3
python3-venv  python3:ensurepip
LIST
}

is_there() {
    case "$1" in
        /*) [ -e "$1" ] ;;
        python3:*) python3 -c "import ${1#*:}" >/dev/null 2>&1 ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing=()
while read -r package sign; do
    is_there "$sign" || missing+=("$package")
done < <(needed)

if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "deps: missing: ${missing[*]}" >&2
        echo "deps: install them first, on Debian with: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "deps: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # A machine whose package lists are fresh enough needs no update.
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 \
        || { apt-get update -qq >"$log" 2>&1 \
            && apt-get install -qq -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; } \
        || { cat "$log" >&2; echo "deps: apt-get could not install ${missing[*]}" >&2; exit 1; }
fi

# Rust comes from rustup, not from apt: Debian 12's is too old for this edition.
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! command -v cargo >/dev/null 2>&1; then
    echo "deps: no cargo: install Rust $wanted or newer first (https://rustup.rs):" >&2
    echo "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy,rustfmt" >&2
    exit 1
fi
found=$(cargo --version | cut -d' ' -f2)
if [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n1)" != "$wanted" ]; then
    echo "deps: cargo $found is too old: Rust $wanted or newer is needed (rustup update)" >&2
    exit 1
fi

#!/usr/bin/env bash
# The Python package: builds its wheel, tests it, checks its types. `make wheel`, `make python-test`, `make check`.
#
#   package.sh wheel TARGET     TARGET/wheels/latticed-*.whl
#   package.sh test TARGET      the wheel, installed into a virtual environment, against real daemons; and mypy
#   package.sh check TARGET     formatting and lints of the extension module
#
# TARGET/python/venv is made with what requirements-dev.txt names, from PyPI, once. Where that can't be had, `test` says that
# it is skipped; where CI is set it fails. LATTICE_BIN_DIR names the directory of latticed and latticectl.
set -euo pipefail
cd "$(dirname "$0")"

verb=$1 target=$2
venv=$target/python/venv
export CARGO_TARGET_DIR=$target/python PYTHONDONTWRITEBYTECODE=1

# Made anew when the list has changed. Prints what failed.
environment() {
    local made=$venv/made-of
    cmp -s requirements-dev.txt "$made" && return
    rm -rf "$venv"
    mkdir -p "$target/python"
    python3 -m venv "$venv" >"$target/python/venv.log" 2>&1 \
        && "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements-dev.txt \
            >>"$target/python/venv.log" 2>&1 \
        && cp requirements-dev.txt "$made" && return
    cat "$target/python/venv.log" >&2
    return 1
}

wheel() {
    rm -f "$target"/wheels/latticed-*.whl
    "$venv/bin/maturin" build --quiet --locked --release --out "$target/wheels"
    ls "$target"/wheels/latticed-*.whl
}

case $verb in
    wheel)
        environment
        wheel
        ;;
    test)
        if ! environment; then
            echo "skipped: the tests of the Python package: no virtual environment with maturin and mypy" >&2
            [ -z "${CI:-}" ]
            exit
        fi
        "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --force-reinstall "$(wheel)"
        (cd tests && "$venv/bin/python" -m unittest)
        # From elsewhere, so that what is checked is what was installed.
        cd tests
        mypy=("$venv/bin/mypy" --no-error-summary --config-file ../pyproject.toml --cache-dir "$target/python/mypy")
        "${mypy[@]}" -p latticed
        "${mypy[@]}" ./*.py
        "$venv/bin/python" -m mypy.stubtest --mypy-config-file ../pyproject.toml latticed
        ;;
    check)
        cargo fmt --check
        # No interpreter is needed for that.
        export PYO3_NO_PYTHON=1 PYO3_BUILD_EXTENSION_MODULE=1
        cargo clippy --quiet --locked -- -D warnings
        ;;
    *)
        echo "package.sh: $verb is none of wheel, test, check" >&2
        exit 2
        ;;
esac

#!/usr/bin/env bash
# Fuzzes targets, one after the other, each for FUZZ_SECONDS (600), and puts what it takes to cover what they reached,
# minimised, into their corpora.
#
#   tests/fuzz/fuzz.sh                    all targets
#   tests/fuzz/fuzz.sh engine config      these
#
# Needs cargo-fuzz (cargo install cargo-fuzz) and no other toolchain than the stable one. Targets over shared memory run
# with AddressSanitizer. A broken promise ends the run: its input is under FUZZ_OUT/artifacts.
set -euo pipefail
cd "$(dirname "$0")"

seconds="${FUZZ_SECONDS:-600}"
out="${FUZZ_OUT:-${CARGO_TARGET_DIR:-../../target}/fuzz}"
mkdir -p "$out"
out="$(cd "$out" && pwd)"
# What tests/corpus.rs allows, less some room for regressions.
max_files=190
max_bytes=280000

sanitizer() {
    case "$1" in
        ring | segment | segment_mutated | clients) echo address ;;
        *) echo none ;;
    esac
}

# Prints the program of a target, built.
program() {
    local kind triple
    kind="$(sanitizer "$1")"
    triple="$(rustc -vV | sed -n 's/^host: //p')"
    # ASan is not a stable flag of the compiler; it works all the same.
    if [[ "$kind" == address ]]; then export RUSTC_BOOTSTRAP=1; fi
    CARGO_TARGET_DIR="$out/$kind" \
        cargo fuzz build --fuzz-dir fuzz --target "$triple" --sanitizer "$kind" "$1" >&2
    echo "$out/$kind/$triple/release/$1"
}

# Leaves in corpus/TARGET the seeds, the regressions, and a file for each edge of the code that no other one reaches; the
# smallest of them if that is too much.
minimise() {
    local target="$1" program="$2" merged="$out/merged/$1" files=0 bytes=0 file size
    rm -rf "$merged" && mkdir -p "$merged"
    "$program" -merge=1 -set_cover_merge=1 -use_counters=0 -timeout=20 -max_len=16384 "$merged" "corpus/$target" "$out/found/$target"
    find "corpus/$target" -type f ! -name 'seed-*' ! -name 'regression-*' -delete
    for file in "corpus/$target"/*; do
        files=$((files + 1)) bytes=$((bytes + $(stat -c %s "$file")))
        rm -f "$merged/$(sha1sum <"$file" | cut -d' ' -f1)"
    done
    while read -r size file; do
        files=$((files + 1)) bytes=$((bytes + size))
        if ((files > max_files || bytes > max_bytes)); then break; fi
        cp "$file" "corpus/$target/"
    done < <(find "$merged" -type f -printf '%s %p\n' | sort -n)
}

command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
targets=("$@")
if ((${#targets[@]} == 0)); then
    for source in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi
for target in "${targets[@]}"; do
    echo "=== $target: $seconds s ==="
    built="$(program "$target")"
    mkdir -p "$out/found/$target" "$out/artifacts/$target"
    "$built" "$out/found/$target" "corpus/$target" -max_total_time="$seconds" -max_len=16384 -timeout=20 \
        -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="$out/artifacts/$target/"
    minimise "$target" "$built"
done

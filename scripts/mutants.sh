#!/usr/bin/env bash
# The mutation score of the crates that everything rests on: cargo-mutants changes them, one small change at a time, and
# their own tests must notice. What is not mutated, and why, is in .cargo/mutants.toml.
#
#   scripts/mutants.sh                      crdt, wire and engine, in full: hours
#   scripts/mutants.sh crdt                 one of them
#   scripts/mutants.sh engine -- --shard 0/8 --shuffle     further options for cargo-mutants: a sample
#
# Needs cargo-mutants (cargo install cargo-mutants --locked). Works on a copy of the tree; results are in
# target/mutants/<crate>/mutants.out, where missed.txt names the survivors. The last line of each crate is
#   <crate>: caught C, missed M, timeout T, unviable U: score S %
# where a timeout counts as caught: the change made a test hang.
set -euo pipefail
cd "$(dirname "$0")/.."

crates=()
while (($#)) && [[ $1 != -- ]]; do crates+=("$1"); shift; done
if (($#)); then shift; fi
((${#crates[@]})) || crates=(crdt wire engine)

# Speed for each mutant is everything: no debug information, little rebuilt, no shrinking of what failed. One seed, so
# that a run can be repeated.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_INCREMENTAL=1
export PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_RNG_SEED=1
unset CARGO_TARGET_DIR

# The tests that are asked. The left-out ones are the slow ones: they could only raise the score.
tests_of() {
    case $1 in
        crdt) echo --lib --test=add_wins --test=laws --test=vector ;;
        wire) echo --lib --tests ;;
        engine) echo --lib --tests ;;
        *) echo "no such crate: $1 (crdt, wire, engine)" >&2; return 1 ;;
    esac
}

lines() { grep -c . "$1" || true; }

for crate in "${crates[@]}"; do
    options=()
    for test in $(tests_of "$crate"); do options+=("--cargo-arg=$test"); done
    out=target/mutants/$crate
    mkdir -p "$out"
    # It fails when there are survivors; the score says more.
    cargo mutants --package "lattice-$crate" --output "$out" "${options[@]}" "$@" || true
    results=$out/mutants.out
    caught=$(lines "$results/caught.txt") missed=$(lines "$results/missed.txt")
    timeout=$(lines "$results/timeout.txt") unviable=$(lines "$results/unviable.txt")
    score=$(awk -v c=$((caught + timeout)) -v m="$missed" 'BEGIN { printf "%.1f", c + m ? 100 * c / (c + m) : 0 }')
    echo "$crate: caught $caught, missed $missed, timeout $timeout, unviable $unviable: score $score %"
done

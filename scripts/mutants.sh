#!/usr/bin/env bash
# The mutation score of the crates that everything rests on: cargo-mutants changes them, one small change at a time, and
# their own tests must notice. What is not mutated, and why, is in .cargo/mutants.toml.
#
#   scripts/mutants.sh                      crdt, wire and engine, in full: hours
#   scripts/mutants.sh crdt                 one of them
#   scripts/mutants.sh engine -- --shard 0/8              further options for cargo-mutants: a sample
#
# Twice: first the quick tests are asked, then the rest, of what the quick ones did not notice. Works on a copy of the tree;
# results are in target/mutants/<crate>/mutants.out, where missed.txt names the survivors. The last line of each crate is
#   <crate>: caught C, missed M, timeout T, unviable U: score S %
# A timeout counts as caught: the change made a test hang. Needs cargo-mutants (cargo install cargo-mutants --locked).
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

# Those that take no more than a second each, compiled without optimisation.
quick_tests() {
    case $1 in
        crdt) echo --lib --test=add_wins --test=laws --test=vector ;;
        wire) echo --lib --tests ;;
        engine) echo --lib --test=local --test=frames --test=staged --test=syncs --test=dropping \
            --test=publishing ;;
        *) echo "no such crate: $1 (crdt, wire, engine)" >&2; return 1 ;;
    esac
}

# mutate <crate> <tests> <options...>. It fails when there are survivors; the score says more.
mutate() {
    local crate=$1 tests=() test
    for test in $2; do tests+=("--cargo-arg=$test"); done
    shift 2
    cargo mutants --package "lattice-$crate" --output "target/mutants/$crate" "${tests[@]}" "$@" || true
}

lines() { grep -c . "target/mutants/$1/mutants.out/$2.txt" || true; }

for crate in "${crates[@]}"; do
    tests=$(quick_tests "$crate")
    rm -rf "target/mutants/$crate"
    mkdir -p "target/mutants/$crate"
    CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_TEST_OPT_LEVEL=0 mutate "$crate" "$tests" "$@"
    caught=$(lines "$crate" caught) unviable=$(lines "$crate" unviable)
    if (($(lines "$crate" missed) + $(lines "$crate" timeout))); then
        mutate "$crate" "--lib --tests" --iterate "$@"
        caught=$((caught + $(lines "$crate" caught))) unviable=$((unviable + $(lines "$crate" unviable)))
    fi
    missed=$(lines "$crate" missed) timeout=$(lines "$crate" timeout)
    score=$(awk -v c=$((caught + timeout)) -v m="$missed" 'BEGIN { printf "%.1f", c + m ? 100 * c / (c + m) : 0 }')
    echo "$crate: caught $caught, missed $missed, timeout $timeout, unviable $unviable: score $score %"
done

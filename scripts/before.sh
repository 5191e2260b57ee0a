#!/usr/bin/env bash
# Builds daemon and latticectl of an earlier commit: before.sh COMMIT DIR leaves them in DIR/release.
set -euo pipefail
cd "$(dirname "$0")/.."

commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "there is no commit $1" >&2; exit 2; }
directory=$2
if [ "$(cat "$directory/commit" 2>/dev/null)" = "$commit" ]; then
    exit 0
fi
mkdir -p "$directory"
git worktree prune
git worktree remove --force "$directory/source" 2>/dev/null || true
git worktree add --detach "$directory/source" "$commit"
trap 'git worktree remove --force "$directory/source"' EXIT
(cd "$directory/source" && cargo build --release -p lattice-control --bins --target-dir "$directory")
echo "$commit" > "$directory/commit"

#!/usr/bin/env bash
# Times `make demo` in a fresh clone with a data directory of its own, and writes benchmarks/results/demo.md.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet "$here" "$work/pgretrieval"
cd "$work/pgretrieval"
export PGRETRIEVAL_DATA_DIR="$work/data"
SECONDS=0
make demo >"$work/printed" 2>"$work/errors" || { cat "$work/errors" >&2; exit 1; }
spent=$SECONDS
mkdir -p "$here/benchmarks/results"
{
    echo "# make demo"
    echo
    echo "\`bash benchmarks/demo.sh\`: a fresh clone, no \`.venv\`, an empty data directory."
    echo
    .venv/bin/python -c "from benchmarks.machine import as_lines, describe; print(as_lines(describe()))"
    echo
    echo "Wall time, set-up included: ${spent} s. It printed:"
    echo
    echo '```'
    sed -e "s|$work/data|DATA-DIRECTORY|g" -e 's/[[:space:]]*$//' "$work/printed"
    echo '```'
} >"$here/benchmarks/results/demo.md"
cat "$here/benchmarks/results/demo.md"

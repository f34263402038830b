#!/usr/bin/env bash
# Peak memory of a clip of 50 frames against one of 200: it must not grow with the length.
#
#   benchmarks/memory.sh [WEIGHTS]     (default: random:vitti16@0)
#
# Renders both clips at 480x880 into a temporary folder and prints what each run's results.json says.
set -euo pipefail
cd "$(dirname "$0")/.."
weights=${1:-random:vitti16@0}
cargo build --release --quiet
propagate=${CARGO_TARGET_DIR:-target}/release/propagate
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

peak() { # FRAMES
  "$propagate" sample --out "$work/$1" --benchmark davis --clips 1 --frames "$1" --size 480x880 2>/dev/null
  "$propagate" davis --data "$work/$1/davis" --weights "$weights" --out "$work/out$1" --json --quiet |
    sed -n 's/.*"peak_memory_bytes": \([0-9]*\).*/\1/p'
}

short=$(peak 50)
long=$(peak 200)
echo "weights $weights, 480x880"
echo "50 frames:  $((short >> 20)) MiB"
echo "200 frames: $((long >> 20)) MiB"
echo "growth:     $(((long - short) * 1000 / short)) per mille"

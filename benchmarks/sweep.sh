#!/usr/bin/env bash
# What kept features save: a run that keeps them, one that uses them, a sweep of six settings, and
# the six settings as six runs.
#
#   benchmarks/sweep.sh DAVIS SEQUENCE [WEIGHTS [ARGUMENTS...]]     (default: random:vitti16@0)
#
# Prints wall and CPU seconds of each; CPU seconds move less where other work shares the machine.
# PROPAGATE names a program built before; else it is built now.
set -euo pipefail
data=$(realpath "$1")
sequence=$2
weights=${3:-random:vitti16@0}
more=("${@:4}")
cd "$(dirname "$0")/.."
propagate=${PROPAGATE:-}
if [ -z "$propagate" ]; then
  cargo build --release --quiet
  propagate=${CARGO_TARGET_DIR:-target}/release/propagate
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
TIMEFORMAT='%R %U %S'

run() { # OUT ARGUMENTS...
  local out=$1
  shift
  "$propagate" davis --data "$data" --sequences "$sequence" --weights "$weights" \
    --out "$work/$out" --quiet --overlays none --report none "${more[@]}" "$@" >"$work/$out.txt"
}
timed() { # LABEL COMMAND...
  local label=$1 seconds
  shift
  seconds=$({ time "$@" 2>&3; } 3>&2 2>&1)
  awk -v label="$label" '{ printf "%-42s %7.1f s wall %7.1f s CPU\n", label, $1, $2 + $3 }' <<<"$seconds"
}
six() {
  for k in 5 7 10; do
    for r in 12 20; do run "six-$k-$r" --topk "$k" --radius "$r"; done
  done
}

echo "$sequence, $weights, preset cropmae ${more[*]}"
timed "plain run" run plain
timed "run that keeps features" run keeping --cache "$work/kept"
timed "run that uses them, top-k 5, radius 12" run using --cache "$work/kept" --topk 5 --radius 12
timed "sweep of six" run sweep --sweep topk=5,7,10 radius=12,20
timed "the same as six runs" six
echo "features: $(du -k --apparent-size "$work"/kept/*/* | cut -f1) KiB"

#!/bin/bash
# The whole measurement on a GPU in one call of under nine minutes; leaves a table in Markdown.
#
#   benchmarks/gpu.sh collect DIR             builds what is run, into DIR: on a machine without a GPU
#   benchmarks/gpu.sh run [OPTION…]           runs it, on the machine with the GPU; cargo is not needed
#       --binaries DIR                        what `collect` left [binaries]
#       --out DIR                             where gpu.md and the logs go [gpu-results]
#       --device DEVICE                       [cuda]
#       --seconds N                           parts that would begin later are left out [480]
#       --tiny                                everything small: does the script run through? With
#                                             --device cpu also without a GPU
#
# Parts, the most wanted first: tests against the CPU, encoder, start to table, memory and growth,
# affinity, training. PyTorch is measured beside them where python3 has it. A part that fails says so
# in the table and the others go on.
set -uo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

# ------------------------------------------------------------------------------------------ collect

# The program that `cargo bench --no-run` or `cargo test --no-run` built under this name.
built() {
    ls -t "$target/$1"-* 2> /dev/null | grep -v '\.d$' | head -1
}

collect() {
    set -e
    local out=${1:?collect needs a folder} root
    mkdir -p "$out"
    root=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
    target=$root/cuda/x86_64-unknown-linux-gnu/release/deps
    .ci/cuda build --bin propagate --bench encoder_gpu --bench training_step
    cp "$root/cuda/x86_64-unknown-linux-gnu/release/propagate" "$out/propagate"
    .ci/cuda test --no-run --lib --test cuda
    for name in encoder_gpu training_step cuda cropmae; do cp "$(built $name)" "$out/$name"; done
    # SASS of the two newest data-centre cards, PTX for what comes after them
    "$root/cuda-toolkit/bin/nvcc" -O3 -std=c++17 -gencode=arch=compute_80,code=sm_80 \
        '-gencode=arch=compute_90,code=[sm_90,compute_90]' -L"$root/cuda-toolkit/lib" -cudart static \
        -o "$out/ladder" benchmarks/affinity/ladder.cu -ldl
    ls -l "$out"
}

# ---------------------------------------------------------------------------------------------- run

binaries=binaries out=gpu-results device=cuda budget=480 tiny=

# part NAME LIMIT COMMAND…: runs it, its output into NAME.log; false where it failed or time is up.
part() {
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    if [ $SECONDS -ge "$budget" ]; then
        note "$name: left out, $SECONDS s have passed"
        return 1
    fi
    echo "== $name ($SECONDS s): $*" >&2
    printf '$ %s\n' "$*" > "$out/$name.log"
    local left=$((budget + 50 - SECONDS))
    timeout $((limit < left ? limit : left)) "$@" >> "$out/$name.log" 2>&1
    local status=$?
    echo "($((SECONDS - start)) s, status $status)" >> "$out/$name.log"
    [ $status = 0 ] || note "$name: failed with $status; see $name.log"
    return $status
}

say() { printf '%s\n' "$@" >> "$out/gpu.md"; }
note() { say "" "**$1**" && echo "$1" >&2; }
section() { say "" "## $1" ""; }
rows() { grep '^|' "$out/$1.log" >> "$out/gpu.md"; }
block() {
    say '```'
    grep -v '^\$ ' "$out/$1.log" >> "$out/gpu.md"
    say '```'
}
on_gpu() { [[ $device == cuda* ]]; }
torch() { python3 -c 'import torch' 2> /dev/null; }

# Memory used on the card, in MiB, sampled into a file until the watcher is killed; `most` is the peak
# above what was used before.
watch_memory() {
    : > "$out/$1.memory"
    on_gpu && command -v nvidia-smi > /dev/null || return 0
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 50 > "$out/$1.memory" 2> /dev/null &
    watcher=$!
    sleep 0.5
}
most() {
    [ -z "${watcher:-}" ] || { kill "$watcher" && wait "$watcher"; } 2> /dev/null
    watcher=
    awk 'NR == 1 { first = $1 } $1 > peak { peak = $1 } END { if (NR) print peak - first " MiB"; else print "not sampled" }' \
        "$out/$1.memory"
}

# A field of a run's results.json: `value FOLDER a.b.c`.
value() {
    python3 - "$1/results.json" "$2" << 'PY'
import json, sys
found = json.load(open(sys.argv[1]))
for key in sys.argv[2].split("."):
    found = found[key]
print(f"{found:.2f}" if isinstance(found, float) else found)
PY
}

# A DAVIS root with the clips of another, again and again under new names.
repeated() {
    local from=$1 to=$2 times=$3 clip n
    mkdir -p "$to/ImageSets/2017" "$to/JPEGImages/480p" "$to/Annotations/480p"
    for n in $(seq "$times"); do
        while read -r clip; do
            ln -sfn "$(realpath "$from")/JPEGImages/480p/$clip" "$to/JPEGImages/480p/$clip-$n"
            ln -sfn "$(realpath "$from")/Annotations/480p/$clip" "$to/Annotations/480p/$clip-$n"
            echo "$clip-$n"
        done < "$from/ImageSets/2017/val.txt"
    done > "$to/ImageSets/2017/val.txt"
}

# A DAVIS root with one clip of so many frames: those of another's first clip, forth and back.
long() {
    local from=$1 to=$2 count=$3 clip kind files step length n
    clip=$(head -1 "$from/ImageSets/2017/val.txt")
    mkdir -p "$to/ImageSets/2017"
    echo long > "$to/ImageSets/2017/val.txt"
    for kind in JPEGImages Annotations; do
        mkdir -p "$to/$kind/480p/long"
        files=("$(realpath "$from")/$kind/480p/$clip"/*)
        length=${#files[@]}
        for n in $(seq 0 $((count - 1))); do
            step=$((n % (2 * length - 2)))
            [ $step -lt "$length" ] || step=$((2 * length - 2 - step))
            ln -sf "${files[$step]}" "$(printf '%s/%05d.%s' "$to/$kind/480p/long" "$n" "${files[$step]##*.}")"
        done
    done
}

tests() {
    section "Against the CPU"
    on_gpu && [ -x "$binaries/cuda" ] || { say "Needs a GPU, and the programs cuda and cropmae." && return; }
    # What is emulated elsewhere needs the sources.
    part tests 150 env REQUIRE_GPU=1 PROPAGATE="$binaries/propagate" "$binaries/cuda" --skip emulated
    part operations 60 env REQUIRE_GPU=1 "$binaries/cropmae" autoencoder::
    say "$(grep -h '^test result\|FAILED$' "$out/tests.log" "$out/operations.log" || echo 'no result')"
}

encoder() {
    section "Encoder"
    part encoder 120 "$binaries/encoder_gpu" "$arch" "$device" "$size" "$steps" $batches && rows encoder
    torch || { say "" "PyTorch is not here." && return; }
    say ""
    part encoder-torch 90 python3 benchmarks/encoder_gpu.py "$arch" "$device" "$size" "$steps" $batches &&
        rows encoder-torch
}

# One evaluation, a row of a table: NAME DATA DTYPE [OPTION…].
evaluated() {
    local name=$1 data=$2 dtype=$3
    shift 3
    watch_memory "$name"
    rm -rf "$out/$name"
    part "$name" 120 "$binaries/propagate" davis --data "$data" --weights "random:$arch@0" --device "$device" \
        --dtype "$dtype" --size "$size" --out "$out/$name" --quiet "$@"
    local status=$? peak
    peak=$(most "$name")
    [ $status = 0 ] || return
    say "| $name | $(value "$out/$name" dataset.frames) | $(value "$out/$name" provenance.wall_seconds) s | $peak | $(value "$out/$name" provenance.encoder) | $(value "$out/$name" 'metrics.J&F-Mean') |"
}

start_to_table() {
    section "Start to table"
    say "Rendered clips, each of them several times under other names; target 15 s in f32, 10 s in bf16 for 2,000 frames." ""
    say "| run | frames | wall | peak on the device | encoder | J&F |" "| --- | --: | --: | --: | --- | --: |"
    # The first run also pays for the driver's translation of the kernels, once a machine.
    for dtype in f32 bf16 $([ "$device" = cpu ] || echo tf32 f32-again); do
        evaluated "davis-$dtype" "$scratch/load" "${dtype%-again}"
    done
    evaluated davis-tensor "$scratch/load" f32 --encoder tensor
}

growth() {
    section "Memory and growth"
    say "One clip, forth and back; target 2 GB on the device whatever the length." ""
    say "| run | frames | wall | peak on the device | encoder | J&F |" "| --- | --: | --: | --: | --- | --: |"
    for frames in $lengths; do
        long "$scratch/rendered/davis" "$scratch/long-$frames" "$frames"
        evaluated "long-$frames" "$scratch/long-$frames" f32
    done
}

affinity() {
    section "Affinity"
    on_gpu && [ -x "$binaries/ladder" ] || { say "Needs a GPU, and the program ladder." && return; }
    part affinity 90 "$binaries/ladder" "$out/affinity.json" && block affinity
    torch || return
    part affinity-torch 60 python3 benchmarks/affinity/reference.py "$out/affinity.json" && block affinity-torch
}

training() {
    section "Training step"
    for run in $trainings; do
        local settings=(${run//,/ })
        part "training-$run" 60 "$binaries/training_step" "${settings[@]:0:2}" "$steps" "$device" "${settings[2]}" &&
            block "training-$run"
        torch || continue
        part "training-torch-$run" 60 python3 benchmarks/training_step.py "${settings[@]:0:2}" "$steps" "$device" "${settings[2]}" &&
            block "training-torch-$run"
    done
}

run() {
    while [ $# -gt 0 ]; do
        case $1 in
            --binaries) binaries=$2 && shift ;;
            --out) out=$2 && shift ;;
            --device) device=$2 && shift ;;
            --seconds) budget=$2 && shift ;;
            --tiny) tiny=yes ;;
            *) usage ;;
        esac
        shift
    done
    binaries=$(realpath "$binaries") || exit 1
    mkdir -p "$out" && out=$(realpath "$out") && scratch=$(mktemp -d) || exit 1
    trap 'rm -rf "$scratch"' EXIT
    export CUDA_CACHE_PATH=${CUDA_CACHE_PATH:-$scratch/ptx} # else, without a home, each program assembles all kernels anew
    arch=vits16 size=480x880 steps=15 batches="1 2 4 8 16" lengths="25 100 400" clips=3 frames=67 times=10 frame=480x854
    trainings="vits16,256,f32 vits16,256,bf16 vits16,1024,bf16"
    if [ -n "$tiny" ]; then
        arch=vitti16 size=96x160 steps=2 batches="1 2" lengths="4 9" clips=2 frames=4 times=2 frame=96x160
        trainings="vitti16,2,f32"
    fi
    {
        echo "# Measured on a GPU"
        echo
        on_gpu && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2> /dev/null
        echo
        echo "$(nproc) cores of the host; $("$binaries/propagate" --version); $device${tiny:+, tiny}."
    } > "$out/gpu.md"
    part render 120 "$binaries/propagate" sample --out "$scratch/rendered" --benchmark davis --clips $clips \
        --frames $frames --size $frame || exit 1
    repeated "$scratch/rendered/davis" "$scratch/load" $times
    tests
    encoder
    start_to_table
    growth
    affinity
    training
    say "" "$SECONDS s in all."
    echo "$out/gpu.md" >&2
}

case ${1:-} in
    collect) collect "${@:2}" ;;
    run) run "${@:2}" ;;
    *) usage ;;
esac

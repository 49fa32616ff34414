#!/usr/bin/env bash
# Checks and measurements on a GPU:
#   benchmarks/gpu.sh [check|bench|growth|pipeline|retrain|search|collapse] [--resume DIR]
#   without a part: check, bench, pipeline and a short search; below 10 minutes.
#   bench: a search step against the textbook form; growth: how it grows with the search's sizes.
#   pipeline: a search epoch with and without CUDA graphs, and what of it the data take.
#   retrain: images a second of a 20-cell network, eager and through torch.compile (minutes).
#   search: the paper's whole CIFAR-10 search (50 epochs), first order, in resumable pieces.
#           Needs ARCHGRAD_DATA; --resume DIR goes on with the run in DIR (its checkpoints/last.pt,
#           about 16 MB, is all the state). PIECE_SECONDS limits a piece (default 540).
#   collapse: benchmarks/collapse.py at full size (s2, s4, nas-bench-201; all methods, SEEDS seeds,
#           default 3), in pieces as the search: call it again, with --resume DIR if DIR is elsewhere.
#           Results in DIR/results, unfinished searches in DIR/work; JOBS searches at a time, ONLY
#           those whose name contains it (s2-darts-0).
# Environment: PYTHON (default python3), DEVICE (default cuda), OUT (default benchmarks/results; of a
# dry run a new temporary folder).
# Dry run of everything at a tiny size:  DEVICE=cpu TINY=1 benchmarks/gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "${TINY:-}" ]; then OUT="${OUT:-$(mktemp -d)}"; fi
PYTHON="${PYTHON:-python3}" DEVICE="${DEVICE:-cuda}" OUT="${OUT:-benchmarks/results}"
export PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}" ARCHGRAD_TEST_DEVICE="$DEVICE"
mkdir -p "$OUT"
part="${1:-all}"
case "$part" in --*) part=all ;; *) shift || true ;; esac
resume=""
if [ "${1:-}" = "--resume" ]; then resume="${2:?--resume needs a folder}"; fi

steps=(--steps 30 --warmup 5 --seconds 200) size=()
if [ -n "${TINY:-}" ]; then steps=(--steps 1 --warmup 1 --turns 1) size=(--quick); fi

check() { "$PYTHON" -m pytest -q -m "gpu and not slow" -p no:cacheprovider; }

bench() { "$PYTHON" benchmarks/bench.py --device "$DEVICE" "${steps[@]}" "${size[@]}" --out "$OUT"; }

growth() { "$PYTHON" benchmarks/growth.py --device "$DEVICE" "${size[@]}" --out "$OUT"; }

gpu() {  # the part $1 of gpu.py
    local tiny=()
    if [ -n "${TINY:-}" ]; then
        tiny=(--channels 4 --cells 3 --batch-size 8 --image-size 8 --steps 6)
    fi
    "$PYTHON" benchmarks/gpu.py "$1" --device "$DEVICE" "${tiny[@]}" --out "$OUT/$1-$DEVICE.json"
}

pipeline() { gpu pipeline; }

retrain() { gpu retrain; }

search() {
    if [ -z "${ARCHGRAD_DATA:-}" ] && [ -z "${TINY:-}" ]; then
        echo "search: not measured (ARCHGRAD_DATA is not set: the folder that holds cifar10/)"
        return
    fi
    local run="${resume:-$OUT/search-$DEVICE}" options=(--data cifar10 --data-root "${ARCHGRAD_DATA:-}")
    if [ -n "${TINY:-}" ]; then
        options=(--data digits --subset 100 --channels 2 --cells 3 --nodes 1 --batch-size 20)
    fi
    local command=("$PYTHON" -m archgrad search)
    if [ -f "$run/config.yaml" ]; then
        command+=(--resume "$run")
    else
        command+=("${options[@]}" --device "$DEVICE" --epochs "${EPOCHS:-50}" --out "$run")
    fi
    # a piece that runs out of time leaves a checkpoint: call again with --resume
    timeout "${PIECE_SECONDS:-540}" "${command[@]}" || [ $? -eq 124 ]
    tail -n 1 "$run/metrics.jsonl"
}

collapse() {
    if [ -z "${ARCHGRAD_DATA:-}" ] && [ -z "${TINY:-}" ]; then
        echo "collapse: not measured (ARCHGRAD_DATA is not set: the folder that holds cifar10/)"
        return
    fi
    local run="${resume:-$OUT/collapse-$DEVICE}" size=full
    if [ -n "${TINY:-}" ]; then size=tiny; fi
    local command=("$PYTHON" benchmarks/collapse.py --size "$size" --out "$run/results")
    timeout "${PIECE_SECONDS:-540}" "${command[@]}" --work "$run/work" --device "$DEVICE" \
        --seeds "${SEEDS:-3}" --jobs "${JOBS:-1}" --only "${ONLY:-}" || [ $? -eq 124 ]
    "${command[@]}" --report --page "$run/report.md" > "$run/report.md"
}

case "$part" in
    all) check; bench; pipeline
        PIECE_SECONDS="${PIECE_SECONDS:-240}" EPOCHS="${EPOCHS:-2}" search
        if [ -n "${TINY:-}" ]; then growth; retrain; SEEDS=1 JOBS=2 collapse; fi ;;
    check | bench | growth | pipeline | retrain | search | collapse) "$part" ;;
    *) echo "gpu.sh: part \"$part\" is not known; known: bench, check, collapse, growth, pipeline," \
        "retrain, search" >&2; exit 2 ;;
esac

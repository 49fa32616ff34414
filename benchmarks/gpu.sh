#!/usr/bin/env bash
# Checks and measurements on a GPU:
#   benchmarks/gpu.sh [PART] [--resume DIR]
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
#   compare: 50-epoch CIFAR-10 searches of METHODS (default darts, darts_2nd, pc_darts, drnas), SEEDS
#           seeds (default 3), on darts-cnn at the paper's size; one after the other.
#   nas201: the same on nas-bench-201 (16 channels, 5 cells a stage), and what its table says of the
#           found cells, from ARCHGRAD_DATA/nas-bench-201.
#   evaluate: the retraining of DARTS_V2 by recipe darts-cifar10 (EPOCHS epochs, default 600).
#   scaling: benchmarks/scaling.py, a search epoch on one GPU against all of this machine.
#   recurrent: benchmarks/recurrent.py, a step of a language model against its textbook forms.
#   ptb-search: the paper's search of a recurrent cell by recipe darts-ptb-search (EPOCHS epochs,
#           default 50; METHODS, default darts; SEEDS seeds, default 3).
#   ptb-evaluate: retrainings by recipe darts-ptb (EPOCHS epochs, default 8000; HIDDEN, default 850)
#           of DARTS_RNN_V2 and of the cell in the file FOUND, where that is given.
#   These five go on where they stopped when they are called again, and leave after each piece of
#   PIECE_SECONDS (default 540) what they found so far in OUT/PART-DEVICE.json, for
#   benchmarks/published.py --report, and all their state in OUT/PART-DEVICE.tar.*: files of at most
#   15 MB, together about 17 MB (compare), 15 MB (nas201; of the one search that is not over),
#   31 MB (evaluate), 20 MB (ptb-search; of the one search that is not over) and 2 to 4 times the
#   weights of what is not over (ptb-evaluate: weights and best weights, once averaged both twice; 92
#   MB each with HIDDEN=850, 13 MB with HIDDEN=220). --resume DIR works in DIR, which is unpacked
#   from DIR.tar.* if it is not there.
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

scaling() {  # on the CPU of two processes; with one GPU there is nothing to compare
    local count=2
    if [ "$DEVICE" != cpu ]; then count="$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')"; fi
    if [ "$count" -lt 2 ]; then echo "scaling: not measured (one GPU)"; return; fi
    local tiny=() data=(--data digits --channels 16 --batch-size 96)
    if [ -n "${ARCHGRAD_DATA:-}" ]; then data=(--data cifar10 --data-root "$ARCHGRAD_DATA" --batch-size 256); fi
    if [ -n "${TINY:-}" ]; then
        tiny=(--rounds 1 --epochs 2) data=(--data digits --subset 60 --channels 2 --cells 3 --batch-size 10)
    fi
    "$PYTHON" benchmarks/scaling.py --device "$DEVICE" --processes 1 "$count" "${tiny[@]}" --out "$OUT" -- "${data[@]}"
}

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

unpacked() {  # the folder of the part $1, from the pieces that an earlier call left
    local run="${resume:-$OUT/$1-$DEVICE}"
    mkdir -p "$(dirname "$run")"
    if [ ! -d "$run" ] && [ -f "$run.tar.aa" ]; then
        cat "$run".tar.* | tar -xf - -C "$(dirname "$run")"
    fi
    echo "$run"
}

left() {  # what the part $1 in the folder $2 has come to, and its state in small files
    "$PYTHON" benchmarks/published.py "$1" "$2" --device "$DEVICE" --out "$OUT"
    find "$2" -name last.pt -execdir rm -f previous.pt \;
    rm -f "$OUT/$(basename "$2")".tar.*
    tar -cf - -C "$(dirname "$2")" "$(basename "$2")" | split -b 15m - "$OUT/$(basename "$2").tar."
}

piece() {  # a command, until the deadline: one that runs out of time goes on in the next call
    local seconds=$((deadline - SECONDS))
    if [ "$seconds" -gt 0 ]; then
        timeout "$seconds" "$@" || [ $? -eq 124 ] || echo "gpu.sh: failed: $*" >&2
    fi
}

searches() {  # of the part $1, METHODS or else $2, with the options that follow
    local run method seed one name="$1" methods="$2"; shift 2
    run="$(unpacked "$name")" deadline=$((SECONDS + ${PIECE_SECONDS:-540}))
    mkdir -p "$run"
    for seed in $(seq 0 $((${SEEDS:-3} - 1))); do
        for method in ${METHODS:-$methods}; do
            one="$run/$method/seed-$seed"
            if [ -f "$one/config.yaml" ] && [ ! -f "$one/architecture.json" ]; then
                piece "$PYTHON" -m archgrad search --resume "$one"
            elif [ ! -f "$one/config.yaml" ]; then
                piece "$PYTHON" -m archgrad search "$@" --method "$method" \
                    --seed "$seed" --device "$DEVICE" --out "$one"
            fi
            if [ -f "$one/architecture.json" ]; then rm -rf "$one/checkpoints"; fi
        done
    done
    left "$name" "$run"
}

of_images() {  # the searches of the part $1 with its own options
    local name="$1" tiny=(--cells 3 --nodes 2); shift
    if [ -z "${ARCHGRAD_DATA:-}" ] && [ -z "${TINY:-}" ]; then
        echo "$name: not measured (ARCHGRAD_DATA is not set: the folder that holds cifar10/)"
        return
    fi
    local options=(--data cifar10 --data-root "${ARCHGRAD_DATA:-}" --epochs "${EPOCHS:-50}" "$@")
    if [ -n "${TINY:-}" ]; then
        if [ "$name" = nas201 ]; then tiny=(--cells 1); fi
        options=(--data digits --subset 100 --batch-size 20 --epochs "${EPOCHS:-1}" "$@")
        options+=(--channels 8 "${tiny[@]}")
    fi
    searches "$name" "darts darts_2nd pc_darts drnas" "${options[@]}"
}

compare() { of_images compare --space darts-cnn; }

nas201() { of_images nas201 --space nas-bench-201 --cells 5; }

evaluate() {
    if [ -z "${ARCHGRAD_DATA:-}" ] && [ -z "${TINY:-}" ]; then
        echo "evaluate: not measured (ARCHGRAD_DATA is not set: the folder that holds cifar10/)"
        return
    fi
    local run options=(--data cifar10 --data-root "${ARCHGRAD_DATA:-}")
    if [ -n "${TINY:-}" ]; then
        options=(--data digits --subset 100 --any-image-size --channels 4 --cells 3 --cutout 2)
        options+=(--crop-padding 1 --batch-size 20 --auxiliary-weight 0)
    fi
    run="$(unpacked evaluate)"
    local command=("$PYTHON" -m archgrad train --piece-seconds "${PIECE_SECONDS:-540}")
    if [ -f "$run/config.yaml" ]; then
        "${command[@]}" --resume "$run"
    else
        "${command[@]}" DARTS_V2 --recipe darts-cifar10 "${options[@]}" --device "$DEVICE" \
            --epochs "${EPOCHS:-600}" --seeds 1 --out "$run"
    fi
    left evaluate "$run"
}

recurrent() {
    local one sizes=(small paper-search paper-evaluation)
    if [ -n "${TINY:-}" ]; then sizes=(quick); fi
    for one in "${sizes[@]}"; do
        "$PYTHON" benchmarks/recurrent.py --device "$DEVICE" --size "$one" \
            --out "$OUT/recurrent-$one-$DEVICE.json"
    done
}

no_text() {  # whether the text of the part $1 is missing
    if [ -n "${ARCHGRAD_DATA:-}" ] || [ -n "${TINY:-}" ]; then return 1; fi
    echo "$1: not measured (ARCHGRAD_DATA is not set: the folder that holds ptb/)"
}

ptb-search() {
    if no_text ptb-search; then return; fi
    local options=(--recipe darts-ptb-search --data-root "${ARCHGRAD_DATA:-}")
    if [ -n "${TINY:-}" ]; then
        options=(--recipe darts-ptb-search --data grammar --subset 1000 --hidden 4 --nodes 2)
        options+=(--batch-size 5)
    fi
    searches ptb-search darts "${options[@]}" --epochs "${EPOCHS:-50}"
}

ptb-evaluate() {
    if no_text ptb-evaluate; then return; fi
    local run cell one options=(--data-root "${ARCHGRAD_DATA:-}" --hidden "${HIDDEN:-850}")
    if [ -n "${TINY:-}" ]; then
        options=(--data grammar --subset 1000 --hidden 4 --batch-size 5)
    fi
    run="$(unpacked ptb-evaluate)" deadline=$((SECONDS + ${PIECE_SECONDS:-540}))
    mkdir -p "$run"
    for cell in DARTS_RNN_V2 ${FOUND:-}; do
        one="$run/$(basename "$cell" .json)"
        local command=("$PYTHON" -m archgrad train)
        if [ -f "$one/found/seed-0/result.json" ] || [ "$deadline" -le "$SECONDS" ]; then
            continue
        elif [ -f "$one/config.yaml" ]; then
            command+=(--resume "$one")
        else
            command+=("$cell" --recipe darts-ptb "${options[@]}" --device "$DEVICE")
            command+=(--epochs "${EPOCHS:-8000}" --seeds 1 --out "$one")
        fi
        "${command[@]}" --piece-seconds $((deadline - SECONDS))
    done
    left ptb-evaluate "$run"
}

case "$part" in
    all) check; bench; pipeline
        PIECE_SECONDS="${PIECE_SECONDS:-240}" EPOCHS="${EPOCHS:-2}" search
        if [ -n "${TINY:-}" ]; then growth; retrain; scaling; SEEDS=1 JOBS=2 collapse
            SEEDS=1 compare; SEEDS=1 nas201; EPOCHS=2 evaluate
            recurrent; SEEDS=1 EPOCHS=1 ptb-search
            EPOCHS=2 FOUND="$OUT/ptb-search-$DEVICE/darts/seed-0/architecture.json" ptb-evaluate
        fi ;;
    check | bench | growth | pipeline | retrain | search | collapse | compare | nas201 | evaluate | \
        scaling | recurrent | ptb-search | ptb-evaluate) "$part" ;;
    *) echo "gpu.sh: part \"$part\" is not known; known: bench, check, collapse, compare, evaluate," \
        "growth, nas201, pipeline, ptb-evaluate, ptb-search, recurrent, retrain, scaling, search" >&2
        exit 2 ;;
esac

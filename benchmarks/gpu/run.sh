#!/usr/bin/env bash
# Everything about TensorRT that only a GPU can show, in one go: install, build, verify, time; one table at the end.
#
#   benchmarks/gpu/run.sh                          depth-pro on random weights: they cost what trained ones cost
#   WEIGHTS=depth_pro.pt benchmarks/gpu/run.sh     with a checkpoint
#   MODEL=depth-pro-mini benchmarks/gpu/run.sh     a first try, in minutes
#
# TENSORRT: what pip installs for TensorRT itself, with the index that NVIDIA names for it. Left out on a Jetson, where
# JetPack brings it, and on desktop RTX, where the extra `tensorrt` does.
# PYTHON: an interpreter whose torch is a CUDA build; torch is not installed here.
# OUT: where bundles and results go, 12 GB for depth-pro.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
OUT=${OUT:-gpu-results}
MODEL=${MODEL:-depth-pro}
if [ "$MODEL" = depth-pro ]; then WEIGHTS=${WEIGHTS:-random:0}; fi
weights=(${WEIGHTS:+--weights "$WEIGHTS"})
mkdir -p "$OUT"
export EDGEDEPTH_HOME=$PWD/$OUT/home

"$PYTHON" -m venv --system-site-packages "$OUT/venv"
PATH=$PWD/$OUT/venv/bin:$PATH
python -m pip install --quiet -e '.[demo,tensorrt]' pytest pytest-timeout
# shellcheck disable=SC2086
if [ -n "${TENSORRT:-}" ]; then python -m pip install --quiet $TENSORRT; fi
nvidia-smi | tee "$OUT/nvidia-smi.txt" || true
edgedepth doctor | tee "$OUT/doctor.txt"

python -m pytest -m gpu tests/gpu --junitxml "$OUT/tests.xml"

for precision in fp32 fp16; do
    edgedepth export --model "$MODEL" "${weights[@]}" --target tensorrt --"$precision" --out "$OUT/$precision"
    edgedepth build "$OUT/$precision"
    edgedepth verify "$OUT/$precision" "${weights[@]}" --json > "$OUT/verify-$precision.json" || true
done
python benchmarks/gpu/tensorrt_latency.py --model "$MODEL" "${weights[@]}" --out "$OUT" "$OUT/fp32" "$OUT/fp16"

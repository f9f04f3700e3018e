#!/usr/bin/env bash
# Everything about TensorRT that only a GPU can show, in one go: install, test, build, verify, time; one table at the end.
#
#   benchmarks/gpu/run.sh                          depth-pro on random weights: they cost what trained ones cost
#   WEIGHTS=depth_pro.pt benchmarks/gpu/run.sh     with a checkpoint
#   MODEL=depth-pro-mini benchmarks/gpu/run.sh     a first try, in minutes
#
# PYTHON: an interpreter; on a Jetson one that sees JetPack's TensorRT and, for the rows of torch, NVIDIA's torch.
# TENSORRT: what pip installs where no TensorRT is here. By default NVIDIA's package for the driver's CUDA, on x86-64,
#   which fetches the libraries itself; empty: nothing. Without it, desktop RTX is served by the extra `tensorrt`.
# PRECISIONS: "fp32 fp16 int8 fp8" by default; FP8 is for SM 89 and newer.
# CALIB: a calibration set for INT8 and FP8; by default 16 rendered scenes are made one.
# OUT: where bundles and results go; 25 GB for depth-pro.
#
# A step that fails is told and leaves its log, and the next one runs: the table shows what there is. The exit code is
# the number of failed steps.
set -uo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
MODEL=${MODEL:-depth-pro}
PRECISIONS=${PRECISIONS:-fp32 fp16 int8 fp8}
mkdir -p "${OUT:-gpu-results}/logs"
OUT=$(cd "${OUT:-gpu-results}" && pwd)
if [ "$MODEL" = depth-pro ]; then WEIGHTS=${WEIGHTS:-random:0}; fi
weights=(${WEIGHTS:+--weights "$WEIGHTS"})
export EDGEDEPTH_HOME=$OUT/home
failed=0

step() { # NAME COMMAND...: run it with a log of its own
    local name=$1 log=$OUT/logs/$1.log start=$SECONDS
    shift
    if "$@" > "$log" 2>&1; then
        echo "ok      $name, $((SECONDS - start)) s"
    else
        echo "FAILED  $name, $((SECONDS - start)) s: $(tail -n 1 "$log") (all of it: $log)"
        failed=$((failed + 1))
        return 1
    fi
}

verify() { # PRECISION: the figures are wanted of a bundle that fails, too
    edgedepth verify "$OUT/$1" "${weights[@]}" --json > "$OUT/verify-$1.json"
}

describe() { # what the figures depend on; a Jetson's clocks follow its power mode
    uname -a
    nvidia-smi
    nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv
    if command -v nvpmodel; then nvpmodel -q; cat /etc/nv_tegra_release; fi
    edgedepth doctor
}

"$PYTHON" -m venv --system-site-packages "$OUT/venv" || exit 1
PATH=$OUT/venv/bin:$PATH
cuda=$(nvidia-smi 2> /dev/null | sed -n 's/.*CUDA Version: \([0-9]*\).*/\1/p')
step install python -m pip install -e '.[demo,int8,tensorrt]' pytest pytest-timeout || exit 1
if [ "${cuda:-13}" -lt 13 ]; then step cuda-bindings python -m pip install 'cuda-bindings<13'; fi
if ! python -c 'import tensorrt; tensorrt.Builder' 2> /dev/null; then
    if [ "$(uname -m)" = x86_64 ]; then TENSORRT=${TENSORRT-tensorrt-cu${cuda:-13}}; fi
    # shellcheck disable=SC2086
    if [ -n "${TENSORRT:-}" ]; then step tensorrt python -m pip install $TENSORRT; fi
fi
describe > "$OUT/machine.txt" 2>&1
cat "$OUT/machine.txt"

step tests python -m pytest -m gpu tests/gpu --junitxml "$OUT/tests.xml"

if [[ "$PRECISIONS" == *int8* || "$PRECISIONS" == *fp8* ]] && [ -z "${CALIB:-}" ]; then
    CALIB=$OUT/calib
    step calibrate edgedepth calibrate synthetic:16 --out "$CALIB" --count 16
fi
bundles=()
for precision in $PRECISIONS; do
    calib=()
    case $precision in int8 | fp8) calib=(--calib "$CALIB") ;; esac
    if step "export-$precision" edgedepth export --model "$MODEL" "${weights[@]}" --target tensorrt "--$precision" \
        "${calib[@]}" --out "$OUT/$precision"; then
        step "verify-$precision" verify "$precision"
        bundles+=("$OUT/$precision")
    fi
done
torch=()
if ! python -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
    echo "torch sees no GPU: its rows are left out"
    torch=(--no-torch)
fi
step time python benchmarks/gpu/tensorrt_latency.py --model "$MODEL" "${weights[@]}" --out "$OUT" "${torch[@]}" \
    "${bundles[@]}"
cat "$OUT/logs/time.log"
exit $failed

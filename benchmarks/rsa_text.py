"""How long RSA's text path takes: caption to scale and shift, the first time and again.

    python benchmarks/rsa_text.py --threads 2

Exports rsa-depth-anything on random weights, whose text encoder is CLIP RN50's at full size, to fp32 ONNX and runs
it on the CPU; times don't depend on what weights are. --bundle measures another. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from edgedepth import EdgeDepth, export_bundle
from edgedepth.core.environment import describe_machine, versions_of

LIMITS_MS = {"first": 60.0, "again": 0.1}
PLACES = ("office", "street", "kitchen", "park", "workshop", "corridor", "garden", "station", "hall", "harbour")
THINGS = ("two desks and a chair", "three cars", "a lamp, a plant and four books", "people", "a long table")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="measure this RSA bundle")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rsa-text-") as folder:
        bundle = args.bundle or export_bundle("rsa-depth-anything", weights="random:0", out=Path(folder) / "b").path
        with EdgeDepth(bundle, threads=args.threads, self_test="never") as model:
            report = measure(model)
    print(json.dumps(report | {"threads": args.threads}, indent=2))


def measure(model: EdgeDepth) -> dict[str, object]:
    """Milliseconds of captions that were never read, and of the same again."""
    captions = [f"A photo of a {place} with {things}" for place in PLACES for things in THINGS]
    model.read_caption("warm up")
    first = [timed(model, caption) for caption in captions]
    again = [timed(model, caption) for caption in captions]
    return {
        "model": model.spec.name,
        "device": model.device,
        "captions": len(captions),
        "first_ms": summary(first),
        "again_ms": summary(again),
        "limits_ms": LIMITS_MS,
        "within": statistics.median(first) <= LIMITS_MS["first"] and statistics.median(again) <= LIMITS_MS["again"],
        "environment": describe_machine() | versions_of(("edgedepth", "numpy", "onnxruntime")),
    }


def timed(model: EdgeDepth, caption: str) -> float:
    """Milliseconds of one caption."""
    start = time.perf_counter()
    model.read_caption(caption)
    return (time.perf_counter() - start) * 1e3


def summary(values: list[float]) -> dict[str, float]:
    """p50 and p90."""
    ranked = sorted(values)
    return {"p50": round(statistics.median(ranked), 4), "p90": round(ranked[int(0.9 * len(ranked))], 4)}


if __name__ == "__main__":
    main()

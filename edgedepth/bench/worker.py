"""python -m edgedepth.bench.worker JOB: one contender, opened alone in this process, a frame each time it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.bench.children import Told, serve
from edgedepth.bench.contenders import Contender
from edgedepth.bench.finite import first_not_finite
from edgedepth.core.errors import EdgeDepthError, UnusableOutputError
from edgedepth.core.plain import from_plain
from edgedepth.core.spec import ModelSpec
from edgedepth.programs.rsa import PROOF_CAPTION
from edgedepth.verify.latency import matmul_rate, peak_rss_bytes

__all__ = ["FRAME", "MEMORY"]

FRAME, MEMORY = "frame", "memory"
"""Questions: run a frame, tell the peak of the memory."""

_LARGE = (2048, 2048, 2048)
Infer = Callable[[], Mapping[str, float]]
"""Runs one frame; milliseconds by step."""


def _start(job: dict[str, Any], tell: Told) -> Callable[[str], dict[str, Any]] | None:
    """A contender, or {"ceiling": ...} for the rate of products alone."""
    if "ceiling" in job:
        tell(_ceiling(**job["ceiling"]))
        return None
    contender = from_plain(Contender, job, where="job")
    start = time.perf_counter()
    infer, device, image = (_open_reference if contender.target == "torch" else _open_bundle)(contender)
    opened_ms = 1e3 * (time.perf_counter() - start)
    first = _timed(infer)
    loading_ms = first["stages"].pop("load", 0.0)  # stages that are opened when a frame first asks for them
    tell(
        {
            "device": device,
            "image": list(image),
            "load_ms": opened_ms + loading_ms,
            "first_frame_ms": first["ms"] - loading_ms,
            "placement": _placement(contender),
        }
    )

    def answer(question: str) -> dict[str, Any]:
        if question == MEMORY:
            return {"peak_rss_bytes": peak_rss_bytes()}
        told = _timed(infer)
        told["stages"].pop("load", None)
        return told

    return answer


def _timed(infer: Infer) -> dict[str, Any]:
    cpu, start = time.process_time(), time.perf_counter()
    stages = infer()
    milliseconds = 1e3 * (time.perf_counter() - start)
    return {"ms": milliseconds, "cpu_ms": 1e3 * (time.process_time() - cpu), "stages": dict(stages)}


def _open_bundle(contender: Contender) -> tuple[Infer, str, tuple[int, int]]:
    from edgedepth.facade import EdgeDepth

    # Its golden frame would be part of the load; whether it is right is for verify to say.
    model = EdgeDepth(contender.bundle, device=contender.device, self_test="never")
    frame = _frame(model.spec)
    guidance = _guidance(model.spec)

    def infer() -> Mapping[str, float]:
        try:
            return model.infer(frame, **guidance).timings_ms
        except UnusableOutputError as error:
            raise _explained(error, contender, frame) from error

    return infer, model.device, frame.shape[:2]


def _placement(contender: Contender) -> str:
    """Where Core ML puts a bundle's operations, in words; "" where that can't be told, and for all other targets."""
    if contender.target != "coreml" or contender.bundle is None:
        return ""
    from edgedepth.core.bundle import open_bundle
    from edgedepth.runtimes.coreml_placement import placement_of

    placed = placement_of(open_bundle(contender.bundle, check_hashes=False), contender.device) or {}
    told = (", ".join(f"{count} on {place}" for place, count in places.items()) for places in placed.values())
    return "; ".join(f"{stage}: {places}" for stage, places in zip(placed, told, strict=True))


def _open_reference(contender: Contender) -> tuple[Infer, str, tuple[int, int]]:
    from edgedepth.models.loading import load_model
    from edgedepth.programs.frames import as_rgb
    from edgedepth.runtimes.torch_reference import EagerReference

    loaded = load_model(contender.model, weights=contender.weights)
    reference, frame = EagerReference(loaded), _frame(loaded.spec)

    def infer() -> Mapping[str, float]:
        reference.predict(as_rgb(frame, "bgr"))
        return {}

    return infer, "cpu", frame.shape[:2]


def _frame(spec: ModelSpec) -> npt.NDArray[np.uint8]:
    """A picture of the model's own size, so that nobody resizes; of noise, which costs what any picture costs."""
    return np.random.default_rng(0).integers(0, 255, (*spec.preprocess.shape, 3), np.uint8)


def _guidance(spec: ModelSpec) -> dict[str, Any]:
    """What a model of relative depth has to be told; captions are read once, so their stages are in the first frame."""
    if spec.family == "relative":
        return {"kind": "relative_inverse"}
    return {"caption": PROOF_CAPTION} if spec.family == "rsa" else {}


def _explained(error: EdgeDepthError, contender: Contender, frame: npt.NDArray[np.uint8]) -> EdgeDepthError:
    """The error with the stage that gave the first value that isn't finite."""
    assert contender.bundle is not None
    stage = first_not_finite(contender.bundle, contender.device, frame)
    if stage is None:
        return error
    return UnusableOutputError(f"{stage}, so {error.problem}", remedy=f"edgedepth debug {contender.bundle}")


def _ceiling(precisions: list[str], shapes: list[list[int]], models: list[str]) -> dict[str, Any]:
    """Rates of products in operations a second, and the operations of models' frames."""
    from edgedepth.models.work import flops_of

    wanted = [(rows, inner, outer) for rows, inner, outer in shapes] + [_LARGE]
    return {
        "flops_s": {name: matmul_rate(name, wanted) for name in precisions},  # type: ignore[arg-type]
        "flops": {name: flops_of(name) for name in models},
    }


if __name__ == "__main__":
    serve(_start)

"""The golden frame: what the reference gave for it travels in the bundle, and every device reproduces it first.

It is the guard against a runtime that loads an artefact and computes something else (TensorRT 10.3 to 10.7 on
vision transformers, for one: NVIDIA/TensorRT#4723).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgedepth.core.errors import BundleTamperedError, CheckFailedError, SelfTestError
from edgedepth.core.manifest import PROBE, Golden
from edgedepth.core.reading import read_arrays
from edgedepth.core.session import Array
from edgedepth.verify.depth_errors import compare_depth
from edgedepth.verify.parity import Predictor
from edgedepth.verify.structure import lost_structure

__all__ = ["differing_stage", "golden_frame", "golden_outputs", "run_self_test"]

_LIMIT = 512 << 20  # bytes: a frame and a depth map of 8192 x 8192, and some values of each stage


def run_self_test(predictor: Predictor, golden: Golden, path: Path, *, max_lost_structure: float) -> float:
    """Run a bundle's golden frame and compare its depth in metres.

    Args:
        predictor: the bundle's program on the device to be proven.
        golden: the manifest's record of it.
        path: the .npz.
        max_lost_structure: how much of the shapes may be lost in any part of the frame (structure.py): at 8 bits tiles
            that change places hide behind max_abs_rel.

    Returns:
        The mean of |depth - golden| / golden.

    Raises:
        SelfTestError: the device computes something else.
        BundleTamperedError: the .npz isn't readable.
    """
    frame, depth, _ = golden_outputs(path)
    bundle = shlex.quote(str(path.parent))
    refuse = f"don't use this bundle on this device; which stage differs is told by: edgedepth verify {bundle}"
    try:
        prediction = predictor.predict(frame)
    except CheckFailedError as error:
        raise SelfTestError(f"the golden frame can't be run on this device: {error}", remedy=refuse) from error
    abs_rel = compare_depth(prediction.depth, depth).abs_rel
    if not abs_rel <= golden.max_abs_rel:
        raise SelfTestError(
            f"this device doesn't reproduce the golden depth: AbsRel {abs_rel:.3g}, "
            f"at most {golden.max_abs_rel:.3g} is allowed ({golden.reason})",
            remedy=refuse,
        )
    lost = lost_structure(prediction.depth, depth)
    if lost > max_lost_structure:  # NaN: there was none to lose
        raise SelfTestError(
            "this device doesn't reproduce the golden depth: a part of the frame shows other shapes, 1 - correlation "
            f"is {lost:.3g}, at most {max_lost_structure:.3g} is allowed",
            remedy=refuse,
        )
    return abs_rel


def golden_frame(path: Path) -> Array:
    """The frame alone, (H, W, 3) float32 RGB in 0..1; errors as run_self_test."""
    return golden_outputs(path)[0]


def differing_stage(path: Path, seen: Mapping[str, Array], *, max_rel: float) -> str:
    """Which stage a device computes wrongly, in words; empty when the bundle holds no probes.

    Stages feed each other, so the first that is out of its tolerance is the one to name; if none is, the worst.

    Args:
        path: the golden .npz.
        seen: values of the device's stages on the golden frame, by "stage.output" (programs/probes.py).
        max_rel: the largest error of a stage's output that is still right, over its largest value.
    """
    arrays = _arrays(path)
    expected = {name.removeprefix(PROBE): values for name, values in arrays.items() if name.startswith(PROBE)}
    worst = (0.0, "")
    for name, values in seen.items():  # in the order in which they ran
        if name not in expected or expected[name].shape != values.shape:
            continue
        scale = float(np.abs(expected[name]).max()) or 1.0
        error = float(np.abs(values - expected[name]).max()) / scale
        stage, _, output = name.partition(".")
        off = (
            f"{stage}: its output {output} is off by {error:.3g} of its largest value, at most {max_rel:.3g} is allowed"
        )
        if not error <= max_rel:  # NaN too
            return f"the first stage that differs is {off}"
        worst = max(worst, (error, off))
    return f"no stage is out of its tolerance alone, the worst is {worst[1]}" if worst[1] else ""


def golden_outputs(path: Path) -> tuple[Array, Array, float]:
    """The frame, (H, W, 3) float32 RGB in 0..1, with the reference's depth (H, W) in m and fov_deg; errors as above."""
    arrays = _arrays(path)
    if missing := [name for name in ("frame_rgb", "depth", "fov_deg") if name not in arrays]:
        raise _not_golden(path, f"it has no {missing[0]}")
    frame = arrays["frame_rgb"].astype(np.float32) / np.float32(255)
    return frame, arrays["depth"].astype(np.float32), float(arrays["fov_deg"])


def _arrays(path: Path) -> dict[str, Array]:
    try:
        return read_arrays(path, limit=_LIMIT)
    except OSError as error:
        raise _not_golden(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _not_golden(path, str(error)) from error


def _not_golden(path: Path, why: str) -> BundleTamperedError:
    return BundleTamperedError(
        f"{path} is not a golden frame: {why}", remedy="export the bundle again: edgedepth export --help"
    )

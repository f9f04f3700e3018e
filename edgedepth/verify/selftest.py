"""The golden frame: what the reference gave for it travels in the bundle, and every device reproduces it first.

It is the guard against a runtime that loads an artefact and computes something else (TensorRT 10.3 to 10.7 on
vision transformers, for one: NVIDIA/TensorRT#4723).
"""

from __future__ import annotations

import io
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgedepth.core.errors import BundleTamperedError, CheckFailedError, SelfTestError
from edgedepth.core.manifest import PROBE, Golden
from edgedepth.core.session import Array
from edgedepth.verify.depth_errors import compare_depth
from edgedepth.verify.parity import Predictor

__all__ = ["differing_stage", "golden_frame", "run_self_test"]


def run_self_test(predictor: Predictor, golden: Golden, path: Path) -> float:
    """Run a bundle's golden frame and compare its depth in metres.

    Args:
        predictor: the bundle's program on the device to be proven.
        golden: the manifest's record of it.
        path: the .npz.

    Returns:
        The mean of |depth - golden| / golden.

    Raises:
        SelfTestError: the device computes something else.
        BundleTamperedError: the .npz isn't readable.
    """
    frame, depth = _read(path)
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
    return abs_rel


def golden_frame(path: Path) -> Array:
    """The frame alone, (H, W, 3) float32 RGB in 0..1; errors as run_self_test."""
    return _read(path)[0]


def differing_stage(path: Path, seen: Mapping[str, Array], *, max_rel: float) -> str:
    """Which stage a device computes wrongly, in words; empty when the bundle holds no probes.

    Stages feed each other, so the first that is out of its tolerance is the one to name; if none is, the worst.

    Args:
        path: the golden .npz.
        seen: values of the device's stages on the golden frame, by "stage.output" (programs/probes.py).
        max_rel: the largest error of a stage's output that is still right, over its largest value.
    """
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        expected = {name.removeprefix(PROBE): archive[name] for name in archive.files if name.startswith(PROBE)}
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


def _read(path: Path) -> tuple[Array, Array]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            frame = archive["frame_rgb"].astype(np.float32) / 255
            return frame, archive["depth"].astype(np.float32)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleTamperedError(
            f"{path} is not a golden frame: {error}", remedy="export the bundle again: edgedepth export --help"
        ) from error
